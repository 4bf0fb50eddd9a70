// Whom the shim obeys.
#pragma once

namespace aima::shim {

// True if the file's first number is `pid`, or if there is no such file: the engine service that is in office writes it
// before it does anything else.
bool IsInOffice(const char* path, int pid);

}  // namespace aima::shim
