#include "libs/runtime/flags.h"

#include <absl/strings/str_cat.h>

#include <filesystem>
#include <system_error>

namespace aima::runtime {
namespace {

namespace fs = std::filesystem;

// share/aima of the build tree or of the installation that this program is in.
std::string FindShareDir() {
  std::error_code error;
  const fs::path program = fs::read_symlink("/proc/self/exe", error);
  for (const char* relative : {"../share/aima", "../../share/aima"}) {
    const fs::path candidate = (program.parent_path() / relative).lexically_normal();
    if (fs::exists(candidate / "units.binpb", error)) return candidate;
  }
  return "";
}

}  // namespace

absl::StatusOr<Flags> ReadFlags(int argc, char** argv) {
  Flags flags;
  for (int i = 1; i < argc; ++i) {
    const std::string_view flag = argv[i];
    if (flag == "--print-config") {
      flags.print_config = true;
      continue;
    }
    if (flag != "--config" && flag != "--set" && flag != "--share-dir") {
      return absl::InvalidArgumentError(absl::StrCat("unknown flag ", argv[i], "; there are --config FILE, --set KEY=VALUE, "
                                                     "--share-dir DIR and --print-config"));
    }
    if (++i == argc) return absl::InvalidArgumentError(absl::StrCat(argv[i - 1], " needs a value"));
    if (flag == "--config") flags.config.file = argv[i];
    if (flag == "--set") flags.config.sets.push_back(argv[i]);
    if (flag == "--share-dir") flags.share_dir = fs::absolute(argv[i]).lexically_normal();
  }
  if (flags.share_dir.empty()) flags.share_dir = FindShareDir();
  if (flags.share_dir.empty()) {
    return absl::NotFoundError("cannot find share/aima beside the program; name it with --share-dir");
  }
  return flags;
}

}  // namespace aima::runtime
