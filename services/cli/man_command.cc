// aima man: shows a manual page, or writes all of them where man(1) looks.
#include <absl/cleanup/cleanup.h>
#include <absl/strings/str_cat.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <iostream>

#include "libs/base/status_macros.h"
#include "services/cli/commands.h"
#include "services/cli/files.h"
#include "services/cli/man_pages.h"
#include "services/cli/unit_description.h"

namespace aima::cli {
namespace {

namespace fs = std::filesystem;

absl::Status WriteAll(const std::string& directory) {
  if (!LocalCatalogue()) return absl::NotFoundError("share/aima/units.binpb is not beside this program's directory");
  for (const std::string& name : ManPageNames()) {
    ASSIGN_OR_RETURN(const ManPage page, ManPageOf(name));
    const fs::path path = fs::path(directory) / page.file;
    std::error_code error;
    fs::create_directories(path.parent_path(), error);
    if (error)
      return absl::InternalError(absl::StrCat("cannot make ", path.parent_path().string(), ": ", error.message()));
    RETURN_IF_ERROR(WriteFile(path, page.roff, 0644));
  }
  return absl::OkStatus();
}

// Runs a program on the file and waits; false if there is no such program.
bool RunOn(const std::vector<const char*>& argv) {
  // Ctrl-C is for the program that has the terminal.
  struct sigaction ignore = {}, interrupt = {}, quit = {};
  ignore.sa_handler = SIG_IGN;
  sigaction(SIGINT, &ignore, &interrupt);
  sigaction(SIGQUIT, &ignore, &quit);
  const absl::Cleanup restore = [&] {
    sigaction(SIGINT, &interrupt, nullptr);
    sigaction(SIGQUIT, &quit, nullptr);
  };
  const pid_t child = fork();
  if (child < 0) return false;
  if (child == 0) {
    sigaction(SIGINT, &interrupt, nullptr);
    sigaction(SIGQUIT, &quit, nullptr);
    execvp(argv[0], const_cast<char* const*>(argv.data()));
    _exit(127);
  }
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

}  // namespace

absl::Status ManCommand(Session& session) {
  ASSIGN_OR_RETURN(const std::optional<std::string> directory, session.arguments.Value("write"));
  const bool source = session.arguments.Flag("roff");
  const std::string name = session.arguments.Next().value_or("aima");
  RETURN_IF_ERROR(session.arguments.Done("man"));
  if (directory) return WriteAll(*directory);
  ASSIGN_OR_RETURN(const ManPage page, ManPageOf(name));
  if (source) {
    std::cout << page.roff << std::flush;
    return absl::OkStatus();
  }
  std::string folder = fs::temp_directory_path() / "aima-man-XXXXXX";
  if (mkdtemp(folder.data()) == nullptr) return absl::InternalError("cannot make " + folder);
  const std::string file = absl::StrCat(folder, "/", fs::path(page.file).filename().string());
  absl::Status written = WriteFile(file, page.roff, 0600);
  const bool shown =
      written.ok() && (RunOn({"man", "-l", file.c_str(), nullptr}) || RunOn({"mandoc", "-a", file.c_str(), nullptr}));
  std::error_code ignored;
  fs::remove_all(folder, ignored);
  RETURN_IF_ERROR(written);
  if (shown) return absl::OkStatus();
  // Without man(1), the help says the same in fewer words.
  if (const Command* command = FindCommand(name)) {
    std::cout << HelpOf(*command) << std::flush;
    return absl::OkStatus();
  }
  return WithRemedy(absl::NotFoundError("man is not installed"),
                    absl::StrCat("`aima man --roff ", name, "` prints the page's source."));
}

}  // namespace aima::cli
