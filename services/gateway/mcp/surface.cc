#include "services/gateway/mcp/surface.h"

#include <absl/strings/str_cat.h>

#include "aima/unit/v1/errors.pb.h"
#include "libs/errors/errors.h"
#include "libs/unit/json_codec.h"

namespace aima::gateway::mcp {

// What a source does not list, it is not asked for.

Task<Outcome> Source::CallTool(Call& call, const Tool& tool, const Input& input) {
  co_return Outcome::Failure(kInternalError, tool.name + " cannot be called");
}

Task<Outcome> Source::GetPrompt(Call& call, const Prompt& prompt, const Input& input) {
  co_return Outcome::Failure(kInternalError, prompt.name + " cannot be had");
}

Task<absl::StatusOr<std::string>> Source::Read(Call& call, const std::string& uri) {
  co_return Error(unit::v1::RESOURCE_NOT_FOUND, absl::StrCat("there is no resource at ", uri));
}

Task<absl::Status> Source::Watch(CallContext call, std::string uri, std::function<void()> ready,
                                 std::function<Task<absl::Status>()> changed) {
  co_return Error(unit::v1::RESOURCE_NOT_FOUND, absl::StrCat("there is no resource at ", uri));
}

Task<Completion> Source::CompleteVariable(Call& call, const Resource& resource, const std::string& name,
                                          const std::string& begun) {
  co_return Completion();
}

Task<Completion> Source::CompleteArgument(Call& call, const Prompt& prompt, const std::string& name,
                                          const std::string& begun) {
  co_return Completion();
}

Outcome TextResult(std::string_view text, bool is_error) {
  std::string result = "{\"content\":[{\"type\":\"text\",\"text\":";
  AppendJsonString(text, result);
  result += is_error ? "}],\"isError\":true}" : "}]}";
  return Outcome::Result(std::move(result));
}

}  // namespace aima::gateway::mcp
