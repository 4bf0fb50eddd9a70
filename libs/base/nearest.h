// "Did you mean …?"
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace aima {

// Up to `count` of `names` that differ from `name` by few enough edits to be meant, the likeliest first.
std::vector<std::string> Nearest(std::string_view name, const std::vector<std::string>& names, size_t count);

}  // namespace aima
