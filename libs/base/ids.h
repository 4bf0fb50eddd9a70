// Random identifiers.
#pragma once

#include <absl/strings/string_view.h>

#include <string>

namespace aima {

// `prefix` and 26 characters [0-9a-z] that no two calls share: 48 bits of milliseconds, then 80 random bits (the layout of
// ULID, in lower case). Ids of one prefix sort by age: to the millisecond, and those that one thread made in full.
std::string NewId(absl::string_view prefix);

// `bytes` from the kernel's random source, in lower-case hexadecimal. For secrets.
std::string RandomHex(int bytes);

}  // namespace aima
