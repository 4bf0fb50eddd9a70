#include "services/cli/output.h"

#include <absl/strings/ascii.h>
#include <absl/strings/match.h>
#include <absl/strings/str_cat.h>
#include <absl/strings/str_replace.h>

#include <algorithm>
#include <vector>

#include "libs/unit/catalogue.h"
#include "libs/unit/quantity.h"
#include "services/cli/progress_display.h"
#include "services/cli/table.h"
#include "services/cli/terminal.h"

namespace aima::cli {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using nlohmann::ordered_json;

std::string Dump(const ordered_json& json, int indent = -1) {
  return json.dump(indent, ' ', false, ordered_json::error_handler_t::replace);
}

// What is known of a member; null if it is nothing.
const FieldDescriptor* FieldOf(const Descriptor* type, const std::string& key) {
  return type ? type->FindFieldByName(key) : nullptr;
}
// The message that a member is, or each of its items; null if it is none. Keys of a map are no fields.
const Descriptor* TypeOf(const FieldDescriptor* field) {
  return field && !field->is_map() ? field->message_type() : nullptr;
}

// A value in a table cell, on one line. Byte counts and times are written as people say them.
std::string Cell(const std::string& key, const ordered_json& value, const FieldDescriptor* field) {
  if (value.is_null()) return "";
  const unit::v1::Quantity quantity = field ? RulesOf(*field).quantity() : unit::v1::QUANTITY_UNSPECIFIED;
  if (value.is_number() && quantity == unit::v1::BYTES) return BytesText(value.get<double>());
  if (value.is_number_integer() && quantity == unit::v1::MILLISECONDS) {
    return FormatQuantity(value.get<int64_t>(), quantity);
  }
  if (value.is_number() && (key == "size" || absl::EndsWith(key, "_bytes"))) return BytesText(value.get<double>());
  std::string text = value.is_string() ? value.get<std::string>() : Dump(value);
  if (value.is_string() && (absl::EndsWith(key, "_time") || absl::EndsWith(key, "_at"))) text = RelativeTime(text);
  // What a model or a file said must not drive the terminal.
  return Harmless(std::move(text), /*one_line=*/true);
}

bool IsTable(const ordered_json& value) {
  return value.is_array() && !value.empty() &&
         std::all_of(value.begin(), value.end(), [](const ordered_json& item) { return item.is_object(); });
}

std::string Rows(const ordered_json& list, const Descriptor* type) {
  std::vector<std::string> columns;
  for (const ordered_json& item : list) {
    for (const auto& [key, value] : item.items()) {
      if (std::find(columns.begin(), columns.end(), key) == columns.end()) columns.push_back(key);
    }
  }
  // A column that says nothing is left out.
  std::erase_if(columns, [&list](const std::string& column) {
    return std::all_of(list.begin(), list.end(), [&column](const ordered_json& item) {
      const auto found = item.find(column);
      return found == item.end() || found->is_null() || *found == "" ||
             ((found->is_array() || found->is_object()) && found->empty());
    });
  });
  // What is nested cannot be read in a cell of a terminal; -o wide shows it, and so does a pipe.
  if (TableStyle::ForOutput().width > 0) {
    const auto nested = [&list](const std::string& column) {
      return std::any_of(list.begin(), list.end(), [&column](const ordered_json& item) {
        const auto found = item.find(column);
        return found != item.end() &&
               (found->is_object() || (found->is_array() && !found->empty() && found->front().is_structured()));
      });
    };
    if (!std::all_of(columns.begin(), columns.end(), nested)) std::erase_if(columns, nested);
  }
  std::vector<std::vector<std::string>> rows(1);
  for (const std::string& column : columns) rows[0].push_back(absl::AsciiStrToUpper(column));
  for (const ordered_json& item : list) {
    std::vector<std::string>& row = rows.emplace_back();
    for (const std::string& column : columns) {
      row.push_back(Cell(column, item.value(column, ordered_json()), FieldOf(type, column)));
    }
  }
  return FormatTable(rows);
}

struct NamedTable {
  std::string name;
  const ordered_json* list;
  const Descriptor* type;
};

// Lines of names and values; nested objects are written with dotted names.
void Lines(const ordered_json& object, const Descriptor* type, const std::string& prefix,
           std::vector<std::vector<std::string>>& lines, std::vector<NamedTable>& tables) {
  for (const auto& [key, value] : object.items()) {
    const FieldDescriptor* field = FieldOf(type, key);
    if (IsTable(value)) {
      tables.push_back({prefix + key, &value, TypeOf(field)});
    } else if (value.is_object() && !value.empty()) {
      Lines(value, TypeOf(field), prefix + key + ".", lines, tables);
    } else {
      lines.push_back({prefix + key, Cell(key, value, field)});
    }
  }
}

std::string Table(const ordered_json& value, const Descriptor* type) {
  if (IsTable(value)) return Rows(value, type);
  if (value.is_string()) return ForOutput(value.get<std::string>()) + "\n";
  if (!value.is_object()) return Dump(value) + "\n";
  std::vector<std::vector<std::string>> lines;
  std::vector<NamedTable> tables;
  Lines(value, type, "", lines, tables);
  if (lines.empty() && tables.empty()) return "ok\n";
  std::string text = FormatTable(lines, TableStyle::ForOutput(/*heading=*/false));
  for (const NamedTable& table : tables) {
    if (!text.empty()) absl::StrAppend(&text, "\n", tables.size() > 1 ? table.name + ":\n" : "");
    absl::StrAppend(&text, Rows(*table.list, table.type));
  }
  return text;
}

// True for text that YAML would read as something other than this very text, or not at all.
bool NeedsQuotes(const std::string& text) {
  if (text.empty() || text.front() == ' ' || text.back() == ' ') return true;
  if (!std::all_of(text.begin(), text.end(), [](char c) {
        return absl::ascii_isalnum(static_cast<unsigned char>(c)) ||
               absl::StrContains("_-./ ", absl::string_view(&c, 1));
      })) {
    return true;
  }
  if (!absl::ascii_isalpha(static_cast<unsigned char>(text.front())) && text.front() != '/') return true;
  for (const char* word : {"true", "false", "null", "yes", "no", "on", "off", "y", "n"}) {
    if (absl::EqualsIgnoreCase(text, word)) return true;
  }
  return false;
}

std::string YamlScalar(const ordered_json& value) {
  if (value.is_string() && !NeedsQuotes(value.get<std::string>())) return value.get<std::string>();
  return Dump(value);
}

// `text` holds the line so far: "key:" or "-".
void Yaml(const ordered_json& value, int depth, std::string& text) {
  const std::string indent(static_cast<size_t>(depth) * 2, ' ');
  if ((value.is_object() || value.is_array()) && !value.empty()) {
    bool first = text.ends_with("-");  // the first entry of an object in a list stands behind the dash
    for (const auto& [key, item] : value.items()) {
      if (value.is_array()) {
        absl::StrAppend(&text, "\n", indent, "-");
      } else {
        absl::StrAppend(&text, first ? " " : "\n" + indent, NeedsQuotes(key) ? Dump(key) : key, ":");
      }
      first = false;
      Yaml(item, depth + 1, text);
    }
  } else {
    absl::StrAppend(&text, " ", YamlScalar(value));
  }
}

// What names an item: its id, else what ends with _id, else its name, else its first text.
std::string NameOf(const ordered_json& item) {
  if (item.is_string()) return item.get<std::string>();
  if (!item.is_object()) return Dump(item);
  for (const char* key : {"id", "name"}) {
    if (const auto found = item.find(key); found != item.end() && found->is_string()) return found->get<std::string>();
    if (key[0] != 'i') continue;
    for (const auto& [other, value] : item.items()) {
      if (value.is_string() && absl::EndsWith(other, "_id")) return value.get<std::string>();
    }
  }
  for (const auto& [key, value] : item.items()) {
    if (value.is_string()) return value.get<std::string>();
  }
  return Dump(item);
}

// The only list of an object; null if there is none, or several.
const ordered_json* OnlyList(const ordered_json& value) {
  if (value.is_array()) return &value;
  if (!value.is_object()) return nullptr;
  const ordered_json* list = nullptr;
  for (const auto& [key, item] : value.items()) {
    if (!item.is_array()) continue;
    if (list) return nullptr;
    list = &item;
  }
  return list;
}

std::string Names(const ordered_json& value) {
  const ordered_json* list = OnlyList(value);
  if (!list || (value.is_object() && value.contains("id"))) return NameOf(value) + "\n";
  std::string text;
  for (const ordered_json& item : *list) absl::StrAppend(&text, NameOf(item), "\n");
  return text;
}

std::string Lines(const ordered_json& value) {
  const ordered_json* list = OnlyList(value);
  if (!list) return Dump(value) + "\n";
  std::string text;
  for (const ordered_json& item : *list) absl::StrAppend(&text, Dump(item), "\n");
  return text;
}

}  // namespace

std::string Format(const ordered_json& value, const std::string& format, const Descriptor* type) {
  if (format == "json") return Dump(value, 2) + "\n";
  if (format == "ndjson") return Lines(value);
  if (format == "name") return Names(value);
  if (format == "yaml") {
    std::string text;
    Yaml(value, 0, text);
    if (!text.empty() && (text.front() == '\n' || text.front() == ' ')) text.erase(0, 1);
    return text + "\n";
  }
  return Table(value, type);
}

}  // namespace aima::cli
