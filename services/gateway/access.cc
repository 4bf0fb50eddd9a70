#include "services/gateway/access.h"

#include <absl/strings/escaping.h>
#include <absl/strings/str_cat.h>
#include <absl/strings/str_split.h>
#include <absl/time/clock.h>
#include <openssl/crypto.h>
#include <openssl/sha.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "aima/unit/v1/errors.pb.h"
#include "libs/errors/errors.h"

namespace aima::gateway {
namespace {

constexpr size_t kMaxBuckets = 10'000;
constexpr char kConfigured[] = "config";  // principal of the key in the configuration

Role RoleOf(const std::string& name) {
  if (name == "read") return Role::kRead;
  if (name == "operate") return Role::kOperate;
  if (name == "admin") return Role::kAdmin;
  return Role::kNone;
}

// The text of a field; empty if it is not there or is no text.
std::string TextOf(const nlohmann::json& entry, const char* field) {
  if (!entry.is_object()) return "";
  const auto found = entry.find(field);
  return found != entry.end() && found->is_string() ? found->get<std::string>() : "";
}

bool SameText(const std::string& a, const std::string& b) {
  return a.size() == b.size() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

absl::Status BadKey() { return Error(unit::v1::UNAUTHENTICATED, "the key is not valid or has expired"); }

}  // namespace

const char* RoleName(Role role) {
  switch (role) {
    case Role::kRead: return "read";
    case Role::kOperate: return "operate";
    case Role::kAdmin: return "admin";
    default: return "";
  }
}

std::string Sha256Hex(std::string_view text) {
  unsigned char digest[SHA256_DIGEST_LENGTH];
  SHA256(reinterpret_cast<const unsigned char*>(text.data()), text.size(), digest);
  return absl::BytesToHexString(absl::string_view(reinterpret_cast<const char*>(digest), sizeof(digest)));
}

KeyRing::KeyRing(std::string path, std::string admin_key)
    : path_(std::move(path)), admin_sha256_(admin_key.empty() ? "" : Sha256Hex(admin_key)) {}

bool KeyRing::empty() {
  Reload();
  return keys_.empty() && admin_sha256_.empty();
}

absl::StatusOr<Caller> KeyRing::Find(std::string_view text) {
  Reload();
  const std::string sha256 = Sha256Hex(text);
  if (!admin_sha256_.empty() && SameText(sha256, admin_sha256_)) return Caller{kConfigured, Role::kAdmin};
  const std::vector<std::string> parts = absl::StrSplit(absl::string_view(text.data(), text.size()), '_');
  if (parts.size() != 3 || parts[0] != "aima") return BadKey();
  const auto found = keys_.find(parts[1]);
  if (found == keys_.end() || !SameText(sha256, found->second.sha256) || found->second.expires <= absl::Now()) {
    return BadKey();
  }
  return Caller{found->first, found->second.role};
}

Caller KeyRing::Named(const std::string& principal) {
  if (principal.empty()) return Caller{"", Role::kOperate};
  if (principal == kConfigured && !admin_sha256_.empty()) return Caller{principal, Role::kAdmin};
  Reload();
  const auto found = keys_.find(principal);
  const bool valid = found != keys_.end() && found->second.expires > absl::Now();
  return Caller{principal, valid ? found->second.role : Role::kNone};
}

void KeyRing::Reload() {
  struct stat file = {};
  if (::stat(path_.c_str(), &file) != 0) {
    keys_.clear();
    loaded_at_ = -1;
    return;
  }
  const int64_t modified = file.st_mtim.tv_sec * 1'000'000'000 + file.st_mtim.tv_nsec;
  if (modified == loaded_at_) return;
  std::ifstream stream(path_);
  const nlohmann::json list = nlohmann::json::parse(stream, nullptr, /*allow_exceptions=*/false);
  if (!list.is_array()) {
    // Half-written or broken: what was valid stays valid until the file can be read.
    spdlog::error("{} is not a list of keys", path_);
    return;
  }
  keys_.clear();
  loaded_at_ = modified;
  for (const nlohmann::json& entry : list) {
    Key key;
    key.role = RoleOf(TextOf(entry, "role"));
    key.sha256 = TextOf(entry, "sha256");
    const std::string expires = TextOf(entry, "expires");
    std::string problem;
    const bool readable = expires.empty() || absl::ParseTime(absl::RFC3339_full, expires, &key.expires, &problem);
    if (readable && key.role != Role::kNone && key.sha256.size() == 64) {
      keys_[TextOf(entry, "id")] = std::move(key);
    } else {
      spdlog::error("{} has an entry that is no key", path_);
    }
  }
}

absl::StatusOr<Caller> Access::Admit(const Credentials& credentials) {
  Caller caller;
  if (!credentials.key.empty()) {
    absl::StatusOr<Caller> found = keys_.Find(credentials.key);
    if (!found.ok()) {
      // Guessing keys is limited too, whatever the address.
      if (absl::Status limited = CountAgainstLimit("?" + credentials.address); !limited.ok()) return limited;
      return found;
    }
    caller = *std::move(found);
  } else if (credentials.loopback) {
    caller.role = Role::kOperate;
    return caller;  // a program on this machine could as well use up the machine itself
  }
  const std::string who = caller.principal.empty() ? "@" + credentials.address : caller.principal;
  // The keys of this machine's own operator are not held back on this machine.
  if (!credentials.loopback || caller.role != Role::kAdmin) {
    if (absl::Status limited = CountAgainstLimit(who); !limited.ok()) return limited;
  }
  return caller;
}

absl::Status Access::CountAgainstLimit(const std::string& who) {
  if (rate_limit_per_min_ <= 0) return absl::OkStatus();
  const absl::Time now = absl::Now();
  // Forgetting everybody at once costs nobody more than one minute's allowance.
  if (buckets_.size() >= kMaxBuckets) buckets_.clear();
  auto [entry, fresh] = buckets_.try_emplace(who, Bucket{static_cast<double>(rate_limit_per_min_), now});
  Bucket& bucket = entry->second;
  const double per_second = rate_limit_per_min_ / 60.0;
  bucket.tokens = std::min<double>(rate_limit_per_min_,
                                   bucket.tokens + per_second * absl::ToDoubleSeconds(now - bucket.filled));
  bucket.filled = now;
  if (bucket.tokens < 1) {
    const int wait = static_cast<int>((1 - bucket.tokens) / per_second) + 1;
    return Error(unit::v1::OVERLOADED, absl::StrCat("more than ", rate_limit_per_min_, " calls per minute"),
                 {{"retry_after_s", absl::StrCat(wait)}});
  }
  bucket.tokens -= 1;
  return absl::OkStatus();
}

absl::Status Access::Check(const Caller& caller, unit::v1::Access access, std::string_view unit) {
  const absl::string_view name(unit.data(), unit.size());
  Role needed = Role::kAdmin;
  const char* role = "admin";
  switch (access) {
    case unit::v1::READ: needed = Role::kRead, role = "read"; break;
    case unit::v1::OPERATE: needed = Role::kOperate, role = "operate"; break;
    case unit::v1::ADMIN: break;
    default: return Error(unit::v1::UNIT_NOT_FOUND, absl::StrCat("there is no unit ", name));
  }
  if (caller.role >= needed) return absl::OkStatus();
  if (caller.principal.empty()) {
    return Error(unit::v1::UNAUTHENTICATED, absl::StrCat(name, " needs a key with the role ", role));
  }
  return Error(unit::v1::PERMISSION_DENIED, absl::StrCat(name, " needs the role ", role), {{"role", role}});
}

}  // namespace aima::gateway
