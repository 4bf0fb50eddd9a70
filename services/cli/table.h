// Columns of text.
#pragma once

#include <string>
#include <vector>

namespace aima::cli {

// Left-aligned columns, two spaces apart, as wide as their widest cell.
std::string FormatTable(const std::vector<std::vector<std::string>>& rows);

// "3s", "12m", "5h", "2d": the largest unit that fits.
std::string ShortDuration(double seconds);

}  // namespace aima::cli
