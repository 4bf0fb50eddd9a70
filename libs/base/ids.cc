#include "libs/base/ids.h"

#include <absl/strings/escaping.h>
#include <absl/time/clock.h>
#include <sys/random.h>

#include <cstdint>
#include <cstdlib>

namespace aima {
namespace {

constexpr char kAlphabet[] = "0123456789abcdefghjkmnpqrstvwxyz";  // Crockford's base 32

void FillRandom(void* out, size_t size) {
  // The kernel never returns less than asked for up to 256 bytes, and never fails once it is seeded.
  if (getrandom(out, size, 0) != static_cast<ssize_t>(size)) std::abort();
}

// Random bytes for ids, each of which needs few: a call of the kernel for many of them. A child of fork that does not call
// exec would repeat its parent's.
class RandomBytes {
 public:
  unsigned char Next() {
    if (next_ == sizeof(bytes_)) {
      FillRandom(bytes_, sizeof(bytes_));
      next_ = 0;
    }
    return bytes_[next_++];
  }

 private:
  unsigned char bytes_[256];
  size_t next_ = sizeof(bytes_);
};

}  // namespace

std::string NewId(absl::string_view prefix) {
  static thread_local RandomBytes random;
  std::string id;
  id.reserve(prefix.size() + 26);
  id.append(prefix.data(), prefix.size());
  const uint64_t now = absl::ToUnixMillis(absl::Now());
  for (int shift = 45; shift >= 0; shift -= 5) id += kAlphabet[(now >> shift) & 31];
  for (int i = 0; i < 16; ++i) id += kAlphabet[random.Next() & 31];
  return id;
}

std::string RandomHex(int bytes) {
  std::string raw(bytes, '\0');
  for (size_t done = 0; done < raw.size(); done += 256) {
    FillRandom(raw.data() + done, std::min<size_t>(256, raw.size() - done));
  }
  return absl::BytesToHexString(raw);
}

}  // namespace aima
