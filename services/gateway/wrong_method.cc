#include "services/gateway/wrong_method.h"

#include <absl/strings/str_cat.h>
#include <absl/strings/str_replace.h>

#include <string>

#include "aima/unit/v1/errors.pb.h"
#include "libs/errors/errors.h"

namespace aima::gateway {

absl::Status WrongMethod(const http::Request& request, std::string_view path, std::string_view allow) {
  const std::string methods(allow);
  return Error(unit::v1::INVALID_INPUT,
               absl::StrCat(std::string(path.substr(0, 200)), " is asked with ",
                            absl::StrReplaceAll(methods, {{", ", " or "}}), ", not ", request.method.substr(0, 20)),
               {{"allow", methods}});
}

}  // namespace aima::gateway
