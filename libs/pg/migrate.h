// Brings a schema up to date.
#pragma once

#include <string>

#include "libs/pg/database.h"

namespace aima::pg {

// See Database::Migrate. Works over a connection of its own in a thread of its own, and waits up to half a minute for
// a server that is starting.
Task<absl::Status> Migrate(Loop& loop, Options options, std::string directory);

}  // namespace aima::pg
