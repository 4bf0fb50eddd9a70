#include "libs/unit/unit_names.h"

#include <algorithm>

namespace aima {
namespace {

// noun.verb
bool MayBeUnit(std::string_view name) {
  return std::count(name.begin(), name.end(), '.') == 1 && std::all_of(name.begin(), name.end(), [](char c) {
           return c == '.' || c == '_' || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
         });
}

}  // namespace

std::string ShowUnits(std::string_view text, const std::function<std::string(std::string_view name)>& shown) {
  std::string result;
  size_t done = 0;
  for (size_t open = text.find('`'); open != std::string_view::npos; open = text.find('`', open + 1)) {
    const size_t close = text.find('`', open + 1);
    if (close == std::string_view::npos) break;
    const std::string_view name = text.substr(open + 1, close - open - 1);
    const std::string other = MayBeUnit(name) ? shown(name) : "";
    if (!other.empty()) {
      result.append(text.substr(done, open + 1 - done)).append(other);
      done = close;
    }
    open = close;
  }
  return result.append(text.substr(done));
}

}  // namespace aima
