// Who may do what: keys, roles and the rules of the loopback interface.
#pragma once

#include <absl/container/flat_hash_map.h>
#include <absl/status/statusor.h>
#include <absl/time/time.h>

#include <string>
#include <string_view>

#include "aima/unit/v1/unit.pb.h"

namespace aima::gateway {

// What a caller may do; each role includes those before it.
enum class Role { kNone, kRead, kOperate, kAdmin };

// "read", "operate", "admin"; empty for kNone.
const char* RoleName(Role role);

// What a caller shows.
struct Credentials {
  std::string key;        // text of the key; empty if there is none
  bool loopback = false;  // the connection comes from this machine
  std::string address;    // of the caller, without port
};

// Who a caller is.
struct Caller {
  std::string principal;  // id of the key; empty without one
  Role role = Role::kNone;
};

// The keys of a cluster, read from <data_dir>/keys/keys.json whenever it changes: a list of
// {"id", "role", "sha256", "expires"?}. A key's text is aima_<id>_<secret>; only the SHA-256 of the whole text is stored.
// `admin_key` of the configuration, if not empty, is one more key with the role admin.
class KeyRing {
 public:
  KeyRing(std::string path, std::string admin_key);

  bool empty();
  // The caller behind a key's text; UNAUTHENTICATED if it is none, or has expired.
  absl::StatusOr<Caller> Find(std::string_view text);
  // The caller of whom only the principal is known: admitted before, or by another process. Its role is that of its key
  // now; one without a key is a program on this machine.
  Caller Named(const std::string& principal);

 private:
  struct Key {
    Role role = Role::kNone;
    std::string sha256;  // lower-case hexadecimal
    absl::Time expires = absl::InfiniteFuture();
  };
  void Reload();

  const std::string path_;
  const std::string admin_sha256_;
  int64_t loaded_at_ = -1;  // modification time of what is loaded, in nanoseconds
  absl::flat_hash_map<std::string, Key> keys_;
};

// Decides about calls. Used on the loop.
class Access {
 public:
  Access(KeyRing& keys, int rate_limit_per_min) : keys_(keys), rate_limit_per_min_(rate_limit_per_min) {}

  // Who calls. A loopback caller without a key may read and operate, others without one nothing; a wrong key is refused
  // wherever it comes from. OVERLOADED, with retry_after_s, above the rate limit.
  absl::StatusOr<Caller> Admit(const Credentials& credentials);

  // OK if the caller may use what needs `access`; otherwise says which role it takes.
  static absl::Status Check(const Caller& caller, unit::v1::Access access, std::string_view unit);

 private:
  absl::Status CountAgainstLimit(const std::string& who);

  KeyRing& keys_;
  const int rate_limit_per_min_;
  struct Bucket {
    double tokens = 0;
    absl::Time filled;
  };
  absl::flat_hash_map<std::string, Bucket> buckets_;
};

// SHA-256 of `text` in lower-case hexadecimal.
std::string Sha256Hex(std::string_view text);

}  // namespace aima::gateway
