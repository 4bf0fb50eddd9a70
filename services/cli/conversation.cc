#include "services/cli/conversation.h"

#include <absl/strings/ascii.h>
#include <absl/strings/str_cat.h>
#include <absl/strings/str_format.h>
#include <unistd.h>

#include <filesystem>
#include <iostream>

#include "libs/base/status_macros.h"
#include "services/cli/commands.h"
#include "services/cli/line_reader.h"
#include "services/cli/schema_flags.h"
#include "services/cli/table.h"
#include "services/cli/terminal.h"
#include "services/cli/unit_description.h"

namespace aima::cli {
namespace {

using nlohmann::ordered_json;

// Stops a model that would talk until its context is full.
constexpr int64_t kMaxTokens = 1024;

constexpr char kHelp[] = R"(  /system TEXT      what the model is told first; alone, it takes that back
  /set FIELD VALUE  a field of inference.chat, such as temperature 0.2; alone, it shows what is set
  /clear            forget what was said
  /model NAME       talk to another model
  /bye              the end; so is Ctrl-D
  """               begins and ends a question of several lines
  Ctrl-C            ends an answer, or empties the line
)";

// Where the history of questions is kept: beside the data of the cluster, if this user may write there.
std::string HistoryFile(const std::string& data_dir) {
  return access(data_dir.c_str(), W_OK | X_OK) == 0 ? data_dir + "/chat_history" : "";
}

}  // namespace

Conversation::Conversation(Session& session, GatewayClient& client, std::string model, ordered_json options,
                           bool verbose)
    : session_(session), client_(client), model_(std::move(model)), options_(std::move(options)), verbose_(verbose) {}

void Conversation::SetSystem(const std::string& text) {
  if (!messages_.empty() && messages_[0]["role"] == "system") messages_.erase(messages_.begin());
  if (!text.empty()) messages_.insert(messages_.begin(), {{"role", "system"}, {"content", text}});
}

absl::Status Conversation::Ask(const std::string& question) {
  messages_.push_back({{"role", "user"}, {"content", question}});
  ordered_json input = {{"model", model_}, {"messages", messages_}};
  input.update(options_);
  const bool raw = session_.globals.output == "ndjson" || session_.globals.output == "json";
  std::string answer;
  bool thinking = false;
  ordered_json last;
  const absl::Status status =
      AwaitOrInterrupt(session_.loop, client_.Stream("inference.chat", input, [&](const ordered_json& chunk) {
        if (raw) {
          std::cout << chunk.dump(-1, ' ', false, ordered_json::error_handler_t::replace) << std::endl;
        } else {
          // Thoughts are not the answer: who pipes the answer on does not get them.
          const std::string thought = Text(chunk, "reasoning_content");
          if (!thought.empty())
            std::cerr << Painted(Harmless(thought, false), Colour::kDim, STDERR_FILENO) << std::flush;
          if (thinking && thought.empty()) std::cerr << "\n\n";
          thinking = !thought.empty();
          // What a model says does not drive the terminal.
          const std::string content = Text(chunk, "content");
          std::cout << (isatty(STDOUT_FILENO) != 0 ? Harmless(content, /*one_line=*/false) : content) << std::flush;
        }
        answer += Text(chunk, "content");
        last = chunk;
      }));
  if (!raw) std::cout << std::endl;
  const bool interrupted = status.code() == absl::StatusCode::kCancelled;
  if (!status.ok() && (!interrupted || answer.empty())) {
    messages_.erase(messages_.size() - 1);  // as if the question had not been asked
    return status;
  }
  messages_.push_back({{"role", "assistant"}, {"content", answer}});
  if (Text(last, "finish_reason") == "length") {
    std::cerr << "(cut off after " << options_.value("max_tokens", kMaxTokens)
              << " tokens or at the end of the context; --max-tokens N)" << std::endl;
  }
  if (verbose_ && !interrupted) TellFigures(last);
  return status;
}

void Conversation::TellFigures(const ordered_json& last) const {
  std::vector<std::vector<std::string>> rows;
  for (const char* part : {"usage", "metrics"}) {
    const ordered_json figures = last.value(part, ordered_json::object());
    for (const auto& [key, value] : figures.items()) {
      rows.push_back({key, value.is_number_float() ? absl::StrFormat("%.2f", value.get<double>())
                                                   : (value.is_string() ? value.get<std::string>() : value.dump())});
    }
  }
  std::cerr << FormatTable(rows, {.heading = false});
}

void Conversation::SetOption(const std::string& field, const std::string& value) {
  if (field.empty()) {
    std::cerr << options_.dump(2) << "\n";
    return;
  }
  const ordered_json unit = DescribeLocally("inference.chat");
  const ordered_json schema = unit.is_object() ? unit["input_schema"] : ordered_json::object();
  ordered_json changed = options_;
  const absl::Status set = ApplyFlags(schema, {absl::StrCat("--", field, "=", value)}, changed);
  if (!set.ok()) {
    std::cerr << set.message() << "\n";
    return;
  }
  options_ = std::move(changed);
}

bool Conversation::Command(const std::string& line, bool& ends) {
  if (line.empty() || line[0] != '/') return false;
  const size_t space = line.find(' ');
  const std::string name = line.substr(1, space == std::string::npos ? space : space - 1);
  const std::string rest(absl::StripAsciiWhitespace(space == std::string::npos ? "" : line.substr(space)));
  const size_t second = rest.find(' ');
  if (name == "bye" || name == "exit" || name == "quit") {
    ends = true;
  } else if (name == "help" || name == "?") {
    std::cerr << kHelp;
  } else if (name == "clear") {
    messages_ = ordered_json::array();
    std::cerr << "What was said is forgotten.\n";
  } else if (name == "system") {
    SetSystem(rest);
  } else if (name == "model" && !rest.empty()) {
    model_ = rest;
    std::cerr << "Talking to " << model_ << ".\n";
  } else if (name == "set") {
    SetOption(rest.substr(0, second),
              second == std::string::npos ? "" : std::string(absl::StripAsciiWhitespace(rest.substr(second))));
  } else if (name.find('/') == std::string::npos) {
    std::cerr << "There is no /" << name << "; /help shows what there is.\n";
  } else {
    return false;  // a path
  }
  return true;
}

absl::Status Conversation::Converse() {
  const bool terminal = isatty(STDIN_FILENO) != 0;
  if (terminal) std::cerr << "Talking to " << model_ << ". /help shows what else can be typed, Ctrl-D ends it.\n";
  LineReader reader(HistoryFile(session_.globals.data_dir));
  for (bool ends = false; !ends;) {
    std::string line;
    const LineReader::End end = reader.Read(">>> ", line);
    if (end == LineReader::End::kEndOfInput) break;
    if (end == LineReader::End::kInterrupted) continue;
    if (line.starts_with("\"\"\"")) {
      std::string more;
      line.erase(0, 3);
      while (!line.ends_with("\"\"\"") && reader.Read("... ", more) == LineReader::End::kLine) line += "\n" + more;
      if (line.ends_with("\"\"\"")) line.resize(line.size() - 3);
    }
    if (absl::StripAsciiWhitespace(line).empty() || Command(line, ends)) continue;
    const absl::Status asked = Ask(line);
    if (asked.ok()) continue;
    if (!terminal) return asked;
    if (asked.code() != absl::StatusCode::kCancelled) ReportError(asked);
  }
  if (terminal) std::cerr << "\n";
  return absl::OkStatus();
}

absl::StatusOr<ChatFlags> TakeChatFlags(Session& session, const ordered_json& unit) {
  ChatFlags flags;
  flags.verbose = session.arguments.Flag("verbose");
  ASSIGN_OR_RETURN(const std::optional<std::string> system, session.arguments.Value("system"));
  flags.system = system.value_or("");
  const ordered_json schema = unit.value("input_schema", ordered_json::object());
  std::vector<std::string> words = session.arguments.words();
  flags.words = TakePlainWords(schema, words);
  for (const std::string& word : words) {
    const std::string name = word.substr(0, word.find('='));
    if (name == "--model" || name == "--messages" || name == "--message" || name == "--stream") {
      return UsageOf(*session.command, absl::StrCat("has no flag ", name));
    }
  }
  RETURN_IF_ERROR(ApplyFlags(schema, words, flags.options));
  if (!flags.options.contains("max_tokens")) flags.options["max_tokens"] = kMaxTokens;
  return flags;
}

}  // namespace aima::cli
