#include "services/cli/completion.h"

#include <absl/strings/match.h>
#include <absl/strings/str_cat.h>
#include <absl/strings/str_split.h>

#include <algorithm>

#include "aima/config/v1/config.pb.h"
#include "libs/unit/value_lists.h"
#include "services/cli/commands.h"
#include "services/cli/doctor.h"
#include "services/cli/gateway_client.h"
#include "services/cli/keys.h"
#include "services/cli/logs.h"
#include "services/cli/man_pages.h"
#include "services/cli/schema_flags.h"
#include "services/cli/unit_description.h"

namespace aima::cli {
namespace {

using nlohmann::ordered_json;

// Somebody waits with a finger on the key.
constexpr absl::Duration kPatience = absl::Milliseconds(400);

class Completer {
 public:
  explicit Completer(Session& session) : session_(session) {}

  std::vector<Candidate> Of(std::vector<std::string> words, bool& files) {
    begun_ = words.empty() ? "" : words.back();
    if (!words.empty()) words.pop_back();
    const std::optional<FlagInfo> open = TakeGlobalFlags(words);
    if (open) {
      Values(open->values);
    } else {
      Word(words);
    }
    files = files_;
    std::erase_if(found_, [this](const Candidate& candidate) { return !absl::StartsWith(candidate.word, begun_); });
    return std::move(found_);
  }

 private:
  void Add(std::string word, std::string what = "") {
    for (const Candidate& known : found_) {
      if (known.word == word) return;
    }
    found_.push_back({std::move(word), std::move(what)});
  }

  // Takes the global flags out of `words`; the one whose value is begun, if it is one.
  std::optional<FlagInfo> TakeGlobalFlags(std::vector<std::string>& words) {
    std::optional<FlagInfo> open;
    if (!words.empty()) open = Find(GlobalFlags(), words.back());
    if (open && open->value.empty()) open.reset();
    if (open) words.pop_back();
    Arguments arguments(words);
    const absl::StatusOr<Globals> globals = TakeGlobals(arguments);
    if (globals.ok()) session_.globals = *globals;
    words = arguments.words();
    return open;
  }

  static std::optional<FlagInfo> Find(const std::vector<FlagInfo>& flags, const std::string& word) {
    for (const FlagInfo& flag : flags) {
      if (word == "--" + flag.name || (flag.letter && word == std::string("-") + flag.letter)) return flag;
    }
    return std::nullopt;
  }

  void Word(const std::vector<std::string>& words) {
    if (words.empty()) {
      Values("command");
      if (begun_.starts_with('-')) Flags(GlobalFlags());
      return;
    }
    const Command* command = FindCommand(words[0]);
    if (!command || command->hidden) return;
    size_t used = 1;
    std::string unit = command->unit;
    if (!command->verbs.empty()) {
      if (words.size() == 1) {
        for (const Command& verb : command->verbs) Add(verb.name, verb.summary);
        if (begun_.starts_with('-')) Flags(GlobalFlags());
        return;
      }
      const auto verb = std::find_if(command->verbs.begin(), command->verbs.end(),
                                     [&](const Command& candidate) { return candidate.name == words[1]; });
      if (verb == command->verbs.end()) return;
      command = &*verb;
      used = 2;
    }
    if (command->name == "exec" && words.size() > 1) unit = words[1];
    const ordered_json description = unit.empty() ? ordered_json() : DescribeLocally(unit);
    fields_ = description.is_object() ? FlagsOf(description["input_schema"]) : std::vector<FlagHelp>();
    unit_ = unit;
    std::erase_if(fields_, [&](const FlagHelp& flag) {
      const auto in = [&flag](const std::vector<std::string>& fields) {
        return std::any_of(fields.begin(), fields.end(),
                           [&](const std::string& field) { return flag.flag == FlagOf(field); });
      };
      return in(command->fields) || in(command->without);
    });
    Rest(*command, {words.begin() + static_cast<long>(used), words.end()});
  }

  static std::string FlagOf(std::string field) {
    std::replace(field.begin(), field.end(), '_', '-');
    return "--" + field;
  }

  // What follows the command: a value of the flag before, a flag, or the next word.
  void Rest(const Command& command, const std::vector<std::string>& words) {
    if (const size_t equals = begun_.find('='); begun_.starts_with("--") && equals != std::string::npos) {
      const std::string flag = begun_.substr(0, equals);
      begun_ = begun_.substr(equals + 1);
      ValuesOf(command, flag);
      for (Candidate& candidate : found_) candidate.word = absl::StrCat(flag, "=", candidate.word);
      begun_ = absl::StrCat(flag, "=", begun_);
      return;
    }
    size_t position = 0;
    for (size_t i = 0; i < words.size(); ++i) {
      if (!words[i].starts_with('-')) {
        ++position;
      } else if (TakesValue(command, words[i]) && words[i].find('=') == std::string::npos) {
        if (i + 1 == words.size()) return ValuesOf(command, words[i]);
        ++i;
      }
    }
    if (begun_.starts_with('-')) {
      Flags(command.flags);
      for (const FlagHelp& field : fields_) {
        if (field.flag != "--idempotency-key") Add(field.flag, FirstSentence(field.description));
      }
      Flags(GlobalFlags());
      return;
    }
    if (!command.takes.empty()) Values(command.takes[std::min(position, command.takes.size() - 1)]);
    if (found_.empty() && !files_ && command.name == "exec" && position > 0) {
      for (const FlagHelp& field : fields_) {
        if (field.flag != "--idempotency-key") Add(field.flag, FirstSentence(field.description));
      }
    }
  }

  bool TakesValue(const Command& command, const std::string& word) const {
    if (const std::optional<FlagInfo> flag = Find(command.flags, word)) return !flag->value.empty();
    for (const FlagHelp& field : fields_) {
      if (field.flag == word) return field.type != "boolean";
    }
    return false;
  }

  void ValuesOf(const Command& command, const std::string& word) {
    if (const std::optional<FlagInfo> flag = Find(command.flags, word)) return Values(flag->values);
    std::string name = word;
    std::replace(name.begin(), name.end(), '_', '-');
    for (const FlagHelp& field : fields_) {
      if (field.flag != name) continue;
      for (const std::string& choice : field.choices) Add(choice);
      std::string proto_field = name.substr(2);
      std::replace(proto_field.begin(), proto_field.end(), '-', '_');
      if (field.choices.empty()) Values(absl::StrCat(unit_, "#", proto_field));
      if (proto_field == "path" || proto_field.ends_with("_path") || proto_field == "audio" || proto_field == "image")
        files_ = true;
    }
  }

  void Flags(const std::vector<FlagInfo>& flags) {
    for (const FlagInfo& flag : flags) Add("--" + flag.name, flag.what);
  }

  void Values(const std::string& source) {
    if (source.empty()) return;
    if (source.find('|') != std::string::npos) {
      for (const absl::string_view word : absl::StrSplit(source, '|')) Add(std::string(word));
    } else if (source == "file") {
      files_ = true;
    } else if (source == "command" || source == "help") {
      for (const Command& command : Commands()) {
        if (!command.hidden) Add(command.name, command.summary);
      }
      for (const Topic& topic : Topics()) {
        if (source == "help") Add(topic.name, topic.title);
      }
    } else if (source == "unit") {
      if (const Catalogue* catalogue = LocalCatalogue()) {
        for (const UnitInfo& unit : catalogue->units()) {
          if (unit.options.access() != unit::v1::INTERNAL) Add(unit.name, FirstSentence(unit.description));
        }
      }
    } else if (source == "uri") {
      Addresses();
    } else if (source == "log") {
      for (const LogPlace& place : LogsOf(session_.globals.data_dir))
        Add(place.name, place.engine ? "engine" : "service");
    } else if (source == "instance") {
      Values("engine.start#instance_id");
    } else if (source == "event") {
      if (const Catalogue* catalogue = LocalCatalogue()) {
        for (const EventInfo& event : catalogue->events()) {
          Add(event.domain);
          Add(event.type, FirstSentence(event.description));
        }
      }
    } else if (source == "key") {
      const absl::StatusOr<std::vector<KeyEntry>> keys = KeyFile(session_.globals.data_dir).List();
      for (const KeyEntry& key : keys.ok() ? *keys : std::vector<KeyEntry>()) {
        Add(key.id, absl::StrCat(key.role, " ", key.name));
      }
    } else if (source == "check") {
      for (const std::string& name : CheckNames()) Add(name);
    } else if (source == "page") {
      for (const std::string& name : ManPageNames()) Add(name);
    } else if (source == "section" || source == "config" || source == "config=") {
      Settings(source);
    } else {
      Live(source);
    }
  }

  void Settings(const std::string& source) {
    const auto& type = *config::v1::Config::descriptor();
    for (int i = 0; i < type.field_count(); ++i) {
      const auto& section = *type.field(i);
      if (source == "section") Add(section.name());
      for (int k = 0; source != "section" && k < section.message_type()->field_count(); ++k) {
        Add(absl::StrCat(section.name(), ".", section.message_type()->field(k)->name(),
                         source == "config=" ? "=" : ""));
      }
    }
  }

  // Addresses of resources; their variables are filled in from the live cluster.
  void Addresses() {
    const Catalogue* catalogue = LocalCatalogue();
    if (!catalogue) return;
    for (const ViewInfo& view : catalogue->views()) {
      const size_t open = view.uri.find('{'), close = view.uri.find('}');
      if (open == std::string::npos) {
        Add(view.uri, FirstSentence(view.unit->description));
        continue;
      }
      const std::string before = view.uri.substr(0, open);
      if (!absl::StartsWith(begun_, before)) {
        Add(before, FirstSentence(view.unit->description));
        continue;
      }
      const std::string after = view.uri.substr(close + 1);
      for (const std::string& value : ListedValues(*view.unit, view.uri.substr(open + 1, close - open - 1))) {
        Add(absl::StrCat(before, value, after));
      }
    }
  }

  // "model.delete#model_id": what the field can be now.
  void Live(const std::string& source) {
    const size_t hash = source.find('#');
    const Catalogue* catalogue = LocalCatalogue();
    const UnitInfo* unit = catalogue ? catalogue->Find(source.substr(0, hash)) : nullptr;
    if (!unit || hash == std::string::npos) return;
    for (std::string& value : ListedValues(*unit, source.substr(hash + 1))) Add(std::move(value));
  }

  std::vector<std::string> ListedValues(const UnitInfo& unit, const std::string& field) {
    const ValueList list = FindValueList(*LocalCatalogue(), unit, field);
    std::vector<std::string> values;
    if (!list.unit) return values;
    const auto client = GatewayClient::Connect(session_.loop, session_.globals);
    if (!client.ok()) return values;
    const absl::StatusOr<ordered_json> answer =
        Await(session_.loop, (*client)->Get("query/" + list.unit->name, kPatience));
    if (!answer.ok()) return values;
    ForEachValue(list, *answer, [&](std::string value) { values.push_back(std::move(value)); });
    return values;
  }

  Session& session_;
  std::string begun_, unit_;
  std::vector<FlagHelp> fields_;
  std::vector<Candidate> found_;
  bool files_ = false;
};

}  // namespace

std::vector<Candidate> Candidates(Session& session, std::vector<std::string> words, bool& files) {
  return Completer(session).Of(std::move(words), files);
}

}  // namespace aima::cli
