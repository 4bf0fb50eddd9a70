// A cgroup v2 of the engine's own, where this process may make one.
#pragma once

#include <string>

namespace aima::shim {

// Beside the shim's own cgroup, so that it works in what systemd delegates to the engine service. Everything that the
// engine starts is in it, whatever sessions, parents and environments it chooses.
class CgroupLeaf {
 public:
  // Makes it; path() is empty if that is not possible, and then nothing below does anything.
  explicit CgroupLeaf(const std::string& instance);
  // For a cgroup that is not wanted.
  CgroupLeaf() = default;

  const std::string& path() const { return path_; }
  // Moves the calling process into it.
  void Join() const;
  // SIGKILL to all that is in it, at once, new ones included.
  void Kill() const;
  // False if something is in it still.
  bool Remove() const;

 private:
  bool Write(const char* file, const char* text) const;

  std::string path_;
};

}  // namespace aima::shim
