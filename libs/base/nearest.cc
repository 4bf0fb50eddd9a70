#include "libs/base/nearest.h"

#include <algorithm>
#include <numeric>
#include <utility>

namespace aima {
namespace {

// Levenshtein distance, one row at a time.
size_t EditDistance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = std::exchange(row[0], i);
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t replaced = diagonal + (a[i - 1] != b[j - 1]);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, replaced});
    }
  }
  return row.back();
}

}  // namespace

std::vector<std::string> Nearest(std::string_view name, const std::vector<std::string>& names, size_t count) {
  if (name.size() > 200) return {};
  std::vector<std::pair<size_t, std::string>> ranked;
  for (const std::string& candidate : names) {
    const size_t distance = EditDistance(name, candidate);
    if (distance <= std::max<size_t>(2, candidate.size() / 3)) ranked.emplace_back(distance, candidate);
  }
  std::sort(ranked.begin(), ranked.end());
  std::vector<std::string> nearest;
  for (auto& [distance, candidate] : ranked) {
    if (nearest.size() == count) break;
    nearest.push_back(std::move(candidate));
  }
  return nearest;
}

}  // namespace aima
