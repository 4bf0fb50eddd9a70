// What a command line comes to.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "services/cli/commands.h"

namespace aima::cli {

struct Outcome {
  int exit = 0;
  std::string out, err;
};

// Runs a command line in this process, as `aima` does; `words` are what follows the program's name.
inline Outcome OutcomeOf(std::vector<std::string> words) {
  words.insert(words.begin(), "aima");
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  Outcome outcome;
  ::testing::internal::CaptureStdout();
  ::testing::internal::CaptureStderr();
  outcome.exit = RunCommandLine(static_cast<int>(argv.size()), argv.data());
  outcome.out = ::testing::internal::GetCapturedStdout();
  outcome.err = ::testing::internal::GetCapturedStderr();
  return outcome;
}

}  // namespace aima::cli
