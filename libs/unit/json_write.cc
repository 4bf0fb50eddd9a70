// Messages to JSON (json_codec.h).
#include <absl/strings/ascii.h>
#include <absl/strings/escaping.h>
#include <absl/strings/match.h>
#include <absl/strings/str_cat.h>
#include <absl/time/time.h>
#include <google/protobuf/any.pb.h>
#include <google/protobuf/duration.pb.h>
#include <google/protobuf/struct.pb.h>
#include <google/protobuf/timestamp.pb.h>
#include <google/protobuf/util/time_util.h>

#include <charconv>
#include <cmath>

#include "aima/unit/v1/unit.pb.h"
#include "libs/base/utf8.h"
#include "libs/unit/json_codec.h"

namespace aima {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::MessageFactory;
using google::protobuf::Reflection;

void AppendNumber(double number, std::string& out) {
  if (!std::isfinite(number)) {
    out += "null";  // JSON has no infinities
    return;
  }
  char buffer[32];
  const auto end = std::to_chars(buffer, buffer + sizeof(buffer), number).ptr;
  out.append(buffer, end);
}

// The prefix that EnumText cuts: MODEL_TYPE_ of ModelType.
std::string EnumPrefix(const google::protobuf::EnumDescriptor& type) {
  std::string prefix;
  for (size_t i = 0; i < type.name().size(); ++i) {
    const char c = type.name()[i];
    if (i > 0 && absl::ascii_isupper(c)) prefix += '_';
    prefix += absl::ascii_toupper(c);
  }
  return prefix + "_";
}

class Writer {
 public:
  Writer(std::string& out, MessageFactory* factory) : out_(out), factory_(factory) {}

  void Object(const Message& message) {
    const Descriptor& type = *message.GetDescriptor();
    if (type.file()->package() == "google.protobuf" && WellKnown(message, type.name())) return;
    out_ += '{';
    bool first = true;
    const Reflection& reflection = *message.GetReflection();
    for (int i = 0; i < type.field_count(); ++i) {
      const FieldDescriptor& field = *type.field(i);
      if (field.has_presence() && !reflection.HasField(message, &field)) continue;
      if (field.is_repeated() && reflection.FieldSize(message, &field) == 0 &&
          field.options().GetExtension(unit::v1::rules).omit_empty()) {
        continue;
      }
      if (!first) out_ += ',';
      first = false;
      out_ += '"';
      out_ += field.name();
      out_ += "\":";
      if (field.is_map()) {
        Map(message, field);
      } else if (field.is_repeated()) {
        List(message, field);
      } else {
        Single(message, field);
      }
    }
    out_ += '}';
  }

 private:
  // True if `message` has a JSON form of its own and was written.
  bool WellKnown(const Message& message, const std::string& name) {
    const Reflection& reflection = *message.GetReflection();
    const Descriptor& type = *message.GetDescriptor();
    if (name == "Timestamp" || name == "Duration") {
      const int64_t seconds = reflection.GetInt64(message, type.FindFieldByName("seconds"));
      const int32_t nanos = reflection.GetInt32(message, type.FindFieldByName("nanos"));
      out_ += '"';
      if (name == "Timestamp") {
        const absl::Time time = absl::FromUnixSeconds(seconds) + absl::Nanoseconds(nanos);
        absl::StrAppend(&out_, absl::FormatTime("%Y-%m-%dT%H:%M:%E*SZ", time, absl::UTCTimeZone()));
      } else {
        AppendNumber(static_cast<double>(seconds) + nanos * 1e-9, out_);
        out_ += 's';
      }
      out_ += '"';
      return true;
    }
    if (name == "Any") {
      Any(message);
      return true;
    }
    if (name == "Struct") {
      Map(message, *type.FindFieldByName("fields"));
      return true;
    }
    if (name == "ListValue") {
      List(message, *type.FindFieldByName("values"));
      return true;
    }
    if (name == "Value") {
      const FieldDescriptor* field = reflection.GetOneofFieldDescriptor(message, type.FindOneofByName("kind"));
      if (!field || field->name() == "null_value") {
        out_ += "null";
      } else {
        Single(message, *field);
      }
      return true;
    }
    return false;
  }

  void Any(const Message& any) {
    const Reflection& reflection = *any.GetReflection();
    const std::string url = reflection.GetString(any, any.GetDescriptor()->FindFieldByName("type_url"));
    const std::string name = url.substr(url.rfind('/') + 1);
    const google::protobuf::DescriptorPool* pool =
        factory_ ? any.GetDescriptor()->file()->pool() : google::protobuf::DescriptorPool::generated_pool();
    const Descriptor* type = pool->FindMessageTypeByName(name);
    MessageFactory* factory = factory_ ? factory_ : MessageFactory::generated_factory();
    if (!type) {
      out_ += "{}";
      return;
    }
    std::unique_ptr<Message> inside(factory->GetPrototype(type)->New());
    if (!inside->ParseFromString(reflection.GetString(any, any.GetDescriptor()->FindFieldByName("value")))) {
      out_ += "{}";
      return;
    }
    Object(*inside);
  }

  void Map(const Message& message, const FieldDescriptor& field) {
    const Reflection& reflection = *message.GetReflection();
    const FieldDescriptor& key = *field.message_type()->map_key();
    const FieldDescriptor& value = *field.message_type()->map_value();
    out_ += '{';
    for (int i = 0; i < reflection.FieldSize(message, &field); ++i) {
      const Message& entry = reflection.GetRepeatedMessage(message, &field, i);
      if (i > 0) out_ += ',';
      if (key.cpp_type() == FieldDescriptor::CPPTYPE_STRING) {
        Single(entry, key);
      } else {
        out_ += '"';
        Single(entry, key);
        out_ += '"';
      }
      out_ += ':';
      Single(entry, value);
    }
    out_ += '}';
  }

  void List(const Message& message, const FieldDescriptor& field) {
    const Reflection& reflection = *message.GetReflection();
    out_ += '[';
    const int size = reflection.FieldSize(message, &field);
    for (int i = 0; i < size; ++i) {
      if (i > 0) out_ += ',';
      std::string scratch;
      switch (field.cpp_type()) {
        case FieldDescriptor::CPPTYPE_MESSAGE: Object(reflection.GetRepeatedMessage(message, &field, i)); break;
        case FieldDescriptor::CPPTYPE_STRING:
          Text(field, reflection.GetRepeatedStringReference(message, &field, i, &scratch));
          break;
        case FieldDescriptor::CPPTYPE_BOOL: out_ += reflection.GetRepeatedBool(message, &field, i) ? "true" : "false"; break;
        case FieldDescriptor::CPPTYPE_INT32: absl::StrAppend(&out_, reflection.GetRepeatedInt32(message, &field, i)); break;
        case FieldDescriptor::CPPTYPE_INT64: absl::StrAppend(&out_, reflection.GetRepeatedInt64(message, &field, i)); break;
        case FieldDescriptor::CPPTYPE_UINT32: absl::StrAppend(&out_, reflection.GetRepeatedUInt32(message, &field, i)); break;
        case FieldDescriptor::CPPTYPE_UINT64: absl::StrAppend(&out_, reflection.GetRepeatedUInt64(message, &field, i)); break;
        case FieldDescriptor::CPPTYPE_FLOAT: Float(reflection.GetRepeatedFloat(message, &field, i)); break;
        case FieldDescriptor::CPPTYPE_DOUBLE: AppendNumber(reflection.GetRepeatedDouble(message, &field, i), out_); break;
        case FieldDescriptor::CPPTYPE_ENUM: Enum(field, reflection.GetRepeatedEnumValue(message, &field, i)); break;
      }
    }
    out_ += ']';
  }

  void Single(const Message& message, const FieldDescriptor& field) {
    const Reflection& reflection = *message.GetReflection();
    std::string scratch;
    switch (field.cpp_type()) {
      case FieldDescriptor::CPPTYPE_MESSAGE: return Object(reflection.GetMessage(message, &field));
      case FieldDescriptor::CPPTYPE_STRING: return Text(field, reflection.GetStringReference(message, &field, &scratch));
      case FieldDescriptor::CPPTYPE_BOOL: out_ += reflection.GetBool(message, &field) ? "true" : "false"; return;
      case FieldDescriptor::CPPTYPE_INT32: absl::StrAppend(&out_, reflection.GetInt32(message, &field)); return;
      case FieldDescriptor::CPPTYPE_INT64: absl::StrAppend(&out_, reflection.GetInt64(message, &field)); return;
      case FieldDescriptor::CPPTYPE_UINT32: absl::StrAppend(&out_, reflection.GetUInt32(message, &field)); return;
      case FieldDescriptor::CPPTYPE_UINT64: absl::StrAppend(&out_, reflection.GetUInt64(message, &field)); return;
      case FieldDescriptor::CPPTYPE_FLOAT: return Float(reflection.GetFloat(message, &field));
      case FieldDescriptor::CPPTYPE_DOUBLE: return AppendNumber(reflection.GetDouble(message, &field), out_);
      case FieldDescriptor::CPPTYPE_ENUM: return Enum(field, reflection.GetEnumValue(message, &field));
    }
  }

  // The shortest text that is the same float again: 0.1, not 0.10000000149.
  void Float(float number) {
    if (!std::isfinite(number)) {
      out_ += "null";
      return;
    }
    char buffer[32];
    out_.append(buffer, std::to_chars(buffer, buffer + sizeof(buffer), number).ptr);
  }

  void Text(const FieldDescriptor& field, const std::string& text) {
    if (field.type() == FieldDescriptor::TYPE_BYTES) {
      out_ += '"';
      absl::StrAppend(&out_, absl::Base64Escape(text));
      out_ += '"';
    } else {
      AppendJsonString(text, out_);
    }
  }

  void Enum(const FieldDescriptor& field, int number) {
    const auto* value = field.enum_type()->FindValueByNumber(number);
    if (value) {
      AppendJsonString(EnumText(*value), out_);
    } else {
      absl::StrAppend(&out_, number);
    }
  }

  std::string& out_;
  MessageFactory* factory_;
};

}  // namespace

void AppendJsonString(std::string_view text, std::string& out) {
  static constexpr char kHex[] = "0123456789abcdef";
  if (out.empty()) out.reserve(text.size() + text.size() / 8 + 2);
  out += '"';
  for (size_t i = 0; i < text.size();) {
    const unsigned char c = text[i];
    if (c >= 0x80) {
      const size_t length = Utf8Length(text.substr(i));
      if (length == 0) {
        out += "\xef\xbf\xbd";  // U+FFFD
        ++i;
      } else {
        out.append(text.substr(i, length));
        i += length;
      }
      continue;
    }
    ++i;
    switch (c) {
      case '"': out += "\\\""; break;
      case '\\': out += "\\\\"; break;
      case '\n': out += "\\n"; break;
      case '\r': out += "\\r"; break;
      case '\t': out += "\\t"; break;
      default:
        if (c < 0x20 || c == 0x7f) {
          out += "\\u00";
          out += kHex[c >> 4];
          out += kHex[c & 15];
        } else {
          out += static_cast<char>(c);
        }
    }
  }
  out += '"';
}

void AppendJson(const Message& message, std::string& out, MessageFactory* factory) {
  Writer(out, factory).Object(message);
}

std::string ToJson(const Message& message, MessageFactory* factory) {
  std::string out;
  AppendJson(message, out, factory);
  return out;
}

std::string EnumText(const google::protobuf::EnumValueDescriptor& value) {
  const std::string prefix = EnumPrefix(*value.type());
  const std::string& name = value.name();
  return absl::AsciiStrToLower(name.rfind(prefix, 0) == 0 ? name.substr(prefix.size()) : name);
}

const google::protobuf::EnumValueDescriptor* FindEnumValue(const google::protobuf::EnumDescriptor& type,
                                                           std::string_view text) {
  for (int i = 0; i < type.value_count(); ++i) {
    const auto& value = *type.value(i);
    if (value.name() == text || EnumText(value) == text) return &value;
  }
  return nullptr;
}

std::vector<std::string> EnumTexts(const google::protobuf::EnumDescriptor& type) {
  std::vector<std::string> texts;
  for (int i = 0; i < type.value_count(); ++i) {
    if (type.value(i)->number() != 0 || !absl::EndsWith(type.value(i)->name(), "_UNSPECIFIED")) {
      texts.push_back(EnumText(*type.value(i)));
    }
  }
  return texts;
}

}  // namespace aima
