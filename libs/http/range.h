// The part of a content that a request asks for (RFC 9110, section 14).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "libs/http/message.h"

namespace aima::http {

// Bytes of a content of `whole` bytes.
struct Part {
  int status = 200;  // 206: a part of it; 416: what was asked for begins behind its end; 304: the client has it
  uint64_t begin = 0;
  uint64_t size = 0;
  uint64_t whole = 0;

  // Adds what tells about the part, all but its length.
  void Describe(std::string_view etag, Headers& headers) const;
};

// What a GET or HEAD asks for of a content of `size` bytes that the strong `etag` names. Who asks for several ranges at
// once gets the whole, as does who asks for what is no range.
Part PartOf(const Request& request, uint64_t size, std::string_view etag);

}  // namespace aima::http
