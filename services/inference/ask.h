// What requests ask of models, and which models can do it.
#pragma once

#include <string>

#include "aima/inference/v1/inference.pb.h"

namespace aima::inference {

// What a request asks of a model.
enum class Ask { kChat, kComplete, kEmbed, kRerank, kTranscribe, kSynthesize, kGenerateImage, kGenerateVideo, kDetect };

// "chat", "transcribe" …, as events name it.
const char* AskName(Ask ask);

// The types of models that can do it, in words.
const char* TypesFor(Ask ask);

// Whether models of this type can do it. What a model of unknown type can do, its engine says; but scores of a model
// that is not made to rank mean nothing, and no engine says so.
bool CanDo(v1::ModelType type, Ask ask);

}  // namespace aima::inference
