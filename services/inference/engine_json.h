// What engines say, made safe to work with.
#pragma once

#include <algorithm>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string_view>

#include "services/inference/json_cursor.h"

namespace aima::inference {

// JSON as a tree; discarded if it is none, or is nested deeper than JsonCursor::kMaxDepth: trees are copied and written
// recursively, and the stack has an end.
inline nlohmann::json ParseTree(std::string_view text) {
  JsonCursor whole(text);
  whole.Skip();
  if (whole.failed()) return nlohmann::json(nlohmann::json::value_t::discarded);
  return nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
}

// A number of tokens that an engine tells; one that cannot be is the nearest that can be, so that sums stay numbers.
inline int64_t SaneTokens(int64_t told) { return std::clamp<int64_t>(told, 0, int64_t{1} << 53); }

}  // namespace aima::inference
