#include "services/model/wish.h"

#include <gmock/gmock.h>

#include "libs/testing/status_matchers.h"

namespace aima::model {
namespace {

using aima::testing::IsOk;

absl::StatusOr<Wish> Read(v1::ModelSource source, const std::string& repo, const std::string& tag = "",
                          const std::string& quantization = "", const std::string& mirror = "") {
  v1::PullRequest request;
  request.set_source(source);
  request.set_repo(repo);
  request.set_tag(tag);
  request.set_quantization(quantization);
  request.set_mirror(mirror);
  return ReadWish(request, v1::MODEL_SOURCE_OLLAMA);
}

// The field that is wrong; empty if none is.
std::string WrongField(const absl::StatusOr<Wish>& wish) {
  if (wish.ok()) return "";
  const ErrorDetails details = DetailsOf(wish.status());
  return details.violations.empty() ? "?" : details.violations[0].field;
}

TEST(Wish, ShortNamesOfOllamaAreInItsLibrary) {
  const auto wish = Read(v1::MODEL_SOURCE_UNSPECIFIED, "llama3.2:1b");
  ASSERT_THAT(wish, IsOk());
  EXPECT_EQ(wish->repo, "library/llama3.2");
  EXPECT_EQ(wish->tag, "1b");
  EXPECT_EQ(NameFor(*wish), "llama3.2-1b");
  EXPECT_EQ(Read(v1::MODEL_SOURCE_OLLAMA, "me/mine")->repo, "me/mine");
  EXPECT_EQ(NameFor(*Read(v1::MODEL_SOURCE_OLLAMA, "me/mine")), "mine");
}

TEST(Wish, BehindTheColonOfAHubsRepositoryIsItsPacking) {
  const auto wish = Read(v1::MODEL_SOURCE_HUGGINGFACE, "Qwen/Qwen3-0.6B-GGUF:q8_0");
  ASSERT_THAT(wish, IsOk());
  EXPECT_EQ(wish->quantization, "Q8_0");
  EXPECT_EQ(wish->tag, "main");
  EXPECT_EQ(NameFor(*wish), "Qwen3-0.6B");
  EXPECT_EQ(Read(v1::MODEL_SOURCE_MODELSCOPE, "a/b")->tag, "master");
}

TEST(Wish, WhatLeadsElsewhereIsRefusedByField) {
  for (const char* repo :
       {"../x", "a/../b", "a/b/c", "/etc", "a b", "a\\b", ".x", "a/", "a?b", "a%2fb", "a#b", "\xc3\xa9"}) {
    EXPECT_EQ(WrongField(Read(v1::MODEL_SOURCE_HUGGINGFACE, repo)), "repo") << repo;
  }
  for (const char* tag : {"../x", "a b", "/x", "a?x=1", "-x"}) {
    EXPECT_EQ(WrongField(Read(v1::MODEL_SOURCE_HUGGINGFACE, "a/b", tag)), "tag") << tag;
  }
  EXPECT_EQ(WrongField(Read(v1::MODEL_SOURCE_HUGGINGFACE, "a/b:Q8_0", "", "Q4_0")), "quantization");
  EXPECT_EQ(WrongField(Read(v1::MODEL_SOURCE_OLLAMA, "a:1b", "2b")), "tag");
  EXPECT_EQ(WrongField(Read(v1::MODEL_SOURCE_OLLAMA, "a", "", "Q4_0")), "quantization");
  EXPECT_EQ(WrongField(Read(v1::MODEL_SOURCE_HUGGINGFACE, "a/b", "", "", "file:///x")), "mirror");
  EXPECT_EQ(WrongField(Read(v1::MODEL_SOURCE_HUGGINGFACE, "a/b", "", "", "https://h/?q")), "mirror");
}

TEST(Wish, ASourceThatThereIsNotIsNamedAsOne) {
  for (const v1::ModelSource source : {v1::MODEL_SOURCE_OLLAMA, v1::MODEL_SOURCE_HUGGINGFACE}) {
    const absl::Status wrong = Read(source, "banana:foo/bar").status();
    EXPECT_EQ(WrongField(wrong), "repo");
    EXPECT_THAT(std::string(wrong.message()), ::testing::HasSubstr("'banana' before its colon, which is no source"));
  }
}

TEST(Wish, NamesOfFilesLeadNowhereElse) {
  for (const char* name : {"a", "config.json", "1_Pooling/config.json", "a b.json", "a..b"}) {
    EXPECT_TRUE(IsSafeFileName(name)) << name;
  }
  for (const char* name :
       {"", "/a", "../a", "a/../b", "a//b", "a/", ".git/config", "a/.b", "a\\b", "a:b", "\x01", "\xff", "a/b/c/d/e"}) {
    EXPECT_FALSE(IsSafeFileName(name)) << name;
  }
  EXPECT_FALSE(IsSafeFileName(std::string_view("a\0b", 3)));
}

}  // namespace
}  // namespace aima::model
