#include "services/inference/json_cursor.h"

#include <cstdint>

#include "libs/base/utf8.h"

namespace aima::inference {
namespace {

int HexValue(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

// The four hexadecimal digits at the front of `text`; -1 if they are not.
int Hex4(std::string_view text) {
  if (text.size() < 4) return -1;
  int value = 0;
  for (int i = 0; i < 4; ++i) {
    const int digit = HexValue(text[i]);
    if (digit < 0) return -1;
    value = value * 16 + digit;
  }
  return value;
}

void AppendUtf8(uint32_t c, std::string& out) {
  if (c < 0x80) {
    out += static_cast<char>(c);
  } else if (c < 0x800) {
    out += static_cast<char>(0xC0 | (c >> 6));
    out += static_cast<char>(0x80 | (c & 0x3F));
  } else if (c < 0x10000) {
    out += static_cast<char>(0xE0 | (c >> 12));
    out += static_cast<char>(0x80 | ((c >> 6) & 0x3F));
    out += static_cast<char>(0x80 | (c & 0x3F));
  } else {
    out += static_cast<char>(0xF0 | (c >> 18));
    out += static_cast<char>(0x80 | ((c >> 12) & 0x3F));
    out += static_cast<char>(0x80 | ((c >> 6) & 0x3F));
    out += static_cast<char>(0x80 | (c & 0x3F));
  }
}

// Reads \uXXXX, and its second half where there is one, at raw[at] (after the u). Half a pair becomes U+FFFD.
bool AppendUnicode(std::string_view raw, size_t& at, std::string& out) {
  const int first = Hex4(raw.substr(at));
  if (first < 0) return false;
  at += 4;
  uint32_t c = static_cast<uint32_t>(first);
  if (c >= 0xD800 && c < 0xE000) {
    const int second = c < 0xDC00 && raw.substr(at, 2) == "\\u" ? Hex4(raw.substr(at + 2)) : -1;
    if (second >= 0xDC00 && second < 0xE000) {
      at += 6;
      c = 0x10000 + ((c - 0xD800) << 10) + (static_cast<uint32_t>(second) - 0xDC00);
    } else {
      c = 0xFFFD;
    }
  }
  AppendUtf8(c, out);
  return true;
}

}  // namespace

bool AppendUnescaped(std::string_view raw, std::string& out) {
  size_t at = 0;
  while (true) {
    const size_t slash = raw.find('\\', at);
    out.append(raw.substr(at, slash - at));
    if (slash == std::string_view::npos) return true;
    if (slash + 1 >= raw.size()) return false;
    at = slash + 2;
    switch (raw[slash + 1]) {
      case '"': out += '"'; break;
      case '\\': out += '\\'; break;
      case '/': out += '/'; break;
      case 'b': out += '\b'; break;
      case 'f': out += '\f'; break;
      case 'n': out += '\n'; break;
      case 'r': out += '\r'; break;
      case 't': out += '\t'; break;
      case 'u':
        if (!AppendUnicode(raw, at, out)) return false;
        break;
      default: return false;
    }
  }
}

bool JsonCursor::Fail() {
  failed_ = true;
  at_ = text_.size();
  return false;
}

void JsonCursor::SkipSpace() {
  while (at_ < text_.size()) {
    const char c = text_[at_];
    if (c != ' ' && c != '\n' && c != '\r' && c != '\t' && c != ',' && c != ':') break;
    ++at_;
  }
}

char JsonCursor::Peek() {
  SkipSpace();
  return at_ < text_.size() ? text_[at_] : '\0';
}

bool JsonCursor::Enter(char open) {
  if (Peek() != open) return false;
  ++at_;
  return true;
}

// True if the container ends here, or the text does, which is a failure.
bool JsonCursor::Leave(char close) {
  const char next = Peek();
  if (next == '\0') {
    Fail();
    return true;
  }
  if (next != close) return false;
  ++at_;
  return true;
}

bool JsonCursor::NextKey(std::string_view& key) {
  if (Leave('}')) return false;
  const size_t begin = at_;
  if (text_[at_] != '"' || !SkipString()) return Fail();
  key = text_.substr(begin + 1, at_ - begin - 2);
  return true;
}

bool JsonCursor::SkipString() {
  for (size_t i = at_ + 1; i < text_.size(); ++i) {
    if (text_[i] == '\\') {
      ++i;
    } else if (text_[i] == '"') {
      at_ = i + 1;
      return true;
    }
  }
  return Fail();
}

std::string_view JsonCursor::Skip() {
  const char first = Peek();
  const size_t begin = at_;
  if (first == '"') {
    SkipString();
  } else if (first == '{' || first == '[') {
    int depth = 0;
    do {
      if (at_ >= text_.size()) {
        Fail();
        break;
      }
      const char c = text_[at_];
      if (c == '"') {
        if (!SkipString()) break;
        continue;
      }
      if (c == '{' || c == '[') ++depth;
      if (c == '}' || c == ']') --depth;
      if (depth > kMaxDepth) {
        Fail();
        break;
      }
      ++at_;
    } while (depth > 0);
  } else {
    at_ = text_.find_first_of(",]} \t\r\n", at_);
    if (at_ == std::string_view::npos) at_ = text_.size();
    if (at_ == begin) Fail();
  }
  return failed_ ? std::string_view() : text_.substr(begin, at_ - begin);
}

bool JsonCursor::AppendString(std::string& out) {
  const bool is_string = Peek() == '"';
  const std::string_view raw = Skip();
  if (!is_string || raw.size() < 2) return false;
  const size_t before = out.size();
  if (!AppendUnescaped(Inside(raw), out)) return Fail();
  // What is not UTF-8 would make a whole message unreadable.
  for (size_t at = before; at < out.size();) {
    const size_t length = Utf8Length(std::string_view(out).substr(at));
    if (length == 0) {
      const std::string valid = ValidUtf8(out.substr(at));
      out.replace(at, std::string::npos, valid);
      break;
    }
    at += length;
  }
  return true;
}

}  // namespace aima::inference
