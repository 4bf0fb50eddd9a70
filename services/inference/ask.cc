#include "services/inference/ask.h"

namespace aima::inference {

const char* AskName(Ask ask) {
  switch (ask) {
    case Ask::kChat: return "chat";
    case Ask::kComplete: return "complete";
    case Ask::kEmbed: return "embed";
    case Ask::kRerank: return "rerank";
    case Ask::kTranscribe: return "transcribe";
    case Ask::kSynthesize: return "synthesize";
    case Ask::kGenerateImage: return "generate_image";
    case Ask::kGenerateVideo: return "generate_video";
    case Ask::kDetect: return "detect";
  }
  return "";
}

const char* TypesFor(Ask ask) {
  switch (ask) {
    case Ask::kChat:
    case Ask::kComplete: return "llm or vlm";
    case Ask::kEmbed: return "embedding";
    case Ask::kRerank: return "rerank or embedding";
    case Ask::kTranscribe: return "asr";
    case Ask::kSynthesize: return "tts";
    case Ask::kGenerateImage: return "image";
    case Ask::kGenerateVideo: return "video";
    case Ask::kDetect: return "detection";
  }
  return "";
}

bool CanDo(v1::ModelType type, Ask ask) {
  if (type == v1::MODEL_TYPE_UNSPECIFIED) return ask != Ask::kRerank;
  switch (ask) {
    case Ask::kChat:
    case Ask::kComplete: return type == v1::MODEL_TYPE_LLM || type == v1::MODEL_TYPE_VLM;
    case Ask::kEmbed: return type == v1::MODEL_TYPE_EMBEDDING;
    case Ask::kRerank: return type == v1::MODEL_TYPE_RERANK || type == v1::MODEL_TYPE_EMBEDDING;
    case Ask::kTranscribe: return type == v1::MODEL_TYPE_ASR;
    case Ask::kSynthesize: return type == v1::MODEL_TYPE_TTS;
    case Ask::kGenerateImage: return type == v1::MODEL_TYPE_IMAGE;
    case Ask::kGenerateVideo: return type == v1::MODEL_TYPE_VIDEO;
    case Ask::kDetect: return type == v1::MODEL_TYPE_DETECTION;
  }
  return false;
}

}  // namespace aima::inference
