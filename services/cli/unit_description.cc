#include "services/cli/unit_description.h"

#include <absl/strings/str_cat.h>
#include <absl/strings/str_join.h>
#include <absl/strings/str_replace.h>

#include <algorithm>

#include "libs/unit/json_codec.h"
#include "libs/unit/json_schema.h"
#include "services/cli/environment.h"
#include "services/cli/table.h"
#include "services/cli/terminal.h"

namespace aima::cli {

using nlohmann::ordered_json;

const Catalogue* LocalCatalogue() {
  static const std::unique_ptr<Catalogue> catalogue = [] {
    auto loaded = Catalogue::Load(FindPlaces().share + "/units.binpb");
    return loaded.ok() ? std::move(*loaded) : nullptr;
  }();
  return catalogue.get();
}

ordered_json DescribeLocally(const std::string& name) {
  const Catalogue* catalogue = LocalCatalogue();
  const UnitInfo* unit = catalogue ? catalogue->Find(name) : nullptr;
  if (!unit || unit->options.access() == unit::v1::INTERNAL) return nullptr;
  ordered_json json = {
      {"name", unit->name},
      {"kind", unit->command() ? "command" : "query"},
      {"access", EnumText(*unit::v1::Access_descriptor()->FindValueByNumber(unit->options.access()))},
      {"description", unit->description},
      {"streaming", unit->stream != nullptr},
      {"input_schema", SchemaOf(*unit->method().input_type())},
      {"errors", std::vector<std::string>(unit->options.errors().begin(), unit->options.errors().end())},
      {"examples", ordered_json::array()},
  };
  for (const auto& example : unit->options.examples()) {
    json["examples"].push_back(
        {{"title", example.title()}, {"input", ordered_json::parse(example.input(), nullptr, false)}});
  }
  return json;
}

std::string Text(const ordered_json& object, const char* key) {
  if (!object.is_object()) return "";
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : "";
}

std::string FirstSentence(const std::string& text) {
  const size_t end = text.find(". ");
  const std::string sentence = end == std::string::npos ? text : text.substr(0, end + 1);
  return sentence.substr(0, sentence.find('\n'));
}

std::vector<const UnitInfo*> UnitsOf(const std::string& noun) {
  std::vector<const UnitInfo*> found;
  const Catalogue* catalogue = LocalCatalogue();
  if (!catalogue) return found;
  for (const UnitInfo& unit : catalogue->units()) {
    if (unit.options.access() != unit::v1::INTERNAL && unit.name.starts_with(noun + ".")) found.push_back(&unit);
  }
  return found;
}

const google::protobuf::Descriptor* OutputTypeOf(const std::string& unit, bool stream) {
  const Catalogue* catalogue = LocalCatalogue();
  const UnitInfo* info = catalogue ? catalogue->Find(unit) : nullptr;
  const google::protobuf::MethodDescriptor* method = info ? (stream ? info->stream : info->unary) : nullptr;
  return method ? method->output_type() : nullptr;
}

std::string FlagText(const FlagHelp& flag) {
  std::vector<std::string> facts;
  if (flag.required) facts.emplace_back("required");
  if (!flag.limits.empty()) facts.push_back(flag.limits);
  const std::string text = absl::StrReplaceAll(flag.description, {{"\n", " "}});
  if (facts.empty()) return text;
  return absl::StrCat(text, text.empty() ? "" : " ", "[", absl::StrJoin(facts, "; "), "]");
}

std::vector<std::vector<std::string>> FlagRows(const std::vector<FlagHelp>& flags) {
  std::vector<std::vector<std::string>> rows;
  for (const FlagHelp& flag : flags) {
    rows.push_back({absl::StrCat("  ", flag.flag, flag.value.empty() ? "" : " ", flag.value), FlagText(flag)});
  }
  return rows;
}

std::string UnitHelp(const ordered_json& unit) {
  const auto heading = [](const char* text) { return absl::StrCat("\n", Painted(text, Colour::kBold, 1), "\n"); };
  std::string text = absl::StrCat(Painted(Text(unit, "name"), Colour::kBold, 1), "  (", Text(unit, "kind"),
                                  ", needs the role ", Text(unit, "access"), ")\n\n", Text(unit, "description"), "\n");
  const bool streaming = unit.value("streaming", false);
  std::vector<FlagHelp> flags = FlagsOf(unit.value("input_schema", ordered_json::object()));
  // On the command line --stream is what the line below says.
  if (streaming) std::erase_if(flags, [](const FlagHelp& flag) { return flag.flag == "--stream"; });
  if (!flags.empty()) absl::StrAppend(&text, heading("Flags:"), TwoColumns(FlagRows(flags)));
  if (streaming) {
    absl::StrAppend(&text, "\nWith --stream the output is printed as it arrives.\n");
  }
  const ordered_json examples = unit.value("examples", ordered_json::array());
  if (!examples.empty()) absl::StrAppend(&text, heading("Examples:"));
  for (const ordered_json& example : examples) {
    if (!example.is_object()) continue;
    const ordered_json input = example.value("input", ordered_json::object());
    absl::StrAppend(&text, "  # ", Text(example, "title"), "\n  aima exec ", Text(unit, "name"), " --input '",
                    input.is_string() ? input.get<std::string>() : input.dump(), "'\n");
  }
  std::vector<std::string> names;
  for (const ordered_json& error : unit.value("errors", ordered_json::array())) {
    names.push_back(error.is_string() ? error.get<std::string>()
                                      : Text(error, error.contains("code") ? "code" : "name"));
  }
  if (!names.empty()) absl::StrAppend(&text, "\nErrors: ", absl::StrJoin(names, ", "), "\n");
  return text;
}

}  // namespace aima::cli
