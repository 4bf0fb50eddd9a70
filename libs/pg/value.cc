#include "libs/pg/value.h"

#include <arpa/inet.h>

#include <cmath>
#include <cstdio>
#include <cstring>

namespace aima::pg {
namespace {

constexpr uint32_t kByteaOid = 17;

void AppendInt32(std::string& out, uint32_t value) {
  const uint32_t big_endian = htonl(value);
  out.append(reinterpret_cast<const char*>(&big_endian), sizeof(big_endian));
}

std::string TextOf(double value) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value > 0 ? "Infinity" : "-Infinity";
  char text[32];
  snprintf(text, sizeof(text), "%.17g", value);
  return text;
}

std::string TextOf(absl::Time value) {
  if (value == absl::InfiniteFuture()) return "infinity";
  if (value == absl::InfinitePast()) return "-infinity";
  return absl::FormatTime("%Y-%m-%d %H:%M:%E6S+00", value, absl::UTCTimeZone());
}

}  // namespace

Value::Value(bool value) : text_(value ? "t" : "f") {}
Value::Value(int value) : text_(std::to_string(value)) {}
Value::Value(uint32_t value) : text_(std::to_string(value)) {}
Value::Value(int64_t value) : text_(std::to_string(value)) {}
Value::Value(uint64_t value) : text_(std::to_string(value)) {}
Value::Value(double value) : text_(TextOf(value)) {}
Value::Value(const char* value) {
  if (value) text_ = value;
}
Value::Value(std::string value) : text_(std::move(value)) {}
Value::Value(std::string_view value) : text_(std::string(value)) {}
Value::Value(Bytes value) : text_(std::move(value.data)), format_(1) {}
Value::Value(absl::Time value) : text_(TextOf(value)) {}

Value::Value(const std::vector<std::string>& value) {
  std::string array = "{";
  for (const std::string& item : value) {
    if (array.size() > 1) array += ',';
    array += '"';
    for (char c : item) {
      if (c == '"' || c == '\\') array += '\\';
      array += c;
    }
    array += '"';
  }
  array += '}';
  text_ = std::move(array);
}

Value::Value(const std::vector<int64_t>& value) {
  std::string array = "{";
  for (int64_t item : value) {
    if (array.size() > 1) array += ',';
    array += std::to_string(item);
  }
  array += '}';
  text_ = std::move(array);
}

Value::Value(const std::vector<Bytes>& value) : format_(1) {
  // The binary format of arrays: dimensions, has-nulls, element type, then size, lower bound and the items.
  std::string array;
  AppendInt32(array, value.empty() ? 0 : 1);
  AppendInt32(array, 0);
  AppendInt32(array, kByteaOid);
  if (!value.empty()) {
    AppendInt32(array, static_cast<uint32_t>(value.size()));
    AppendInt32(array, 1);
  }
  for (const Bytes& item : value) {
    AppendInt32(array, static_cast<uint32_t>(item.data.size()));
    array += item.data;
  }
  text_ = std::move(array);
}

}  // namespace aima::pg
