// The units for ranks, speech, pictures and videos, against recorded answers of engines.
#pragma once

#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

#include "libs/testing/status_matchers.h"
#include "libs/testing/task.h"
#include "services/inference/recordings.h"
#include "services/inference/units_for_test.h"

namespace aima::inference {

using Json = nlohmann::json;
using testing::IsOk;

class MediaUnitsTest : public UnitsTest {
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

  v1::SynthesizeRequest speech_ = [] {
    v1::SynthesizeRequest request;
    request.set_model("voice");
    request.set_text("A \"word\".");
    return request;
  }();
  v1::RerankRequest ranks_;
  FakeWriter<v1::SynthesizeChunk> pieces_;
  FakeWriter<v1::ForwardChunk> forwarded_;
};

}  // namespace aima::inference
