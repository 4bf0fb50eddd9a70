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

}  // namespace

std::string NewId(absl::string_view prefix) {
  unsigned char random[16];
  FillRandom(random, sizeof(random));
  std::string id(prefix);
  const uint64_t now = absl::ToUnixMillis(absl::Now());
  for (int shift = 45; shift >= 0; shift -= 5) id += kAlphabet[(now >> shift) & 31];
  for (unsigned char byte : random) id += kAlphabet[byte & 31];
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
