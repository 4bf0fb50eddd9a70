// The units for ranks, speech, pictures and videos, against recorded answers of engines.
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "libs/base/ids.h"
#include "libs/testing/status_matchers.h"
#include "libs/testing/task.h"
#include "services/inference/fakes.h"
#include "services/inference/inference_units.h"
#include "services/inference/recordings.h"

namespace aima::inference {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;
using Json = nlohmann::json;
using testing::FailsWith;
using testing::IsOk;
using Step = ScriptedEngine::Step;

class MediaUnitsTest : public ::testing::Test {
 protected:
  MediaUnitsTest() {
    call_.request_id = "r1";
    call_.deadline = absl::Now() + absl::Minutes(2);
    const std::pair<const char*, v1::ModelType> kModels[] = {
        {"ears", v1::MODEL_TYPE_ASR},          {"voice", v1::MODEL_TYPE_TTS},     {"painter", v1::MODEL_TYPE_IMAGE},
        {"eyes", v1::MODEL_TYPE_DETECTION},    {"ranker", v1::MODEL_TYPE_RERANK}, {"cinema", v1::MODEL_TYPE_VIDEO},
        {"riddle", v1::MODEL_TYPE_UNSPECIFIED}};
    for (const auto& [id, type] : kModels) {
      models_.Add(id, type);
      engines_.endpoints.push_back(engine_.At(id));
    }
    engines_.endpoints.push_back(engine_.At("chatty"));
    engines_.endpoints.push_back(engine_.At("vectors"));
  }

  template <class T>
  T Run(Task<T> task) {
    return testing::Run(loop_, std::move(task));
  }
  absl::StatusOr<v1::TranscribeResponse> Transcribe(const std::string& audio) {
    v1::TranscribeRequest request;
    request.set_model("ears");
    request.set_audio(audio);
    request.set_language("en");
    return Run(units_.Transcribe(call_, request));
  }
  absl::StatusOr<v1::SynthesizeResponse> Synthesize(v1::AudioFormat format = v1::AUDIO_FORMAT_UNSPECIFIED) {
    speech_.set_format(format);
    return Run(units_.Synthesize(call_, speech_));
  }
  absl::StatusOr<v1::RerankResponse> Rerank(const std::string& model) {
    ranks_.set_model(model);
    ranks_.set_query("What is a panda?");
    ranks_.clear_documents();
    ranks_.add_documents("The bank is closed.");
    ranks_.add_documents("The giant panda is a bear.");
    return Run(units_.Rerank(call_, ranks_));
  }
  absl::StatusOr<v1::GenerateVideoResponse> MakeVideo() { return Run(units_.GenerateVideo(call_, video_)); }
  std::string Forward(const std::string& path, const std::string& body, const std::string& type = "application/json") {
    v1::ForwardRequest request;
    request.set_path(path);
    request.set_method("POST");
    request.set_body(body);
    auto* header = request.add_headers();
    header->set_name("Content-Type");
    header->set_value(type);
    forwarded_.written.clear();
    EXPECT_THAT(Run(units_.Forward(call_, request, forwarded_)), IsOk());
    std::string all;
    for (const auto& chunk : forwarded_.written) all += chunk.body();
    return all;
  }
  int Status() const { return forwarded_.written.empty() ? 0 : forwarded_.written[0].status(); }
  std::string RequestLine(size_t i) const {
    const std::string& head = engine_.requests().at(i).head;
    return head.substr(0, head.find(" HTTP/"));
  }
  Json RequestJson(size_t i = 0) const { return Json::parse(engine_.requests().at(i).body); }
  template <class Done>
  void Until(Done done) {
    const absl::Time limit = absl::Now() + absl::Minutes(1);
    loop_.restart();
    while (!done() && absl::Now() < limit) loop_.run_one_for(std::chrono::milliseconds(50));
    EXPECT_TRUE(done());
  }

  Loop loop_;
  ScriptedEngine engine_{loop_};
  FakeModels models_;
  FakeEngines engines_;
  FakeOutbox outbox_;
  Router router_{loop_, models_, engines_, /*auto_start=*/true};
  http::Client http_{loop_};
  Dispatcher dispatcher_{loop_, router_, http_};
  InferenceUnits units_{router_, dispatcher_, outbox_};
  CallContext call_;
  v1::SynthesizeRequest speech_ = [] {
    v1::SynthesizeRequest request;
    request.set_model("voice");
    request.set_text("A \"word\".");
    return request;
  }();
  v1::RerankRequest ranks_;
  v1::GenerateVideoRequest video_ = [] {
    v1::GenerateVideoRequest request;
    request.set_model("cinema");
    request.set_prompt("Waves.");
    request.set_size("832x480");
    request.set_duration(4);
    return request;
  }();
  FakeWriter<v1::SynthesizeChunk> pieces_;
  FakeWriter<v1::GenerateVideoProgress> progress_;
  FakeWriter<v1::ForwardChunk> forwarded_;
};

TEST_F(MediaUnitsTest, SpeechGoesOutAsAFormAndComesBackAsTextWithTimes) {
  engine_.Then(Recorded("faster-whisper-transcription"));
  const std::string audio = std::string("RIFF\r\n\0--b7\r\n", 13);
  const auto response = Transcribe(audio);
  ASSERT_THAT(response, IsOk());
  EXPECT_EQ(response->text(), "The capital of France is Paris.");
  ASSERT_EQ(response->segments_size(), 1);
  EXPECT_EQ(response->segments(0).text(), response->text());
  EXPECT_EQ(response->segments(0).end(), 2);
  EXPECT_EQ(response->language(), "en");
  EXPECT_EQ(response->duration(), 2.325);
  EXPECT_EQ(response->model(), "ears");
  EXPECT_EQ(RequestLine(0), "POST /v1/audio/transcriptions");
  const auto& sent = engine_.requests()[0];
  EXPECT_THAT(sent.head, HasSubstr("Content-Type: multipart/form-data; boundary="));
  EXPECT_THAT(sent.body, HasSubstr("name=\"model\"\r\n\r\nears\r\n"));
  EXPECT_THAT(sent.body, HasSubstr("name=\"response_format\"\r\n\r\nverbose_json\r\n"));
  EXPECT_THAT(sent.body, HasSubstr("name=\"language\"\r\n\r\nen\r\n"));
  EXPECT_THAT(sent.body, HasSubstr("\r\n\r\n" + audio + "\r\n"));
  EXPECT_THAT(outbox_.Names(), ElementsAre("RequestStarted", "RequestCompleted"));
  EXPECT_EQ(outbox_.Last<v1::RequestCompleted>().type(), "transcribe");
}

TEST_F(MediaUnitsTest, NoiseIsUnreadableMedia) {
  engine_.Then(Recorded("faster-whisper-noise"));
  EXPECT_THAT(Transcribe("noise"), FailsWith(v1::INFERENCE_MEDIA_UNREADABLE, "cannot be decoded"));
  EXPECT_EQ(outbox_.Last<v1::RequestFailed>().reason(), "INFERENCE_MEDIA_UNREADABLE");
}

TEST_F(MediaUnitsTest, ATranscriptWithoutTextIsAFailedEngine) {
  engine_.Then(ScriptedEngine::Answer(200, "application/json", R"({"task":"transcribe"})"));
  EXPECT_THAT(Transcribe("x"), FailsWith(v1::INFERENCE_ENGINE_FAILED, "no transcript"));
}

TEST_F(MediaUnitsTest, ARecordingSaysHowItIsWrittenAndHowLongItIs) {
  engine_.Then(Recorded("hibari-wav"));
  speech_.set_voice("alloy");
  speech_.set_speed(1.5);
  const auto response = Synthesize();
  ASSERT_THAT(response, IsOk());
  EXPECT_EQ(response->audio(), BodyOf(Recording("hibari-wav")));
  EXPECT_EQ(response->format(), v1::AUDIO_FORMAT_WAV);
  EXPECT_NEAR(response->duration(), 0.175, 0.001);
  EXPECT_EQ(response->sample_rate(), 24000);
  EXPECT_EQ(RequestJson(), Json::parse(R"({"model":"voice","input":"A \"word\".","voice":"alloy",
                                          "response_format":"wav","speed":1.5})"));
}

TEST_F(MediaUnitsTest, WithoutFfmpegTheFormatIsUnavailable) {
  engine_.Then(Recorded("hibari-mp3-without-ffmpeg"));
  EXPECT_THAT(Synthesize(v1::AUDIO_FORMAT_MP3), FailsWith(v1::INFERENCE_FORMAT_UNAVAILABLE, "apt-get install ffmpeg"));
  EXPECT_EQ(RequestJson()["response_format"], "mp3");
}

TEST_F(MediaUnitsTest, ARecordingComesPieceByPieceAndItsLengthLast) {
  const std::string head =
      "HTTP/1.1 200 OK\r\nContent-Type: audio/pcm;rate=8000\r\nX-Sample-Rate: 8000\r\nTransfer-Encoding: "
      "chunked\r\n\r\n";
  engine_.Then({{Step::kSend, head + "4\r\nabcd\r\n"}, {Step::kPause, "", 30}, {Step::kSend, "2\r\nef\r\n0\r\n\r\n"}});
  speech_.set_format(v1::AUDIO_FORMAT_PCM);
  ASSERT_THAT(Run(units_.SynthesizeStream(call_, speech_, pieces_)), IsOk());
  ASSERT_EQ(pieces_.written.size(), 3u);
  EXPECT_EQ(pieces_.written[0].audio() + pieces_.written[1].audio(), "abcdef");
  EXPECT_FALSE(pieces_.written[0].has_duration());
  EXPECT_EQ(pieces_.written[2].format(), v1::AUDIO_FORMAT_PCM);
  EXPECT_EQ(pieces_.written[2].duration(), 3.0 / 8000);
  EXPECT_EQ(pieces_.written[2].model(), "voice");
}

TEST_F(MediaUnitsTest, AReaderOfARecordingThatLeavesEndsTheEnginesWork) {
  engine_.Then(
      {{Step::kSend, "HTTP/1.1 200 OK\r\nContent-Type: audio/pcm\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n"},
       {Step::kStall}});
  pieces_.leave_after = 0;
  EXPECT_EQ(Run(units_.SynthesizeStream(call_, speech_, pieces_)).code(), absl::StatusCode::kCancelled);
  Until([&] { return engine_.abandoned() == 1; });
}

TEST_F(MediaUnitsTest, PicturesComeAsFilesWithWhatWasReadOfThePrompt) {
  engine_.Then(Recorded("terrain-image"));
  v1::GenerateImageRequest request;
  request.set_model("painter");
  request.set_prompt("calm beach");
  request.set_size("64x64");
  request.set_n(2);
  request.set_steps(1);
  const auto response = Run(units_.GenerateImage(call_, request));
  ASSERT_THAT(response, IsOk());
  ASSERT_EQ(response->images_size(), 2);
  EXPECT_THAT(response->images(0), StartsWith("\x89PNG"));
  EXPECT_EQ(response->format(), "png");
  EXPECT_THAT(response->revised_prompts(1), HasSubstr("landscapes only"));
  EXPECT_EQ(RequestJson(), Json::parse(R"({"model":"painter","prompt":"calm beach","response_format":"b64_json",
                                          "size":"64x64","n":2,"num_inference_steps":1})"));
}

TEST_F(MediaUnitsTest, AnswersThatHoldNoPictureAreAFailedEngine) {
  v1::GenerateImageRequest request;
  request.set_model("painter");
  request.set_prompt("hills");
  for (const char* body : {R"({"data":[]})", R"({"data":[{"url":"http://elsewhere/a.png"}]})", R"([])",
                           R"({"data":[{"b64_json":"aGVsbG8="}]})", R"({"data":[{"b64_json":"*"}]})",
                           R"({"data":[{"b64_json":"UklGRg=="}]})"}) {
    engine_.Then(ScriptedEngine::Answer(200, "application/json", body));
  }
  for (int i = 0; i < 6; ++i) {
    EXPECT_THAT(Run(units_.GenerateImage(call_, request)), FailsWith(v1::INFERENCE_ENGINE_FAILED, "painter-instance"));
  }
}

TEST_F(MediaUnitsTest, EngineOptionsOfAPictureCannotReplaceItsFields) {
  v1::GenerateImageRequest request;
  request.set_model("painter");
  request.set_prompt("hills");
  request.set_size("64x64");
  request.set_n(1);
  request.set_seed(1);
  request.set_steps(4);
  request.set_negative_prompt("people");
  engine_.Then(Recorded("terrain-image"));
  ASSERT_THAT(Run(units_.GenerateImage(call_, request)), IsOk());
  const Json sent = RequestJson();
  EXPECT_EQ(sent.size(), 8u) << "all that a request can say";
  for (const auto& [field, _] : sent.items()) {
    request.mutable_engine_options()->clear_fields();
    (*request.mutable_engine_options()->mutable_fields())[field].set_number_value(50);
    EXPECT_THAT(Run(units_.GenerateImage(call_, request)),
                FailsWith(unit::v1::INVALID_INPUT, "engine_options." + field));
  }
}

TEST_F(MediaUnitsTest, ThingsInAPictureComeWithTheirBoxes) {
  engine_.Then(Recorded("centernet-coffee"));
  engine_.Then(
      ScriptedEngine::Answer(200, "application/json", R"({"detections":[{"label":"cup","box":[1,2,"x",4]}]})"));
  v1::DetectRequest request;
  request.set_model("eyes");
  request.set_image("picture");
  request.set_min_score(0.25);
  const auto response = Run(units_.Detect(call_, request));
  ASSERT_THAT(response, IsOk());
  EXPECT_EQ(response->detections(0).label(), "cup");
  EXPECT_GT(response->detections(0).score(), 0.3);
  EXPECT_NEAR(response->detections(0).box().right(), 414, 20);
  EXPECT_EQ(response->width(), 600);
  EXPECT_THAT(engine_.requests()[0].body, HasSubstr("name=\"min_score\"\r\n\r\n0.25\r\n"));
  EXPECT_THAT(Run(units_.Detect(call_, request)), FailsWith(v1::INFERENCE_ENGINE_FAILED, "no list of detections"));
}

TEST_F(MediaUnitsTest, ARankModelRanksByItself) {
  engine_.Then(Recorded("llamacpp-rerank"));
  ranks_.set_return_documents(true);
  const auto response = Rerank("ranker");
  ASSERT_THAT(response, IsOk());
  EXPECT_EQ(response->method(), "rank-model");
  EXPECT_EQ(response->results(0).index(), 1);
  EXPECT_EQ(response->results(0).document(), "The giant panda is a bear.");
  EXPECT_NEAR(response->results(0).relevance_score(), -1.288, 0.001);
  EXPECT_EQ(response->usage().total_tokens(), 22);
  EXPECT_EQ(RequestLine(0), "POST /v1/rerank");
  EXPECT_EQ(RequestJson()["documents"].size(), 2u);
}

TEST_F(MediaUnitsTest, RanksOfDocumentsThatNobodySentAreAFailedEngine) {
  engine_.Then(ScriptedEngine::Answer(200, "application/json", R"({"results":[{"index":2,"relevance_score":1}]})"));
  EXPECT_THAT(Rerank("ranker"), FailsWith(v1::INFERENCE_ENGINE_FAILED, "no ranking"));
}

TEST_F(MediaUnitsTest, AnEmbeddingModelRanksByTheAnglesOfItsVectors) {
  engine_.Then(ScriptedEngine::Answer(200, "application/json",
                                      R"({"data":[{"embedding":[2,0]},{"embedding":[0,1]},{"embedding":[3,4]}],
                                          "usage":{"prompt_tokens":9,"total_tokens":9}})"));
  const auto response = Rerank("vectors");
  ASSERT_THAT(response, IsOk());
  EXPECT_EQ(response->method(), "embedding-cosine");
  EXPECT_EQ(response->results(0).index(), 1);
  EXPECT_DOUBLE_EQ(response->results(0).relevance_score(), 0.6);
  EXPECT_DOUBLE_EQ(response->results(1).relevance_score(), 0);
  EXPECT_FALSE(response->results(0).has_document());
  EXPECT_EQ(response->model(), "vectors");
  EXPECT_EQ(RequestJson()["input"], Json::parse(R"(["What is a panda?","The bank is closed.",
                                                   "The giant panda is a bear."])"));
  EXPECT_EQ(outbox_.Last<v1::RequestCompleted>().type(), "rerank");
}

TEST_F(MediaUnitsTest, ModelsThatAreNotMadeToRankDoNot) {
  EXPECT_THAT(Rerank("chatty"), FailsWith(v1::INFERENCE_WRONG_MODEL_TYPE, "rerank or embedding"));
  EXPECT_THAT(Rerank("riddle"), FailsWith(v1::INFERENCE_WRONG_MODEL_TYPE, "rerank or embedding"));
  EXPECT_TRUE(engine_.requests().empty());
}

TEST_F(MediaUnitsTest, AVideoIsAJobThatIsFollowedFetchedAndCleanedUp) {
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

TEST_F(MediaUnitsTest, AVideoThatNoAnswerCanHoldIsPutIntoAFile) {
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

TEST_F(MediaUnitsTest, AVideoThatCannotBePutIntoAFileStaysWithTheEngine) {
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

TEST_F(MediaUnitsTest, AVideoThatComesToNothingSaysWhy) {
  engine_.Then(Recorded("sglang-video-queued"));
  engine_.Then(Recorded("sglang-video-failed"));
  EXPECT_THAT(MakeVideo(), FailsWith(v1::INFERENCE_ENGINE_FAILED, "CUDA out of memory"));
}

TEST_F(MediaUnitsTest, ACallerThatLeavesEndsTheVideosJob) {
  engine_.Then(Recorded("sglang-video-queued"));
  engine_.Then(Recorded("sglang-video-deleted"));
  progress_.leave_after = 0;
  EXPECT_EQ(Run(units_.GenerateVideoStream(call_, video_, progress_)).code(), absl::StatusCode::kCancelled);
  Until([&] { return engine_.requests().size() == 2; });
  EXPECT_THAT(RequestLine(1), StartsWith("DELETE /v1/videos/8d6f"));
}

TEST_F(MediaUnitsTest, ACancelledVideosJobIsEnded) {
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

TEST_F(MediaUnitsTest, AVideoIsNotWaitedForPastTheDeadline) {
  engine_.Then(Recorded("sglang-video-queued"));
  call_.deadline = absl::Now() + absl::Milliseconds(400);
  EXPECT_EQ(MakeVideo().status().code(), absl::StatusCode::kDeadlineExceeded);
}

TEST_F(MediaUnitsTest, AnEngineThatDiesOverAVideoIsLost) {
  engine_.Then(Recorded("sglang-video-half"));
  engine_.Then({{Step::kCut}});
  EXPECT_THAT(MakeVideo(), FailsWith(v1::INFERENCE_ENGINE_LOST, "cinema-instance"));
}

TEST_F(MediaUnitsTest, AJobWhoseIdIsNoPlainNameIsNotFollowed) {
  engine_.Then(ScriptedEngine::Answer(200, "application/json", R"({"id":"../admin","status":"queued"})"));
  EXPECT_THAT(MakeVideo(), FailsWith(v1::INFERENCE_ENGINE_FAILED, "no video job"));
  EXPECT_EQ(engine_.requests().size(), 1u);
}

TEST_F(MediaUnitsTest, WithoutAnyVideoModelTheAnswerNamesWhatToInstall) {
  video_.set_model("sora");
  EXPECT_THAT(MakeVideo(), FailsWith(v1::INFERENCE_MODEL_NOT_FOUND, "sora"));
  std::erase_if(models_.models, [](const ModelRecord& one) { return one.type == v1::MODEL_TYPE_VIDEO; });
  router_.catalog().Forget();
  EXPECT_THAT(MakeVideo(), FailsWith(v1::INFERENCE_NO_ENGINE, "SGLang Diffusion"));
}

TEST_F(MediaUnitsTest, ADialectWithoutWordsForItSaysSo) {
  for (Endpoint& endpoint : engines_.endpoints) endpoint.dialect = "morse";
  EXPECT_THAT(Transcribe("x"), FailsWith(v1::INFERENCE_REQUEST_REFUSED, "morse"));
  EXPECT_THAT(MakeVideo(), FailsWith(v1::INFERENCE_REQUEST_REFUSED, "morse"));
  Forward("/v1/audio/speech", R"({"model":"voice","input":"x"})");
  EXPECT_EQ(Status(), 400);
}

TEST_F(MediaUnitsTest, VoicesAreThoseOfModelsThatComeWithEngines) {
  ModelRecord singer;
  singer.id = singer.name = "singer";
  singer.type = v1::MODEL_TYPE_TTS;
  singer.engine = "opera";
  singer.voices = {{"tenor", "it-IT", "High."}, {"bass", "it-IT", "Low."}};
  models_.models.push_back(singer);
  v1::VoicesRequest request;
  auto response = Run(units_.Voices(call_, request));
  ASSERT_THAT(response, IsOk());
  ASSERT_EQ(response->voices_size(), 2);
  EXPECT_EQ(response->voices(0).id(), "tenor");
  EXPECT_EQ(response->voices(1).model(), "singer");
  EXPECT_FALSE(response->voices(0).available());
  request.set_model("chatty");
  EXPECT_THAT(Run(units_.Voices(call_, request)), FailsWith(v1::INFERENCE_WRONG_MODEL_TYPE, "tts"));
  request.set_model("nobody");
  EXPECT_THAT(Run(units_.Voices(call_, request)), FailsWith(v1::INFERENCE_MODEL_NOT_FOUND, "nobody"));
}

TEST_F(MediaUnitsTest, AModelWhoseEngineIsNotInstalledNamesTheCommand) {
  ModelRecord singer;
  singer.id = singer.name = "singer";
  singer.type = v1::MODEL_TYPE_TTS;
  singer.engine = "opera";
  singer.status = "not installed";
  models_.models.push_back(singer);
  speech_.set_model("singer");
  EXPECT_THAT(Synthesize(), FailsWith(v1::INFERENCE_ENGINE_NOT_INSTALLED, "aima exec engine.install --name opera"));
  EXPECT_EQ(engines_.starts, 0);
}

TEST_F(MediaUnitsTest, ForwardPassesSpeechOnAsItIs) {
  engine_.Then(Recorded("hibari-wav"));
  const std::string sent = R"({ "input": "Hi.", "model":"voice", "voice":"alloy" })";
  EXPECT_EQ(Forward("/v1/audio/speech", sent), BodyOf(Recording("hibari-wav")));
  EXPECT_EQ(Status(), 200);
  EXPECT_EQ(forwarded_.written[0].headers(0).value(), "audio/wav");
  EXPECT_EQ(engine_.requests()[0].body, sent);
}

TEST_F(MediaUnitsTest, ForwardPassesAFormOnWithTheEnginesNameOfTheModel) {
  engines_.endpoints[0].served_name = "whisper.bin";
  engine_.Then(Recorded("faster-whisper-transcription"));
  const std::string before =
      "--x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\n\r\n--xy\r\n"
      "name=\"model\"\r\n--x\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\n";
  const std::string type = "multipart/form-data; boundary=\"x\"";
  EXPECT_EQ(Forward("/v1/audio/transcriptions", before + "ears\r\n--x--\r\n", type),
            BodyOf(Recording("faster-whisper-transcription")));
  EXPECT_EQ(engine_.requests()[0].body, before + "whisper.bin\r\n--x--\r\n");
  EXPECT_THAT(engine_.requests()[0].head, HasSubstr("Content-Type: " + type));
}

TEST_F(MediaUnitsTest, ForwardRefusesFormsThatAreNone) {
  const std::string part = "--x\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nears\r\n";
  const std::pair<std::string, std::string> kBroken[] = {
      {"{\"model\":\"ears\"}", "application/json"},     {part + "--x--", "multipart/form-data"},
      {part, "multipart/form-data; boundary=x"},        {part + part + "--x--", "multipart/form-data; boundary=x"},
      {"--x--\r\n", "multipart/form-data; boundary=x"}, {"", "multipart/form-data; boundary=x"},
      {"--x", "multipart/form-data; boundary=x"},       {"--x\r\n\r\n--x--", "multipart/form-data; boundary=x"}};
  for (const auto& [body, type] : kBroken) {
    EXPECT_THAT(Forward("/v1/audio/transcriptions", body, type), HasSubstr("invalid_request_error")) << body;
    EXPECT_EQ(Status(), 400);
  }
  EXPECT_TRUE(engine_.requests().empty());
}

TEST_F(MediaUnitsTest, ForwardRanksInTheFormThatRankModelsUse) {
  engine_.Then(Recorded("llamacpp-rerank"));
  engine_.Then(ScriptedEngine::Answer(200, "application/json",
                                      R"({"data":[{"embedding":[1,0]},{"embedding":[0,1]},{"embedding":[1,1]}]})"));
  const std::string rest = R"(","query":"q","documents":["a",{"text":"b"}],"return_documents":true})";
  EXPECT_EQ(Forward("/v1/rerank", R"({"model":"ranker)" + rest), BodyOf(Recording("llamacpp-rerank")));
  const Json json = Json::parse(Forward("/v1/rerank", R"({"model":"vectors)" + rest));
  EXPECT_EQ(json["method"], "embedding-cosine");
  EXPECT_EQ(json["results"][0]["index"], 1);
  EXPECT_EQ(json["results"][0]["document"]["text"], "b");
  EXPECT_THAT(Forward("/v1/rerank", R"({"model":"vectors","query":"q","documents":"a"})"), HasSubstr("documents"));
  EXPECT_EQ(Status(), 400);
  Forward("/v1/rerank", R"({"model":"chatty)" + rest);
  EXPECT_EQ(Status(), 400);
}

}  // namespace
}  // namespace aima::inference
