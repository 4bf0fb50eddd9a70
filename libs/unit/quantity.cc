#include "libs/unit/quantity.h"

#include <absl/strings/ascii.h>
#include <absl/strings/numbers.h>
#include <absl/strings/str_cat.h>

#include <cmath>
#include <utility>
#include <vector>

namespace aima {
namespace {

struct Suffix {
  const char* text;
  int64_t factor;
};

// Largest first, so that FormatQuantity finds the shortest text.
const std::vector<Suffix>& SuffixesOf(unit::v1::Quantity quantity) {
  static const std::vector<Suffix> kBytes = {
      {"TiB", int64_t{1} << 40}, {"TB", 1'000'000'000'000}, {"GiB", 1 << 30}, {"GB", 1'000'000'000},
      {"MiB", 1 << 20},          {"MB", 1'000'000},         {"KiB", 1 << 10}, {"KB", 1'000},
      {"B", 1}};
  static const std::vector<Suffix> kMilliseconds = {{"h", 3'600'000}, {"m", 60'000}, {"s", 1'000}, {"ms", 1}};
  return quantity == unit::v1::BYTES ? kBytes : kMilliseconds;
}

}  // namespace

absl::StatusOr<int64_t> ParseQuantity(std::string_view text, unit::v1::Quantity quantity) {
  const size_t digits = text.find_first_not_of("0123456789.");
  const std::string number(text.substr(0, digits));
  const std::string suffix(absl::StripAsciiWhitespace(
      digits == std::string_view::npos ? "" : std::string(text.substr(digits))));
  int64_t factor = suffix.empty() ? 1 : 0;
  for (const Suffix& known : SuffixesOf(quantity)) {
    if (absl::AsciiStrToLower(suffix) == absl::AsciiStrToLower(known.text)) factor = known.factor;
  }
  double amount = 0;
  if (factor == 0 || !absl::SimpleAtod(number, &amount) || amount * factor > 9.0e18) {
    return absl::InvalidArgumentError(quantity == unit::v1::BYTES
                                          ? "must be a byte count such as 65536, \"64KB\" or \"2GiB\""
                                          : "must be a duration such as 1500, \"1500ms\", \"30s\", \"5m\" or \"1h\"");
  }
  return std::llround(amount * static_cast<double>(factor));
}

std::string QuantityPattern(unit::v1::Quantity quantity) {
  // Small and capital letters, since JSON Schema knows no flags.
  return absl::StrCat("^[0-9]+(\\.[0-9]+)? *(", quantity == unit::v1::BYTES ? "([KkMmGgTt][Ii]?)?[Bb]" : "[Mm]?[Ss]|[Mm]|[Hh]",
                      ")?$");
}

std::string FormatQuantity(int64_t amount, unit::v1::Quantity quantity) {
  for (const Suffix& suffix : SuffixesOf(quantity)) {
    if (amount != 0 && amount % suffix.factor == 0) return absl::StrCat(amount / suffix.factor, suffix.text);
  }
  return absl::StrCat(amount);
}

}  // namespace aima
