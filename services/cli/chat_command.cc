// aima chat: a conversation on the terminal; aima events tail: what happens, as it happens.
#include <absl/strings/numbers.h>
#include <absl/strings/str_cat.h>
#include <unistd.h>

#include <algorithm>
#include <iostream>

#include "libs/base/nearest.h"
#include "libs/base/status_macros.h"
#include "services/cli/gateway_client.h"
#include "services/cli/output.h"
#include "services/cli/session.h"

namespace aima::cli {
namespace {

using nlohmann::ordered_json;

std::string Text(const ordered_json& object, const char* key) {
  if (!object.is_object()) return "";
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : "";
}

// Ids of the models that chat, running ones first; `names` gets their names besides.
absl::StatusOr<std::vector<std::string>> ChatModels(Session& session, GatewayClient& client,
                                                    std::vector<std::string>& names) {
  ASSIGN_OR_RETURN(const ordered_json data,
                   Await(session.loop, client.Execute("inference.models", ordered_json::object())));
  std::vector<std::string> running, others;
  for (const ordered_json& model : data.value("models", ordered_json::array())) {
    const std::string type = Text(model, "type");
    if (!type.empty() && type != "llm" && type != "vlm") continue;
    (model.value("running", false) ? running : others).push_back(Text(model, "id"));
    names.push_back(Text(model, "id"));
    names.push_back(Text(model, "name"));
  }
  running.insert(running.end(), others.begin(), others.end());
  return running;
}

// Stops a model that would talk until its context is full.
constexpr int64_t kMaxTokens = 1024;

// One turn: prints the answer as it comes and adds it to the conversation. `options` are fields of inference.chat.
absl::Status Ask(Session& session, GatewayClient& client, const std::string& model, const ordered_json& options,
                 ordered_json& messages) {
  ordered_json input = {{"model", model}, {"messages", messages}};
  input.update(options);
  std::string answer;
  ordered_json last;
  const absl::Status status =
      Await(session.loop, client.Stream("inference.chat", input, [&](const ordered_json& chunk) {
        if (session.globals.output == "ndjson" || session.globals.output == "json") {
          std::cout << chunk.dump(-1, ' ', false, ordered_json::error_handler_t::replace) << std::endl;
        } else {
          std::cout << Text(chunk, "content") << std::flush;
        }
        answer += Text(chunk, "content");
        last = chunk;
      }));
  if (session.globals.output == "table" || session.globals.output == "yaml") std::cout << std::endl;
  RETURN_IF_ERROR(status);
  if (Text(last, "finish_reason") == "length") {
    std::cerr << "(cut off after " << options["max_tokens"] << " tokens or at the end of the context; --max-tokens N)"
              << std::endl;
  }
  messages.push_back({{"role", "assistant"}, {"content", answer}});
  return absl::OkStatus();
}

absl::Status Converse(Session& session, GatewayClient& client, const std::string& model, const ordered_json& options,
                      ordered_json messages) {
  const bool terminal = isatty(STDIN_FILENO) != 0;
  if (terminal) std::cerr << "Talking to " << model << ". An empty line or Ctrl-D ends it.\n";
  for (;;) {
    if (terminal) std::cerr << "> " << std::flush;
    std::string line;
    if (!std::getline(std::cin, line) || line.empty()) break;
    messages.push_back({{"role", "user"}, {"content", line}});
    if (const absl::Status asked = Ask(session, client, model, options, messages); !asked.ok()) {
      if (!terminal) return asked;
      // The conversation goes on as if the question had not been asked.
      ReportError(asked);
      messages.erase(messages.size() - 1);
    }
  }
  return absl::OkStatus();
}

void PrintEvents(const ordered_json& batch, const std::string& format) {
  if (!batch.is_object()) return;
  for (const ordered_json& event : batch.value("events", ordered_json::array())) {
    if (format == "yaml") {
      std::cout << "---\n" << Format(event, format);
    } else if (format != "table") {
      std::cout << event.dump() << "\n";
    } else {
      const ordered_json payload = event.contains("payload") ? event["payload"] : ordered_json::object();
      std::cout << Text(event, "time") << "  " << event.value("sequence", ordered_json()).dump() << "  "
                << Text(event, "type") << "  " << payload.dump() << "\n";
    }
  }
  std::cout << std::flush;
}

}  // namespace

absl::Status ChatCommand(Session& session) {
  ASSIGN_OR_RETURN(const std::optional<std::string> system, session.arguments.Value("system"));
  ASSIGN_OR_RETURN(const std::optional<std::string> limit, session.arguments.Value("max-tokens"));
  int64_t max_tokens = kMaxTokens;
  if (limit && (!absl::SimpleAtoi(*limit, &max_tokens) || max_tokens < 1)) {
    return UsageError("--max-tokens takes a number above 0");
  }
  ASSIGN_OR_RETURN(const std::optional<std::string> warmth, session.arguments.Value("temperature"));
  double temperature = 0;
  if (warmth && !absl::SimpleAtod(*warmth, &temperature)) return UsageError("--temperature takes a number");
  ordered_json options = {{"max_tokens", max_tokens}};
  if (warmth) options["temperature"] = temperature;
  for (const std::string& word : session.arguments.words()) {
    if (word.starts_with("--")) return UsageError(absl::StrCat("aima chat has no flag ", word));
  }
  std::optional<std::string> model = session.arguments.Next();
  std::string prompt;
  while (const std::optional<std::string> word = session.arguments.Next()) {
    absl::StrAppend(&prompt, prompt.empty() ? "" : " ", *word);
  }
  ASSIGN_OR_RETURN(const std::unique_ptr<GatewayClient> client,
                   GatewayClient::Connect(session.loop, session.globals));
  if (!model || prompt.empty()) {
    std::vector<std::string> names;
    ASSIGN_OR_RETURN(const std::vector<std::string> models, ChatModels(session, *client, names));
    if (models.empty()) {
      return WithRemedy(absl::NotFoundError("there is no model to talk to"),
                        "`aima exec model.import --help` tells how to add one.");
    }
    const bool known = model && std::find(names.begin(), names.end(), *model) != names.end();
    if (model && !known) {
      // A sentence is a question to the model that is there; a word is a model that is not.
      if (model->find(' ') == std::string::npos) {
        const std::vector<std::string> near = Nearest(*model, names, 2);
        return WithRemedy(absl::NotFoundError(absl::StrCat("there is no model '", *model, "'",
                                                           near.empty() ? "" : "; did you mean " + near[0] + "?")),
                          "`aima exec inference.models` lists them. To ask one word: aima chat MODEL WORD");
      }
      prompt = *model;
      model.reset();
    }
    if (!model) model = models.front();
  }
  ordered_json messages = ordered_json::array();
  if (system) messages.push_back({{"role", "system"}, {"content", *system}});
  if (prompt.empty()) return Converse(session, *client, *model, options, std::move(messages));
  messages.push_back({{"role", "user"}, {"content", prompt}});
  return Ask(session, *client, *model, options, messages);
}

absl::Status EventsCommand(Session& session) {
  const std::optional<std::string> verb = session.arguments.Next();
  if (verb != "tail") {
    return UsageError("aima events knows one verb: aima events tail [--type TYPE]… [--after CURSOR]");
  }
  ASSIGN_OR_RETURN(const std::vector<std::string> types, session.arguments.Values("type"));
  ASSIGN_OR_RETURN(const std::optional<std::string> after, session.arguments.Value("after"));
  RETURN_IF_ERROR(session.arguments.Done("events tail"));
  ordered_json input = ordered_json::object();
  if (!types.empty()) input["types"] = types;
  if (after) {
    input["after"] = ordered_json::parse(*after, nullptr, false);
    if (!input["after"].is_number_integer()) return UsageError("--after takes a cursor, a whole number");
  }
  ASSIGN_OR_RETURN(const std::unique_ptr<GatewayClient> client,
                   GatewayClient::Connect(session.loop, session.globals));
  for (bool connected = false;;) {
    const absl::Status status =
        Await(session.loop, client->Stream("event.subscribe", input, [&](const ordered_json& batch) {
          connected = true;
          // Where to go on if the stream breaks off.
          if (batch.is_object() && batch.contains("cursor")) input["after"] = batch["cursor"];
          PrintEvents(batch, session.globals.output);
        }));
    const bool resumable = connected && input.contains("after");
    if (!resumable || (!status.ok() && ExitCodeOf(status) != kUnavailable && ExitCodeOf(status) != kDeadline &&
                       status.code() != absl::StatusCode::kResourceExhausted)) {
      return status;
    }
    std::cerr << "the stream broke off (" << status.message() << "); going on after event " << input["after"]
              << std::endl;
    sleep(1);
  }
}

}  // namespace aima::cli
