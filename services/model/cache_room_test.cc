#include "services/model/cache_room.h"

#include <gmock/gmock.h>

#include <set>

#include "libs/events/events.h"
#include "libs/rpc/client.h"
#include "libs/testing/postgres.h"
#include "libs/testing/status_matchers.h"
#include "libs/testing/task.h"
#include "services/model/digest.h"
#include "services/model/model_files_for_test.h"

namespace aima::model {
namespace {

using aima::testing::FailsWith;
using aima::testing::IsOk;
using ::testing::UnorderedElementsAre;

// Engines that serve these models, or cannot be asked.
struct FakeUsers : ModelUsers {
  std::set<std::string> served;
  bool reachable = true;
  std::function<void(const std::string& model_id)> asked = [](const std::string&) {};

  Task<absl::StatusOr<std::vector<std::string>>> InstancesOf(const CallContext&, const std::string& model_id) override {
    if (!reachable) co_return absl::UnavailableError("engine is down");
    asked(model_id);
    co_return served.count(model_id) ? std::vector<std::string>{"instance"} : std::vector<std::string>();
  }
  Task<absl::StatusOr<std::vector<KnownEngine>>> Engines(const CallContext&) override {
    co_return std::vector<KnownEngine>();
  }
};

// Nobody to be called: events stay in the database.
struct NoClient : rpc::Client {
  Task<absl::Status> CallUntyped(const CallContext&, const google::protobuf::Message&,
                                 google::protobuf::Message&) override {
    co_return absl::UnavailableError("no service");
  }
  Task<absl::Status> CallDomain(const std::string&, const CallContext&, const google::protobuf::Message&,
                                google::protobuf::Message&) override {
    co_return absl::UnavailableError("no service");
  }
  std::unique_ptr<RawReader> StreamUntyped(const CallContext&, const google::protobuf::Message&) override {
    return nullptr;
  }
};

class CacheRoomTest : public ::testing::Test {
 protected:
  static constexpr int64_t kModel = 1 << 20;

  // Three models of a mebibyte each: "oldest", "middle" and "newest".
  CacheRoomTest()
      : db_(aima::testing::Postgres::Shared().Open(loop_, "model", {AIMA_SOURCE_DIR "/services/model/migrations"})) {
    int age = 3;
    for (const char* id : {"oldest", "middle", "newest"}) Add(id, absl::Now() - absl::Hours(age--));
  }

  template <class T>
  T Run(Task<T> task) {
    return aima::testing::Run(loop_, std::move(task));
  }

  void Add(const std::string& id, absl::Time made) {
    const std::string bytes(static_cast<size_t>(kModel), id[0]);
    const auto go_on = [] { return absl::OkStatus(); };
    if (!blobs_.Check(HashText(bytes), kModel, go_on).value()) {
      const auto part = blobs_.OpenPart("sha256-" + HashText(bytes), kModel, kModel, go_on);
      EXPECT_THAT(part, IsOk());
      EXPECT_THAT((*part)->Write(0, bytes), IsOk());
      EXPECT_THAT(blobs_.Commit(**part, HashText(bytes)), IsOk());
    }
    v1::Model model;
    model.set_id(id);
    model.set_name(id);
    model.set_status(v1::MODEL_STATUS_READY);
    model.set_path(*blobs_.Place(id, {{"model.gguf", HashText(bytes)}}) + "/model.gguf");
    model.set_digest(HashText(bytes));
    model.set_size(kModel);
    model.set_stored(true);
    *model.mutable_create_time() = TimestampOf(made);
    EXPECT_THAT(Run(store_.Insert(call_, model, {})), IsOk());
  }

  absl::Status Make(int64_t bytes) { return MakeFor("a", bytes).status(); }

  // Room for a pull of one file that is called so.
  absl::StatusOr<CacheRoom::Grant> MakeFor(const std::string& file, int64_t bytes) {
    v1::PullPlan plan;
    v1::PullPlan::File& wanted = *plan.add_files();
    wanted.set_name(file);
    wanted.set_size(bytes);
    wanted.set_sha256(HashText(file));
    return Run(room_.Make(call_, "wanted", plan));
  }
  std::vector<std::string> Left() {
    ModelStore::Page page;
    const auto models = Run(store_.List(call_, ModelFilter{}, page));
    std::vector<std::string> ids;
    for (const v1::Model& model : *models) ids.push_back(model.id());
    return ids;
  }

  Loop loop_;
  CallContext call_;
  testing::TemporaryDirectory dir_;
  std::unique_ptr<pg::Database> db_;
  NoClient client_;
  std::unique_ptr<events::EventOutbox> outbox_ = std::make_unique<events::EventOutbox>(loop_, *db_, client_);
  ModelStore store_{*db_};
  BlobStore blobs_{dir_.path()};
  FileThreads threads_;
  FakeUsers users_;
  CacheRoom room_{store_, *outbox_, blobs_, threads_, users_, 3 * kModel + kModel / 2};
};

TEST_F(CacheRoomTest, NothingGoesWhileThereIsRoom) {
  EXPECT_THAT(Make(kModel / 4), IsOk());
  EXPECT_THAT(Left(), UnorderedElementsAre("oldest", "middle", "newest"));
}

TEST_F(CacheRoomTest, WhatWasNotUsedForLongestGoesFirstAndNoMoreThanIsNeeded) {
  EXPECT_THAT(Run(store_.SetUsed(call_, "oldest")), IsOk());
  EXPECT_THAT(Make(kModel), IsOk());
  EXPECT_THAT(Left(), UnorderedElementsAre("oldest", "newest"));
  EXPECT_LE(blobs_.UsedBytes(), 2 * kModel + 16384);
}

TEST_F(CacheRoomTest, ModelsThatAreServedOrPinnedStay) {
  users_.served = {"oldest"};
  EXPECT_THAT(Run(store_.SetPinned(call_, "middle", true, {})), IsOk());
  EXPECT_THAT(Make(kModel), IsOk());
  EXPECT_THAT(Left(), UnorderedElementsAre("oldest", "middle"));
  EXPECT_THAT(Make(2 * kModel), FailsWith(v1::MODEL_STORAGE_FULL, "neither pinned nor in use"));
  EXPECT_THAT(Left(), UnorderedElementsAre("oldest", "middle"));
}

TEST_F(CacheRoomTest, WhatFitsInNoCaseCostsNoModel) {
  EXPECT_THAT(Make(4 * kModel), FailsWith(v1::MODEL_STORAGE_FULL, "model.max_cache_gb"));
  EXPECT_THAT(Left(), UnorderedElementsAre("oldest", "middle", "newest"));
}

TEST_F(CacheRoomTest, WhatModelsShareGivesRoomOnlyOnce) {
  Add("of the same bytes as oldest", absl::Now() - absl::Hours(4));
  users_.served = {"middle", "newest"};
  EXPECT_THAT(Make(2 * kModel + kModel / 4), FailsWith(v1::MODEL_STORAGE_FULL, "only 1"));
  EXPECT_THAT(Left(), UnorderedElementsAre("of the same bytes as oldest", "oldest", "middle", "newest"));
  EXPECT_THAT(Make(kModel), IsOk());
  EXPECT_THAT(Left(), UnorderedElementsAre("middle", "newest"));
}

TEST_F(CacheRoomTest, WhatIsStartedWhileOthersAreRemovedStays) {
  int asked = 0;
  users_.asked = [&](const std::string& model_id) {
    // Each is looked at before, and again when its turn comes.
    if (model_id == "middle" && ++asked == 2) users_.served = {"middle"};
  };
  EXPECT_THAT(Make(2 * kModel), IsOk());
  EXPECT_THAT(Left(), UnorderedElementsAre("middle"));
}

TEST_F(CacheRoomTest, WhatIsPromisedToOnePullIsNotThereForAnother) {
  users_.served = {"oldest", "middle", "newest"};
  absl::StatusOr<CacheRoom::Grant> first = MakeFor("a", kModel / 4);
  ASSERT_THAT(first, IsOk());
  EXPECT_THAT(MakeFor("b", kModel / 3), FailsWith(v1::MODEL_STORAGE_FULL, "pulls that run"));
  EXPECT_THAT(MakeFor("a", kModel / 4), IsOk()) << "the same file is needed once";
  first->reset();
  EXPECT_THAT(MakeFor("b", kModel / 3), IsOk());
}

TEST_F(CacheRoomTest, NothingIsRemovedWhileItIsNotKnownWhatIsServed) {
  users_.reachable = false;
  EXPECT_THAT(Make(kModel), FailsWith(v1::MODEL_STORAGE_FULL, "wanted"));
  EXPECT_THAT(Left(), UnorderedElementsAre("oldest", "middle", "newest"));
}

}  // namespace
}  // namespace aima::model
