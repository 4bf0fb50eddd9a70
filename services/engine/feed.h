// Long work that several callers wait for and hear about.
#pragma once

#include "libs/base/feed.h"

namespace aima::engine {

using aima::Feed;

}  // namespace aima::engine
