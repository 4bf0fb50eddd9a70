// Names of units in texts. Remedies and descriptions write them as `model.list`, and each face shows them as what its
// callers use.
#pragma once

#include <functional>
#include <string>
#include <string_view>

namespace aima {

// The text with each `name` between backquotes, which may be the name of a unit, replaced by what `shown` makes of it. What
// `shown` answers with nothing stays as it is.
std::string ShowUnits(std::string_view text, const std::function<std::string(std::string_view name)>& shown);

}  // namespace aima
