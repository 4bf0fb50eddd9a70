// aima exec, aima units: any unit from the command line.
#include <absl/strings/numbers.h>
#include <absl/strings/str_cat.h>
#include <absl/strings/str_format.h>
#include <absl/strings/str_join.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/detached.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <iostream>
#include <iterator>

#include "libs/base/status_macros.h"
#include "services/cli/files.h"
#include "services/cli/gateway_client.h"
#include "services/cli/output.h"
#include "services/cli/schema_flags.h"
#include "services/cli/session.h"
#include "services/cli/table.h"

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
  try {
    ordered_json json = ordered_json::parse(text);
    if (!json.is_object()) return UsageError(place + " is not a JSON object");
    return json;
  } catch (const ordered_json::exception& error) {
    return UsageError(absl::StrCat(place, " is not valid JSON: ", error.what()));
  }
}

// Input and manner of one execution.
struct Execution {
  ordered_json input = ordered_json::object();
  CallOptions options;
  bool stream = false;
  bool progress = false;  // the stream tells how far the unit is, and ends with its output
};

// Takes the flags of `aima exec` itself out of the unit's. A field of the unit has the better right to its name,
// except that --input @file, --input - and --input '{…}' always mean the whole input.
absl::StatusOr<Execution> ReadExecution(const ordered_json& schema, std::vector<std::string> words) {
  Execution execution;
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
      execution.stream = true;
    } else if (name == "--async" && equals == std::string::npos && !HasField(schema, "async")) {
      execution.options.async = true;
    } else if (name == "--timeout" && !HasField(schema, "timeout") && value()) {
      execution.options.timeout = *value();
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
    ASSIGN_OR_RETURN(execution.input, ReadInput(*input));
  }
  RETURN_IF_ERROR(ApplyFlags(schema, rest, execution.input));
  return execution;
}

// Says on a terminal how long a call has been going on, once that is long, until `done`.
Task<void> TellTime(std::string unit, std::shared_ptr<bool> done) {
  boost::asio::steady_timer timer(co_await boost::asio::this_coro::executor);
  for (int seconds = 1;; ++seconds) {
    timer.expires_after(std::chrono::seconds(1));
    boost::system::error_code error;
    co_await timer.async_wait(boost::asio::redirect_error(boost::asio::use_awaitable, error));
    if (error || *done) co_return;
    if (seconds >= 3) std::cerr << "\r" << unit << " … " << seconds << " s " << std::flush;
  }
}

// A unit that works for long streams {phase, message, percent} and at last {result}.
bool TellsProgress(const ordered_json& stream_schema) {
  const ordered_json properties = stream_schema.value("properties", ordered_json::object());
  return properties.contains("percent") && properties.contains("message") && properties.contains("result");
}

// Prints the pieces of a stream: text as text, progress to standard error, everything else as values.
class StreamPrinter {
 public:
  StreamPrinter(std::string format, bool progress) : format_(std::move(format)), progress_(progress) {}

  void Print(const ordered_json& message) {
    if (progress_ && message.is_object()) {
      std::cerr << absl::StrFormat("%3.0f%% %s", message.value("percent", 0.0), message.value("message", ""))
                << std::endl;
      if (message.contains("result") && message["result"].is_object()) {
        std::cout << Format(message["result"], format_) << std::flush;
      }
      return;
    }
    if (format_ == "ndjson") {
      std::cout << message.dump(-1, ' ', false, ordered_json::error_handler_t::replace) << std::endl;
      return;
    }
    const char* field = message.contains("content") ? "content" : "text";
    if (format_ == "table" && message.is_object() && message.contains(field) && message[field].is_string()) {
      std::cout << message[field].get_ref<const std::string&>() << std::flush;
      open_ = open_ || !message[field].get_ref<const std::string&>().empty();
      return;
    }
    End();
    if (format_ == "yaml") std::cout << "---\n";
    std::cout << Format(message, format_) << std::flush;
  }

  // Ends a line of text that is open.
  void End() {
    if (open_) std::cout << std::endl;
    open_ = false;
  }

 private:
  const std::string format_;
  const bool progress_;
  bool open_ = false;
};

absl::Status RunUnit(Session& session, GatewayClient& client, const std::string& unit,
                     const Execution& execution) {
  if (execution.stream) {
    StreamPrinter printer(session.globals.output, execution.progress);
    const absl::Status status = Await(
        session.loop, client.Stream(
                          unit, execution.input,
                          [&printer](const ordered_json& message) { printer.Print(message); }, execution.options));
    printer.End();
    return status;
  }
  const bool tell = isatty(STDERR_FILENO) != 0;
  const auto done = std::make_shared<bool>(false);
  if (tell) boost::asio::co_spawn(session.loop, TellTime(unit, done), boost::asio::detached);
  const absl::StatusOr<ordered_json> output =
      Await(session.loop, client.Execute(unit, execution.input, execution.options));
  *done = true;
  if (tell) std::cerr << "\r\033[K" << std::flush;
  if (!output.ok()) return output.status();
  std::cout << Format(*output, session.globals.output) << std::flush;
  if (execution.options.async && tell) {
    std::cerr << "`aima exec operation.wait --operation-id " << output->value("id", "") << "` waits for its end.\n";
  }
  return absl::OkStatus();
}

std::string Text(const ordered_json& object, const char* key) {
  const auto found = object.is_object() ? object.find(key) : object.end();
  return object.is_object() && found != object.end() && found->is_string() ? found->get<std::string>() : "";
}

std::string FirstSentence(const std::string& text) {
  const size_t end = text.find(". ");
  const std::string sentence = end == std::string::npos ? text : text.substr(0, end + 1);
  return sentence.substr(0, sentence.find('\n'));
}

// Help of one unit: what it does, its flags, examples and errors.
std::string UnitHelp(const ordered_json& unit) {
  std::string text = absl::StrCat(Text(unit, "name"), "  (", Text(unit, "kind"), ", needs the role ",
                                  Text(unit, "access"), ")\n\n", Text(unit, "description"), "\n");
  std::vector<std::vector<std::string>> rows;
  for (const FlagHelp& flag : FlagsOf(unit.value("input_schema", ordered_json::object()))) {
    rows.push_back(
        {"  " + flag.flag, flag.type + (flag.required ? " (required)" : ""), FirstSentence(flag.description)});
  }
  if (!rows.empty()) absl::StrAppend(&text, "\nFlags:\n", FormatTable(rows));
  if (unit.value("streaming", false)) {
    absl::StrAppend(&text, "\nWith --stream the output is printed as it arrives.\n");
  }
  const ordered_json examples = unit.value("examples", ordered_json::array());
  if (!examples.empty()) absl::StrAppend(&text, "\nExamples:\n");
  for (const ordered_json& example : examples) {
    if (!example.is_object()) continue;
    const ordered_json input = example.value("input", ordered_json::object());
    absl::StrAppend(&text, "  # ", Text(example, "title"), "\n  aima exec ", Text(unit, "name"), " --input '",
                    input.is_string() ? input.get<std::string>() : input.dump(), "'\n");
  }
  const ordered_json errors = unit.value("errors", ordered_json::array());
  std::vector<std::string> names;
  for (const ordered_json& error : errors) {
    names.push_back(error.is_string() ? error.get<std::string>()
                                      : Text(error, error.contains("code") ? "code" : "name"));
  }
  if (!names.empty()) absl::StrAppend(&text, "\nErrors: ", absl::StrJoin(names, ", "), "\n");
  return text;
}

}  // namespace

absl::Status ExecCommand(Session& session) {
  const std::optional<std::string> unit = session.arguments.Next();
  if (!unit || unit->starts_with('-')) {
    return UsageError("aima exec needs the name of a unit; `aima units` lists them");
  }
  std::vector<std::string> words = session.arguments.words();
  const bool help =
      std::erase_if(words, [](const std::string& word) { return word == "--help" || word == "-h"; }) > 0;
  // Behind "--" no flag is one of aima's own.
  std::erase(words, "--");
  ASSIGN_OR_RETURN(const std::unique_ptr<GatewayClient> client,
                   GatewayClient::Connect(session.loop, session.globals));
  ASSIGN_OR_RETURN(const ordered_json description, Await(session.loop, client->Get("units/" + *unit)));
  if (help) {
    std::cout << UnitHelp(description);
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(Execution execution,
                   ReadExecution(description.value("input_schema", ordered_json::object()), std::move(words)));
  const bool streaming = description.value("streaming", false);
  if (execution.options.async) {
    if (execution.stream) return UsageError("--async and --stream exclude each other");
    return RunUnit(session, *client, *unit, execution);
  }
  if (execution.stream && !streaming) return UsageError(*unit + " does not stream; leave out --stream");
  if (streaming && (session.globals.output == "ndjson" || description.value("streaming_only", false))) {
    execution.stream = true;
  }
  // Who looks at a terminal sees how far a long unit is; what is printed is the same.
  const bool tells = streaming && TellsProgress(description.value("stream_schema", ordered_json::object()));
  const bool quiet = session.globals.output == "table" ? false : execution.stream;
  if (tells && !quiet && (execution.stream || isatty(STDERR_FILENO) != 0)) {
    execution.stream = execution.progress = true;
  }
  return RunUnit(session, *client, *unit, execution);
}

absl::Status UnitsCommand(Session& session) {
  const std::optional<std::string> unit = session.arguments.Next();
  RETURN_IF_ERROR(session.arguments.Done("units"));
  ASSIGN_OR_RETURN(const std::unique_ptr<GatewayClient> client,
                   GatewayClient::Connect(session.loop, session.globals));
  ASSIGN_OR_RETURN(const ordered_json data, Await(session.loop, client->Get(unit ? "units/" + *unit : "units")));
  if (session.globals.output != "table") {
    std::cout << Format(data, session.globals.output);
    return absl::OkStatus();
  }
  if (unit) {
    std::cout << UnitHelp(data);
    return absl::OkStatus();
  }
  std::vector<std::vector<std::string>> rows = {{"UNIT", "KIND", "ACCESS", "DESCRIPTION"}};
  for (const ordered_json& item : data.value("units", ordered_json::array())) {
    rows.push_back({Text(item, "name"), Text(item, "kind") + (item.value("streaming", false) ? ", streams" : ""),
                    Text(item, "access"), FirstSentence(Text(item, "description"))});
  }
  std::cout << FormatTable(rows) << "\n`aima units <unit>` shows its flags.\n";
  return absl::OkStatus();
}

}  // namespace aima::cli
