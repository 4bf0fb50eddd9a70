// Parameters of statements.
#pragma once

#include <absl/time/time.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace aima::pg {

// Binary data (bytea), as opposed to text.
struct Bytes {
  std::string data;
};

// One parameter, in PostgreSQL's text format: NULL, a boolean, a number, text, binary data, a time, or an array of
// texts, integers, binary data or times (timestamptz). Text and times go to any column type that reads them.
class Value {
 public:
  Value(std::nullptr_t) {}                       // NOLINT: values are written as they are meant
  Value(bool value);                             // NOLINT
  Value(int value);                              // NOLINT
  Value(uint32_t value);                         // NOLINT
  Value(int64_t value);                          // NOLINT
  Value(uint64_t value);                         // NOLINT
  Value(double value);                           // NOLINT
  Value(const char* value);                      // NOLINT
  Value(std::string value);                      // NOLINT
  Value(std::string_view value);                 // NOLINT
  Value(Bytes value);                            // NOLINT
  Value(absl::Time value);                       // NOLINT
  Value(const std::vector<std::string>& value);  // NOLINT
  Value(const std::vector<std::string_view>& value);  // NOLINT
  Value(const std::vector<int64_t>& value);      // NOLINT
  Value(const std::vector<Bytes>& value);        // NOLINT
  Value(const std::vector<absl::Time>& value);   // NOLINT
  template <class T>
  Value(const std::optional<T>& value) {  // NOLINT
    if (value) *this = Value(*value);
  }

  // The text, or nullptr for NULL. Bytes are given as they are, with format 1.
  const char* data() const { return text_ ? text_->data() : nullptr; }
  int size() const { return text_ ? static_cast<int>(text_->size()) : 0; }
  int format() const { return format_; }

 private:
  std::optional<std::string> text_;
  int format_ = 0;
};

using Values = std::vector<Value>;

}  // namespace aima::pg
