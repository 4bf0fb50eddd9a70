// API keys of a cluster: <data_dir>/keys/keys.json, which the gateway reads anew whenever it changes. Only hashes
// are stored; a key's text, aima_<id>_<secret>, is shown once.
#pragma once

#include <absl/status/statusor.h>
#include <absl/time/time.h>

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace aima::cli {

struct KeyEntry {
  std::string id;
  std::string role;  // read, operate or admin
  std::string name;  // for people
  std::string sha256;
  std::string created;  // RFC 3339
  std::string expires;  // RFC 3339, or empty for never

  bool Expired(absl::Time now) const;
};

class KeyFile {
 public:
  explicit KeyFile(const std::string& data_dir) : directory_(data_dir + "/keys") {}

  absl::StatusOr<std::vector<KeyEntry>> List() const;

  // Makes a key and returns its text, which is not to be had again.
  absl::StatusOr<std::string> Create(const std::string& role, const std::string& name,
                                     std::optional<absl::Duration> lifetime);

  // NOT_FOUND if there is none with this id.
  absl::Status Revoke(const std::string& id);

  // The id in a key's text; empty if it is none.
  static std::string IdOf(const std::string& text);

  // Makes the key of this machine's operator in keys/admin.key, unless it is there.
  absl::Status EnsureAdminKey();
  // Text of that key; empty if it is not there or not readable.
  std::string AdminKey() const;
  std::string AdminKeyFile() const { return directory_ + "/admin.key"; }

 private:
  absl::Status Store(const std::vector<KeyEntry>& keys) const;
  std::string File() const { return directory_ + "/keys.json"; }

  const std::string directory_;
};

}  // namespace aima::cli
