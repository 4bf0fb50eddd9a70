// Columns of text.
#pragma once

#include <string>
#include <vector>

namespace aima::cli {

// How a table is shown.
struct TableStyle {
  size_t width = 0;      // columns of the terminal; 0 is no limit
  bool colours = false;  // the heading is bold, and words that tell a state have their colour
  bool heading = true;   // the first row names the columns

  // For standard output as it is now.
  static TableStyle ForOutput(bool heading = true);
};

// Left-aligned columns, two spaces apart, as wide as their widest cell. Where that is wider than the terminal, columns
// are left out from the right and the widest are cut; no line is wrapped. What tells rows apart (the id, else the name,
// else the first column) stays whole unless it alone is wider than the terminal, and the state is left out last.
std::string FormatTable(std::vector<std::vector<std::string>> rows, const TableStyle& style);
std::string FormatTable(const std::vector<std::vector<std::string>>& rows);

// The words of `text` in lines as wide as the terminal, or 100 columns, each after `indent`.
std::string Wrapped(const std::string& text, const std::string& indent);

// Rows of two columns, of which the second is wrapped, not cut: help is read as a whole.
std::string TwoColumns(const std::vector<std::vector<std::string>>& rows);

// "3s", "12m", "5h", "2d": the largest unit that fits.
std::string ShortDuration(double seconds);

// "3 minutes ago", "in 2 hours", "just now": a time as people say it; `text` is RFC 3339, and is returned if it is not.
std::string RelativeTime(const std::string& text);

}  // namespace aima::cli
