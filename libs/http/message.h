// HTTP messages, whoever sends them.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace aima::http {

// Header fields in their order. Names are compared without regard to case.
class Headers {
 public:
  using Field = std::pair<std::string, std::string>;

  Headers() = default;
  Headers(std::initializer_list<Field> fields) : fields_(fields) {}

  // The value of the first field of this name, or null.
  const std::string* Find(std::string_view name) const;
  // The same, empty if there is none.
  std::string_view Get(std::string_view name) const;
  // Adds a field, even if there is one of this name.
  void Add(std::string name, std::string value) { fields_.emplace_back(std::move(name), std::move(value)); }
  // Replaces all fields of this name by one.
  void Set(std::string_view name, std::string value);
  void Erase(std::string_view name);
  void Reserve(size_t fields) { fields_.reserve(fields); }

  bool empty() const { return fields_.empty(); }
  size_t size() const { return fields_.size(); }
  auto begin() const { return fields_.begin(); }
  auto end() const { return fields_.end(); }

 private:
  std::vector<Field> fields_;
};

struct Request {
  std::string method = "GET";
  std::string target = "/";  // path and query, as sent
  Headers headers;           // Host, length and connection fields are added on sending
  std::string body;
};

struct Response {
  int status = 200;
  Headers headers;
  std::string body;
};

// The standard phrase for a status, such as "Not Found".
std::string_view ReasonPhrase(int status);

bool EqualsIgnoringCase(std::string_view a, std::string_view b);

// `text` with every %XX replaced by its byte, and + by a blank if `plus`. False if it is malformed or holds a NUL.
bool PercentDecode(std::string_view text, bool plus, std::string& out);

// The names and values of a query string ("a=1&b=2"), decoded. False if it is malformed.
bool ParseQuery(std::string_view query, std::vector<std::pair<std::string, std::string>>& out);

}  // namespace aima::http
