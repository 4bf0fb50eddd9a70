#include "services/cli/keys.h"

#include <absl/strings/ascii.h>
#include <absl/strings/escaping.h>
#include <absl/strings/str_cat.h>
#include <absl/strings/str_split.h>
#include <absl/time/clock.h>
#include <fcntl.h>
#include <openssl/sha.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "libs/base/ids.h"
#include "libs/base/status_macros.h"
#include "services/cli/files.h"

namespace aima::cli {
namespace {

std::string Sha256Hex(const std::string& text) {
  unsigned char digest[SHA256_DIGEST_LENGTH];
  SHA256(reinterpret_cast<const unsigned char*>(text.data()), text.size(), digest);
  return absl::BytesToHexString(absl::string_view(reinterpret_cast<const char*>(digest), sizeof digest));
}

// Keeps two commands from losing each other's change.
class DirectoryLock {
 public:
  explicit DirectoryLock(const std::string& path) : fd_(open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)) {
    if (fd_ >= 0) flock(fd_, LOCK_EX);
  }
  ~DirectoryLock() {
    if (fd_ >= 0) close(fd_);
  }
  DirectoryLock(const DirectoryLock&) = delete;

 private:
  const int fd_;
};

}  // namespace

bool KeyEntry::Expired(absl::Time now) const {
  absl::Time end;
  std::string error;
  // A time that cannot be read ends nothing here; the gateway refuses such a key.
  return !expires.empty() && absl::ParseTime(absl::RFC3339_full, expires, &end, &error) && end <= now;
}

std::string KeyFile::IdOf(const std::string& text) {
  const std::vector<std::string> parts = absl::StrSplit(text, '_');
  return parts.size() == 3 ? parts[1] : "";
}

absl::StatusOr<std::vector<KeyEntry>> KeyFile::List() const {
  std::vector<KeyEntry> keys;
  if (access(File().c_str(), F_OK) != 0) return keys;
  ASSIGN_OR_RETURN(const std::string text, ReadFile(File()));
  const nlohmann::json list = nlohmann::json::parse(text, nullptr, false);
  if (!list.is_array()) return absl::DataLossError(absl::StrCat(File(), " is not a list of keys"));
  for (const nlohmann::json& item : list) {
    if (!item.is_object()) continue;
    const auto text_of = [&item](const char* key) {
      const auto found = item.find(key);
      return found != item.end() && found->is_string() ? found->get<std::string>() : std::string();
    };
    keys.push_back({text_of("id"), text_of("role"), text_of("name"), text_of("sha256"), text_of("created"),
                    text_of("expires")});
  }
  return keys;
}

absl::Status KeyFile::Store(const std::vector<KeyEntry>& keys) const {
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const KeyEntry& key : keys) {
    nlohmann::ordered_json item = {
        {"id", key.id}, {"role", key.role}, {"name", key.name}, {"sha256", key.sha256}, {"created", key.created}};
    if (!key.expires.empty()) item["expires"] = key.expires;
    list.push_back(std::move(item));
  }
  return WriteFile(File(), list.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n", 0600);
}

absl::StatusOr<std::string> KeyFile::Create(const std::string& role, const std::string& name,
                                            std::optional<absl::Duration> lifetime) {
  if (role != "read" && role != "operate" && role != "admin") {
    return absl::InvalidArgumentError(
        absl::StrCat("there is no role ", role, "; there are read, operate and admin"));
  }
  RETURN_IF_ERROR(MakePrivateDirectory(directory_));
  const DirectoryLock lock(directory_);
  ASSIGN_OR_RETURN(std::vector<KeyEntry> keys, List());
  KeyEntry key{.id = RandomHex(4), .role = role, .name = name};
  const std::string text = absl::StrCat("aima_", key.id, "_", RandomHex(24));
  const absl::Time now = absl::Now();
  key.sha256 = Sha256Hex(text);
  key.created = absl::FormatTime(absl::RFC3339_sec, now, absl::UTCTimeZone());
  if (lifetime) key.expires = absl::FormatTime(absl::RFC3339_sec, now + *lifetime, absl::UTCTimeZone());
  keys.push_back(key);
  RETURN_IF_ERROR(Store(keys));
  return text;
}

absl::Status KeyFile::Revoke(const std::string& id) {
  const DirectoryLock lock(directory_);
  ASSIGN_OR_RETURN(std::vector<KeyEntry> keys, List());
  if (std::erase_if(keys, [&](const KeyEntry& key) { return key.id == id; }) == 0) {
    return absl::NotFoundError(absl::StrCat("there is no key ", id, " in ", File()));
  }
  RETURN_IF_ERROR(Store(keys));
  if (IdOf(AdminKey()) == id) unlink(AdminKeyFile().c_str());
  return absl::OkStatus();
}

absl::Status KeyFile::EnsureAdminKey() {
  RETURN_IF_ERROR(MakePrivateDirectory(directory_));
  ASSIGN_OR_RETURN(const std::vector<KeyEntry> keys, List());
  const std::string present = AdminKey();
  for (const KeyEntry& key : keys) {
    if (!present.empty() && key.sha256 == Sha256Hex(present)) return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(const std::string text, Create("admin", "the operator of this machine", std::nullopt));
  return WriteFile(AdminKeyFile(), text + "\n", 0600);
}

std::string KeyFile::AdminKey() const {
  const absl::StatusOr<std::string> text = ReadFile(AdminKeyFile());
  return text.ok() ? std::string(absl::StripAsciiWhitespace(*text)) : "";
}

}  // namespace aima::cli
