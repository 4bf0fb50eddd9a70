#include "services/shim/tenure.h"

#include <stdio.h>

namespace aima::shim {

bool IsInOffice(const char* path, int pid) {
  FILE* file = path ? fopen(path, "re") : nullptr;
  if (!file) return true;
  int holder = 0;
  const bool known = fscanf(file, "%d", &holder) == 1;
  fclose(file);
  return !known || holder == pid;
}

}  // namespace aima::shim
