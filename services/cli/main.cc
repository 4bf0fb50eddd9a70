#include "services/cli/commands.h"

int main(int argc, char** argv) { return aima::cli::RunCommandLine(argc, argv); }
