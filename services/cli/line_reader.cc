#include "services/cli/line_reader.h"

#include <histedit.h>
#include <locale.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <iostream>

namespace aima::cli {

struct LineReader::Editor {
  EditLine* edit = nullptr;
  History* history = nullptr;
  std::string prompt;
  bool interrupted = false;
};

namespace {

constexpr int kRemembered = 1000;

char* Prompt(EditLine* edit) {
  void* editor = nullptr;
  el_get(edit, EL_CLIENTDATA, &editor);
  return static_cast<std::string*>(editor)->data();
}

}  // namespace

LineReader::LineReader(std::string history_file) : history_file_(std::move(history_file)) {
  if (isatty(STDIN_FILENO) == 0 || isatty(STDERR_FILENO) == 0) return;
  // The library counts characters by the locale; a machine without one writes UTF-8 nevertheless.
  const char* locale = setlocale(LC_CTYPE, "");
  if (locale == nullptr || MB_CUR_MAX == 1) setlocale(LC_CTYPE, "C.UTF-8");
  editor_ = new Editor;
  editor_->edit = el_init("aima", stdin, stderr, stderr);
  editor_->history = history_init();
  HistEvent event;
  history(editor_->history, &event, H_SETSIZE, kRemembered);
  history(editor_->history, &event, H_SETUNIQUE, 1);
  if (!history_file_.empty()) history(editor_->history, &event, H_LOAD, history_file_.c_str());
  el_set(editor_->edit, EL_CLIENTDATA, &editor_->prompt);
  el_set(editor_->edit, EL_PROMPT, &Prompt);
  el_set(editor_->edit, EL_EDITOR, "emacs");
  el_set(editor_->edit, EL_HIST, history, editor_->history);
  el_set(editor_->edit, EL_BIND, "^R", "em-inc-search-prev", nullptr);
  el_source(editor_->edit, nullptr);  // ~/.editrc
  // Ctrl-C comes as a character, so that it ends a line and not the program.
  el_set(editor_->edit, EL_SETTY, "-d", "-isig", nullptr);
  static bool* interrupted = nullptr;
  interrupted = &editor_->interrupted;
  el_set(
      editor_->edit, EL_ADDFN, "aima-interrupt", "end this line", +[](EditLine*, int) -> unsigned char {
        *interrupted = true;
        return CC_EOF;
      });
  el_set(editor_->edit, EL_BIND, "^C", "aima-interrupt", nullptr);
}

LineReader::~LineReader() {
  if (!editor_) return;
  if (!history_file_.empty()) {
    const mode_t before = umask(077);
    HistEvent event;
    history(editor_->history, &event, H_SAVE, history_file_.c_str());
    umask(before);
  }
  history_end(editor_->history);
  el_end(editor_->edit);
  delete editor_;
}

LineReader::End LineReader::Read(const std::string& prompt, std::string& line) {
  line.clear();
  if (!editor_) return std::getline(std::cin, line) ? End::kLine : End::kEndOfInput;
  editor_->prompt = prompt;
  editor_->interrupted = false;
  int length = 0;
  const char* text = el_gets(editor_->edit, &length);
  if (editor_->interrupted) {
    el_reset(editor_->edit);
    std::cerr << "^C" << std::endl;
    return End::kInterrupted;
  }
  if (text == nullptr || length <= 0) return End::kEndOfInput;
  line.assign(text, static_cast<size_t>(length));
  while (!line.empty() && (line.back() == '\n' || line.back() == '\r')) line.pop_back();
  if (!line.empty()) {
    HistEvent event;
    history(editor_->history, &event, H_ENTER, line.c_str());
  }
  return End::kLine;
}

}  // namespace aima::cli
