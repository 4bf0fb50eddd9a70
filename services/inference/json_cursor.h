// Reads JSON from front to back without building a tree: for bodies and stream pieces of which only a few fields
// matter.
#pragma once

#include <string>
#include <string_view>

namespace aima::inference {

// Separators are read leniently; strings, nesting and ends strictly. After a failure everything returns empty and
// failed() says so. The text must outlive the cursor.
class JsonCursor {
 public:
  static constexpr int kMaxDepth = 64;

  explicit JsonCursor(std::string_view text) : text_(text) {}

  // First character of the next value: one of {["tfn- or a digit; 0 at the end.
  char Peek();
  // Enters an object or list. False, consuming nothing, if the next value is something else.
  bool EnterObject() { return Enter('{'); }
  bool EnterList() { return Enter('['); }
  // The next key of the object, as it is written (escapes are not decoded); false after the last one.
  bool NextKey(std::string_view& key);
  // True if the list has another item, which must then be read; false after the last one.
  bool NextItem() { return !Leave(']'); }
  // Consumes a value and returns it as it is written.
  std::string_view Skip();
  // Consumes a string and appends what it means, U+FFFD for what is no UTF-8. Any other value is consumed and false
  // returned.
  bool AppendString(std::string& out);

  size_t position() const { return at_; }
  bool failed() const { return failed_; }

 private:
  bool Enter(char open);
  bool Leave(char close);
  void SkipSpace();
  bool SkipString();
  bool Fail();

  std::string_view text_;
  size_t at_ = 0;
  bool failed_ = false;
};

// A string as it is written, without its quotes; empty for anything else.
inline std::string_view Inside(std::string_view raw) {
  return raw.size() < 2 || raw[0] != '"' ? std::string_view() : raw.substr(1, raw.size() - 2);
}

// Appends what the inside of a JSON string means. False if an escape is malformed.
bool AppendUnescaped(std::string_view raw, std::string& out);

}  // namespace aima::inference
