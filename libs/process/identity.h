// Which process is which: the facts of /proc by which a process is proven to be the one that was started.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace aima::process {

// The environment variable that marks a process, and all that it starts, as one run of one instance.
inline constexpr std::string_view kMarker = "AIMA_INSTANCE";

// Tells a process from every other one that ever had its number.
struct Identity {
  std::string boot_id;
  int pid = 0;
  int64_t start_time = 0;  // clock ticks after boot

  bool operator==(const Identity&) const = default;
};

// One line of /proc/PID/stat.
struct Entry {
  int pid = 0;
  char state = '?';
  int parent = 0;
  int group = 0;
  int session = 0;
  int64_t start_time = 0;
  int64_t resident_pages = 0;

  bool Dead() const { return state == 'Z' || state == 'X'; }
};

// Of this boot of the machine.
const std::string& BootId();

// Nothing if there is no such process.
std::optional<Entry> ReadEntry(int pid);
std::optional<Identity> Identify(int pid);

// True while the process runs. A zombie does not.
bool Lives(const Identity& identity);

// A variable of the environment with which a process was executed; nothing if it has none, or may not be read.
std::optional<std::string> EnvironmentOf(int pid, std::string_view name);

// Everything that belongs to the process `root`, itself included: its session and group as long as its number is still
// its own, every process that carries `marker`, and the descendants of all these. A root without a number is one that
// nobody has noted: then the marker alone counts. Only what lives; never this process.
std::vector<Entry> TreeOf(const Identity& root, std::string_view marker);

// A process that carries a marker.
struct Marked {
  Identity identity;
  std::string marker;
};

// All processes that carry a marker and whose environment has `variable` set to `value`.
std::vector<Marked> FindMarked(std::string_view variable, std::string_view value);

// Sends a signal to exactly this process. False if it is gone.
bool SendSignal(const Identity& identity, int signal);

}  // namespace aima::process
