#include "services/gateway/access.h"

#include <absl/strings/str_cat.h>
#include <absl/time/clock.h>
#include <gmock/gmock.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "aima/unit/v1/errors.pb.h"
#include "libs/testing/status_matchers.h"

namespace aima::gateway {
namespace {

using aima::testing::FailsWith;
using aima::testing::IsOk;

class AccessTest : public ::testing::Test {
 protected:
  AccessTest() : path_(absl::StrCat(::testing::TempDir(), "aima_keys_", getpid(), ".json")) { Forget(); }
  ~AccessTest() override { Forget(); }
  void Forget() { std::filesystem::remove(path_); }

  static std::string TextOf(const std::string& id) { return "aima_" + id + "_" + std::string(64, 'a'); }

  void Store(const std::string& id, const std::string& role, const std::string& expires = "") {
    nlohmann::json key = {{"id", id}, {"name", "test"}, {"role", role}, {"sha256", Sha256Hex(TextOf(id))}};
    if (!expires.empty()) key["expires"] = expires;
    list_.push_back(key);
    std::ofstream(path_) << list_;
    // Files written within one tick of the clock must differ as files written by people do.
    std::filesystem::last_write_time(path_, std::filesystem::file_time_type::clock::now() +
                                                std::chrono::seconds(list_.size()));
  }

  const std::string path_;
  nlohmann::json list_ = nlohmann::json::array();
  KeyRing keys_{path_, ""};
  Access access_{keys_, 0};
};

TEST_F(AccessTest, ALoopbackCallerWithoutAKeyReadsAndOperatesOnly) {
  auto caller = access_.Admit({.loopback = true, .address = "127.0.0.1"});
  ASSERT_THAT(caller, IsOk());
  EXPECT_THAT(Access::Check(*caller, unit::v1::READ, "model.get"), IsOk());
  EXPECT_THAT(Access::Check(*caller, unit::v1::OPERATE, "model.create"), IsOk());
  EXPECT_THAT(Access::Check(*caller, unit::v1::ADMIN, "device.set_power_limit"),
              FailsWith(unit::v1::UNAUTHENTICATED, "device.set_power_limit needs a key with the role admin"));
}

TEST_F(AccessTest, ACallerFromElsewhereWithoutAKeyMayDoNothing) {
  auto caller = access_.Admit({.loopback = false, .address = "192.0.2.1"});
  ASSERT_THAT(caller, IsOk());
  EXPECT_THAT(Access::Check(*caller, unit::v1::READ, "model.get"), FailsWith(unit::v1::UNAUTHENTICATED, "model.get"));
}

TEST_F(AccessTest, EachRoleIncludesThoseBeforeIt) {
  for (const char* role : {"read", "operate", "admin"}) Store(role, role);
  const std::vector<std::pair<std::string, int>> roles = {{"read", 1}, {"operate", 2}, {"admin", 3}};
  const std::vector<unit::v1::Access> needs = {unit::v1::READ, unit::v1::OPERATE, unit::v1::ADMIN};
  for (const auto& [role, rank] : roles) {
    auto caller = access_.Admit({.key = TextOf(role), .loopback = true, .address = "127.0.0.1"});
    ASSERT_THAT(caller, IsOk()) << role;
    EXPECT_EQ(caller->principal, role);
    for (int i = 0; i < 3; ++i) {
      const absl::Status checked = Access::Check(*caller, needs[i], "x.y");
      if (i < rank) {
        EXPECT_THAT(checked, IsOk()) << role << i;
      } else {
        EXPECT_THAT(checked, FailsWith(unit::v1::PERMISSION_DENIED, "x.y needs the role")) << role << i;
      }
    }
  }
}

TEST_F(AccessTest, InternalUnitsDoNotExistEvenForAdmins) {
  EXPECT_THAT(Access::Check({"root", Role::kAdmin}, unit::v1::INTERNAL, "event.publish"),
              FailsWith(unit::v1::UNIT_NOT_FOUND, "event.publish"));
  EXPECT_THAT(Access::Check({"root", Role::kAdmin}, unit::v1::ACCESS_UNSPECIFIED, "x.y"),
              FailsWith(unit::v1::UNIT_NOT_FOUND, "x.y"));
}

TEST_F(AccessTest, AWrongKeyIsRefusedOnLoopbackToo) {
  Store("k", "admin");
  for (const std::string& wrong : {TextOf("other"), TextOf("k") + "a", std::string("k"), std::string("aima_k_"),
                                   std::string("aima__"), std::string(10'000, '_')}) {
    EXPECT_THAT(access_.Admit({.key = wrong, .loopback = true, .address = "127.0.0.1"}),
                FailsWith(unit::v1::UNAUTHENTICATED, "not valid"));
  }
}

TEST_F(AccessTest, AnExpiredKeyIsRefused) {
  Store("old", "admin", "2020-01-01T00:00:00Z");
  Store("new", "admin", "2999-01-01T00:00:00Z");
  EXPECT_THAT(access_.Admit({.key = TextOf("old"), .loopback = true}), FailsWith(unit::v1::UNAUTHENTICATED, "expired"));
  EXPECT_THAT(access_.Admit({.key = TextOf("new"), .loopback = true}), IsOk());
}

TEST_F(AccessTest, ReadsTheKeysAgainWhenTheyChange) {
  EXPECT_TRUE(keys_.empty());
  Store("one", "read");
  EXPECT_FALSE(keys_.empty());
  EXPECT_THAT(keys_.Find(TextOf("one")), IsOk());
  EXPECT_FALSE(keys_.Find(TextOf("two")).ok());
  Store("two", "read");
  EXPECT_THAT(keys_.Find(TextOf("two")), IsOk());
  Forget();
  EXPECT_FALSE(keys_.Find(TextOf("one")).ok());
}

TEST_F(AccessTest, AnEntryThatIsNoKeyDoesNotDisturbTheOthers) {
  list_ = nlohmann::json::parse(R"([{"id": 1, "role": 5, "sha256": null}, "key", {"id": "x", "role": "boss"}])");
  Store("good", "read");
  EXPECT_THAT(access_.Admit({.key = TextOf("good"), .loopback = true}), IsOk());
  EXPECT_THAT(access_.Admit({.key = TextOf("x"), .loopback = true}), FailsWith(unit::v1::UNAUTHENTICATED, "not valid"));
}

TEST_F(AccessTest, TheKeyOfTheConfigurationIsAnAdmin) {
  KeyRing keys(path_, "a secret of the operator");
  auto caller = keys.Find("a secret of the operator");
  ASSERT_THAT(caller, IsOk());
  EXPECT_EQ(caller->role, Role::kAdmin);
  EXPECT_FALSE(keys.Find("").ok());
}

TEST_F(AccessTest, LimitsCallsPerKeyAndTellsWhenToTryAgain) {
  Store("a", "operate");
  Store("b", "operate");
  Access limited(keys_, 3);
  for (int i = 0; i < 3; ++i) EXPECT_THAT(limited.Admit({.key = TextOf("a"), .address = "192.0.2.1"}), IsOk());
  auto refused = limited.Admit({.key = TextOf("a"), .address = "192.0.2.1"});
  ASSERT_THAT(refused, FailsWith(unit::v1::OVERLOADED, "more than 3 calls per minute"));
  EXPECT_EQ(HttpStatusOf(refused.status()), 429);
  EXPECT_EQ(DetailsOf(refused.status()).metadata["retry_after_s"], "20");
  EXPECT_THAT(limited.Admit({.key = TextOf("b"), .address = "192.0.2.1"}), IsOk());
  for (int i = 0; i < 100; ++i) EXPECT_THAT(limited.Admit({.loopback = true, .address = "127.0.0.1"}), IsOk());
}

TEST_F(AccessTest, LimitsGuessesOfKeys) {
  Access limited(keys_, 3);
  for (int i = 0; i < 3; ++i) EXPECT_FALSE(limited.Admit({.key = "guess", .address = "192.0.2.1"}).ok());
  EXPECT_THAT(limited.Admit({.key = "guess", .address = "192.0.2.1"}), FailsWith(unit::v1::OVERLOADED, "3 calls"));
}

}  // namespace
}  // namespace aima::gateway
