#include "libs/pg/result.h"

#include <absl/strings/cord.h>
#include <absl/strings/numbers.h>
#include <libpq-fe.h>

#include <cstdlib>

#include "libs/pg/sql_status.h"

namespace aima::pg {
namespace {

int Digits(std::string_view text, size_t at, size_t count) {
  int value = 0;
  for (size_t i = at; i < at + count && i < text.size(); ++i) value = value * 10 + (text[i] - '0');
  return value;
}

int HexDigit(char c) { return c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10; }

// "2026-11-21 10:18:01.123456+00", as the server writes timestamptz in ISO style and UTC; sessions are set to both.
absl::Time TimeOf(std::string_view text) {
  if (text == "infinity") return absl::InfiniteFuture();
  if (text == "-infinity") return absl::InfinitePast();
  if (text.size() < 19 || text[4] != '-') {
    absl::Time time;  // years past 9999 or before Christ
    std::string error;
    return absl::ParseTime("%E*Y-%m-%d %H:%M:%E*S%Ez", std::string(text), &time, &error) ? time : absl::UnixEpoch();
  }
  const absl::CivilSecond second(Digits(text, 0, 4), Digits(text, 5, 2), Digits(text, 8, 2), Digits(text, 11, 2),
                                 Digits(text, 14, 2), Digits(text, 17, 2));
  absl::Time time = absl::FromCivil(second, absl::UTCTimeZone());
  if (text.size() > 20 && text[19] == '.') {
    int64_t micros = 0;
    size_t digits = 0;
    for (size_t i = 20; i < text.size() && text[i] >= '0' && text[i] <= '9' && digits < 6; ++i, ++digits) {
      micros = micros * 10 + (text[i] - '0');
    }
    for (; digits < 6; ++digits) micros *= 10;
    time += absl::Microseconds(micros);
  }
  return time;
}

std::string BytesOf(std::string_view text) {
  std::string data;
  if (text.substr(0, 2) != "\\x") return data;
  data.reserve(text.size() / 2);
  for (size_t i = 2; i + 1 < text.size(); i += 2) {
    data += static_cast<char>(HexDigit(text[i]) << 4 | HexDigit(text[i + 1]));
  }
  return data;
}

// {plain,"quo\"ted",NULL}: one dimension.
std::vector<std::string> ArrayOf(std::string_view text) {
  std::vector<std::string> items;
  if (text.size() < 2 || text == "{}") return items;
  std::string item;
  bool quoted = false;
  for (size_t i = 1; i < text.size(); ++i) {
    const char c = text[i];
    if (c == '\\' && i + 1 < text.size()) {
      item += text[++i];
    } else if (c == '"') {
      quoted = !quoted;
    } else if (!quoted && (c == ',' || c == '}')) {
      items.push_back(std::move(item));
      item.clear();
    } else {
      item += c;
    }
  }
  return items;
}

template <class Number>
Number NumberOf(std::string_view text) {
  Number value = 0;
  (void)absl::SimpleAtoi(absl::string_view(text.data(), text.size()), &value);
  return value;
}

}  // namespace

Result::Result(pg_result* owned) : result_(owned, PQclear) {}

int Result::size() const { return result_ ? PQntuples(result_.get()) : 0; }

int Result::affected() const { return result_ ? atoi(PQcmdTuples(result_.get())) : 0; }

std::string_view Result::command() const { return result_ ? PQcmdStatus(result_.get()) : ""; }

bool Row::IsNull(int column) const { return PQgetisnull(result_, row_, column) != 0; }

std::string_view Row::Text(int column) const {
  return {PQgetvalue(result_, row_, column), static_cast<size_t>(PQgetlength(result_, row_, column))};
}

template <>
bool Row::Get<bool>(int column) const {
  return Text(column) == "t";
}
template <>
int Row::Get<int>(int column) const {
  return NumberOf<int>(Text(column));
}
template <>
int64_t Row::Get<int64_t>(int column) const {
  return NumberOf<int64_t>(Text(column));
}
template <>
uint64_t Row::Get<uint64_t>(int column) const {
  return NumberOf<uint64_t>(Text(column));
}
template <>
double Row::Get<double>(int column) const {
  return strtod(std::string(Text(column)).c_str(), nullptr);
}
template <>
std::string Row::Get<std::string>(int column) const {
  return std::string(Text(column));
}
template <>
Bytes Row::Get<Bytes>(int column) const {
  return Bytes{BytesOf(Text(column))};
}
template <>
absl::Time Row::Get<absl::Time>(int column) const {
  return IsNull(column) ? absl::Time() : TimeOf(Text(column));
}
template <>
std::vector<std::string> Row::Get<std::vector<std::string>>(int column) const {
  return ArrayOf(Text(column));
}

}  // namespace aima::pg
