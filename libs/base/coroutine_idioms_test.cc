// Ways of writing coroutines that g++ 12 compiles into crashes, double frees or nothing at all. The build refuses that
// compiler; this test tells whether the one in use may be trusted with them. Run it under the sanitizers too.
#include <gtest/gtest.h>

#include <boost/asio/post.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <map>
#include <string>
#include <vector>

#include "libs/testing/task.h"

namespace aima {
namespace {

// Long enough to live on the heap, so that a double free shows.
const std::string kLong = "a text that does not fit into the small-string buffer";

struct Pair {
  std::string a;
  std::string b;
};

struct Option {
  std::string name;
  int count = 0;
  std::vector<std::string> list;
};

Task<std::string> Later(std::string text) {
  co_await boost::asio::post(co_await boost::asio::this_coro::executor, boost::asio::use_awaitable);
  co_return text;
}

Task<size_t> Count(std::vector<std::string> texts) {
  co_await Later("");
  co_return texts.size();
}

Task<std::string> NameOf(Option option) { co_return co_await Later(option.name + std::to_string(option.count)); }

class CoroutineIdioms : public ::testing::Test {
 protected:
  template <class T>
  T Run(Task<T> task) {
    return testing::Run(loop_, std::move(task));
  }

  Loop loop_;
};

Task<std::string> TernaryWithAnAwaitInEitherArm(bool first) {
  std::string text = first ? co_await Later(kLong + "1") : co_await Later(kLong + "2");
  co_return text;
}

TEST_F(CoroutineIdioms, ATernaryMayAwaitInItsArms) {
  EXPECT_EQ(Run(TernaryWithAnAwaitInEitherArm(true)), kLong + "1");
  EXPECT_EQ(Run(TernaryWithAnAwaitInEitherArm(false)), kLong + "2");
}

Task<std::string> TernaryInAReturn(bool first) { co_return first ? co_await Later(kLong) : std::string(); }

TEST_F(CoroutineIdioms, ATernaryMayAwaitInAReturn) {
  EXPECT_EQ(Run(TernaryInAReturn(true)), kLong);
  EXPECT_EQ(Run(TernaryInAReturn(false)), "");
}

Task<std::string> BracedAggregate() {
  Pair pair{co_await Later(kLong), co_await Later(kLong)};
  co_return pair.a + pair.b;
}

TEST_F(CoroutineIdioms, ABracedAggregateMayAwait) { EXPECT_EQ(Run(BracedAggregate()), kLong + kLong); }

Task<std::string> DesignatedArgument() { co_return co_await NameOf({.name = kLong, .count = 7, .list = {kLong, kLong}}); }

TEST_F(CoroutineIdioms, AnAwaitedCallMayTakeADesignatedAggregate) { EXPECT_EQ(Run(DesignatedArgument()), kLong + "7"); }

Task<size_t> InitializerList() { co_return co_await Count({kLong, kLong, kLong}); }

TEST_F(CoroutineIdioms, AnAwaitedCallMayTakeAnInitializerList) { EXPECT_EQ(Run(InitializerList()), 3u); }

Task<std::string> MapWithAwaits() {
  std::map<std::string, std::string> map{{"a", co_await Later(kLong)}, {"b", co_await Later("b")}};
  co_return map["a"] + map["b"];
}

TEST_F(CoroutineIdioms, AMapInitializerMayAwait) { EXPECT_EQ(Run(MapWithAwaits()), kLong + "b"); }

Task<std::string> ImmediateLambda() {
  std::string captured = kLong;
  co_return co_await [captured]() -> Task<std::string> { co_return co_await Later(captured); }();
}

TEST_F(CoroutineIdioms, ALambdaMayBeAwaitedWhereItStands) { EXPECT_EQ(Run(ImmediateLambda()), kLong); }

}  // namespace
}  // namespace aima
