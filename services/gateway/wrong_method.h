// Requests for an address with a method that it does not take.
#pragma once

#include <absl/status/status.h>

#include <string_view>

#include "libs/http/message.h"

namespace aima::gateway {

// What tells so: 405 in every face's form, with the methods that the address takes ("GET, HEAD") in Allow.
absl::Status WrongMethod(const http::Request& request, std::string_view path, std::string_view allow);

}  // namespace aima::gateway
