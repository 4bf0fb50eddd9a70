// What may come next on a command line.
#pragma once

#include <string>
#include <vector>

#include "services/cli/session.h"

namespace aima::cli {

struct Candidate {
  std::string word;
  std::string what{};  // for shells that show it
};

// What can stand in place of the last of `words`, which follow "aima". Names are those of the live cluster; without one
// there are none of them, and no error. `files` becomes true where the shell should offer files.
std::vector<Candidate> Candidates(Session& session, std::vector<std::string> words, bool& files);

}  // namespace aima::cli
