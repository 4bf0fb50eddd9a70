// Lines that somebody types, with editing and a history (libedit).
#pragma once

#include <optional>
#include <string>

namespace aima::cli {

class LineReader {
 public:
  enum class End { kLine, kInterrupted, kEndOfInput };

  // The history is kept in `history_file` (0600) between runs; empty keeps none.
  explicit LineReader(std::string history_file);
  ~LineReader();
  LineReader(const LineReader&) = delete;
  LineReader& operator=(const LineReader&) = delete;

  // Shows `prompt` on standard error and reads a line, without its end. Ctrl-C gives kInterrupted, Ctrl-D on an empty
  // line kEndOfInput. Where standard input is no terminal, nothing is shown.
  End Read(const std::string& prompt, std::string& line);

 private:
  struct Editor;
  Editor* editor_ = nullptr;  // null where there is no terminal
  const std::string history_file_;
};

}  // namespace aima::cli
