#include "services/cli/schema_flags.h"

#include <absl/strings/escaping.h>
#include <absl/strings/match.h>
#include <absl/strings/numbers.h>
#include <absl/strings/str_cat.h>
#include <absl/strings/str_join.h>
#include <absl/strings/str_replace.h>
#include <absl/strings/str_split.h>

#include <algorithm>
#include <optional>

#include "libs/base/nearest.h"
#include "libs/unit/quantity.h"
#include "services/cli/command_line.h"
#include "services/cli/files.h"

namespace aima::cli {
namespace {

using nlohmann::ordered_json;

std::string FieldName(std::string flag) {
  std::replace(flag.begin(), flag.end(), '-', '_');
  return flag;
}

std::string FlagName(std::string field) {
  std::replace(field.begin(), field.end(), '_', '-');
  return "--" + field;
}

const ordered_json* Member(const ordered_json& object, const std::string& key) {
  if (!object.is_object()) return nullptr;
  const auto found = object.find(key);
  return found == object.end() ? nullptr : &*found;
}

std::string TypeOf(const ordered_json& schema) {
  const ordered_json* type = Member(schema, "type");
  if (type && type->is_array() && !type->empty()) type = &type->front();  // the usual form comes first
  return type && type->is_string() ? type->get<std::string>() : "";
}

// A map of free keys, or an object whose fields are not declared.
bool IsOpen(const ordered_json& schema) {
  const ordered_json* more = Member(schema, "additionalProperties");
  return !Member(schema, "properties") && (!more || *more != false);
}

absl::Status FlagError(const std::string& what) {
  return WithRemedy(absl::InvalidArgumentError(what), "`aima units UNIT` shows the flags of a unit.");
}

// Where a flag leads: the schema of the field, and the path to it.
struct Target {
  const ordered_json* schema = nullptr;
  std::vector<std::string> path;
};

std::optional<Target> Find(const ordered_json& schema, const std::string& flag) {
  static const ordered_json kAnything = ordered_json::object();
  Target target{&schema, {}};
  for (absl::string_view segment : absl::StrSplit(flag, '.')) {
    const std::string name(segment);
    if (name.empty() || TypeOf(*target.schema) == "array") return std::nullopt;
    const ordered_json* properties = Member(*target.schema, "properties");
    const ordered_json* next = properties ? Member(*properties, FieldName(name)) : nullptr;
    if (next) {
      target.path.push_back(FieldName(name));
    } else if (!target.path.empty() && IsOpen(*target.schema)) {
      const ordered_json* values = Member(*target.schema, "additionalProperties");
      next = values && values->is_object() ? values : &kAnything;
      target.path.push_back(name);  // a key of a map is whatever the user writes
    } else {
      return std::nullopt;
    }
    target.schema = next;
  }
  return target;
}

absl::Status WrongValue(const std::string& flag, const std::string& value, const std::string& expected) {
  return FlagError(absl::StrCat(FlagName(flag), " takes ", expected, ", not '", value, "'"));
}

// One value, as its schema says.
absl::StatusOr<ordered_json> Read(const ordered_json& schema, const std::string& flag, const std::string& text) {
  const std::string type = TypeOf(schema);
  if (type == "string" && Member(schema, "contentEncoding") && text.starts_with('@')) {
    absl::StatusOr<std::string> bytes = ReadFile(text.substr(1));
    if (!bytes.ok()) return bytes.status();
    return ordered_json(absl::Base64Escape(*bytes));
  }
  if (type == "string") return ordered_json(text);
  if (type == "boolean") {
    if (text == "true" || text == "false") return ordered_json(text == "true");
    return WrongValue(flag, text, "true or false");
  }
  if (type == "integer") {
    int64_t number = 0;
    if (absl::SimpleAtoi(text, &number)) return ordered_json(number);
    // "10MB" and "30s" stay text: the field may be a quantity, and the server knows.
    return ordered_json(text);
  }
  ordered_json json = ordered_json::parse(text, nullptr, false);
  if (type == "number") {
    if (json.is_number()) return json;
    return WrongValue(flag, text, "a number");
  }
  if (type == "object" || type == "array") {
    if (type == "object" ? json.is_object() : json.is_array()) return json;
    return WrongValue(flag, text, "JSON of type " + type);
  }
  if (json.is_discarded()) return ordered_json(text);
  return json;
}

absl::Status Set(const Target& target, const std::string& flag, const std::string& text, ordered_json& input,
                 std::vector<std::string>& lists) {
  ordered_json* place = &input;
  for (const std::string& segment : target.path) {
    if (!place->is_object()) *place = ordered_json::object();
    place = &(*place)[segment];
  }
  if (TypeOf(*target.schema) != "array") {
    absl::StatusOr<ordered_json> value = Read(*target.schema, flag, text);
    if (!value.ok()) return value.status();
    *place = *std::move(value);
    return absl::OkStatus();
  }
  // The first flag replaces what --input says, the others add to it.
  const std::string path = absl::StrJoin(target.path, ".");
  if (std::find(lists.begin(), lists.end(), path) == lists.end()) {
    lists.push_back(path);
    *place = ordered_json::array();
  }
  if (text.starts_with('[')) {
    const ordered_json list = ordered_json::parse(text, nullptr, false);
    if (list.is_array()) {
      for (const ordered_json& item : list) place->push_back(item);
      return absl::OkStatus();
    }
  }
  const ordered_json* items = Member(*target.schema, "items");
  absl::StatusOr<ordered_json> item = Read(items ? *items : ordered_json::object(), flag, text);
  if (!item.ok()) return item.status();
  place->push_back(*std::move(item));
  return absl::OkStatus();
}

absl::Status Unknown(const ordered_json& schema, const std::string& flag) {
  std::vector<std::string> names;
  for (const FlagHelp& known : FlagsOf(schema)) names.push_back(known.flag.substr(2));
  const std::vector<std::string> near = Nearest(absl::StrReplaceAll(flag, {{"_", "-"}}), names, 3);
  std::string text = absl::StrCat("there is no flag --", flag);
  if (!near.empty()) {
    absl::StrAppend(&text, "; did you mean --", absl::StrJoin(near, " or --"), "?");
  } else {
    absl::StrAppend(&text, names.empty() ? "; this unit takes none" : "; there are --",
                    absl::StrJoin(names, ", --"));
  }
  return FlagError(text);
}

std::string TypeText(const ordered_json& schema) {
  const std::string type = TypeOf(schema);
  if (const ordered_json* values = Member(schema, "enum"); values && values->is_array()) {
    std::vector<std::string> texts;
    for (const ordered_json& value : *values) {
      texts.push_back(value.is_string() ? value.get<std::string>() : value.dump());
    }
    return absl::StrJoin(texts, "|");
  }
  if (type == "array") {
    const ordered_json* items = Member(schema, "items");
    return absl::StrCat("[", items ? TypeText(*items) : "any", "]");
  }
  return type.empty() ? "any" : type;
}

// Whether a number is a duration or a byte count, which may be written with their units.
unit::v1::Quantity QuantityOf(const ordered_json& schema) {
  const ordered_json* type = Member(schema, "type");
  const ordered_json* usual = Member(schema, "default");
  const std::string text = usual && usual->is_string() ? usual->get<std::string>() : "";
  if (TypeOf(schema) != "integer" || (text.empty() && !type->is_array())) return unit::v1::QUANTITY_UNSPECIFIED;
  if (!text.empty()) {
    return ParseQuantity(text, unit::v1::MILLISECONDS).ok() ? unit::v1::MILLISECONDS : unit::v1::BYTES;
  }
  const ordered_json* description = Member(schema, "description");
  const bool bytes = description && description->is_string() &&
                     absl::StrContains(description->get_ref<const std::string&>(), "bytes");
  return bytes ? unit::v1::BYTES : unit::v1::MILLISECONDS;
}

std::string ValueText(const ordered_json& schema) {
  const std::string type = TypeOf(schema);
  if (Member(schema, "enum")) return TypeText(schema);
  if (type == "boolean") return "";
  if (type == "string") return Member(schema, "contentEncoding") ? "@FILE" : "TEXT";
  if (type == "object") return "JSON";
  if (type == "array") {
    const ordered_json* items = Member(schema, "items");
    return items ? ValueText(*items) : "VALUE";
  }
  switch (QuantityOf(schema)) {
    case unit::v1::MILLISECONDS:
      return "TIME";
    case unit::v1::BYTES:
      return "SIZE";
    default:
      return type == "integer" ? "INTEGER" : type == "number" ? "NUMBER" : "VALUE";
  }
}

std::string LimitsText(const ordered_json& schema) {
  std::vector<std::string> limits;
  const unit::v1::Quantity quantity = QuantityOf(schema);
  const auto amount = [&](const ordered_json& number) {
    const bool plain = quantity == unit::v1::QUANTITY_UNSPECIFIED || !number.is_number_integer() || number == 0;
    return plain ? number.dump() : FormatQuantity(number.get<int64_t>(), quantity);
  };
  const ordered_json* least = Member(schema, "minimum");
  const ordered_json* most = Member(schema, "maximum");
  if (least && most) {
    limits.push_back(absl::StrCat(amount(*least), " to ", amount(*most)));
  } else if (least || most) {
    limits.push_back(absl::StrCat(least ? "at least " : "at most ", amount(least ? *least : *most)));
  }
  if (TypeOf(schema) == "array") {
    const ordered_json* items = Member(schema, "maxItems");
    limits.push_back(absl::StrCat("may be repeated", items ? absl::StrCat(", up to ", items->dump(), " times") : ""));
  }
  if (const ordered_json* usual = Member(schema, "default"); usual && *usual != "") {
    limits.push_back("default " + (usual->is_string() ? usual->get<std::string>() : usual->dump()));
  }
  return absl::StrJoin(limits, "; ");
}

}  // namespace

std::vector<std::string> TakePlainWords(const ordered_json& schema, std::vector<std::string>& words) {
  std::vector<std::string> plain, flags;
  for (size_t i = 0; i < words.size(); ++i) {
    if (words[i] == "--") {
      plain.insert(plain.end(), words.begin() + static_cast<long>(i) + 1, words.end());
      break;
    }
    if (!words[i].starts_with("--")) {
      plain.push_back(words[i]);
      continue;
    }
    flags.push_back(words[i]);
    if (words[i].find('=') != std::string::npos) continue;
    const std::string name = words[i].substr(2);
    const std::optional<Target> target = Find(schema, name);
    // A flag that is none is an error later; what follows it is taken for its value, not for a word.
    const bool switched =
        target ? TypeOf(*target->schema) == "boolean" : name.starts_with("no-") && Find(schema, name.substr(3));
    if (!switched && i + 1 < words.size() && !words[i + 1].starts_with("--")) flags.push_back(words[++i]);
  }
  words = std::move(flags);
  return plain;
}

bool HasField(const ordered_json& schema, const std::string& flag) { return Find(schema, flag).has_value(); }

absl::Status ApplyFlags(const ordered_json& schema, const std::vector<std::string>& words, ordered_json& input) {
  std::vector<std::string> lists;
  for (size_t i = 0; i < words.size(); ++i) {
    const std::string& word = words[i];
    if (!word.starts_with("--") || word.size() == 2) {
      return FlagError(absl::StrCat("'", word, "' is not a flag; write --name value"));
    }
    const size_t equals = word.find('=');
    const std::string flag = word.substr(2, equals == std::string::npos ? equals : equals - 2);
    std::optional<Target> target = Find(schema, flag);
    if (!target && flag.starts_with("no-") && equals == std::string::npos) {
      target = Find(schema, flag.substr(3));
      if (target && TypeOf(*target->schema) == "boolean") {
        if (absl::Status set = Set(*target, flag, "false", input, lists); !set.ok()) return set;
        continue;
      }
      target.reset();
    }
    if (!target) return Unknown(schema, flag);
    std::string value;
    if (equals != std::string::npos) {
      value = word.substr(equals + 1);
    } else if (TypeOf(*target->schema) == "boolean") {
      const bool given = i + 1 < words.size() && (words[i + 1] == "true" || words[i + 1] == "false");
      value = given ? words[++i] : "true";
    } else if (i + 1 < words.size()) {
      value = words[++i];
    } else {
      return FlagError(absl::StrCat(word, " needs a value"));
    }
    if (absl::Status set = Set(*target, flag, value, input, lists); !set.ok()) return set;
  }
  return absl::OkStatus();
}

std::vector<FlagHelp> FlagsOf(const ordered_json& schema) {
  std::vector<FlagHelp> flags;
  const ordered_json* properties = Member(schema, "properties");
  if (!properties || !properties->is_object()) return flags;
  const ordered_json* required = Member(schema, "required");
  for (const auto& [name, field] : properties->items()) {
    FlagHelp help{.flag = FlagName(name), .type = TypeText(field), .value = ValueText(field), .limits = LimitsText(field)};
    if (const ordered_json* text = Member(field, "description"); text && text->is_string()) {
      help.description = text->get<std::string>();
    }
    const ordered_json* items = Member(field, "items");
    if (const ordered_json* values = Member(items ? *items : field, "enum"); values && values->is_array()) {
      for (const ordered_json& value : *values) {
        if (value.is_string()) help.choices.push_back(value.get<std::string>());
      }
    }
    if (help.choices.empty() && TypeOf(field) == "boolean") help.choices = {"true", "false"};
    help.required = required && std::find(required->begin(), required->end(), name) != required->end();
    flags.push_back(std::move(help));
    const bool nested = TypeOf(field) == "object" && Member(field, "properties");
    if (!nested) continue;
    for (FlagHelp inner : FlagsOf(field)) {
      inner.flag = FlagName(name) + "." + inner.flag.substr(2);
      inner.required = false;
      flags.push_back(std::move(inner));
    }
  }
  return flags;
}

}  // namespace aima::cli
