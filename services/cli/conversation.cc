#include "services/cli/conversation.h"

#include <absl/strings/ascii.h>
#include <absl/strings/numbers.h>
#include <absl/strings/str_cat.h>
#include <absl/strings/str_format.h>
#include <absl/strings/str_join.h>
#include <unistd.h>

#include <algorithm>
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
  /model NAME       talk to another model; alone, it shows those that chat
  /bye              the end; so is Ctrl-D
  """               begins and ends a question of several lines
  Ctrl-C            ends an answer, or empties the line
)";

// The bounds of numbers, which the gateway would tell with the next question only.
absl::Status CheckRanges(const ordered_json& schema, const ordered_json& options) {
  const ordered_json fields = schema.value("properties", ordered_json::object());
  for (const auto& [name, value] : options.items()) {
    const ordered_json field = fields.value(name, ordered_json::object());
    if (!value.is_number()) continue;
    const double number = value.get<double>();
    const bool low = field.contains("minimum") && number < field["minimum"].get<double>();
    const bool high = field.contains("maximum") && number > field["maximum"].get<double>();
    if (!low && !high) continue;
    return absl::InvalidArgumentError(
        absl::StrCat(name, " must be ", low ? "at least " : "at most ", field[low ? "minimum" : "maximum"].dump()));
  }
  return absl::OkStatus();
}

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
  // Not in braces alone: they would be a list of what to insert.
  if (!text.empty()) messages_.insert(messages_.begin(), ordered_json::object({{"role", "system"}, {"content", text}}));
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
          std::cout << ForOutput(content) << std::flush;
        }
        answer += Text(chunk, "content");
        last = chunk;
      }));
  if (!raw && (status.ok() || !answer.empty())) std::cout << std::endl;
  const bool interrupted = status.code() == absl::StatusCode::kCancelled;
  if (!status.ok() && (!interrupted || answer.empty())) {
    messages_.erase(messages_.size() - 1);  // as if the question had not been asked
    return WithContextRemedy(status);
  }
  messages_.push_back({{"role", "assistant"}, {"content", answer}});
  if (Text(last, "finish_reason") == "length") {
    std::cerr << "(cut off after " << options_.value("max_tokens", kMaxTokens)
              << " tokens or at the end of the context; --max-tokens N)" << std::endl;
  }
  if (verbose_ && !interrupted) TellFigures(last);
  return status;
}

absl::Status Conversation::WithContextRemedy(const absl::Status& status) const {
  const ordered_json error = ordered_json::parse(ErrorObjectOf(status), nullptr, false);
  if (Text(error, "code") != "INFERENCE_CONTEXT_TOO_LONG") return status;
  // What was sent, and room for the answer.
  int64_t tokens = 0;
  if (!absl::SimpleAtoi(Text(error.value("details", ordered_json::object()), "n_prompt_tokens"), &tokens)) return status;
  tokens += options_.value("max_tokens", kMaxTokens);
  int64_t context = 1024;
  while (context < tokens) context *= 2;
  const absl::StatusOr<ordered_json> model =
      Await(session_.loop, client_.Execute("model.get", {{"model_id", model_}}));
  const int64_t most =
      model.ok() ? model->value("details", ordered_json::object()).value("context_length", int64_t{0}) : 0;
  if (most > 0 && most < tokens) {
    return WithRemedy(status, absl::StrCat(model_, " was made for ", most, " tokens at most, its answer included: send "
                                           "less, or ask another model."));
  }
  if (most > 0) context = std::min(context, most);
  return WithRemedy(status, absl::StrCat("`aima stop ", model_, "` and then `aima run ", model_, " --context ", context,
                                         "` give it room for that."));
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
  absl::Status set = ApplyFlags(schema, {absl::StrCat("--", field, "=", value)}, changed);
  if (set.ok()) set = CheckRanges(schema, changed);
  if (!set.ok()) {
    std::cerr << set.message() << "\n";
    return;
  }
  options_ = std::move(changed);
}

void Conversation::SetModel(const std::string& name) {
  const absl::StatusOr<ordered_json> list =
      Await(session_.loop, client_.Execute("inference.models", ordered_json::object()));
  if (!list.ok()) {
    ReportError(list.status());
    return;
  }
  std::vector<std::string> chatting;
  std::string id, type;
  for (const ordered_json& model : list->value("models", ordered_json::array())) {
    const bool chats = Text(model, "type").empty() || Text(model, "type") == "llm" || Text(model, "type") == "vlm";
    if (chats) chatting.push_back(Text(model, "id"));
    // An id is meant before a name that is the same.
    if (Text(model, "id") != name && (Text(model, "name") != name || !id.empty())) continue;
    id = Text(model, "id");
    type = chats ? "" : Text(model, "type");
  }
  const std::string others = absl::StrCat("Models that chat: ", absl::StrJoin(chatting, ", "), ".\n");
  if (name.empty()) {
    std::cerr << "Talking to " << model_ << ". " << others;
  } else if (id.empty()) {
    std::cerr << "There is no model " << name << "; still talking to " << model_ << ". " << others;
  } else if (!type.empty()) {
    std::cerr << id << " does not chat: it is of type " << type << ". Still talking to " << model_ << ". " << others;
  } else {
    model_ = id;
    std::cerr << "Talking to " << model_ << ".\n";
  }
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
    const bool instructed = !messages_.empty() && messages_[0]["role"] == "system";
    messages_.erase(messages_.begin() + (instructed ? 1 : 0), messages_.end());
    std::cerr << "What was said is forgotten.\n";
  } else if (name == "system") {
    SetSystem(rest);
  } else if (name == "model") {
    SetModel(rest);
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
