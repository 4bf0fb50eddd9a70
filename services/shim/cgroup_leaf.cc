#include "services/shim/cgroup_leaf.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

namespace aima::shim {
namespace {

// Where cgroup v2 is mounted; empty if it is not.
std::string MountPoint() {
  FILE* mounts = fopen("/proc/self/mounts", "re");
  std::string found;
  char device[256], where[512], type[64];
  while (mounts && found.empty() && fscanf(mounts, "%255s %511s %63s%*[^\n]", device, where, type) == 3) {
    if (strcmp(type, "cgroup2") == 0) found = where;
  }
  if (mounts) fclose(mounts);
  return found;
}

// Of this process, below the mount point: the line "0::/path".
std::string OwnPath() {
  FILE* file = fopen("/proc/self/cgroup", "re");
  std::string path;
  char line[1024];
  while (file && fgets(line, sizeof(line), file)) {
    if (strncmp(line, "0::", 3) != 0) continue;
    path = line + 3;
    while (!path.empty() && path.back() == '\n') path.pop_back();
    if (path == "/") path.clear();
  }
  if (file) fclose(file);
  return path;
}

}  // namespace

CgroupLeaf::CgroupLeaf(const std::string& instance) {
  const std::string mount = MountPoint();
  if (mount.empty()) return;
  const std::string path = mount + OwnPath() + "/aima-" + instance;
  if (mkdir(path.c_str(), 0755) == 0 || errno == EEXIST) path_ = path;
}

void CgroupLeaf::Join() const { Write("/cgroup.procs", "0"); }

void CgroupLeaf::Kill() const { Write("/cgroup.kill", "1"); }

bool CgroupLeaf::Remove() const { return path_.empty() || rmdir(path_.c_str()) == 0 || errno != EBUSY; }

bool CgroupLeaf::Write(const char* file, const char* text) const {
  if (path_.empty()) return false;
  const int fd = open((path_ + file).c_str(), O_WRONLY | O_CLOEXEC);
  if (fd < 0) return false;
  const bool written = write(fd, text, strlen(text)) > 0;
  close(fd);
  return written;
}

}  // namespace aima::shim
