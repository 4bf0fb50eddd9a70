#include "libs/process/port.h"

#include <absl/strings/str_cat.h>
#include <arpa/inet.h>
#include <dirent.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <set>

namespace aima::process {
namespace {

// Binds 127.0.0.1:port and returns the port that it got; 0 if it is taken. The socket is closed again.
int TryBind(int port) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return 0;
  const int on = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(static_cast<uint16_t>(port));
  socklen_t length = sizeof(address);
  const bool bound = bind(fd, reinterpret_cast<sockaddr*>(&address), length) == 0 && listen(fd, 1) == 0 &&
                     getsockname(fd, reinterpret_cast<sockaddr*>(&address), &length) == 0;
  close(fd);
  return bound ? ntohs(address.sin_port) : 0;
}

struct ListeningSocket {
  std::string inode;
  uid_t user;
};

std::vector<ListeningSocket> ListeningSockets(int port) {
  std::vector<ListeningSocket> sockets;
  for (const char* table : {"/proc/net/tcp", "/proc/net/tcp6"}) {
    std::ifstream file(table);
    std::string line;
    while (std::getline(file, line)) {
      char inode[32];
      unsigned local_port = 0, state = 0, user = 0;
      const int fields = sscanf(line.c_str(), " %*d: %*[0-9A-Fa-f]:%x %*[0-9A-Fa-f]:%*x %x %*s %*s %*s %u %*d %31s",
                                &local_port, &state, &user, inode);
      constexpr unsigned kListen = 0x0A;
      if (fields == 4 && state == kListen && static_cast<int>(local_port) == port) sockets.push_back({inode, user});
    }
  }
  return sockets;
}

}  // namespace

absl::StatusOr<int> FreePort() {
  const int port = TryBind(0);
  if (port == 0) return absl::ResourceExhaustedError(absl::StrCat("no free TCP port on 127.0.0.1: ", strerror(errno)));
  return port;
}

bool PortIsFree(int port) { return TryBind(port) != 0; }

std::set<uid_t> UsersWhoListenOn(int port) {
  std::set<uid_t> users;
  for (const ListeningSocket& socket : ListeningSockets(port)) users.insert(socket.user);
  return users;
}

bool ListensOn(const std::vector<Entry>& processes, int port) {
  std::set<std::string> links;
  for (const ListeningSocket& socket : ListeningSockets(port)) links.insert(absl::StrCat("socket:[", socket.inode, "]"));
  if (links.empty()) return false;
  for (const Entry& process : processes) {
    const std::string directory = absl::StrCat("/proc/", process.pid, "/fd");
    DIR* files = opendir(directory.c_str());
    if (files == nullptr) continue;
    bool found = false;
    while (const dirent* item = readdir(files)) {
      char target[64];
      const ssize_t length = readlink(absl::StrCat(directory, "/", item->d_name).c_str(), target, sizeof(target));
      if (length > 0 && links.contains(std::string(target, static_cast<size_t>(length)))) found = true;
    }
    closedir(files);
    if (found) return true;
  }
  return false;
}

}  // namespace aima::process
