#include "services/cli/terminal.h"

#include <locale.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <wchar.h>

#include <cstdlib>
#include <cstring>

namespace aima::cli {
namespace {

Appearance appearance;

// The next character of `text` from `at` on, which moves behind it; -1 for a byte that is no UTF-8.
int NextCharacter(std::string_view text, size_t& at) {
  const auto first = static_cast<unsigned char>(text[at++]);
  if (first < 0x80) return first;
  const size_t more = first >= 0xf0 ? 3 : first >= 0xe0 ? 2 : first >= 0xc2 ? 1 : 0;
  if (more == 0 || first > 0xf4 || at + more > text.size()) return -1;
  int character = first & (0x3f >> more);
  for (size_t i = 0; i < more; ++i) {
    const auto next = static_cast<unsigned char>(text[at + i]);
    if ((next & 0xc0) != 0x80) return -1;
    character = character << 6 | (next & 0x3f);
  }
  at += more;
  return character;
}

int WidthOf(int character) {
  // Debian's C library has this locale built in, whatever else is installed.
  static const locale_t utf8 = newlocale(LC_CTYPE_MASK, "C.UTF-8", nullptr);
  if (character < 0 || utf8 == nullptr) return 1;
  const locale_t before = uselocale(utf8);
  const int width = wcwidth(static_cast<wchar_t>(character));
  uselocale(before);
  return width < 0 ? 0 : width;
}

// The end of an escape sequence that begins at `at`; `at` if none does.
size_t SkipEscape(std::string_view text, size_t at) {
  if (text[at] != '\033' || at + 1 >= text.size() || text[at + 1] != '[') return at;
  size_t end = at + 2;
  while (end < text.size() && (text[end] < '@' || text[end] > '~')) ++end;
  return std::min(end + 1, text.size());
}

}  // namespace

size_t DisplayWidth(std::string_view text) {
  size_t width = 0;
  for (size_t at = 0; at < text.size();) {
    if (const size_t end = SkipEscape(text, at); end != at) {
      at = end;
    } else {
      width += static_cast<size_t>(WidthOf(NextCharacter(text, at)));
    }
  }
  return width;
}

std::string CutTo(std::string_view text, size_t width) {
  if (DisplayWidth(text) <= width) return std::string(text);
  if (width == 0) return "";
  size_t used = 0, at = 0;
  while (at < text.size()) {
    size_t next = at;
    const auto more = static_cast<size_t>(WidthOf(NextCharacter(text, next)));
    if (used + more > width - 1) break;
    used += more;
    at = next;
  }
  return std::string(text.substr(0, at)) + "…";
}

std::string Harmless(std::string text, bool one_line) {
  for (size_t i = 0; i < text.size(); ++i) {
    const auto c = static_cast<unsigned char>(text[i]);
    if (!one_line && (c == '\n' || c == '\t')) continue;
    if (c < 0x20 || c == 0x7f) text[i] = ' ';
    // The controls above 0x80, in UTF-8.
    if (c == 0xc2 && i + 1 < text.size() && static_cast<unsigned char>(text[i + 1]) < 0xa0) text[i] = text[i + 1] = ' ';
  }
  return text;
}

std::string ForOutput(std::string text) {
  return isatty(STDOUT_FILENO) != 0 ? Harmless(std::move(text), /*one_line=*/false) : text;
}

size_t TerminalWidth(int fd) {
  winsize size{};
  if (isatty(fd) == 0) return 0;
  return ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

void SetAppearance(const Appearance& wanted) { appearance = wanted; }
const Appearance& CurrentAppearance() { return appearance; }

bool HasColours(int fd) {
  const char* kind = std::getenv("TERM");
  return appearance.colours && isatty(fd) != 0 && kind != nullptr && *kind != '\0' && strcmp(kind, "dumb") != 0;
}

std::string Painted(std::string_view text, Colour colour, int fd) {
  if (colour == Colour::kNone || text.empty() || !HasColours(fd)) return std::string(text);
  const char* code = "";
  switch (colour) {
    case Colour::kNone:
      break;
    case Colour::kBold:
      code = "1";
      break;
    case Colour::kDim:
      code = "2";
      break;
    case Colour::kRed:
      code = "31";
      break;
    case Colour::kGreen:
      code = "32";
      break;
    case Colour::kYellow:
      code = "33";
      break;
  }
  return "\033[" + std::string(code) + "m" + std::string(text) + "\033[0m";
}

Colour ColourOfState(std::string_view word) {
  for (const std::string_view good : {"ready", "running", "serving", "healthy", "succeeded", "ok", "resolved"}) {
    if (word == good) return Colour::kGreen;
  }
  for (const std::string_view bad : {"failed", "error", "unhealthy", "down", "unreachable", "critical", "fail"}) {
    if (word == bad) return Colour::kRed;
  }
  for (const std::string_view between :
       {"starting", "stopping", "restarting", "pending", "pulling", "queued", "resolving", "downloading", "verifying",
        "installing", "warning", "degraded", "cancelled", "warn"}) {
    if (word == between) return Colour::kYellow;
  }
  return Colour::kNone;
}

}  // namespace aima::cli
