#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <filesystem>

#include "services/cli/command_line.h"
#include "services/cli/commands.h"
#include "services/cli/gateway_client.h"
#include "services/cli/keys.h"
#include "services/cli/output.h"
#include "services/cli/schema_flags.h"
#include "services/cli/table.h"

namespace aima::cli {
namespace {

namespace fs = std::filesystem;
using nlohmann::ordered_json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

const ordered_json& Schema() {
  static const ordered_json* schema = new ordered_json(ordered_json::parse(R"({
    "type": "object",
    "required": ["model_id"],
    "properties": {
      "model_id": {"type": "string", "description": "Which one. More."},
      "limit": {"type": ["integer", "string"]},
      "ratio": {"type": "number"},
      "force": {"type": "boolean"},
      "type": {"type": "string", "enum": ["llm", "vlm"]},
      "stop": {"type": ["array", "string"], "items": {"type": "string"}},
      "messages": {"type": "array", "items": {"type": "object", "properties": {"role": {"type": "string"}}}},
      "config": {"type": "object", "additionalProperties": false, "properties": {
        "context_length": {"type": "integer"}, "flash": {"type": "boolean"}}},
      "labels": {"type": "object", "additionalProperties": {"type": "string"}},
      "choice": {}
    }})"));
  return *schema;
}

// What flags make of an input, or the error.
std::string Input(std::vector<std::string> words, ordered_json input = ordered_json::object()) {
  const absl::Status status = ApplyFlags(Schema(), words, input);
  return status.ok() ? input.dump() : std::string(status.message());
}

TEST(SchemaFlags, AreReadAsTheSchemaSays) {
  EXPECT_EQ(Input({"--model-id", "7b", "--limit=5", "--ratio", "0.5"}),
            R"({"model_id":"7b","limit":5,"ratio":0.5})");
  EXPECT_EQ(Input({"--model_id", "123"}), R"({"model_id":"123"})");
  EXPECT_EQ(Input({"--model-id", "--odd"}), R"({"model_id":"--odd"})");
  EXPECT_EQ(Input({"--limit", "10MB"}), R"({"limit":"10MB"})");
  EXPECT_EQ(Input({"--choice", "auto"}), R"({"choice":"auto"})");
  EXPECT_EQ(Input({"--choice", "{\"a\":1}"}), R"({"choice":{"a":1}})");
}

TEST(SchemaFlags, BooleansNeedNoValue) {
  EXPECT_EQ(Input({"--force", "--limit", "1"}), R"({"force":true,"limit":1})");
  EXPECT_EQ(Input({"--no-force"}), R"({"force":false})");
  EXPECT_EQ(Input({"--force=false"}), R"({"force":false})");
  EXPECT_EQ(Input({"--force", "false"}), R"({"force":false})");
  EXPECT_THAT(Input({"--force=perhaps"}), HasSubstr("--force takes true or false, not 'perhaps'"));
}

TEST(SchemaFlags, ListsAreRepeatedOrJson) {
  EXPECT_EQ(Input({"--stop", "a", "--stop", "b"}), R"({"stop":["a","b"]})");
  EXPECT_EQ(Input({"--stop", R"(["a","b"])"}), R"({"stop":["a","b"]})");
  EXPECT_EQ(Input({"--stop", "[not json"}), R"({"stop":["[not json"]})");
  EXPECT_EQ(Input({"--messages", R"({"role":"user"})"}), R"({"messages":[{"role":"user"}]})");
  EXPECT_EQ(Input({"--stop", "new"}, {{"stop", {"old"}}}), R"({"stop":["new"]})");
}

TEST(SchemaFlags, ObjectsAreDottedOrJson) {
  EXPECT_EQ(Input({"--config.context-length", "2048", "--config.flash"}),
            R"({"config":{"context_length":2048,"flash":true}})");
  EXPECT_EQ(Input({"--config", R"({"flash":false})", "--config.context_length", "1"}),
            R"({"config":{"flash":false,"context_length":1}})");
  EXPECT_EQ(Input({"--labels.my-key", "v"}), R"({"labels":{"my-key":"v"}})");
  EXPECT_THAT(Input({"--config", "7"}), HasSubstr("--config takes JSON of type object"));
  EXPECT_THAT(Input({"--config.nothing", "7"}), HasSubstr("there is no flag --config.nothing"));
}

TEST(SchemaFlags, MistakesAreNamedWithWhatWasMeant) {
  EXPECT_THAT(Input({"--model-ids", "x"}), HasSubstr("there is no flag --model-ids; did you mean --model-id?"));
  EXPECT_THAT(Input({"--zzzzzzzz", "x"}), HasSubstr("there are --model-id, --limit"));
  EXPECT_THAT(Input({"--model-id"}), HasSubstr("--model-id needs a value"));
  EXPECT_THAT(Input({"model"}), HasSubstr("'model' is not a flag"));
  EXPECT_THAT(Input({"--ratio", "half"}), HasSubstr("--ratio takes a number"));
}

TEST(SchemaFlags, AreDescribedForHelp) {
  const std::vector<FlagHelp> flags = FlagsOf(Schema());
  EXPECT_EQ(flags[0].flag, "--model-id");
  EXPECT_TRUE(flags[0].required);
  EXPECT_EQ(flags[4].type, "llm|vlm");
  EXPECT_EQ(flags[5].type, "[string]");
  EXPECT_EQ(flags[8].flag, "--config.context-length");
}

const ordered_json& Listing() {
  static const ordered_json* value = new ordered_json(ordered_json::parse(
      R"({"items": [{"id": "a", "size": 1, "tags": []}, {"id": "bcd", "size": 22, "tags": [], "more": {"x": true}}],
          "total": 2})"));
  return *value;
}

TEST(Output, ATableShowsListsAsRowsAndTheRestAsLines) {
  EXPECT_EQ(Format(Listing(), "table"),
            "total  2\n"
            "\n"
            "ID   SIZE  MORE\n"
            "a    1 B\n"
            "bcd  22 B  {\"x\":true}\n");
  EXPECT_EQ(Format({{"id", "x"}, {"usage", {{"tokens", 3}}}}, "table"), "id            x\nusage.tokens  3\n");
  EXPECT_EQ(Format(ordered_json::object(), "table"), "ok\n");
  EXPECT_EQ(Format({{"id", "a\033[31m\nb"}}, "table"), "id  a [31m b\n");
}

TEST(Output, YamlQuotesWhatWouldBeReadAsSomethingElse) {
  EXPECT_EQ(Format(Listing(), "yaml"),
            "items:\n"
            "  - id: a\n"
            "    size: 1\n"
            "    tags: []\n"
            "  - id: bcd\n"
            "    size: 22\n"
            "    tags: []\n"
            "    more:\n"
            "      x: true\n"
            "total: 2\n");
  EXPECT_EQ(Format({{"a", "true"}, {"b", "12"}, {"c", "x: y"}, {"d", ""}, {"e", nullptr}}, "yaml"),
            "a: \"true\"\nb: \"12\"\nc: \"x: y\"\nd: \"\"\ne: null\n");
  EXPECT_EQ(Format(ordered_json::parse("[[1,2],3]"), "yaml"), "-\n  - 1\n  - 2\n- 3\n");
}

TEST(Output, NdjsonIsOneLinePerItem) {
  EXPECT_EQ(Format({{"items", {{{"id", 1}}, {{"id", 2}}}}, {"total", 2}}, "ndjson"), "{\"id\":1}\n{\"id\":2}\n");
  EXPECT_EQ(Format({{"id", 1}}, "ndjson"), "{\"id\":1}\n");
}

TEST(Output, DurationsAreShort) {
  EXPECT_EQ(ShortDuration(59.9), "59s");
  EXPECT_EQ(ShortDuration(3600), "1h");
  EXPECT_EQ(ShortDuration(200000), "2d");
}

TEST(CommandLine, GlobalFlagsMayStandAnywhereButNotBehindTwoDashes) {
  Arguments arguments({"exec", "-o", "json", "x", "--server=h:1", "--", "--key", "k"});
  const absl::StatusOr<Globals> globals = TakeGlobals(arguments);
  ASSERT_TRUE(globals.ok());
  EXPECT_EQ(globals->output, "json");
  EXPECT_EQ(globals->server, "h:1");
  EXPECT_EQ(globals->key, "");
  EXPECT_THAT(arguments.words(), ElementsAre("exec", "x", "--", "--key", "k"));
  Arguments wrong({"-o", "xml"});
  EXPECT_EQ(ExitCodeOf(TakeGlobals(wrong).status()), kUsage);
}

TEST(CommandLine, ErrorsHaveTheDocumentedExitStatus) {
  const auto exit_of = [](int http, const char* code) {
    return ExitCodeOf(StatusOfError({{"code", code}, {"message", "m"}}, http));
  };
  EXPECT_EQ(exit_of(400, "INVALID_INPUT"), kUsage);
  EXPECT_EQ(exit_of(404, "MODEL_NOT_FOUND"), kNotFound);
  EXPECT_EQ(exit_of(401, "UNAUTHENTICATED"), kDenied);
  EXPECT_EQ(exit_of(403, "PERMISSION_DENIED"), kDenied);
  EXPECT_EQ(exit_of(503, "UNAVAILABLE"), kUnavailable);
  EXPECT_EQ(exit_of(504, "DEADLINE_EXCEEDED"), kDeadline);
  EXPECT_EQ(exit_of(500, "INTERNAL_ERROR"), kFailure);
  EXPECT_EQ(exit_of(0, "MODEL_NOT_FOUND"), kNotFound);
}

TEST(CommandLine, EveryCommandIsInTheHelp) {
  for (const std::string& name : CommandNames()) EXPECT_THAT(GeneralHelp(), HasSubstr("\n  " + name));
  for (const Topic& topic : Topics()) EXPECT_THAT(GeneralHelp(), HasSubstr(topic.name));
  EXPECT_THAT(Topics()[0].text, HasSubstr("130 interrupted"));
}

TEST(CommandLine, FlagsWithALetterMayStandTogether) {
  Arguments arguments({"-fa", "x", "-n", "5", "--", "-f"});
  EXPECT_TRUE(arguments.Flag("follow", 'f'));
  EXPECT_TRUE(arguments.Flag("all", 'a'));
  EXPECT_FALSE(arguments.Flag("all", 'a'));
  EXPECT_THAT(arguments.words(), ElementsAre("x", "-n", "5", "--", "-f"));
}

TEST(Gateway, AProblemDocumentWithoutAnEnvelopeIsAnErrorToo) {
  const absl::Status status =
      OpenEnvelope(
          R"({"type":"about:blank","title":"Not Found","status":404,"detail":"no model x","code":"MODEL_NOT_FOUND"})",
          404)
          .status();
  EXPECT_EQ(status.message(), "no model x [MODEL_NOT_FOUND]");
  EXPECT_EQ(ExitCodeOf(status), kNotFound);
}

TEST(Gateway, AnEnvelopeIsOpenedOrItsErrorTold) {
  EXPECT_EQ(OpenEnvelope(R"({"success":true,"data":{"a":1}})", 200)->dump(), R"({"a":1})");
  EXPECT_EQ(OpenEnvelope(R"({"success":true,"data":{"status":"degraded"}})", 503)->dump(),
            R"({"status":"degraded"})");
  const absl::Status status =
      OpenEnvelope(
          R"({"success":false,"error":{"code":"MODEL_NOT_FOUND","message":"no model x","details":{"remedy":"List them."}}})",
          404)
          .status();
  EXPECT_EQ(status.message(), "no model x [MODEL_NOT_FOUND]");
  EXPECT_EQ(RemedyOf(status), "List them.");
  EXPECT_THAT(std::string(OpenEnvelope("<html>", 200).status().message()), HasSubstr("is --server right?"));
}

TEST(Gateway, ARemedySpeaksOfThisCommandLine) {
  const auto remedy = [](const ordered_json& error, int http) { return RemedyOf(StatusOfError(error, http)); };
  EXPECT_THAT(remedy({{"code", "UNAUTHENTICATED"},
                      {"details", {{"remedy", "Send a valid key: `Authorization: Bearer <key>`."}}}},
                     401),
              ::testing::AllOf(HasSubstr("--key"), HasSubstr("$AIMA_KEY"), HasSubstr("aima key create")));
  EXPECT_THAT(remedy({{"code", "PERMISSION_DENIED"}, {"details", {{"role", "admin"}, {"remedy", "Use a key."}}}}, 403),
              HasSubstr("aima key create --role admin"));
  EXPECT_EQ(remedy({{"code", "PERMISSION_DENIED"}, {"details", {{"remedy", "Ask here."}}}}, 403), "Ask here.");
}

TEST(Gateway, ServersAreWrittenInManyWays) {
  EXPECT_EQ(ParseServer("127.0.0.1:9090")->port, 9090);
  EXPECT_EQ(ParseServer("https://aima.example/")->port, 443);
  EXPECT_TRUE(ParseServer("https://aima.example")->tls);
  EXPECT_EQ(ParseServer("http://[::1]:80")->host, "::1");
  for (const char* wrong : {"ftp://x", "host:0", "host:port", "", "http://h:1/path"}) {
    EXPECT_FALSE(ParseServer(wrong).ok()) << wrong;
  }
}

class KeysTest : public ::testing::Test {
 protected:
  KeysTest() {
    std::string pattern = fs::temp_directory_path() / "aima-keys-XXXXXX";
    directory_ = mkdtemp(pattern.data());
  }
  ~KeysTest() override { fs::remove_all(directory_); }

  static int Mode(const fs::path& path) {
    struct stat info = {};
    return stat(path.c_str(), &info) == 0 ? info.st_mode & 0777 : -1;
  }

  fs::path directory_;
};

TEST_F(KeysTest, AKeyIsShownOnceAndStoredAsAHash) {
  KeyFile file(directory_);
  const absl::StatusOr<std::string> text = file.Create("operate", "ci", absl::Hours(1));
  ASSERT_TRUE(text.ok());
  const std::vector<KeyEntry> keys = *file.List();
  ASSERT_EQ(keys.size(), 1u);
  EXPECT_EQ(*text, "aima_" + keys[0].id + "_" + text->substr(text->rfind('_') + 1));
  EXPECT_EQ(keys[0].sha256.size(), 64u);
  EXPECT_FALSE(keys[0].expires.empty());
  EXPECT_EQ(Mode(directory_ / "keys"), 0700);
  EXPECT_EQ(Mode(directory_ / "keys/keys.json"), 0600);
  EXPECT_EQ(file.Create("root", "", std::nullopt).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(KeysTest, ARevokedKeyIsGone) {
  KeyFile file(directory_);
  ASSERT_TRUE(file.Create("read", "", std::nullopt).ok());
  ASSERT_TRUE(file.Revoke(file.List()->front().id).ok());
  EXPECT_TRUE(file.List()->empty());
  EXPECT_EQ(file.Revoke("nope").code(), absl::StatusCode::kNotFound);
}

TEST_F(KeysTest, TheAdminKeyIsMadeOnceAndReplacedWhenRevoked) {
  KeyFile file(directory_);
  ASSERT_TRUE(file.EnsureAdminKey().ok());
  const std::string first = file.AdminKey();
  ASSERT_TRUE(file.EnsureAdminKey().ok());
  EXPECT_EQ(file.AdminKey(), first);
  EXPECT_EQ(Mode(directory_ / "keys/admin.key"), 0600);
  ASSERT_TRUE(file.Revoke(file.List()->front().id).ok());
  EXPECT_EQ(file.AdminKey(), "");
  ASSERT_TRUE(file.EnsureAdminKey().ok());
  EXPECT_NE(file.AdminKey(), first);
}

}  // namespace
}  // namespace aima::cli
