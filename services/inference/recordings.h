// Answers that engines gave once (testdata/README.md), for tests.
#pragma once

#include <gtest/gtest.h>

#include <fstream>
#include <sstream>
#include <string>

#include "services/inference/scripted_engine.h"

namespace aima::inference {

// Head and body, byte for byte.
inline std::string Recording(const std::string& name) {
  std::ifstream file(AIMA_SOURCE_DIR "/services/inference/testdata/" + name + ".http", std::ios::binary);
  std::ostringstream bytes;
  bytes << file.rdbuf();
  EXPECT_FALSE(bytes.str().empty()) << "there is no recording " << name;
  return bytes.str();
}

inline ScriptedEngine::Script Recorded(const std::string& name) {
  return {{ScriptedEngine::Step::kSend, Recording(name)}};
}

inline std::string BodyOf(const std::string& recording) { return recording.substr(recording.find("\r\n\r\n") + 4); }

}  // namespace aima::inference
