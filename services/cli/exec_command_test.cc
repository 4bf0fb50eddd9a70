// Commands as typed, against an HTTP server that answers as the gateway does.
#include <absl/strings/str_cat.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <boost/asio/executor_work_guard.hpp>
#include <filesystem>
#include <fstream>
#include <future>
#include <mutex>
#include <nlohmann/json.hpp>
#include <thread>

#include "libs/http/server.h"
#include "services/cli/commands.h"
#include "services/cli/keys.h"
#include "services/cli/testing/command_outcome.h"

namespace aima::cli {
namespace {

using nlohmann::ordered_json;
using ::testing::HasSubstr;

// One unit, demo.run; what it is asked for is written down.
class StandIn {
 public:
  StandIn() : guard_(loop_.get_executor()), server_(loop_, {}, [this](http::Exchange& it) { return Serve(it); }) {
    if (!server_.Start().ok()) abort();
    thread_ = std::thread([this] { loop_.run(); });
  }
  ~StandIn() {
    loop_.stop();
    thread_.join();
  }

  std::string Address() const { return "127.0.0.1:" + std::to_string(server_.port()); }
  ordered_json LastBody() {
    std::lock_guard lock(mutex_);
    return ordered_json::parse(body_, nullptr, false);
  }
  std::string LastKey() {
    std::lock_guard lock(mutex_);
    return key_;
  }

 private:
  Task<void> Serve(http::Exchange& exchange) {
    {
      std::lock_guard lock(mutex_);
      body_ = exchange.request().body;
      key_ = exchange.request().headers.Get("Authorization");
    }
    http::Response response;
    response.headers.Add("Content-Type", "application/json");
    const std::string& target = exchange.request().target;
    const std::string& body = exchange.request().body;
    if (target == "/api/v2/units/demo.run") {
      response.body = R"({"success":true,"data":{"name":"demo.run","kind":"command","access":"operate",
        "description":"Runs a demo.","streaming":true,
        "input_schema":{"type":"object","properties":{"text":{"type":"string"},"input":{"type":"string"}}},
        "examples":[{"title":"One","input":{"text":"a"}}],"errors":["DEMO_FAILED"]}})";
    } else if (target == "/api/v2/execute" && body.find("wrong") != std::string::npos) {
      response.status = 400;
      const bool more = body.find("no more") == std::string::npos;
      response.body = absl::StrCat(R"({"success":false,"error":{"code":"INVALID_INPUT","message":"text: is wrong",
        "details":{"remedy":"Correct )", more ? "the named fields; `aima units <unit>` shows the schema" : "it",
                                   ".\"}}}");
    } else if (target == "/api/v2/units") {
      response.body = R"({"success":true,"data":{"units":[{"name":"demo.run","kind":"command","access":"operate",
        "description":"Runs a demo."},{"name":"demonstration.run"}]}})";
    } else if (target == "/api/v2/execute") {
      response.body = R"({"success":true,"data":{"answer":42}})";
    } else if (target == "/api/v2/stream") {
      co_await Stream(exchange);
      co_return;
    } else {
      response.status = 404;
      response.body = R"({"success":false,"error":{"code":"UNIT_NOT_FOUND","message":"there is no unit 'x'",
        "details":{"remedy":"`aima units`, `model.list` and `engine.list` list what there is, `engine.stop` ends it."}}})";
    }
    (co_await exchange.Send(std::move(response))).IgnoreError();
  }

  static Task<void> Stream(http::Exchange& exchange) {
    const bool fail = exchange.request().body.find("\"fail\"") != std::string::npos;
    const bool early = exchange.request().body.find("\"early\"") != std::string::npos;
    (co_await exchange.StartStream(200, {{"Content-Type", "text/event-stream"}})).IgnoreError();
    (co_await exchange.Write("event: data\ndata: {\"content\":\"Hello\"}\n\n")).IgnoreError();
    (co_await exchange.Write("event: data\ndata: {\"content\":\" you\"}\n\n")).IgnoreError();
    if (fail) {
      (co_await exchange.Write("event: error\ndata: {\"code\":\"UNAVAILABLE\",\"message\":\"engine gone\"}\n\n"))
          .IgnoreError();
    } else if (!early) {
      (co_await exchange.Write("event: done\ndata: {}\n\n")).IgnoreError();
    }
    (co_await exchange.Finish()).IgnoreError();
  }

  Loop loop_;
  boost::asio::executor_work_guard<Loop::executor_type> guard_;
  std::mutex mutex_;
  std::string body_, key_;
  http::Server server_;
  std::thread thread_;
};

class CommandsTest : public ::testing::Test {
 protected:
  CommandsTest() {
    std::string pattern = std::filesystem::temp_directory_path() / "aima-commands-XXXXXX";
    directory_ = mkdtemp(pattern.data());
    setenv("AIMA_DATA_DIR", directory_.c_str(), 1);
    setenv("AIMA_SERVER", gateway_.Address().c_str(), 1);
    unsetenv("AIMA_KEY");
  }
  ~CommandsTest() override { std::filesystem::remove_all(directory_); }

  static Outcome Run(std::vector<std::string> words) { return OutcomeOf(std::move(words)); }

  StandIn gateway_;
  std::filesystem::path directory_;
};

TEST_F(CommandsTest, ExecSendsWhatTheFlagsSayAndPrintsTheOutput) {
  const Outcome outcome = Run({"exec", "demo.run", "--text", "hi", "--timeout", "5s", "-o", "json"});
  EXPECT_EQ(outcome.exit, kOk) << outcome.err;
  EXPECT_EQ(outcome.out, "{\n  \"answer\": 42\n}\n");
  EXPECT_EQ(gateway_.LastBody().dump(), R"({"unit":"demo.run","input":{"text":"hi"},"options":{"timeout":"5s"}})");
}

TEST_F(CommandsTest, InputIsAFileOrJsonUnlessAFieldHasThatNameAndTheValueIsNeither) {
  std::ofstream(directory_ / "in.json") << R"({"text": "from a file"})";
  EXPECT_EQ(Run({"exec", "demo.run", "--input", "@" + (directory_ / "in.json").string()}).exit, kOk);
  EXPECT_EQ(gateway_.LastBody()["input"].dump(), R"({"text":"from a file"})");
  EXPECT_EQ(Run({"exec", "demo.run", "--input", R"({"text":"a"})", "--text", "b"}).exit, kOk);
  EXPECT_EQ(gateway_.LastBody()["input"].dump(), R"({"text":"b"})");
  EXPECT_EQ(Run({"exec", "demo.run", "--input", "words"}).exit, kOk);
  EXPECT_EQ(gateway_.LastBody()["input"].dump(), R"({"input":"words"})");
  const Outcome broken = Run({"exec", "demo.run", "--input", "{nonsense"});
  EXPECT_EQ(broken.exit, kUsage);
  EXPECT_THAT(broken.err, HasSubstr("--input is not valid JSON"));
  EXPECT_EQ(Run({"exec", "demo.run", "--input", "@/nonexistent"}).exit, kNotFound);
}

TEST_F(CommandsTest, AStreamIsPrintedAsItArrives) {
  const Outcome text = Run({"exec", "demo.run", "--stream"});
  EXPECT_EQ(text.exit, kOk) << text.err;
  EXPECT_EQ(text.out, "Hello you\n");
  EXPECT_EQ(Run({"exec", "demo.run", "-o", "ndjson"}).out, "{\"content\":\"Hello\"}\n{\"content\":\" you\"}\n");
}

TEST_F(CommandsTest, AStreamThatFailsOrBreaksOffIsAFailure) {
  const Outcome failed = Run({"exec", "demo.run", "--stream", "--text", "fail"});
  EXPECT_EQ(failed.exit, kUnavailable);
  EXPECT_EQ(failed.out, "Hello you\n");
  EXPECT_THAT(failed.err, HasSubstr("engine gone [UNAVAILABLE]"));
  const Outcome early = Run({"exec", "demo.run", "--stream", "--text", "early"});
  EXPECT_EQ(early.exit, kUnavailable);
  EXPECT_THAT(early.err, HasSubstr("the stream ended early"));
}

TEST_F(CommandsTest, AnAsynchronousCallIsAskedForAsOne) {
  EXPECT_EQ(Run({"exec", "demo.run", "--text", "hi", "--async", "--timeout", "5s"}).exit, kOk);
  EXPECT_EQ(gateway_.LastBody().dump(),
            R"({"unit":"demo.run","input":{"text":"hi"},"options":{"timeout":"5s","async":true}})");
  EXPECT_EQ(Run({"exec", "demo.run", "--async", "--stream"}).exit, kUsage);
}

TEST_F(CommandsTest, HelpOfAUnitShowsItsFlags) {
  for (const std::vector<std::string>& words :
       {std::vector<std::string>{"exec", "demo.run", "--help"}, std::vector<std::string>{"units", "demo.run"}}) {
    const Outcome outcome = Run(words);
    EXPECT_THAT(outcome.out, HasSubstr("--text"));
    EXPECT_THAT(outcome.out, HasSubstr("aima exec demo.run --input '{\"text\":\"a\"}'"));
    EXPECT_THAT(outcome.out, HasSubstr("Errors: DEMO_FAILED"));
  }
}

TEST_F(CommandsTest, ErrorsSayWhatToDo) {
  const Outcome unknown = Run({"exec", "no.such"});
  EXPECT_EQ(unknown.exit, kNotFound);
  EXPECT_THAT(unknown.err, HasSubstr("`aima units`, `aima ls` and `aima exec engine.list` list what there is, `aima stop NAME` ends it."));
  const Outcome gone = Run({"units", "--server", "127.0.0.1:1"});
  EXPECT_EQ(gone.exit, kUnavailable);
  EXPECT_THAT(gone.err, HasSubstr("aima start"));
  const Outcome command = Run({"statu"});
  EXPECT_EQ(command.exit, kUsage);
  EXPECT_THAT(command.err, HasSubstr("did you mean status"));
  EXPECT_THAT(Run({"exec", "demo.run", "--tex", "x"}).err, HasSubstr("did you mean --text?"));
}

TEST_F(CommandsTest, TheOperatorsKeyIsSentToThisMachineUnlessAnotherIsGiven) {
  Run({"units", "demo.run"});
  EXPECT_EQ(gateway_.LastKey(), "");
  ASSERT_TRUE(KeyFile(directory_).EnsureAdminKey().ok());
  Run({"units", "demo.run"});
  EXPECT_EQ(gateway_.LastKey(), "Bearer " + KeyFile(directory_).AdminKey());
  Run({"units", "demo.run", "--key", "mine"});
  EXPECT_EQ(gateway_.LastKey(), "Bearer mine");
}

TEST_F(CommandsTest, AKeyIsMadeWithTheIdThatEndsIt) {
  const Outcome made = Run({"key", "create", "--role", "read", "--expires", "1ms"});
  const std::string id = KeyFile(directory_).List()->front().id;
  EXPECT_EQ(KeyFile::IdOf(made.out.substr(0, made.out.size() - 1)), id);
  EXPECT_THAT(made.err, HasSubstr("`aima key revoke " + id + "`"));
  Run({"key", "create", "--role", "read", "--expires", "1h"});
  // Its expiry is written down in whole seconds, and has passed.
  const ordered_json keys = ordered_json::parse(Run({"key", "list", "-o", "json"}).out)["keys"];
  EXPECT_EQ(keys[0]["state"], "expired");
  EXPECT_EQ(keys[1]["state"], "valid");
  EXPECT_EQ(Run({"key", "revoke", made.out.substr(0, made.out.size() - 1)}).exit, kOk);
  EXPECT_EQ(KeyFile(directory_).List()->size(), 1u);
}

TEST_F(CommandsTest, WhoRevokesTheKeyOfTheCommandLineIsTold) {
  ASSERT_TRUE(KeyFile(directory_).EnsureAdminKey().ok());
  const Outcome other = Run({"key", "create", "--role", "read"});
  const std::string key = other.out.substr(0, other.out.size() - 1);
  EXPECT_THAT(Run({"key", "revoke", KeyFile::IdOf(key)}).err, ::testing::Not(HasSubstr("command line")));
  EXPECT_THAT(Run({"key", "revoke", KeyFile::IdOf(KeyFile(directory_).AdminKey())}).err,
              HasSubstr("the command line used by itself"));
  const Outcome mine = Run({"key", "create", "--role", "read"});
  const std::string own = mine.out.substr(0, mine.out.size() - 1);
  EXPECT_THAT(Run({"key", "revoke", KeyFile::IdOf(own), "--key", own}).err, HasSubstr("that --key or $AIMA_KEY gives"));
}

TEST_F(CommandsTest, ACommandWithoutItsVerbShowsItsUsage) {
  for (const char* command : {"key", "mcp", "events"}) {
    const Outcome outcome = Run({command});
    EXPECT_EQ(outcome.exit, kUsage) << command;
    EXPECT_THAT(outcome.err, HasSubstr(std::string("Usage: aima ") + command)) << command;
  }
  EXPECT_THAT(Run({"key", "create"}).err, HasSubstr("Usage: aima key"));
  EXPECT_EQ(Run({"-v"}).out, Run({"version"}).out);
}

TEST_F(CommandsTest, ARemedyNamesTheUnitThatWasRun) {
  const Outcome wrong = Run({"exec", "demo.run", "--text", "wrong"});
  EXPECT_EQ(wrong.exit, kUsage);
  EXPECT_THAT(wrong.err, HasSubstr("`aima units demo.run` shows the schema."));
  EXPECT_THAT(Run({"exec", "demo.run", "--text", "wrong, and no more"}).err,
              HasSubstr("Correct it. `aima units demo.run` shows what it takes."));
}

TEST_F(CommandsTest, UnitsOfANounAreListed) {
  EXPECT_EQ(Run({"units", "demo", "-o", "name"}).out, "demo.run\n");
  EXPECT_THAT(Run({"units", "demo"}).out, HasSubstr("demo.run  command  operate  Runs a demo."));
  EXPECT_EQ(Run({"units", "nothing"}).exit, kNotFound);
}

TEST_F(CommandsTest, StatusAndStopWorkWhileNothingRuns) {
  const Outcome status = Run({"status", "-o", "json"});
  EXPECT_EQ(status.exit, kUnavailable);
  EXPECT_EQ(ordered_json::parse(status.out)["running"], false);
  EXPECT_THAT(Run({"status"}).out, HasSubstr("AIMA is not running"));
  EXPECT_EQ(Run({"stop"}).exit, kOk);
}

TEST_F(CommandsTest, AWrongConfigurationIsToldBeforeAnythingIsMade) {
  const Outcome outcome = Run({"start", "--set", "api.listen_adr=127.0.0.1:1"});
  EXPECT_EQ(outcome.exit, kUsage);
  EXPECT_THAT(outcome.err, HasSubstr("api.listen_adr: is not a key; did you mean listen_addr?"));
  EXPECT_TRUE(std::filesystem::is_empty(directory_));
  EXPECT_THAT(Run({"start", "--print-config", "--set", "api.listen_addr=127.0.0.1:7"}).out,
              HasSubstr("listen_addr: \"127.0.0.1:7\""));
}

TEST_F(CommandsTest, CompletionKnowsCommandsUnitsAndFlagsWithoutACluster) {
  setenv("AIMA_SERVER", "127.0.0.1:1", 1);
  EXPECT_EQ(Run({"__complete", "--", "stat"}).out, "status\tshow what runs, and how it does\n");
  EXPECT_THAT(Run({"__complete", "--", "exec", "model.pu"}).out, HasSubstr("model.pull\t"));
  EXPECT_EQ(Run({"__complete", "--", "exec", "model.list", "--type", "l"}).out, "llm\n");
  EXPECT_EQ(Run({"__complete", "--", "ls", "--type=v"}).out, "--type=vlm\n--type=video\n");
  EXPECT_EQ(Run({"__complete", "--", "rm", ""}).out, "");
  EXPECT_EQ(Run({"__complete", "--", "start", "--config", ""}).out, ":files\n");
  EXPECT_EQ(Run({"__complete", "--", "config", "set", "mcp."}).out, "mcp.toolsets\n");
}

TEST_F(CommandsTest, AnErrorIsAnObjectForWhoReadsJson) {
  const Outcome unknown = Run({"exec", "no.such", "-o", "json"});
  EXPECT_EQ(unknown.out, "");
  const ordered_json report = ordered_json::parse(unknown.err);
  EXPECT_EQ(report["error"]["code"], "UNIT_NOT_FOUND");
  EXPECT_EQ(report["error"]["details"]["remedy"],
            "`aima units`, `aima ls` and `aima exec engine.list` list what there is, `aima stop NAME` ends it.");
  EXPECT_EQ(report["exit_status"], kNotFound);
  EXPECT_EQ(ordered_json::parse(Run({"nonsense", "-o", "json"}).err)["error"]["code"], "INVALID_INPUT");
}

TEST_F(CommandsTest, AVerbTakesItsWordsAndItsFlagsFromItsUnit) {
  EXPECT_THAT(Run({"help", "pull"}).out, HasSubstr("--quantization"));
  EXPECT_THAT(Run({"pull", "--help"}).out, HasSubstr("aima pull hf:Qwen/"));
  EXPECT_THAT(Run({"help", "exit-status"}).out, HasSubstr("130 interrupted"));
  EXPECT_THAT(Run({"help", "model.pull"}).out, HasSubstr("Errors: MODEL_EXISTS"));
  EXPECT_THAT(Run({"help", "pul"}).err, HasSubstr("did you mean pull"));
}

TEST_F(CommandsTest, EveryManualPageNamesItsCommandAndEscapesItsFlags) {
  EXPECT_THAT(Run({"man", "--roff", "pull"}).out, HasSubstr("\\fB\\-\\-quantization\\fR"));
  EXPECT_THAT(Run({"man", "--roff", "model"}).out, HasSubstr(".SS model.pull"));
  EXPECT_EQ(Run({"man", "--roff", "nothing"}).exit, kNotFound);
}

}  // namespace
}  // namespace aima::cli
