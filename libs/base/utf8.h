// UTF-8.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace aima {

// Length of the sequence at the start of `text`, which is not empty; 0 if there is no valid one.
size_t Utf8Length(std::string_view text);

// Makes text of others fit for messages, whose readers refuse what is not UTF-8: each byte of no sequence becomes U+FFFD.
std::string ValidUtf8(std::string text);

}  // namespace aima
