#include "services/cli/man_pages.h"

#include <absl/strings/ascii.h>
#include <absl/strings/numbers.h>
#include <absl/strings/str_cat.h>
#include <absl/strings/str_join.h>
#include <absl/strings/str_replace.h>
#include <absl/strings/str_split.h>
#include <absl/time/clock.h>

#include <algorithm>
#include <set>

#include "libs/base/nearest.h"
#include "services/cli/commands.h"
#include "services/cli/environment.h"
#include "services/cli/schema_flags.h"
#include "services/cli/unit_description.h"

namespace aima::cli {
namespace {

using nlohmann::ordered_json;

// Text as roff prints it: no character of it is a request or an escape, and a hyphen can be copied as one.
std::string Escaped(std::string_view text) {
  std::string out = absl::StrReplaceAll(absl::string_view(text.data(), text.size()), {{"\\", "\\e"}, {"-", "\\-"}});
  if (!out.empty() && (out[0] == '.' || out[0] == '\'')) out.insert(0, "\\&");
  return out;
}

// In running text a hyphen may stay one; flags and code are between backquotes.
std::string Prose(const std::string& text) {
  std::string out;
  bool code = false;
  for (const absl::string_view piece : absl::StrSplit(text, '`')) {
    if (piece.empty()) {
      code = !code;
      continue;
    }
    std::string part = Escaped(std::string_view(piece.data(), piece.size()));
    out += code ? absl::StrCat("\\fB", part, "\\fR") : part;
    code = !code;
  }
  if (!out.empty() && (out[0] == '.' || out[0] == '\'')) out.insert(0, "\\&");
  return out;
}

// "model" of "model.get": as people look for it, whatever process serves it.
std::string NounOf(const std::string& name) { return name.substr(0, name.find('.')); }

class Page {
 public:
  Page(const std::string& name, int section, const std::string& summary) : name_(name), section_(section) {
    // A build that is to be the same tomorrow says what day it is.
    int64_t seconds = absl::ToUnixSeconds(absl::Now());
    const std::string fixed = Variable("SOURCE_DATE_EPOCH");
    if (!fixed.empty() && !absl::SimpleAtoi(fixed, &seconds)) seconds = absl::ToUnixSeconds(absl::Now());
    const std::string date = absl::FormatTime("%Y-%m-%d", absl::FromUnixSeconds(seconds), absl::UTCTimeZone());
    text_ = absl::StrCat(".TH ", absl::AsciiStrToUpper(Escaped(name)), " ", section, " ", date, " \"AIMA ",
                         AIMA_VERSION, "\" AIMA\n");
    Section("NAME");
    absl::StrAppend(&text_, Escaped(name), " \\- ", Prose(summary), "\n");
  }

  void Section(const std::string& title) {
    absl::StrAppend(&text_, ".SH ", absl::AsciiStrToUpper(Escaped(title)), "\n");
    fresh_ = true;
  }
  void Subsection(const std::string& title) {
    absl::StrAppend(&text_, ".SS ", Escaped(title), "\n");
    fresh_ = true;
  }
  void Paragraph(const std::string& text) {
    for (const absl::string_view part : absl::StrSplit(text, '\n', absl::SkipEmpty())) {
      if (!fresh_) text_ += ".PP\n";
      fresh_ = false;
      absl::StrAppend(&text_, Prose(std::string(part)), "\n");
    }
  }
  // A term in bold, and what it means.
  void Item(const std::string& term, const std::string& rest, const std::string& text) {
    absl::StrAppend(&text_, ".TP\n\\fB", Escaped(term), "\\fR", rest.empty() ? "" : " \\fI" + Escaped(rest) + "\\fR",
                    "\n", text.empty() ? "\\&" : Prose(absl::StrReplaceAll(text, {{"\n", " "}})), "\n");
    fresh_ = false;
  }
  void Code(const std::vector<std::string>& lines) {
    if (lines.empty()) return;
    if (!fresh_) text_ += ".PP\n";
    fresh_ = false;
    absl::StrAppend(&text_, ".nf\n.RS 4\n");
    for (const std::string& line : lines) absl::StrAppend(&text_, Escaped(line), "\n");
    absl::StrAppend(&text_, ".RE\n.fi\n");
  }
  void Flags(const std::vector<FlagInfo>& flags) {
    for (const FlagInfo& flag : flags) {
      Item(absl::StrCat(flag.letter ? absl::StrCat("-", std::string(1, flag.letter), ", ") : "", "--", flag.name),
           flag.value, flag.what);
    }
  }
  void SeeAlso(const std::vector<std::pair<std::string, int>>& pages) {
    Section("SEE ALSO");
    std::vector<std::string> names;
    for (const auto& [name, section] : pages) {
      if (name != name_ || section != section_)
        names.push_back(absl::StrCat("\\fB", Escaped(name), "\\fR(", section, ")"));
    }
    absl::StrAppend(&text_, absl::StrJoin(names, ",\n"), "\n");
  }

  ManPage Done() && { return {absl::StrCat("man", section_, "/", name_, ".", section_), std::move(text_)}; }

 private:
  const std::string name_;
  const int section_;
  std::string text_;
  bool fresh_ = true;  // nothing stands below the heading yet
};

// The nouns that units begin with: each has a page.
std::set<std::string> Nouns() {
  std::set<std::string> nouns;
  if (const Catalogue* catalogue = LocalCatalogue()) {
    for (const UnitInfo& unit : catalogue->units()) {
      if (unit.options.access() != unit::v1::INTERNAL) nouns.insert(NounOf(unit.name));
    }
  }
  return nouns;
}

void UnitFlags(const std::vector<FlagHelp>& flags, Page& page) {
  for (const FlagHelp& flag : flags) page.Item(flag.flag, flag.value, FlagText(flag));
}

ManPage MainPage() {
  Page page("aima", 1, "run AI models on your own machines");
  page.Section("Synopsis");
  page.Paragraph("`aima` COMMAND [FLAGS]");
  page.Section("Description");
  page.Paragraph(
      "Starts and drives a cluster of small services that finds the hardware, keeps models, runs inference engines and "
      "answers over HTTP, gRPC and this command line. Everything that the cluster can do is a unit, such as "
      "`model.import`; `aima units` lists them and `aima exec` runs any of them. The other commands are shorter ways "
      "to "
      "do what is done every day.");
  std::string group;
  for (const Command& command : Commands()) {
    if (command.hidden) continue;
    if (command.group != group) page.Section(command.group);
    group = command.group;
    page.Item("aima " + command.name, command.usage, command.summary);
  }
  page.Section("Flags of every command");
  page.Flags(GlobalFlags());
  for (const Topic& topic : Topics()) {
    page.Section(topic.title);
    page.Paragraph(topic.text);
  }
  std::vector<std::pair<std::string, int>> others;
  for (const Command& command : Commands()) {
    if (!command.hidden) others.emplace_back("aima-" + command.name, 1);
  }
  for (const std::string& noun : Nouns()) others.emplace_back("aima-" + noun, 7);
  page.SeeAlso(others);
  return std::move(page).Done();
}

ManPage CommandPage(const Command& command) {
  Page page("aima-" + command.name, 1, command.summary);
  page.Section("Synopsis");
  page.Paragraph(absl::StrCat("`aima ", command.name, "` ", command.usage));
  const ordered_json unit = command.unit.empty() ? ordered_json() : DescribeLocally(command.unit);
  if (!command.details.empty() || unit.is_object()) {
    page.Section("Description");
    page.Paragraph(command.details);
    if (unit.is_object()) {
      page.Paragraph(absl::StrCat("It runs the unit `", command.unit, "`:"));
      page.Paragraph(Text(unit, "description"));
    }
  }
  if (!command.verbs.empty()) page.Section("Commands");
  for (const Command& verb : command.verbs) {
    page.Item(absl::StrCat("aima ", command.name, " ", verb.name), verb.usage, verb.summary);
    page.Flags(verb.flags);
  }
  if (!command.flags.empty() || unit.is_object()) page.Section("Flags");
  page.Flags(command.flags);
  UnitFlags(FieldFlags(command), page);
  page.Section("Flags of every command");
  page.Flags(GlobalFlags());
  if (!command.examples.empty()) page.Section("Examples");
  std::vector<std::string> lines;
  for (const Example& example : command.examples) {
    lines.push_back(absl::StrCat(example.line, example.what.empty() ? "" : "   # " + example.what));
  }
  page.Code(lines);
  page.Section("Exit status");
  page.Paragraph(Topics()[0].text);
  std::vector<std::pair<std::string, int>> others = {{"aima", 1}};
  if (!command.unit.empty()) others.emplace_back("aima-" + NounOf(command.unit), 7);
  page.SeeAlso(others);
  return std::move(page).Done();
}

ManPage NounPage(const std::string& noun) {
  const Catalogue& catalogue = *LocalCatalogue();
  Page page("aima-" + noun, 7, absl::StrCat("units that begin with ", noun));
  page.Section("Synopsis");
  page.Paragraph(absl::StrCat("`aima exec ` ", noun, ".UNIT [FLAGS]"));
  page.Section("Units");
  std::set<std::string> reasons;
  for (const UnitInfo* found : UnitsOf(noun)) {
    const UnitInfo& info = *found;
    const ordered_json unit = DescribeLocally(info.name);
    page.Subsection(info.name);
    page.Paragraph(info.description);
    page.Paragraph(absl::StrCat("A ", Text(unit, "kind"), "; needs the role ", Text(unit, "access"), ".",
                                info.stream ? " With --stream its output comes as it is made." : ""));
    std::vector<FlagHelp> flags = FlagsOf(unit["input_schema"]);
    std::erase_if(flags, [&info](const FlagHelp& flag) {
      return flag.flag == "--idempotency-key" || (info.stream && flag.flag == "--stream");
    });
    UnitFlags(flags, page);
    std::vector<std::string> lines;
    for (const ordered_json& example : unit["examples"]) {
      lines.push_back(absl::StrCat("# ", Text(example, "title")));
      lines.push_back(absl::StrCat("aima exec ", info.name, " --input '", example["input"].dump(), "'"));
    }
    page.Code(lines);
    reasons.insert(info.options.errors().begin(), info.options.errors().end());
  }
  bool any = false;
  for (const ViewInfo& view : catalogue.views()) {
    if (NounOf(view.unit->name) != noun) continue;
    if (!any) page.Section("Resources");
    any = true;
    page.Item(view.uri, "", absl::StrCat("`aima watch` shows it: what ", view.unit->name, " answers."));
  }
  any = false;
  for (const EventInfo& event : catalogue.events()) {
    if (NounOf(event.type) != noun) continue;
    if (!any) page.Section("Events");
    any = true;
    page.Item(event.type, "", event.description);
  }
  any = false;
  for (const ReasonInfo& reason : catalogue.reasons()) {
    if (!reasons.contains(reason.name)) continue;
    if (!any) page.Section("Errors");
    any = true;
    page.Item(reason.name, "", absl::StrCat(reason.description, " ", InCommands(reason.options.remedy())));
  }
  page.SeeAlso({{"aima", 1}, {"aima-exec", 1}});
  return std::move(page).Done();
}

}  // namespace

std::vector<std::string> ManPageNames() {
  std::vector<std::string> names = {"aima"};
  for (const std::string& name : CommandNames()) names.push_back(name);
  for (const std::string& noun : Nouns()) {
    if (!FindCommand(noun)) names.push_back(noun);
  }
  return names;
}

absl::StatusOr<ManPage> ManPageOf(const std::string& given) {
  std::string name = given.starts_with("aima-") ? given.substr(5) : given;
  if (name == "aima" || name.empty()) return MainPage();
  if (const Command* command = FindCommand(name); command && !command->hidden) return CommandPage(*command);
  if (Nouns().contains(name)) return NounPage(name);
  for (const Topic& topic : Topics()) {
    if (topic.name == name) return MainPage();  // which holds them all
  }
  const UnitInfo* unit = LocalCatalogue() ? LocalCatalogue()->Find(name) : nullptr;
  if (unit && Nouns().contains(NounOf(name))) return NounPage(NounOf(name));
  const std::vector<std::string> near = Nearest(name, ManPageNames(), 2);
  return absl::NotFoundError(absl::StrCat("there is no page ", given,
                                          near.empty() ? "" : "; did you mean " + absl::StrJoin(near, " or ") + "?"));
}

}  // namespace aima::cli
