// Manual pages, made of the table of commands and of the descriptors of the units.
#pragma once

#include <absl/status/statusor.h>

#include <string>
#include <vector>

namespace aima::cli {

// "aima", every command, every domain.
std::vector<std::string> ManPageNames();

struct ManPage {
  std::string file;  // man1/aima-pull.1, man7/aima-model.7
  std::string roff;
};

// The page of a name; NOT_FOUND if there is none.
absl::StatusOr<ManPage> ManPageOf(const std::string& name);

}  // namespace aima::cli
