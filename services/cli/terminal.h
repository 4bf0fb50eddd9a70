// What a terminal shows: how wide text is there, and in what colours.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace aima::cli {

// Columns that UTF-8 text takes: two for East Asian wide characters, none for what combines with the one before and for
// escape sequences. A byte that is no UTF-8 takes one.
size_t DisplayWidth(std::string_view text);

// The beginning of `text` in at most `width` columns; ends with "…" if something was left out.
std::string CutTo(std::string_view text, size_t width);

// Text of a model, a log or a file with a space for each character that could drive the terminal: no line end with
// `one_line`, and no escape sequence ever.
std::string Harmless(std::string text, bool one_line);

// Text of several lines for standard output: harmless on a terminal, as it is for a program.
std::string ForOutput(std::string text);

// Columns of the terminal behind a descriptor; 0 if it is none.
size_t TerminalWidth(int fd);

enum class Colour { kNone, kBold, kDim, kRed, kGreen, kYellow };

// How this run of the program shows things.
struct Appearance {
  bool colours = true;  // where there is a terminal that has them, and neither --no-color nor NO_COLOR
  bool cut = true;      // tables are cut to the terminal's width
};
void SetAppearance(const Appearance& appearance);
const Appearance& CurrentAppearance();

// True if a descriptor is a terminal on which this run may use colours.
bool HasColours(int fd);

// `text` between the escape sequences of a colour, or as it is if the descriptor shows none.
std::string Painted(std::string_view text, Colour colour, int fd);

// The colour of a word that tells a state: ready is green, failed is red, starting is yellow.
Colour ColourOfState(std::string_view word);

}  // namespace aima::cli
