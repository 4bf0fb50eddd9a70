#include "libs/process/identity.h"

#include <dirent.h>
#include <signal.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <set>
#include <sstream>

// glibc 2.36 forgets to say that these are C.
extern "C" {
#include <sys/pidfd.h>
}

namespace aima::process {
namespace {

std::string ReadAll(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();  // unlike a stream iterator it does not throw when the process ends meanwhile
  return text.str();
}

std::vector<Entry> ListProcesses() {
  std::vector<Entry> entries;
  DIR* proc = opendir("/proc");
  if (proc == nullptr) return entries;
  while (const dirent* item = readdir(proc)) {
    char* end = nullptr;
    const long pid = strtol(item->d_name, &end, 10);
    if (pid <= 0 || *end != '\0') continue;
    if (std::optional<Entry> entry = ReadEntry(static_cast<int>(pid))) entries.push_back(*entry);
  }
  closedir(proc);
  return entries;
}

Identity IdentityOf(const Entry& entry) { return {BootId(), entry.pid, entry.start_time}; }

}  // namespace

const std::string& BootId() {
  static const std::string* id = [] {
    std::string text = ReadAll("/proc/sys/kernel/random/boot_id");
    while (!text.empty() && text.back() == '\n') text.pop_back();
    return new std::string(std::move(text));
  }();
  return *id;
}

std::optional<Entry> ReadEntry(int pid) {
  const std::string text = ReadAll("/proc/" + std::to_string(pid) + "/stat");
  // The second field is the program's name in parentheses, which may contain anything.
  const size_t name_end = text.rfind(')');
  if (name_end == std::string::npos) return std::nullopt;
  Entry entry;
  entry.pid = pid;
  long long start = 0, resident = 0;
  const int fields = sscanf(text.c_str() + name_end + 1,
                            " %c %d %d %d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %lld %*u %lld",
                            &entry.state, &entry.parent, &entry.group, &entry.session, &start, &resident);
  if (fields != 6) return std::nullopt;
  entry.start_time = start;
  entry.resident_pages = resident;
  return entry;
}

std::optional<Identity> Identify(int pid) {
  const std::optional<Entry> entry = ReadEntry(pid);
  if (!entry) return std::nullopt;
  return IdentityOf(*entry);
}

bool Lives(const Identity& identity) {
  if (identity.boot_id != BootId() || identity.pid <= 0) return false;
  const std::optional<Entry> entry = ReadEntry(identity.pid);
  return entry && entry->start_time == identity.start_time && !entry->Dead();
}

std::optional<std::string> EnvironmentOf(int pid, std::string_view name) {
  const std::string text = ReadAll("/proc/" + std::to_string(pid) + "/environ");
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\0', at), text.size());
    const std::string_view variable(text.data() + at, end - at);
    if (variable.size() > name.size() && variable.starts_with(name) && variable[name.size()] == '=') {
      return std::string(variable.substr(name.size() + 1));
    }
    at = end + 1;
  }
  return std::nullopt;
}

std::vector<Entry> TreeOf(const Identity& root, std::string_view marker) {
  // Whoever has not lived to note the root has left the marker.
  const bool rootless = root.pid == 0 && !marker.empty();
  if (!rootless && (root.boot_id != BootId() || root.pid <= 1)) return {};
  const std::vector<Entry> all = ListProcesses();
  std::set<int> members;
  // As long as the root runs or is an unreaped zombie, nobody else can have its number, so its session and its group
  // are proven to be its own. After that only the marker and descent prove anything.
  bool root_holds_number = false;
  for (const Entry& entry : all) {
    if (entry.pid == root.pid && entry.start_time == root.start_time) root_holds_number = true;
  }
  for (const Entry& entry : all) {
    if (entry.start_time < root.start_time) continue;
    if (!rootless && root_holds_number && (entry.pid == root.pid || entry.session == root.pid || entry.group == root.pid)) {
      members.insert(entry.pid);
    } else if (!marker.empty() && !entry.Dead() && EnvironmentOf(entry.pid, kMarker) == marker) {
      members.insert(entry.pid);
    }
  }
  for (bool grown = true; grown;) {
    grown = false;
    for (const Entry& entry : all) {
      if (members.contains(entry.parent)) grown |= members.insert(entry.pid).second;
    }
  }
  std::vector<Entry> tree;
  for (const Entry& entry : all) {
    if (members.contains(entry.pid) && !entry.Dead() && entry.pid != getpid()) tree.push_back(entry);
  }
  return tree;
}

std::vector<Marked> FindMarked(std::string_view variable, std::string_view value) {
  std::vector<Marked> found;
  for (const Entry& entry : ListProcesses()) {
    if (entry.Dead() || entry.pid == getpid()) continue;
    if (EnvironmentOf(entry.pid, variable) != value) continue;
    std::optional<std::string> marker = EnvironmentOf(entry.pid, kMarker);
    if (marker) found.push_back({IdentityOf(entry), std::move(*marker)});
  }
  return found;
}

bool SendSignal(const Identity& identity, int signal) {
  const int fd = pidfd_open(identity.pid, 0);
  if (fd < 0) return false;
  // The number is proven only after the handle is held: from here on it can no longer pass to another process.
  const bool sent = Lives(identity) && pidfd_send_signal(fd, signal, nullptr, 0) == 0;
  close(fd);
  return sent;
}

}  // namespace aima::process
