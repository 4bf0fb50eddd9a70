// Ranks, speech and pictures, as units and through /v1.
#include "services/inference/media_units_for_test.h"

namespace aima::inference {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;
using testing::FailsWith;
using Step = ScriptedEngine::Step;

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

TEST_F(MediaUnitsTest, ATextThatIsNoNumberCountsForNothing) {
  engine_.Then(ScriptedEngine::Answer(
      200, "application/json",
      R"({"width":"nan","height":"-inf","detections":[{"label":"cup","score":"nan","box":[1,2,3,4]}]})"));
  engine_.Then(ScriptedEngine::Answer(200, "application/json",
                                      R"({"results":[{"index":0,"score":"nan"},{"index":1,"score":"0.5"}]})"));
  v1::DetectRequest request;
  request.set_model("eyes");
  request.set_image("picture");
  const auto seen = Run(units_.Detect(call_, request));
  ASSERT_THAT(seen, IsOk());
  EXPECT_EQ(seen->width(), 0);
  EXPECT_EQ(seen->height(), 0);
  EXPECT_EQ(seen->detections(0).score(), 0);
  const auto ranks = Rerank("ranker");
  ASSERT_THAT(ranks, IsOk());
  EXPECT_EQ(ranks->results(0).index(), 1);
  EXPECT_EQ(ranks->results(1).relevance_score(), 0);
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
