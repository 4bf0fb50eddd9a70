#include "libs/pg/value.h"

#include <arpa/inet.h>
#include <endian.h>

#include <cmath>
#include <cstdio>
#include <cstring>

namespace aima::pg {
namespace {

constexpr uint32_t kByteaOid = 17;
constexpr uint32_t kTimestamptzOid = 1184;

void AppendInt32(std::string& out, uint32_t value) {
  const uint32_t big_endian = htonl(value);
  out.append(reinterpret_cast<const char*>(&big_endian), sizeof(big_endian));
}

// The binary format of arrays begins with dimensions, has-nulls, element type, then for one dimension its size and
// lower bound. Each item follows with its size.
std::string ArrayHeader(uint32_t element, size_t size) {
  std::string array;
  AppendInt32(array, size == 0 ? 0 : 1);
  AppendInt32(array, 0);
  AppendInt32(array, element);
  if (size > 0) {
    AppendInt32(array, static_cast<uint32_t>(size));
    AppendInt32(array, 1);
  }
  return array;
}

template <class Strings>
std::string TextArray(const Strings& items) {
  size_t size = 2;
  for (std::string_view item : items) size += item.size() + 3;
  std::string array;
  array.reserve(size);
  array = "{";
  for (std::string_view item : items) {
    if (array.size() > 1) array += ',';
    array += '"';
    while (true) {
      const size_t special = item.find_first_of("\"\\");
      array += item.substr(0, special);
      if (special == item.npos) break;
      array += '\\';
      array += item[special];
      item.remove_prefix(special + 1);
    }
    array += '"';
  }
  array += '}';
  return array;
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

Value::Value(const std::vector<std::string>& value) : text_(TextArray(value)) {}
Value::Value(const std::vector<std::string_view>& value) : text_(TextArray(value)) {}

Value::Value(const std::vector<int64_t>& value) {
  std::string array = "{";
  for (int64_t item : value) {
    if (array.size() > 1) array += ',';
    array += std::to_string(item);
  }
  array += '}';
  text_ = std::move(array);
}

Value::Value(const std::vector<Bytes>& value) : text_(ArrayHeader(kByteaOid, value.size())), format_(1) {
  size_t size = text_->size();
  for (const Bytes& item : value) size += item.data.size() + 4;
  text_->reserve(size);
  for (const Bytes& item : value) {
    AppendInt32(*text_, static_cast<uint32_t>(item.data.size()));
    *text_ += item.data;
  }
}

Value::Value(const std::vector<absl::Time>& value) : text_(ArrayHeader(kTimestamptzOid, value.size())), format_(1) {
  static const absl::Time kEpoch = absl::FromCivil(absl::CivilDay(2000, 1, 1), absl::UTCTimeZone());
  for (absl::Time item : value) {
    const uint64_t micros = htobe64(static_cast<uint64_t>(absl::ToInt64Microseconds(item - kEpoch)));
    AppendInt32(*text_, sizeof(micros));
    text_->append(reinterpret_cast<const char*>(&micros), sizeof(micros));
  }
}

}  // namespace aima::pg
