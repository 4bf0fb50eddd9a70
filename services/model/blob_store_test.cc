#include "services/model/blob_store.h"

#include <absl/strings/str_cat.h>
#include <gmock/gmock.h>

#include <filesystem>
#include <fstream>

#include "aima/model/v1/model.pb.h"
#include "libs/testing/status_matchers.h"
#include "services/model/digest.h"
#include "services/model/model_files_for_test.h"

namespace aima::model {
namespace {

namespace fs = std::filesystem;
using aima::testing::IsOk;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

const auto kGoOn = [] { return absl::OkStatus(); };

class BlobStoreTest : public ::testing::Test {
 protected:
  std::string Bytes(size_t size, char seed) {
    std::string bytes(size, '\0');
    for (size_t i = 0; i < size; ++i) bytes[i] = static_cast<char>(seed + i * 7);
    return bytes;
  }
  std::shared_ptr<PartFile> Part(const std::string& bytes, int64_t piece = 100) {
    auto part = store_.OpenPart("sha256-" + HashText(bytes), static_cast<int64_t>(bytes.size()), piece, kGoOn);
    EXPECT_THAT(part, IsOk());
    return *part;
  }
  void WritePiece(PartFile& part, const std::string& bytes, size_t piece) {
    EXPECT_THAT(part.Write(piece, bytes.substr(piece * 100, static_cast<size_t>(part.SizeOf(piece)))), IsOk());
  }
  std::string Blob(const std::string& bytes) {
    const auto part = Part(bytes);
    for (size_t i = 0; i < part->pieces(); ++i) WritePiece(*part, bytes, i);
    EXPECT_THAT(store_.Commit(*part, HashText(bytes)), IsOk());
    return HashText(bytes);
  }
  void Flip(const std::string& path, long at) {
    fs::permissions(path, fs::perms::owner_write, fs::perm_options::add);
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    file.seekg(at);
    const char byte = static_cast<char>(file.get() ^ 1);
    file.seekp(at);
    file.put(byte);
  }
  std::string PartPath(const std::string& bytes) const {
    return absl::StrCat(dir_.path(), "/blobs/.part-sha256-", HashText(bytes));
  }
  std::vector<std::string> Blobs() const {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(dir_.path() + "/blobs")) names.push_back(entry.path().filename());
    return names;
  }

  testing::TemporaryDirectory dir_;
  BlobStore store_{dir_.path()};
};

TEST_F(BlobStoreTest, PiecesThatWereWrittenAreThereAfterARestart) {
  const std::string bytes = Bytes(450, 1);
  {
    const auto part = Part(bytes);
    EXPECT_THAT(part->there(), ElementsAre(false, false, false, false, false));
    WritePiece(*part, bytes, 1);
    WritePiece(*part, bytes, 4);
  }
  EXPECT_THAT(Part(bytes)->there(), ElementsAre(false, true, false, false, true));
}

TEST_F(BlobStoreTest, AJournalIsNotBelievedWithoutTheBytes) {
  const std::string bytes = Bytes(300, 2);
  {
    const auto part = Part(bytes);
    for (size_t i = 0; i < 3; ++i) WritePiece(*part, bytes, i);
  }
  Flip(PartPath(bytes), 150);
  EXPECT_THAT(Part(bytes)->there(), ElementsAre(true, false, true));
}

TEST_F(BlobStoreTest, ATornJournalCostsNoMoreThanItsLastLine) {
  const std::string bytes = Bytes(300, 3);
  {
    const auto part = Part(bytes);
    WritePiece(*part, bytes, 0);
    WritePiece(*part, bytes, 1);
  }
  const std::string journal = PartPath(bytes) + ".journal";
  fs::resize_file(journal, fs::file_size(journal) - 10);
  const auto part = Part(bytes);
  EXPECT_THAT(part->there(), ElementsAre(true, false, false));
  WritePiece(*part, bytes, 2);
  EXPECT_THAT(Part(bytes)->there(), ElementsAre(true, false, true)) << "the line after the torn one stands for itself";
}

TEST_F(BlobStoreTest, PiecesOfAnotherSizeAreForgotten) {
  const std::string bytes = Bytes(300, 4);
  WritePiece(*Part(bytes), bytes, 0);
  EXPECT_THAT(Part(bytes, 150)->there(), ElementsAre(false, false));
}

TEST_F(BlobStoreTest, ABlobThatWasChangedIsNotUsedAndGoes) {
  const std::string bytes = Bytes(300, 5);
  const std::string digest = Blob(bytes);
  EXPECT_TRUE(*store_.Check(digest, 300, kGoOn));
  Flip(absl::StrCat(dir_.path(), "/blobs/sha256-", digest), 299);
  EXPECT_FALSE(*store_.Check(digest, 300, kGoOn));
  EXPECT_THAT(Blobs(), IsEmpty());
}

TEST_F(BlobStoreTest, ABlobStaysAsLongAsAModelUsesIt) {
  const std::string digest = Blob(Bytes(300, 6));
  const auto first = store_.Place("one", {{"model.gguf", digest}});
  const auto second = store_.Place("two", {{"sub/other.gguf", digest}});
  ASSERT_THAT(first, IsOk());
  ASSERT_THAT(second, IsOk());
  EXPECT_TRUE(store_.IsPlaced(*first + "/model.gguf"));
  store_.Remove(*first + "/model.gguf");
  EXPECT_EQ(store_.Collect(), 0);
  EXPECT_TRUE(fs::exists(*second + "/sub/other.gguf"));
  store_.Remove(*second);
  EXPECT_GT(store_.Collect(), 0);
  EXPECT_THAT(Blobs(), IsEmpty());
}

TEST_F(BlobStoreTest, WhatAPullHoldsIsNotCollected) {
  const std::string bytes = Bytes(300, 7), other = Bytes(300, 8);
  const std::string digest = Blob(bytes);
  WritePiece(*Part(other), other, 0);
  store_.Hold({"sha256-" + digest, "sha256-" + HashText(other)});
  store_.Collect();
  EXPECT_THAT(Blobs(), ::testing::SizeIs(3)) << "a blob, a part and its journal";
  store_.Release({"sha256-" + digest, "sha256-" + HashText(other)});
  store_.Collect();
  EXPECT_THAT(Blobs(), IsEmpty());
}

TEST_F(BlobStoreTest, AHoldEndsWithWhatStandsForItWhicheverGoesFirst) {
  const std::string digest = Blob(Bytes(300, 11));
  std::shared_ptr<void> hold = store_.HoldWhile("sha256-" + digest);
  store_.Collect();
  EXPECT_THAT(Blobs(), ::testing::SizeIs(1));
  hold.reset();
  store_.Collect();
  EXPECT_THAT(Blobs(), IsEmpty());
  auto other = std::make_unique<BlobStore>(dir_.path());
  hold = other->HoldWhile("sha256-" + digest);
  other.reset();
  hold.reset();
}

TEST_F(BlobStoreTest, WhatACollectLeftUnfinishedGoesWithTheNext) {
  Blob(Bytes(300, 12));
  const std::string blobs = dir_.path() + "/blobs";
  fs::rename(blobs + "/" + Blobs().at(0), blobs + "/.gone-x");
  EXPECT_GT(store_.Collect(), 0);
  EXPECT_THAT(Blobs(), IsEmpty());
}

TEST_F(BlobStoreTest, PlacesThatNoRecordKnowsAreRemovedAtTheStart) {
  const std::string digest = Blob(Bytes(300, 9));
  const std::string known = *store_.Place("one", {{"model.gguf", digest}});
  const std::string stray = *store_.Place("one", {{"model.gguf", digest}});
  store_.Collect({known + "/model.gguf"});
  EXPECT_TRUE(fs::exists(known));
  EXPECT_FALSE(fs::exists(stray));
}

TEST_F(BlobStoreTest, NothingIsPlacedOutsideOfItsModel) {
  const std::string digest = Blob(Bytes(300, 10));
  EXPECT_FALSE(store_.Place("one", {{"../escaped.gguf", digest}}).ok());
  EXPECT_FALSE(fs::exists(dir_.path() + "/pulled/one/escaped.gguf"));
  EXPECT_FALSE(store_.IsPlaced(dir_.path() + "/pulled/../elsewhere/x/y"));
  EXPECT_FALSE(store_.IsPlaced("/etc/passwd"));
}

TEST_F(BlobStoreTest, MoreThanTheDiskHasIsRefused) {
  EXPECT_THAT(store_.CheckRoom(0), IsOk());
  EXPECT_THAT(store_.CheckRoom(int64_t{1} << 60), aima::testing::FailsWith(v1::MODEL_STORAGE_FULL, "are needed"));
}

TEST_F(BlobStoreTest, OneProcessWorksHereAtATime) {
  EXPECT_TRUE(*store_.Lock());
  EXPECT_TRUE(*store_.Lock()) << "the same one may ask again";
  BlobStore other(dir_.path());
  EXPECT_FALSE(*other.Lock());
}

TEST_F(BlobStoreTest, GitsIdOfAFileIsThatOfGit) {
  const std::string path = dir_.Write("x", "hello\n");
  const auto file = FileBytes::Open(path);
  ASSERT_THAT(file, IsOk());
  const auto digests = HashBlob(**file, /*git_id=*/true, kGoOn);
  ASSERT_THAT(digests, IsOk());
  EXPECT_EQ(digests->git_id, "ce013625030ba8dba906f756967f9e9ca394464a");  // git hash-object
  EXPECT_EQ(digests->sha256, "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03");
}

}  // namespace
}  // namespace aima::model
