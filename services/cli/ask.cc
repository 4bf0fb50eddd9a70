#include "services/cli/ask.h"

#include <absl/strings/ascii.h>
#include <absl/strings/str_cat.h>
#include <unistd.h>

#include <iostream>

#include "services/cli/command_line.h"

namespace aima::cli {

absl::Status Confirm(const std::string& question, const std::string& flag) {
  if (isatty(STDIN_FILENO) == 0 || isatty(STDERR_FILENO) == 0) {
    return WithRemedy(
        absl::FailedPreconditionError(question.substr(0, question.find('?')) + "? Nobody is here to say yes"),
        absl::StrCat("Say so beforehand: ", flag));
  }
  std::cerr << question << " [y/N] " << std::flush;
  std::string answer;
  std::getline(std::cin, answer);
  answer = absl::AsciiStrToLower(answer);
  if (answer == "y" || answer == "yes") return absl::OkStatus();
  std::cerr << "Left as it is." << std::endl;
  return QuietFailure(kFailure);
}

}  // namespace aima::cli
