// How far a unit is that works for long.
#pragma once

#include <cstdio>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace aima::cli {

// A unit that works for long streams messages with these fields, and is shown by them; the command line knows no unit.
//
//   phase, message   the step, and what happens, for people
//   percent          0 to 100
//   result           the unit's output; in the last message only
//   size, done       bytes in all, and those that are there       (where it is bytes that it works on)
//   speed, eta       bytes per second, and seconds that are left
//   items            its parts: name, size, done, speed, eta of each

// The lines that show a step: what is going on as a whole and, if there are several, each part that is in hand.
std::vector<std::string> ProgressLines(const nlohmann::ordered_json& step, size_t width);

// "1.2 GB", and "1:05" or "2:03:04".
std::string BytesText(double bytes);
std::string DurationText(double seconds);

// Shows steps on a terminal, each in the place of the one before; elsewhere, a line now and then.
class ProgressDisplay {
 public:
  ProgressDisplay(FILE* out, bool terminal) : out_(out), terminal_(terminal) {}

  void Show(const nlohmann::ordered_json& step);
  // Leaves what is shown as it is and goes on below it.
  void End();

 private:
  FILE* const out_;
  const bool terminal_;
  size_t lines_ = 0;  // of the last step, on the terminal
  std::string last_message_;
  double last_percent_ = -100;
};

}  // namespace aima::cli
