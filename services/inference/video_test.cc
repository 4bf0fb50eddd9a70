// Videos: jobs at an engine, from beginning to end.
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <filesystem>
#include <fstream>

#include "libs/base/ids.h"
#include "services/inference/media_units_for_test.h"

namespace aima::inference {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;
using ::testing::UnorderedElementsAre;
using testing::FailsWith;
using Step = ScriptedEngine::Step;

class VideoTest : public MediaUnitsTest {
 protected:
  absl::StatusOr<v1::GenerateVideoResponse> MakeVideo() { return Run(units_.GenerateVideo(call_, video_)); }

  v1::GenerateVideoRequest video_ = [] {
    v1::GenerateVideoRequest request;
    request.set_model("cinema");
    request.set_prompt("Waves.");
    request.set_size("832x480");
    request.set_duration(4);
    return request;
  }();
  FakeWriter<v1::GenerateVideoProgress> progress_;
};

TEST_F(VideoTest, AVideoIsAJobThatIsFollowedFetchedAndCleanedUp) {
  for (const char* step : {"queued", "half", "half", "completed", "content", "deleted"}) {
    engine_.Then(Recorded(std::string("sglang-video-") + step));
  }
  ASSERT_THAT(Run(units_.GenerateVideoStream(call_, video_, progress_)), IsOk());
  std::vector<std::string> phases;
  for (const auto& step : progress_.written) phases.push_back(step.phase());
  EXPECT_THAT(phases, ElementsAre("queued", "generating", "downloading", "done"));
  EXPECT_EQ(progress_.written[1].percent(), 50);
  const v1::GenerateVideoResponse& video = progress_.written.back().result();
  EXPECT_EQ(video.video(), BodyOf(Recording("sglang-video-content")));
  EXPECT_EQ(video.format(), "mp4");
  EXPECT_EQ(video.duration(), 4);
  Until([&] { return engine_.requests().size() == 6; });
  EXPECT_EQ(RequestLine(0), "POST /v1/videos");
  EXPECT_EQ(RequestJson(), Json::parse(R"({"model":"cinema","prompt":"Waves.","size":"832x480","seconds":"4"})"));
  EXPECT_EQ(RequestLine(3), "GET /v1/videos/8d6f2f0e-5b8e-4a39-9c02-2f1f3c0f6a11");
  EXPECT_EQ(RequestLine(4), "GET /v1/videos/8d6f2f0e-5b8e-4a39-9c02-2f1f3c0f6a11/content");
  EXPECT_EQ(RequestLine(5), "DELETE /v1/videos/8d6f2f0e-5b8e-4a39-9c02-2f1f3c0f6a11");
}

TEST_F(VideoTest, AnEngineThatDoesNotKnowHowLongItsVideoIsIsNotBelieved) {
  engine_.Then(ScriptedEngine::Answer(200, "application/json", R"({"id":"v","status":"completed","seconds":"nan"})"));
  engine_.Then(Recorded("sglang-video-content"));
  engine_.Then(Recorded("sglang-video-deleted"));
  const auto made = MakeVideo();
  ASSERT_THAT(made, IsOk());
  EXPECT_FALSE(made->has_duration());
}

// The job may have begun, and nobody would know of a second one.
TEST_F(VideoTest, AJobThatMayHaveBegunIsNotAskedForAgain) {
  engine_.Then({{Step::kCut}});
  EXPECT_THAT(MakeVideo(), FailsWith(v1::INFERENCE_ENGINE_LOST, "went away"));
  EXPECT_EQ(engine_.requests().size(), 1u);
}

TEST_F(VideoTest, AVideoThatBeginsFromAPictureIsAskedForWithAForm) {
  for (const char* step : {"completed", "content", "deleted"}) engine_.Then(Recorded(std::string("sglang-video-") + step));
  video_.set_input_reference("\x89PNG and what follows");
  video_.set_seed(7);
  (*video_.mutable_engine_options()->mutable_fields())["fps"].set_number_value(24);
  EXPECT_THAT(MakeVideo(), IsOk());
  const ScriptedEngine::Request& asked = engine_.requests().at(0);
  EXPECT_THAT(asked.head, HasSubstr("multipart/form-data; boundary="));
  for (const char* field : {"name=\"model\"\r\n\r\ncinema\r\n", "name=\"prompt\"\r\n\r\nWaves.\r\n", "name=\"size\"\r\n\r\n832x480\r\n",
                            "name=\"seconds\"\r\n\r\n4\r\n", "name=\"seed\"\r\n\r\n7\r\n", "name=\"fps\"\r\n\r\n24\r\n",
                            "filename=\"reference.png\"\r\nContent-Type: image/png\r\n\r\n\x89PNG and what follows\r\n"}) {
    EXPECT_THAT(asked.body, HasSubstr(field));
  }
  video_.set_input_reference("neither");
  EXPECT_THAT(MakeVideo(), FailsWith(v1::INFERENCE_MEDIA_UNREADABLE, "input_reference"));
}

TEST_F(VideoTest, AVideoThatNoAnswerCanHoldIsPutIntoAFile) {
  const std::string directory = ::testing::TempDir() + "/" + NewId("videos-");
  const std::string video(100'000, 'v');
  InferenceUnits units(router_, dispatcher_, outbox_, {directory, video.size()});
  const std::pair<std::string, std::string> kContents[] = {
      {"video/webm", video}, {"video/webm", video + "w"}, {"video/../../x", video + "w"}};
  for (const auto& [type, content] : kContents) {
    engine_.Then(Recorded("sglang-video-completed"));
    engine_.Then(ScriptedEngine::Answer(200, type, content));
    engine_.Then(Recorded("sglang-video-deleted"));
  }
  const auto make = [&] {
    const size_t before = engine_.requests().size();
    absl::StatusOr<v1::GenerateVideoResponse> made = Run(units.GenerateVideo(call_, video_));
    Until([&] { return engine_.requests().size() == before + 3; });  // the engine's own copy is deleted
    return made;
  };
  const auto whole = make();
  ASSERT_THAT(whole, IsOk());
  EXPECT_EQ(whole->video(), video);
  EXPECT_EQ(whole->path(), "");
  EXPECT_EQ(whole->size_bytes(), 100'000);
  const auto large = make();
  ASSERT_THAT(large, IsOk());
  EXPECT_EQ(large->video(), "");
  EXPECT_EQ(large->size_bytes(), 100'001);
  EXPECT_THAT(large->path(), StartsWith(directory + "/video_"));
  EXPECT_TRUE(large->path().ends_with(".webm"));
  std::ifstream file(large->path(), std::ios::binary);
  EXPECT_EQ(std::string(std::istreambuf_iterator<char>(file), {}), video + "w");
  const auto outside = make();
  ASSERT_THAT(outside, IsOk());
  EXPECT_EQ(std::filesystem::path(outside->path()).parent_path(), directory);
  std::filesystem::remove_all(directory);
}

TEST_F(VideoTest, AVideoThatCannotBePutIntoAFileStaysWithTheEngine) {
  const std::string directory = ::testing::TempDir() + "/" + NewId("videos-");
  std::ofstream(directory) << "in the way";
  InferenceUnits units(router_, dispatcher_, outbox_, {directory, 10});
  engine_.Then(Recorded("sglang-video-completed"));
  engine_.Then(Recorded("sglang-video-content"));
  engine_.Then(Recorded("sglang-video-deleted"));
  EXPECT_THAT(Run(units.GenerateVideo(call_, video_)), FailsWith(v1::INFERENCE_VIDEO_NOT_STORED, "has it as video 8d6f"));
  loop_.restart();
  loop_.run_for(std::chrono::milliseconds(100));  // in which a request to delete it would come
  EXPECT_EQ(engine_.requests().size(), 2u) << RequestLine(engine_.requests().size() - 1);
  std::filesystem::remove(directory);
}

// A folder with files of 100 kB, and how old each is.
class LargeVideosTest : public VideoTest {
 protected:
  LargeVideosTest() {
    std::filesystem::create_directories(large_.directory);
    for (int i = 0; i < 2; ++i) {
      engine_.Then(Recorded("sglang-video-completed"));
      engine_.Then(ScriptedEngine::Answer(200, "video/webm", std::string(100'000, 'v')));
      engine_.Then(Recorded("sglang-video-deleted"));
    }
  }
  ~LargeVideosTest() override { std::filesystem::remove_all(large_.directory); }

  void Put(const std::string& name, std::chrono::minutes age) {
    const std::string path = large_.directory + "/" + name;
    std::ofstream(path) << std::string(100'000, 'v');
    std::filesystem::last_write_time(path, std::filesystem::file_time_type::clock::now() - age);
  }
  std::vector<std::string> Names() const {
    std::vector<std::string> names;
    for (const auto& file : std::filesystem::directory_iterator(large_.directory)) names.push_back(file.path().filename());
    std::sort(names.begin(), names.end());
    return names;
  }
  // Twice at most.
  absl::StatusOr<v1::GenerateVideoResponse> MakeLarge() {
    InferenceUnits units(router_, dispatcher_, outbox_, large_);
    const size_t before = engine_.requests().size();
    absl::StatusOr<v1::GenerateVideoResponse> made = Run(units.GenerateVideo(call_, video_));
    if (made.ok()) Until([&] { return engine_.requests().size() == before + 3; });  // the engine's own copy is deleted
    return made;
  }

  LargeVideos large_{.directory = ::testing::TempDir() + "/" + NewId("videos-"), .above = 10};
};

TEST_F(LargeVideosTest, AVideoWithoutEndIsGivenUpAndLeavesNoFile) {
  large_.most_bytes = 100'000;
  EXPECT_THAT(MakeLarge(), IsOk());
  EXPECT_EQ(Names().size(), 1u);
  large_.most_bytes = 99'999;
  EXPECT_THAT(MakeLarge(), FailsWith(v1::INFERENCE_VIDEO_NOT_STORED, "more than 99999 bytes"));
  EXPECT_EQ(Names().size(), 1u);
}

TEST_F(LargeVideosTest, TheOldestMakeRoomForANewOne) {
  Put("video_1.mp4", std::chrono::hours(3));
  Put("video_2.webm", std::chrono::hours(2));
  Put("video_3.mp4", std::chrono::hours(1));
  Put("video_4", std::chrono::hours(4));  // is being written
  Put("film.mp4", std::chrono::hours(100));  // nobody asked us to
  large_.most_bytes_together = 300'000;
  const auto made = MakeLarge();
  ASSERT_THAT(made, IsOk());
  EXPECT_THAT(Names(), UnorderedElementsAre("film.mp4", "video_3.mp4", "video_4",
                                            std::filesystem::path(made->path()).filename().string()));
  large_.most_bytes_together = 10;
  const auto alone = MakeLarge();
  ASSERT_THAT(alone, IsOk());
  EXPECT_TRUE(std::filesystem::exists(alone->path())) << "what is told must be there";
}

TEST_F(LargeVideosTest, AVideoIsDeletedByItsNameAndNothingElseIs) {
  const std::string outside = ::testing::TempDir() + "/" + NewId("video_") + ".mp4";
  std::ofstream(outside) << "v";
  Put("video_1.mp4", std::chrono::hours(1));
  Put("video_2", std::chrono::hours(1));  // is being written
  Put("film.mp4", std::chrono::hours(1));
  std::filesystem::create_directory(large_.directory + "/video_3.mp4");
  InferenceUnits units(router_, dispatcher_, outbox_, large_);
  const auto delete_video = [&](const std::string& name) {
    v1::DeleteVideoRequest request;
    request.set_name(name);
    return Run(units.DeleteVideo(call_, request)).status();
  };
  const std::string up = "../" + std::filesystem::path(outside).filename().string();
  for (const std::string& name : {up, "video_1.mp4/../" + up, outside, std::string("video_2"), std::string("film.mp4")}) {
    EXPECT_THAT(delete_video(name), FailsWith(unit::v1::INVALID_INPUT, "name")) << name;
  }
  EXPECT_FALSE(delete_video("video_3.mp4").ok()) << "what is still there must not be told to be gone";
  EXPECT_THAT(Names(), ElementsAre("film.mp4", "video_1.mp4", "video_2", "video_3.mp4"));
  EXPECT_TRUE(std::filesystem::exists(outside));
  EXPECT_THAT(delete_video("video_1.mp4"), IsOk());
  EXPECT_THAT(delete_video("video_1.mp4"), IsOk()) << "it is gone";
  EXPECT_THAT(Names(), ElementsAre("film.mp4", "video_2", "video_3.mp4"));
  std::filesystem::remove(outside);
}

TEST_F(LargeVideosTest, WhatIsOldIsSweptAway) {
  Put("video_1.mp4", std::chrono::hours(3));
  Put("video_2.mp4", std::chrono::minutes(20));
  Put("video_3", std::chrono::hours(3));       // whoever wrote it has died
  Put("video_4", std::chrono::minutes(40));
  Put("film.mp4", std::chrono::hours(100));
  large_.keep = absl::Minutes(30);
  boost::asio::cancellation_signal stop;
  bool ended = false;
  boost::asio::co_spawn(loop_, SweepVideos(large_),
                        boost::asio::bind_cancellation_slot(stop.slot(), [&](std::exception_ptr) { ended = true; }));
  loop_.restart();
  loop_.poll();  // it begins with a look
  EXPECT_THAT(Names(), ElementsAre("film.mp4", "video_2.mp4", "video_4"));
  stop.emit(boost::asio::cancellation_type::terminal);
  Until([&] { return ended; });
}

TEST_F(VideoTest, AVideoThatComesToNothingSaysWhy) {
  engine_.Then(Recorded("sglang-video-queued"));
  engine_.Then(Recorded("sglang-video-failed"));
  EXPECT_THAT(MakeVideo(), FailsWith(v1::INFERENCE_ENGINE_FAILED, "CUDA out of memory"));
}

TEST_F(VideoTest, ACallerThatLeavesEndsTheVideosJob) {
  engine_.Then(Recorded("sglang-video-queued"));
  engine_.Then(Recorded("sglang-video-deleted"));
  progress_.leave_after = 0;
  EXPECT_EQ(Run(units_.GenerateVideoStream(call_, video_, progress_)).code(), absl::StatusCode::kCancelled);
  Until([&] { return engine_.requests().size() == 2; });
  EXPECT_THAT(RequestLine(1), StartsWith("DELETE /v1/videos/8d6f"));
}

TEST_F(VideoTest, ACancelledVideosJobIsEnded) {
  engine_.Then(Recorded("sglang-video-queued"));
  boost::asio::cancellation_signal leave;
  bool ended = false;
  boost::asio::co_spawn(
      loop_, units_.GenerateVideo(call_, video_),
      boost::asio::bind_cancellation_slot(leave.slot(), [&](std::exception_ptr, auto) { ended = true; }));
  Until([&] { return engine_.requests().size() == 2; });
  leave.emit(boost::asio::cancellation_type::terminal);
  Until([&] { return ended && RequestLine(engine_.requests().size() - 1).rfind("DELETE", 0) == 0; });
}

TEST_F(VideoTest, AVideoIsNotWaitedForPastTheDeadline) {
  engine_.Then(Recorded("sglang-video-queued"));
  call_.deadline = absl::Now() + absl::Milliseconds(400);
  EXPECT_EQ(MakeVideo().status().code(), absl::StatusCode::kDeadlineExceeded);
}

TEST_F(VideoTest, AnEngineThatDiesOverAVideoIsLost) {
  engine_.Then(Recorded("sglang-video-half"));
  engine_.Then({{Step::kCut}});
  EXPECT_THAT(MakeVideo(), FailsWith(v1::INFERENCE_ENGINE_LOST, "cinema-instance"));
}

TEST_F(VideoTest, AJobWhoseIdIsNoPlainNameIsNotFollowed) {
  engine_.Then(ScriptedEngine::Answer(200, "application/json", R"({"id":"../admin","status":"queued"})"));
  EXPECT_THAT(MakeVideo(), FailsWith(v1::INFERENCE_ENGINE_FAILED, "no video job"));
  EXPECT_EQ(engine_.requests().size(), 1u);
}

TEST_F(VideoTest, WithoutAnyVideoModelTheAnswerNamesWhatToInstall) {
  video_.set_model("sora");
  EXPECT_THAT(MakeVideo(), FailsWith(v1::INFERENCE_MODEL_NOT_FOUND, "sora"));
  std::erase_if(models_.models, [](const ModelRecord& one) { return one.type == v1::MODEL_TYPE_VIDEO; });
  router_.catalog().Forget();
  EXPECT_THAT(MakeVideo(), FailsWith(v1::INFERENCE_NO_ENGINE, "SGLang Diffusion"));
}

TEST_F(VideoTest, ADialectWithoutWordsForItSaysSo) {
  for (Endpoint& endpoint : engines_.endpoints) endpoint.dialect = "morse";
  EXPECT_THAT(Transcribe("x"), FailsWith(v1::INFERENCE_REQUEST_REFUSED, "morse"));
  EXPECT_THAT(MakeVideo(), FailsWith(v1::INFERENCE_REQUEST_REFUSED, "morse"));
  Forward("/v1/audio/speech", R"({"model":"voice","input":"x"})");
  EXPECT_EQ(Status(), 400);
}

}  // namespace
}  // namespace aima::inference
