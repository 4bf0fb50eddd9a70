// Where the fuzzer of the HTTP face starts from in the APIs of other vendors and in /v1/*.
#pragma once

#include <string>
#include <vector>

namespace aima::gateway {

// What a client sends, and what the services behind the gateway do then (scripted_services.h).
struct TranslationSeed {
  std::string method;
  std::string target;
  std::string body;
  std::string script;
};

std::vector<TranslationSeed> TranslationSeeds();

}  // namespace aima::gateway
