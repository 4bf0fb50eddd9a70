// aima exec, aima units: any unit from the command line.
#include <absl/strings/escaping.h>
#include <absl/strings/str_cat.h>
#include <unistd.h>

#include <algorithm>
#include <iostream>
#include <iterator>

#include "libs/base/status_macros.h"
#include "services/cli/commands.h"
#include "services/cli/files.h"
#include "services/cli/gateway_client.h"
#include "services/cli/output.h"
#include "services/cli/schema_flags.h"
#include "services/cli/table.h"
#include "services/cli/unit_call.h"
#include "services/cli/unit_description.h"

namespace aima::cli {
namespace {

using nlohmann::ordered_json;

constexpr size_t kMaxInput = 64 << 20;

// The object that --input names: @file, - for standard input, or the JSON itself.
absl::StatusOr<ordered_json> ReadInput(const std::string& from) {
  std::string text = from;
  std::string place = "--input";
  if (from == "-") {
    text.assign(std::istreambuf_iterator<char>(std::cin), {});
    place = "standard input";
  } else if (from.starts_with('@')) {
    ASSIGN_OR_RETURN(text, ReadFile(from.substr(1)));
    place = from.substr(1);
  }
  if (text.size() > kMaxInput) return UsageError(place + " is larger than 64 MiB");
  const auto refused = [](const std::string& what) {
    return WithRemedy(absl::InvalidArgumentError(what), "--input takes '{…}', @FILE, or - for standard input.");
  };
  try {
    ordered_json json = ordered_json::parse(text);
    if (!json.is_object()) return refused(place + " is not a JSON object");
    return json;
  } catch (const ordered_json::parse_error& error) {
    const size_t begin = error.byte > 10 ? error.byte - 10 : 0;
    return refused(absl::StrCat(place, " is not valid JSON at byte ", error.byte, ", near \"",
                                absl::CHexEscape(text.substr(std::min(begin, text.size()), 20)), "\""));
  }
}

// Takes the flags of `aima exec` itself out of the unit's. A field of the unit has the better right to its name,
// except that --input @file, --input - and --input '{…}' always mean the whole input.
absl::StatusOr<UnitCall> ReadCall(const ordered_json& schema, std::vector<std::string> words) {
  UnitCall call;
  std::vector<std::string> rest;
  std::optional<std::string> input;
  for (size_t i = 0; i < words.size(); ++i) {
    const size_t equals = words[i].find('=');
    const std::string name = words[i].substr(0, equals);
    const auto value = [&]() -> std::optional<std::string> {
      if (equals != std::string::npos) return words[i].substr(equals + 1);
      if (i + 1 < words.size()) return words[i + 1];
      return std::nullopt;
    };
    const size_t length = equals == std::string::npos ? 1 : 0;
    if (name == "--stream" && equals == std::string::npos) {
      call.stream = true;
    } else if (name == "--async" && equals == std::string::npos && !HasField(schema, "async")) {
      call.options.async = true;
    } else if (name == "--timeout" && !HasField(schema, "timeout") && value()) {
      call.options.timeout = *value();
      i += length;
    } else if (name == "--input" && value() &&
               (!HasField(schema, "input") || *value() == "-" || value()->starts_with('@') ||
                value()->starts_with('{'))) {
      input = value();
      i += length;
    } else {
      rest.push_back(words[i]);
    }
  }
  if (input) {
    ASSIGN_OR_RETURN(call.input, ReadInput(*input));
  }
  RETURN_IF_ERROR(ApplyFlags(schema, rest, call.input));
  return call;
}

// Those of a list of units whose names begin with a noun, such as model.
ordered_json UnitsAmong(const ordered_json& data, const std::string& noun) {
  ordered_json found = ordered_json::array();
  for (const ordered_json& item : data.value("units", ordered_json::array())) {
    if (Text(item, "name").starts_with(noun + ".")) found.push_back(item);
  }
  return found;
}

}  // namespace

absl::Status ExecCommand(Session& session) {
  std::vector<std::string> words = session.arguments.words();
  const bool help =
      std::erase_if(words, [](const std::string& word) { return word == "--help" || word == "-h"; }) > 0;
  if (words.empty() || words.front().starts_with('-')) {
    return UsageOf(*session.command, "needs the name of a unit; `aima units` lists them");
  }
  const std::string unit = words.front();
  words.erase(words.begin());
  // Behind "--" no flag is one of aima's own.
  std::erase(words, "--");
  ASSIGN_OR_RETURN(const std::unique_ptr<GatewayClient> client,
                   GatewayClient::Connect(session.loop, session.globals));
  const absl::StatusOr<KnownUnit> known = Describe(session, *client, unit);
  if (help) {
    // A key that may not ask is no reason to tell nothing.
    const ordered_json shown = known.ok() ? known->description : DescribeLocally(unit);
    if (shown.is_null()) return known.status();
    std::cout << UnitHelp(shown);
    return absl::OkStatus();
  }
  RETURN_IF_ERROR(known.status());
  const ordered_json& description = known->description;
  ASSIGN_OR_RETURN(UnitCall call,
                   ReadCall(description.value("input_schema", ordered_json::object()), std::move(words)));
  call.unit = unit;
  const bool streaming = description.value("streaming", false);
  if (call.options.async) {
    if (call.stream) return UsageError("--async and --stream exclude each other");
    RETURN_IF_ERROR(known->reached);
    return RunUnit(session, *client, call);
  }
  if (call.stream && !streaming) return UsageError(unit + " does not stream; leave out --stream");
  RETURN_IF_ERROR(known->reached);
  if (streaming && (session.globals.output == "ndjson" || description.value("streaming_only", false))) {
    call.stream = true;
  }
  // Who looks at a terminal sees how far a long unit is; what is printed is the same.
  const bool tells = streaming && TellsProgress(description);
  const bool quiet = session.globals.output == "table" ? false : call.stream;
  if (tells && !quiet && (call.stream || isatty(STDERR_FILENO) != 0)) {
    call.stream = call.progress = true;
    call.attaches = description.value("idempotent", false);
  }
  return RunUnit(session, *client, call);
}

absl::Status UnitsCommand(Session& session) {
  const std::optional<std::string> unit = session.arguments.Next();
  RETURN_IF_ERROR(session.arguments.Done("units"));
  ASSIGN_OR_RETURN(const std::unique_ptr<GatewayClient> client,
                   GatewayClient::Connect(session.loop, session.globals));
  const bool whole = unit && unit->find('.') != std::string::npos;
  ordered_json data;
  if (!whole) {
    ASSIGN_OR_RETURN(data, Await(session.loop, client->Get("units")));
    if (unit) data = {{"units", UnitsAmong(data, *unit)}};
  }
  // What is neither a unit nor the beginning of one gets the gateway's error.
  const bool one = whole || (unit && data["units"].empty());
  if (one) {
    ASSIGN_OR_RETURN(data, Await(session.loop, client->Get("units/" + *unit)));
  }
  if (session.globals.output == "name" && !one) {
    std::cout << Format(data.value("units", ordered_json::array()), "name");
    return absl::OkStatus();
  }
  if (session.globals.output != "table") {
    std::cout << Format(data, session.globals.output);
    return absl::OkStatus();
  }
  if (one) {
    std::cout << UnitHelp(data);
    return absl::OkStatus();
  }
  std::vector<std::vector<std::string>> rows = {{"UNIT", "KIND", "ACCESS", "DESCRIPTION"}};
  for (const ordered_json& item : data.value("units", ordered_json::array())) {
    rows.push_back({Text(item, "name"), Text(item, "kind") + (item.value("streaming", false) ? ", streams" : ""),
                    Text(item, "access"), FirstSentence(Text(item, "description"))});
  }
  std::cout << FormatTable(rows);
  if (isatty(STDOUT_FILENO) != 0) std::cout << "\n`aima units <unit>` shows its flags.\n";
  return absl::OkStatus();
}

}  // namespace aima::cli
