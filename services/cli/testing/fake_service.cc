// A service as the supervisor sees one, for its tests. Its manner is the first line of <program>.manner:
//   ready          says that it is ready, ends on SIGTERM
//   lively         the same, and gives a sign of life every 20 ms
//   stubborn       says that it is ready, ignores SIGTERM
//   silent         never says anything, ends on SIGTERM
//   deaf           never says anything, ignores SIGTERM
//   fail           complains and ends with status 3
// Its name is added to ../order when it is ready.
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <string>

namespace {

void Notify(const std::string& text) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, std::getenv("NOTIFY_SOCKET"), sizeof address.sun_path - 1);
  const int fd = socket(AF_UNIX, SOCK_DGRAM, 0);
  if (sendto(fd, text.data(), text.size(), 0, reinterpret_cast<sockaddr*>(&address), sizeof address) < 0) {
    std::cerr << "cannot notify" << std::endl;
  }
  close(fd);
}

}  // namespace

int main(int, char** argv) {
  const std::filesystem::path program = argv[0];
  std::string manner;
  std::getline(std::ifstream(program.string() + ".manner"), manner);
  if (manner == "fail") {
    Notify("STATUS=no disk, no hope");
    std::cerr << "the last words of the service" << std::endl;
    return 3;
  }
  sigset_t term;
  sigemptyset(&term);
  sigaddset(&term, SIGTERM);
  sigprocmask(SIG_BLOCK, &term, nullptr);
  if (manner != "silent" && manner != "deaf") {
    std::ofstream(program.parent_path().parent_path() / "order", std::ios::app)
        << program.filename().string() << "\n";
    Notify("READY=1\nSTATUS=serving");
  }
  if (manner == "lively") {
    const timespec pause = {0, 20'000'000};
    while (sigtimedwait(&term, nullptr, &pause) < 0) Notify("WATCHDOG=1");
    return 0;
  }
  for (int signal = 0; sigwait(&term, &signal) == 0;) {
    if (manner != "stubborn" && manner != "deaf") break;
  }
  return 0;
}
