// What must be true of every answer of the HTTP face, whatever it was asked.
#pragma once

#include <string>

namespace aima::gateway {

// Ends the process if the first answer in `bytes` is no HTTP, tells of a defect of ours, or does not keep to its form:
// problems, JSON, lines of JSON and events, those of Anthropic's and OpenAI's streams in their order. `ours` is false of
// an answer whose body is an engine's.
void CheckAnswer(const std::string& bytes, bool ours);

}  // namespace aima::gateway
