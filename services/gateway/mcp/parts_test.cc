// The parts that MCP is made of, each by itself.
#include <gmock/gmock.h>

#include <boost/asio/as_tuple.hpp>

#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "aima/config/v1/config.pb.h"
#include "libs/errors/errors.h"
#include "libs/testing/status_matchers.h"
#include "libs/unit/catalogue.h"
#include "libs/unit/value_lists.h"
#include "services/gateway/mcp/field_values.h"
#include "services/gateway/mcp/outbox.h"
#include "services/gateway/mcp/protocol.h"
#include "services/gateway/mcp/sealed_state.h"
#include "services/gateway/mcp/sessions.h"
#include "services/gateway/mcp/stream_fold.h"
#include "services/gateway/mcp/tasks.h"
#include "services/gateway/mcp/tool_names.h"
#include "services/gateway/mcp/toolsets.h"
#include "services/gateway/mcp/unit_source.h"

namespace aima::gateway::mcp {
namespace {

using aima::testing::IsOk;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

const Catalogue& Units() {
  static const Catalogue* catalogue = Catalogue::Load(AIMA_BINARY_DIR "/share/aima/units.binpb")->release();
  return *catalogue;
}

// Names.

TEST(ToolNames, EveryUnitHasOneNameAndIsFoundByIt) {
  std::vector<std::string> units;
  for (const UnitInfo& unit : Units().units()) units.push_back(unit.name);
  const ToolNames names(units);
  for (const std::string& unit : units) {
    EXPECT_THAT(names.ToolOf(unit), ::testing::MatchesRegex("[a-z0-9_]{1,64}"));
    EXPECT_EQ(names.UnitOf(names.ToolOf(unit)), unit);
  }
  EXPECT_EQ(names.ToolOf("model.estimate_resources"), "model_estimate_resources");
  EXPECT_EQ(names.UnitOf("model_estimate_resources"), "model.estimate_resources");
}

TEST(ToolNames, UnitsWhoseNamesWouldBeOneAreToldApart) {
  const ToolNames names({"a.b_c", "a_b.c", "a.b"});
  EXPECT_NE(names.ToolOf("a.b_c"), names.ToolOf("a_b.c"));
  for (const char* unit : {"a.b_c", "a_b.c", "a.b"}) EXPECT_EQ(names.UnitOf(names.ToolOf(unit)), unit);
  EXPECT_EQ(names.UnitOf("no_such"), "");
}

// State that a client carries.

TEST(SealedState, OpensForWhatItWasSealedForAndForNothingElse) {
  const SealedState seal;
  const absl::Time now = absl::Now();
  const std::string sealed = seal.Seal("round 2", "alice calls x", now + absl::Minutes(1));
  ASSERT_THAT(seal.Open(sealed, "alice calls x", now), IsOk());
  EXPECT_EQ(*seal.Open(sealed, "alice calls x", now), "round 2");
  EXPECT_FALSE(seal.Open(sealed, "bob calls x", now).ok());
  EXPECT_FALSE(seal.Open(sealed, "alice calls x", now + absl::Minutes(2)).ok());
  EXPECT_FALSE(SealedState().Open(sealed, "alice calls x", now).ok());
  for (const std::string& forged : {sealed + "x", "x" + sealed, std::string(""), std::string("."), std::string("a.b"),
                                    sealed.substr(0, sealed.find('.') + 1)}) {
    EXPECT_FALSE(seal.Open(forged, "alice calls x", now).ok()) << forged;
  }
}

// Sessions.

TEST(Outbox, IsReadByTheNewestReader) {
  Loop loop;
  Outbox outbox(loop);
  const int64_t first = outbox.TakeOver();
  EXPECT_TRUE(outbox.IsReader(first));
  const int64_t second = outbox.TakeOver();
  EXPECT_FALSE(outbox.IsReader(first));
  EXPECT_TRUE(outbox.IsReader(second));
}

TEST(Outbox, WhoDoesNotReadFindsOneNoticeOfEachKind) {
  Loop loop;
  Outbox outbox(loop);
  for (int i = 0; i < 1000; ++i) {
    outbox.PushOnce("a has changed");
    outbox.PushOnce("b has changed");
  }
  // The first may be on its way already while a changes again.
  EXPECT_EQ(outbox.size(), 3u);
  EXPECT_EQ(*outbox.At(0), "a has changed");
  outbox.Forget(3);
  outbox.PushOnce("b has changed");
  EXPECT_EQ(outbox.size(), 4u) << "it was read";
}

TEST(Sessions, WhoHasTooManyLosesTheOldestOrIsRefused) {
  Loop loop;
  Sessions sessions(loop);
  const std::shared_ptr<Session> other = sessions.Create("bob");
  ASSERT_TRUE(other);
  std::vector<std::shared_ptr<Session>> mine;
  for (int i = 0; i < 200; ++i) {
    mine.push_back(sessions.Create("alice"));
    ASSERT_TRUE(mine.back());
    mine.back()->used = absl::Now() + absl::Seconds(i - 1000);
  }
  EXPECT_TRUE(sessions.Create("alice"));
  EXPECT_EQ(sessions.size(), 201u);
  EXPECT_FALSE(sessions.Find(mine[0]->id, "alice"));
  EXPECT_TRUE(sessions.Find(mine[1]->id, "alice"));
  EXPECT_TRUE(sessions.Find(other->id, "bob"));
  sessions.ForEach([](Session& session) { session.stream_open = true; });
  EXPECT_FALSE(sessions.Create("alice"));
  EXPECT_TRUE(sessions.Create("bob"));
}

// Tasks.

class TasksTest : public ::testing::Test {
 protected:
  // A task of this principal that is done with a result of so many bytes, or goes on.
  std::string Add(const std::string& principal, int bytes, bool waits = false) {
    const auto call = std::make_shared<RunningCall>(loop_, json(1), CallContext(), Caller{principal, Role::kOperate}, ClientTerms());
    const Tasks::Task* task = tasks_.Create(principal, call);
    if (!task) return "";
    const std::string id = task->id;
    call->Start(
        [this, bytes, waits](RunningCall&) -> Task<Outcome> {
          if (waits) co_await go_on_.async_wait(boost::asio::as_tuple(boost::asio::use_awaitable));
          if (bytes < 0) co_await never_.async_wait(boost::asio::use_awaitable);
          co_return Outcome::Result(std::string(std::max(bytes, 0), 'x'));
        },
        [this](const RunningCall& ended, const Outcome&) {
          tasks_.Trim(ended);
          return std::string();
        });
    loop_.restart();
    loop_.poll();
    return id;
  }
  bool Has(const std::string& id, const std::string& principal) { return tasks_.Find(id, principal) != nullptr; }

  Loop loop_;
  boost::asio::steady_timer never_{loop_, boost::asio::steady_timer::time_point::max()};
  boost::asio::steady_timer go_on_{loop_};
  Tasks tasks_{loop_};
};

TEST_F(TasksTest, WhoHasTooManyLosesTheOldestThatIsDoneOrIsRefused) {
  const std::string bobs = Add("bob", 1);
  const std::string working = Add("alice", -1);
  const std::string done = Add("alice", 1);
  for (size_t i = 2; i < Tasks::kMaxOfPrincipal; ++i) ASSERT_NE(Add("alice", -1), "");
  EXPECT_NE(Add("alice", -1), "");
  EXPECT_TRUE(Has(working, "alice"));
  EXPECT_FALSE(Has(done, "alice"));
  EXPECT_EQ(Add("alice", -1), "") << "all that she has go on";
  EXPECT_TRUE(Has(bobs, "bob"));
  EXPECT_NE(Add("bob", -1), "");
}

TEST_F(TasksTest, LargeResultsAreForgottenTheOldestFirst) {
  constexpr int kHalf = Tasks::kMaxBytesOfPrincipal / 2 + 1;
  const std::string bobs = Add("bob", kHalf);
  const std::string working = Add("alice", -1);
  const std::string first = Add("alice", kHalf);
  EXPECT_TRUE(Has(first, "alice"));
  const std::string second = Add("alice", kHalf);
  EXPECT_FALSE(Has(first, "alice"));
  EXPECT_TRUE(Has(second, "alice"));
  const std::string huge = Add("alice", 3 * kHalf);
  EXPECT_TRUE(Has(huge, "alice")) << "the newest is not lost before its client could have it";
  EXPECT_FALSE(Has(second, "alice"));
  EXPECT_TRUE(Has(working, "alice"));
  EXPECT_TRUE(Has(bobs, "bob"));
}

TEST_F(TasksTest, AResultThatTookLongIsNotForgottenForThoseThatCameSince) {
  constexpr int kHalf = Tasks::kMaxBytesOfPrincipal / 2 + 1;
  go_on_.expires_at(boost::asio::steady_timer::time_point::max());
  const std::string slow = Add("alice", kHalf, /*waits=*/true);
  const std::string quick = Add("alice", kHalf);
  go_on_.cancel();
  loop_.restart();
  loop_.poll();
  EXPECT_TRUE(Has(slow, "alice")) << "its client could not have it yet";
  EXPECT_FALSE(Has(quick, "alice"));
}

// Toolsets.

class ToolsetsTest : public ::testing::Test {
 protected:
  ToolsetsTest() {
    Add("model_list", "model.list", "model", true);
    Add("model_delete", "model.delete", "model", false);
    Add("engine_list", "engine.list", "engine", true);
    Add("engine_stop", "engine.stop", "engine", false);
    Add("alert_list", "alert.list", "alert", true);
  }
  void Add(std::string name, std::string unit, std::string domain, bool read_only) {
    Tool& tool = tools_.emplace_back();
    tool.name = std::move(name);
    tool.label = std::move(unit);
    tool.domain = std::move(domain);
    tool.read_only = read_only;
  }
  std::vector<std::string> Select(const std::string& selection) {
    std::vector<const Tool*> all;
    for (const Tool& tool : tools_) all.push_back(&tool);
    const auto selected = Toolsets(all, "model,engine,-engine.stop,absent").Select(selection);
    if (!selected.ok()) return {std::string(selected.status().message())};
    std::vector<std::string> names;
    for (const Tool* tool : *selected) names.push_back(tool->name);
    return names;
  }
  std::vector<Tool> tools_;
};

TEST_F(ToolsetsTest, WithoutAWordTheConfigurationDecides) {
  EXPECT_THAT(Select(""), ElementsAre("engine_list", "model_delete", "model_list"));
  EXPECT_EQ(Select("default"), Select(""));
  EXPECT_THAT(Select("default,alert"), ElementsAre("alert_list", "engine_list", "model_delete", "model_list"));
}

TEST_F(ToolsetsTest, WordsNameDomainsUnitsAndTools) {
  EXPECT_THAT(Select("all"), ::testing::SizeIs(5));
  EXPECT_THAT(Select("model"), ElementsAre("model_delete", "model_list"));
  EXPECT_THAT(Select(" engine.stop , alert_list "), ElementsAre("alert_list", "engine_stop"));
  EXPECT_THAT(Select("modle"), ElementsAre(HasSubstr("'modle' is no toolset")));
}

TEST_F(ToolsetsTest, WhatIsLeftOutOutranksWhatIsNamed) {
  EXPECT_THAT(Select("-model.delete,model"), ElementsAre("model_list"));
  EXPECT_THAT(Select("-model"), ElementsAre("alert_list", "engine_list", "engine_stop"));
}

TEST_F(ToolsetsTest, ReadOnlyLeavesOnlyWhatChangesNothing) {
  EXPECT_THAT(Select("read-only"), ElementsAre("alert_list", "engine_list", "model_list"));
  EXPECT_THAT(Select("model,read-only"), ElementsAre("model_list"));
  EXPECT_THAT(Select("read-only,model_delete"), IsEmpty());
}

// What modern clients repeat in headers.

TEST(Protocol, HeadersAreDecodedAsTheProtocolSays) {
  EXPECT_EQ(DecodeHeader("  model_get \t"), "model_get");
  EXPECT_EQ(DecodeHeader("=?base64?SGVsbG8=?="), "Hello");
  EXPECT_EQ(DecodeHeader("=?base64?SGVsbG8?="), std::nullopt) << "without its padding";
  EXPECT_EQ(DecodeHeader("=?base64?SGVs!!!bG8=?="), std::nullopt);
  EXPECT_EQ(DecodeHeader("=?base64?SGVsbG8="), "=?base64?SGVsbG8=");
  EXPECT_EQ(DecodeHeader("SGVsbG8="), "SGVsbG8=");
}

// Streams of units.

TEST(StreamFold, PiecesBecomeTheWholeAnswer) {
  const UnitInfo& chat = *Units().Find("inference.chat");
  ASSERT_TRUE(StreamFold::Fits(chat));
  StreamFold fold(chat);
  fold.Add({{"content", "Hel"}, {"tool_calls", json::array()}});
  EXPECT_EQ(fold.TakeNews(), "Hel");
  fold.Add({{"content", "lo"}, {"tool_calls", json::array()}, {"finish_reason", "stop"}, {"model", "m"}, {"usage", {{"total_tokens", 2}}}});
  EXPECT_EQ(fold.TakeNews(), "lo");
  EXPECT_EQ(fold.progress(), 2);
  EXPECT_EQ(fold.output(), json({{"content", "Hello"},
                                 {"tool_calls", json::array()},
                                 {"finish_reason", "stop"},
                                 {"model", "m"},
                                 {"usage", {{"total_tokens", 2}}}}));
}

TEST(StreamFold, ProgressEndsWithItsResult) {
  const UnitInfo& start = *Units().Find("engine.start");
  ASSERT_TRUE(StreamFold::Fits(start));
  StreamFold fold(start);
  fold.Add({{"phase", "loading"}, {"message", "reads the model"}, {"percent", 40.0}});
  EXPECT_EQ(fold.progress(), 40);
  EXPECT_EQ(fold.total(), 100);
  EXPECT_EQ(fold.TakeNews(), "reads the model");
  EXPECT_TRUE(fold.output().is_null());
  fold.Add({{"percent", 30.0}, {"result", {{"instance_id", "i1"}}}});
  EXPECT_EQ(fold.progress(), 40) << "progress never goes back";
  EXPECT_EQ(fold.output()["instance_id"], "i1");
}

TEST(StreamFold, UnitsThatOnlyStreamHaveNoOneOutput) { EXPECT_FALSE(StreamFold::Fits(*Units().Find("event.subscribe"))); }

// Entries of tools.

TEST(ToolEntries, EveryUnitSaysWhatItTakesAndGivesAndDoes) {
  for (const UnitInfo& unit : Units().units()) {
    const json entry = json::parse(ToolEntry(unit, "x"));
    EXPECT_THAT(entry["description"].get<std::string>(), ::testing::Not(IsEmpty())) << unit.name;
    EXPECT_EQ(entry["inputSchema"]["type"], "object") << unit.name;
    EXPECT_EQ(entry["outputSchema"]["type"], "object") << unit.name;
    EXPECT_EQ(entry["annotations"]["readOnlyHint"], !unit.command()) << unit.name;
    if (!unit.command()) EXPECT_EQ(entry["annotations"]["destructiveHint"], false) << unit.name;
  }
  const auto hints = [](const char* unit) { return json::parse(ToolEntry(*Units().Find(unit), "x"))["annotations"]; };
  EXPECT_EQ(hints("model.delete")["destructiveHint"], true);
  EXPECT_EQ(hints("engine.stop")["destructiveHint"], true);
  EXPECT_EQ(hints("model.import")["destructiveHint"], false);
  EXPECT_EQ(hints("model.import")["idempotentHint"], true);
  EXPECT_EQ(hints("model.create")["idempotentHint"], false);
}

TEST(ToolEntries, OutputsMayLeaveAnEnumUnsetAndBreakNoRuleOfInputs) {
  const json model = json::parse(ToolEntry(*Units().Find("model.get"), "x"));
  EXPECT_THAT(model["outputSchema"]["properties"]["type"]["enum"], ::testing::Contains("unspecified"));
  EXPECT_FALSE(model["outputSchema"].contains("required"));
  EXPECT_THAT(model["inputSchema"]["required"], ElementsAre("model_id"));
}

// Ids.

TEST(FieldValues, IdsComeFromTheListOfTheirDomain) {
  const ValueList models = FindValueList(Units(), *Units().Find("model.get"), "model_id");
  ASSERT_NE(models.unit, nullptr);
  EXPECT_EQ(models.unit->name, "model.list");
  const ValueList engines = FindValueList(Units(), *Units().Find("engine.get"), "name");
  ASSERT_NE(engines.unit, nullptr);
  EXPECT_EQ(engines.unit->name, "engine.list");
  const ValueList devices = FindValueList(Units(), *Units().Find("device.metrics"), "device_id");
  ASSERT_NE(devices.unit, nullptr);
  EXPECT_EQ(devices.unit->domain, "device");
  EXPECT_EQ(FindValueList(Units(), *Units().Find("model.get"), "no_such_field").unit, nullptr);
}

TEST(DefaultTools, AreNoMoreThanClientsWorkWellWith) {
  config::v1::Config config;
  const google::protobuf::FieldDescriptor* field = config.mcp().GetDescriptor()->FindFieldByName("toolsets");
  const std::string toolsets = json::parse(RulesOf(*field).default_()).get<std::string>();
  std::vector<Tool> tools;
  for (const UnitInfo& unit : Units().units()) {
    if (unit.options.access() == unit::v1::INTERNAL) continue;
    Tool& tool = tools.emplace_back();
    tool.name = tool.label = unit.name;
    tool.domain = unit.domain;
  }
  std::vector<const Tool*> all;
  for (const Tool& tool : tools) all.push_back(&tool);
  const auto selected = Toolsets(all, toolsets).Select("");
  ASSERT_THAT(selected, IsOk());
  EXPECT_GE(selected->size(), 20u);
  EXPECT_LE(selected->size(), 40u) << "hosts cut longer lists: leave some out in mcp.toolsets";
}

}  // namespace
}  // namespace aima::gateway::mcp
