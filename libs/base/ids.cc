#include "libs/base/ids.h"

#include <absl/numeric/int128.h>
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

// 128 bits: those of an id.
using Number = absl::uint128;
constexpr int kRandomBits = 80;
constexpr int kStepBits = 40;

// Random numbers for ids, each of which needs few bytes: a call of the kernel for many of them. A child of fork that does
// not call exec would repeat its parent's.
class RandomBytes {
 public:
  Number Next(int bits) {
    Number number = 0;
    for (; bits > 0; bits -= 8) number = number << 8 | Byte();
    return number;
  }

 private:
  unsigned char Byte() {
    if (next_ == sizeof(bytes_)) {
      FillRandom(bytes_, sizeof(bytes_));
      next_ = 0;
    }
    return bytes_[next_++];
  }

  unsigned char bytes_[256];
  size_t next_ = sizeof(bytes_);
};

}  // namespace

std::string NewId(absl::string_view prefix) {
  static thread_local RandomBytes random;
  static thread_local Number last = 0;
  const uint64_t now = absl::ToUnixMillis(absl::Now());
  // The next in the same millisecond is the last one and a random step, so that ids can be told apart and not foretold.
  // A clock that was set back counts as the same millisecond.
  last = now > static_cast<uint64_t>(last >> kRandomBits) ? Number{now} << kRandomBits | random.Next(kRandomBits)
                                                          : last + 1 + random.Next(kStepBits);
  std::string id;
  id.reserve(prefix.size() + 26);
  id.append(prefix.data(), prefix.size());
  for (int shift = 125; shift >= 0; shift -= 5) id += kAlphabet[static_cast<int>(last >> shift) & 31];
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
