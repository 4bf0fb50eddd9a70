#include "services/cli/command_line.h"

#include <absl/strings/numbers.h>
#include <absl/strings/str_cat.h>
#include <absl/strings/str_join.h>
#include <pwd.h>
#include <unistd.h>

#include <filesystem>
#include <iostream>
#include <nlohmann/json.hpp>

#include "libs/base/status_macros.h"
#include "services/cli/environment.h"
#include "services/cli/terminal.h"

namespace aima::cli {
namespace {

constexpr char kRemedy[] = "aima.cli/remedy";
constexpr char kErrorObject[] = "aima.cli/error";
constexpr char kExitStatus[] = "aima.cli/exit-status";

absl::string_view View(std::string_view text) { return {text.data(), text.size()}; }

// The code of an error that did not come from the gateway.
const char* ReasonOf(absl::StatusCode code) {
  switch (code) {
    case absl::StatusCode::kInvalidArgument:
      return "INVALID_INPUT";
    case absl::StatusCode::kNotFound:
      return "NOT_FOUND";
    case absl::StatusCode::kAlreadyExists:
      return "ALREADY_EXISTS";
    case absl::StatusCode::kPermissionDenied:
      return "PERMISSION_DENIED";
    case absl::StatusCode::kUnauthenticated:
      return "UNAUTHENTICATED";
    case absl::StatusCode::kFailedPrecondition:
      return "FAILED_PRECONDITION";
    case absl::StatusCode::kUnavailable:
      return "UNAVAILABLE";
    case absl::StatusCode::kDeadlineExceeded:
      return "DEADLINE_EXCEEDED";
    case absl::StatusCode::kCancelled:
      return "CANCELLED";
    case absl::StatusCode::kResourceExhausted:
      return "RESOURCE_EXHAUSTED";
    default:
      return "FAILED";
  }
}

// Absolute, with ~ expanded.
std::string DataDir(const std::string& given) {
  std::string path = given.empty() ? "~/.aima" : given;
  if (path == "~" || path.starts_with("~/")) {
    const passwd* user = getpwuid(getuid());
    path = Variable("HOME", user ? user->pw_dir : "/") + path.substr(1);
  }
  std::error_code error;
  std::string absolute = std::filesystem::absolute(path, error).lexically_normal();
  while (absolute.size() > 1 && absolute.back() == '/') absolute.pop_back();
  return absolute;
}

}  // namespace

std::optional<std::string> Arguments::Next() {
  if (words_.empty()) return std::nullopt;
  std::string first = std::move(words_.front());
  words_.erase(words_.begin());
  return first;
}

absl::StatusOr<std::vector<std::string>> Arguments::Values(std::string_view name) {
  std::vector<std::string> values;
  const std::string flag = (name.size() == 1 ? "-" : "--") + std::string(name);
  for (size_t i = 0; i < words_.size() && words_[i] != "--";) {
    if (words_[i] == flag) {
      if (i + 1 == words_.size()) return UsageError(flag + " needs a value");
      values.push_back(words_[i + 1]);
      words_.erase(words_.begin() + static_cast<long>(i), words_.begin() + static_cast<long>(i) + 2);
    } else if (words_[i].starts_with(flag + "=")) {
      values.push_back(words_[i].substr(flag.size() + 1));
      words_.erase(words_.begin() + static_cast<long>(i));
    } else {
      ++i;
    }
  }
  return values;
}

absl::StatusOr<std::optional<std::string>> Arguments::Value(std::string_view name) {
  ASSIGN_OR_RETURN(std::vector<std::string> values, Values(name));
  if (values.empty()) return std::optional<std::string>();
  return std::optional<std::string>(std::move(values.back()));
}

bool Arguments::Flag(std::string_view name) {
  const std::string flag = (name.size() == 1 ? "-" : "--") + std::string(name);
  return std::erase(words_, flag) > 0;
}

bool Arguments::Flag(std::string_view name, char letter) {
  bool found = Flag(name);
  if (letter == 0) return found;
  for (size_t i = 0; i < words_.size() && words_[i] != "--"; ++i) {
    std::string& word = words_[i];
    const size_t at = word.find(letter, 1);
    // Letters that stand together are flags; anything else in the word makes it something else.
    if (word.size() < 2 || word[0] != '-' || word[1] == '-' || at == std::string::npos || at > 2) continue;
    found = true;
    word.erase(at, 1);
    if (word == "-") words_.erase(words_.begin() + static_cast<long>(i--));
  }
  return found;
}

absl::Status Arguments::Done(std::string_view command) const {
  if (words_.empty()) return absl::OkStatus();
  return UsageError(absl::StrCat("aima ", View(command), " does not take ", absl::StrJoin(words_, " ")));
}

absl::StatusOr<Globals> TakeGlobals(Arguments& arguments) {
  Globals globals;
  std::optional<std::string> output;
  for (const char* name : {"output", "o"}) {
    ASSIGN_OR_RETURN(const std::optional<std::string> given, arguments.Value(name));
    if (given) output = given;
  }
  if (output) {
    bool known = *output == "wide";
    for (const char* format : {"table", "json", "yaml", "ndjson", "name"}) known = known || *output == format;
    if (!known) {
      return UsageError(
          absl::StrCat("there is no output ", *output, "; there are table, wide, json, yaml, ndjson and name"));
    }
    globals.wide = *output == "wide";
    globals.output = globals.wide ? "table" : *output;
    globals.output_given = true;
  }
  globals.colour = !arguments.Flag("no-color") && Variable("NO_COLOR").empty();
  ASSIGN_OR_RETURN(const std::optional<std::string> server, arguments.Value("server"));
  ASSIGN_OR_RETURN(const std::optional<std::string> key, arguments.Value("key"));
  ASSIGN_OR_RETURN(const std::optional<std::string> data_dir, arguments.Value("data-dir"));
  globals.server = server.value_or(Variable("AIMA_SERVER"));
  globals.key = key.value_or(Variable("AIMA_KEY"));
  globals.data_dir_given = data_dir.has_value();
  globals.data_dir = DataDir(data_dir.value_or(Variable("AIMA_DATA_DIR")));
  return globals;
}

absl::Status UsageError(std::string_view what) {
  return WithRemedy(absl::InvalidArgumentError(View(what)), "`aima help` shows all commands.");
}

absl::Status WithRemedy(absl::Status status, std::string_view remedy) {
  if (!status.ok() && !remedy.empty()) status.SetPayload(kRemedy, absl::Cord(View(remedy)));
  return status;
}

std::string RemedyOf(const absl::Status& status) {
  const auto remedy = status.GetPayload(kRemedy);
  return remedy ? std::string(*remedy) : "";
}

absl::Status WithErrorObject(absl::Status status, std::string_view json) {
  if (!status.ok()) status.SetPayload(kErrorObject, absl::Cord(View(json)));
  return status;
}

std::string ErrorObjectOf(const absl::Status& status) {
  const auto object = status.GetPayload(kErrorObject);
  return object ? std::string(*object) : "";
}

absl::Status QuietFailure(int exit_status) {
  absl::Status status = absl::UnknownError("");
  status.SetPayload(kExitStatus, absl::Cord(absl::StrCat(exit_status)));
  return status;
}

int ExitCodeOf(const absl::Status& status) {
  if (const auto given = status.GetPayload(kExitStatus)) {
    int exit_status = kFailure;
    return absl::SimpleAtoi(std::string(*given), &exit_status) ? exit_status : kFailure;
  }
  switch (status.code()) {
    case absl::StatusCode::kOk: return kOk;
    case absl::StatusCode::kInvalidArgument: return kUsage;
    case absl::StatusCode::kNotFound: return kNotFound;
    case absl::StatusCode::kPermissionDenied:
    case absl::StatusCode::kUnauthenticated: return kDenied;
    case absl::StatusCode::kUnavailable: return kUnavailable;
    case absl::StatusCode::kDeadlineExceeded: return kDeadline;
    case absl::StatusCode::kCancelled: return kInterrupted;
    default: return kFailure;
  }
}

int ReportError(const absl::Status& status, bool as_json) {
  if (status.ok()) return kOk;
  const int exit_status = ExitCodeOf(status);
  if (status.message().empty()) return exit_status;
  if (as_json) {
    using nlohmann::ordered_json;
    ordered_json error = ordered_json::parse(ErrorObjectOf(status), nullptr, false);
    if (!error.is_object()) {
      error = {{"code", ReasonOf(status.code())}, {"message", std::string(status.message())}};
    }
    if (const std::string remedy = RemedyOf(status); !remedy.empty()) error["details"]["remedy"] = remedy;
    const ordered_json report = {{"error", std::move(error)}, {"exit_status", exit_status}};
    std::cerr << report.dump(-1, ' ', false, ordered_json::error_handler_t::replace) << std::endl;
    return exit_status;
  }
  std::cerr << Painted("aima:", Colour::kRed, STDERR_FILENO) << " " << status.message() << std::endl;
  if (const std::string remedy = RemedyOf(status); !remedy.empty()) std::cerr << "  " << remedy << std::endl;
  return exit_status;
}

}  // namespace aima::cli
