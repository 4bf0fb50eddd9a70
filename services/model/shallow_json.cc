#include "services/model/shallow_json.h"

namespace aima::model {

namespace {

// Looks at the text: the parser's own callback takes time that grows with the square of a list's length.
bool IsShallow(std::string_view text, int depth_max) {
  int depth = 0;
  bool quoted = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (quoted) {
      if (c == '\\') {
        ++i;
      } else if (c == '"') {
        quoted = false;
      }
    } else if (c == '"') {
      quoted = true;
    } else if (c == '[' || c == '{') {
      if (++depth > depth_max) return false;
    } else if (c == ']' || c == '}') {
      --depth;
    }
  }
  return true;
}

}  // namespace

nlohmann::json ParseShallow(std::string_view text, int depth_max) {
  if (!IsShallow(text, depth_max)) return nlohmann::json(nlohmann::json::value_t::discarded);
  return nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
}

}  // namespace aima::model
