#include "services/shim/options.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

namespace aima::shim {
namespace {

bool ParseNumber(const char* text, long& number) {
  char* end = nullptr;
  number = strtol(text, &end, 10);
  return end != text && *end == '\0' && number >= 0;
}

}  // namespace

bool ParseOptions(int argc, char** argv, Options& options) {
  options.stop_signal = SIGTERM;
  int at = 1;
  for (; at < argc && strcmp(argv[at], "--") != 0; ++at) {
    const char* name = argv[at];
    if (strcmp(name, "--no-cgroup") == 0) {
      options.use_cgroup = false;
      continue;
    }
    const char* value = at + 1 < argc ? argv[++at] : "";
    long number = 0;
    bool good = true;
    if (strcmp(name, "--instance") == 0) {
      options.instance = value;
      good = *value != '\0' && strchr(value, '/') == nullptr && strchr(value, '\n') == nullptr;
    } else if (strcmp(name, "--tenure") == 0) {
      options.tenure_path = value;
    } else if (strcmp(name, "--dir") == 0) {
      options.directory = value;
    } else if (strcmp(name, "--log") == 0) {
      options.log_path = value;
    } else if (strcmp(name, "--log-bytes") == 0) {
      good = ParseNumber(value, number) && number >= 4096;
      options.log_bytes = number;
    } else if (strcmp(name, "--stop-signal") == 0) {
      good = ParseNumber(value, number) && number > 0 && number < 32;
      options.stop_signal = static_cast<int>(number);
    } else if (strcmp(name, "--grace-ms") == 0) {
      good = ParseNumber(value, options.grace_ms);
    } else {
      printf("unknown option %s\n", name);
      return false;
    }
    if (!good) {
      printf("%s cannot be '%s'\n", name, value);
      return false;
    }
  }
  if (!options.instance || !options.directory || !options.log_path || at + 1 >= argc) {
    printf("usage: aima-shim --instance NAME --dir DIR --log FILE [--log-bytes N] [--stop-signal N] [--grace-ms N] "
           "[--no-cgroup] [--tenure FILE] -- PROGRAM [ARGUMENTS]\n");
    return false;
  }
  options.program = argv + at + 1;
  return true;
}

}  // namespace aima::shim
