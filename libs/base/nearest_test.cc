#include "libs/base/nearest.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace aima {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST(Nearest, TheLikeliestComesFirst) {
  EXPECT_THAT(Nearest("model.lst", {"model.get", "model.list", "alert.list_rules"}, 2), ElementsAre("model.list", "model.get"));
}

TEST(Nearest, WhatLooksLikeNothingGetsNothing) {
  EXPECT_THAT(Nearest("zzzzzzzzzz", {"model.get", "model.list"}, 3), IsEmpty());
  EXPECT_THAT(Nearest(std::string(100'000, 'x'), {"model.get"}, 3), IsEmpty());
}

}  // namespace
}  // namespace aima
