// Where a fuzzer starts from: made from the examples of units rather than kept as files.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

namespace aima::testing {

// Writes each seed as a file into the folder that AIMA_FUZZ_SEEDS names, if it does.
inline void WriteSeeds(const std::vector<std::string>& seeds) {
  const char* folder = std::getenv("AIMA_FUZZ_SEEDS");
  if (!folder) return;
  std::filesystem::create_directories(folder);
  for (size_t i = 0; i < seeds.size(); ++i) {
    std::ofstream(std::filesystem::path(folder) / ("seed-" + std::to_string(i)), std::ios::binary) << seeds[i];
  }
}

}  // namespace aima::testing
