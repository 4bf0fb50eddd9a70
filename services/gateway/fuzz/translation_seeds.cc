#include "services/gateway/fuzz/translation_seeds.h"

namespace aima::gateway {
namespace {

// Requests that use about every field that each API has.
constexpr char kMessages[] =
    R"({"model":"m","max_tokens":9,"stream":true,"system":[{"type":"text","text":"S"}],"stop_sequences":["x"],)"
    R"("temperature":0.5,"top_k":4,"thinking":{"type":"enabled","budget_tokens":9},)"
    R"("tools":[{"name":"f","description":"d","input_schema":{"type":"object"}}],)"
    R"("tool_choice":{"type":"tool","name":"f","disable_parallel_tool_use":true},)"
    R"("output_config":{"effort":"low","format":{"type":"json_schema","schema":{}}},)"
    R"("messages":[{"role":"user","content":[{"type":"text","text":"Hi"},)"
    R"({"type":"image","source":{"type":"base64","media_type":"image/png","data":"AAAA"}}]},)"
    R"({"role":"assistant","content":[{"type":"thinking","thinking":"t"},{"type":"tool_use","id":"a","name":"f","input":{}}]},)"
    R"({"role":"user","content":[{"type":"tool_result","tool_use_id":"a","is_error":true,"content":[{"type":"text","text":"r"}]}]}]})";
constexpr char kMessagesWhole[] = R"({"model":"m","max_tokens":9,"messages":[{"role":"user","content":"Hi"}]})";
constexpr char kCountTokens[] = R"({"model":"m","system":"s","messages":[{"role":"user","content":"Hi"}]})";
constexpr char kResponses[] =
    R"({"model":"m","stream":true,"instructions":"i","max_output_tokens":9,"temperature":0.5,"store":false,)"
    R"("metadata":{"k":"v"},"reasoning":{"effort":"low"},"text":{"format":{"type":"json_schema","name":"n","schema":{}}},)"
    R"("tools":[{"type":"function","name":"f","parameters":{},"strict":false}],"tool_choice":{"type":"function","name":"f"},)"
    R"("input":[{"role":"developer","content":"d"},{"type":"message","role":"user","content":[{"type":"input_text","text":"t"},)"
    R"({"type":"input_image","image_url":"u","detail":"low"}]},{"type":"reasoning","summary":[{"text":"s"}]},)"
    R"({"role":"assistant","content":[{"type":"output_text","text":"o"},{"type":"refusal","refusal":"r"}]},)"
    R"({"type":"function_call","call_id":"c","name":"f","arguments":"{}"},)"
    R"({"type":"function_call_output","call_id":"c","output":"x"}]})";
constexpr char kResponsesWhole[] = R"({"model":"m","input":"Hi","parallel_tool_calls":false})";
constexpr char kOllamaChat[] =
    R"({"model":"m","format":{"type":"object"},"think":true,"keep_alive":"5m",)"
    R"("options":{"temperature":0.1,"num_predict":5,"stop":["x"],"seed":3,"top_k":4,"min_p":0.1},)"
    R"("tools":[{"type":"function","function":{"name":"f","parameters":{}}}],)"
    R"("messages":[{"role":"user","content":"c","images":["iVBORw0KGgoA"]},)"
    R"({"role":"assistant","thinking":"t","tool_calls":[{"function":{"name":"f","arguments":{"a":1}}}]},)"
    R"({"role":"tool","tool_name":"f","content":"r"}]})";
constexpr char kOllamaChatWhole[] = R"({"model":"hf.co/o/r:Q8_0","stream":false,"messages":[{"role":"user","content":"c"}]})";
constexpr char kGenerate[] = R"({"model":"m:latest","prompt":"p","system":"s","images":["/9j/A"],"keep_alive":-1})";
constexpr char kGenerateRaw[] = R"({"model":"library/m","prompt":"p","raw":true,"stream":false})";
constexpr char kLoad[] = R"({"model":"m","keep_alive":0})";
constexpr char kEmbed[] = R"({"model":"m","input":["a","b"],"dimensions":3,"keep_alive":5})";
constexpr char kName[] = R"({"model":"registry.ollama.ai/library/m:1b"})";
constexpr char kVideo[] =
    R"({"model":"m","prompt":"p","seconds":"4","size":"832x480","fps":24,"seed":3,"input_reference":{"image_url":"data:image/png;base64,AAAA"}})";
constexpr char kOpenAi[] = R"({"model":"m","stream":true,"messages":[{"role":"user","content":"a"}]})";

// What services answer.
constexpr char kWhole[] =
    R"({"content":"Hello","reasoning_content":"r","finish_reason":"tool_calls","model":"m","stop_text":"x",)"
    R"("usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5,"cached_tokens":1},)"
    R"("tool_calls":[{"id":"c","name":"f","arguments":"{\"a\":1}"},{"id":"","name":"g","arguments":"no JSON"}]})"
    "\n";
constexpr char kStream[] =
    "{\"reasoning_content\":\"Hm\"}\n,\n{\"content\":\"Hel\"}\n{\"content\":\"lo \\ud83d\\ude00\"}\n"
    R"({"tool_call_deltas":[{"index":0,"id":"c","name":"f","arguments":"{"}]})"
    "\n"
    R"({"tool_call_deltas":[{"index":0,"arguments":"\"a\":1}"},{"index":1,"name":"","arguments":"{}"},{"index":1,"name":"g"}]})"
    "\n"
    R"({"finish_reason":"length","usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5},"stop_text":"x",)"
    R"("tool_calls":[{"id":"c","name":"f","arguments":"{\"a\":1}"},{"id":"d","name":"g","arguments":"{}"},{"name":"h"}]})"
    "\n.\n";
constexpr char kBrokenStream[] = "{\"content\":\"Hel\"}\n!lthe engine went away\n";
constexpr char kSilentStream[] = "{\"content\":\"Hel\"}\n~\n";
constexpr char kUnfinishedStream[] = "{\"content\":\"Hel\"}\n.\n";
constexpr char kTokens[] = "{\"tokens\":37,\"model\":\"m\"}\n";
constexpr char kModel[] =
    R"({"id":"m","name":"M","type":"llm","status":"ready","source":"ollama","repo":"library/m","create_time":"2026-01-01T00:00:00Z",)"
    R"("size_bytes":5,"details":{"quantization":"Q8_0"}})";
constexpr char kEngines[] =
    R"({"items":[{"name":"llamacpp","instances":[{"model_id":"m","instance_id":"m-1","status":"running","on_demand":true,)"
    R"("idle_timeout":5,"memory_bytes":5}]}]})"
    "\n";
constexpr char kPull[] =
    R"({"percent":50,"phase":"downloading","message":"m","files":[{"name":"a","bytes_done":5,"bytes_total":9}]})"
    "\n"
    R"({"percent":100,"phase":"verifying","result":{"id":"m"}})"
    "\n.\n";
constexpr char kEvents[] =
    ">data: {\"choices\":[{\"delta\":{\"content\":\"Hel\"}}]}\n>\n>data: [DONE]\n>\n.\n";
constexpr char kBrokenEvents[] = ">data: {\"choices\":[{\"del\n!lthe engine went away\n";

}  // namespace

std::vector<TranslationSeed> TranslationSeeds() {
  const std::string model = std::string(kModel) + "\n";
  const std::string models = std::string(R"({"items":[)") + kModel + R"(],"total":1})" + "\n";
  return {
      {"POST", "/v1/messages", kMessages, kStream},
      {"POST", "/v1/messages", kMessages, kBrokenStream},
      {"POST", "/v1/messages", kMessages, kSilentStream},
      {"POST", "/v1/messages", kMessages, kUnfinishedStream},
      {"POST", "/v1/messages", kMessages, "!mthere is no model 'm'\n"},
      {"POST", "/v1/messages?beta=true", kMessagesWhole, kWhole},
      {"POST", "/v1/messages", kMessagesWhole, "!ofull\n"},
      {"POST", "/v1/messages/count_tokens", kCountTokens, kTokens},
      {"POST", "/v1/responses", kResponses, kStream},
      {"POST", "/v1/responses", kResponses, kBrokenStream},
      {"POST", "/v1/responses", kResponses, kUnfinishedStream},
      {"POST", "/v1/responses", kResponses, "!ctoo long\n"},
      {"POST", "/v1/responses", kResponsesWhole, kWhole},
      {"POST", "/v1/responses", kResponsesWhole, "!iis wrong\n"},
      {"POST", "/v1/responses/input_tokens", kResponsesWhole, kTokens},
      {"POST", "/api/chat", kOllamaChat, std::string(kStream) + kEngines + "{\"instance_id\":\"m-1\"}\n"},
      {"POST", "/api/chat", kOllamaChat, kBrokenStream},
      {"POST", "/api/chat", kOllamaChat, kSilentStream},
      {"POST", "/api/chat", kOllamaChatWhole, models + kWhole},
      {"POST", "/api/generate", kGenerate, kStream},
      {"POST", "/api/generate", kGenerateRaw, models + R"({"text":"t","finish_reason":"stop"})" + "\n"},
      {"POST", "/api/generate", kLoad, model + kEngines + "{\"success\":true}\n"},
      {"POST", "/api/generate", R"({"model":"m"})", model + kTokens},
      {"POST", "/api/embed", kEmbed, R"({"embeddings":[[0.5,1]],"usage":{"prompt_tokens":3},"dimensions":2})" "\n"},
      {"POST", "/api/embeddings", R"({"model":"m","prompt":"a"})", R"({"embeddings":[[0.5,1]],"dimensions":2})" "\n"},
      {"POST", "/api/pull", kName, kPull},
      {"POST", "/api/pull", R"({"model":"hf.co/o/r:Q8_0","stream":false})", kPull},
      {"POST", "/api/show", kName, models + model},
      {"DELETE", "/api/delete", kName, models + "{}\n"},
      {"GET", "/api/tags", "", models},
      {"GET", "/api/ps", "", std::string(kEngines) + models},
      {"GET", "/api/version", "", ""},
      {"GET", "/v1/models?limit=1&after_id=a", "", models},
      {"GET", "/v1/models/m", "", model},
      {"POST", "/v1/videos", kVideo, ""},
      {"GET", "/v1/videos?limit=2&order=asc&after=op_a", "", ""},
      {"GET", "/v1/videos/op_a/content?variant=video", "", ""},
      {"DELETE", "/v1/videos/op_a", "", ""},
      {"POST", "/v1/chat/completions", kOpenAi, kEvents},
      {"POST", "/v1/chat/completions", kOpenAi, kBrokenEvents},
      {"POST", "/v1/embeddings", R"({"model":"m","input":"a"})", ">{\"data\":[]}\n~\n"},
      {"POST", "/v1/audio/speech", R"({"model":"m","input":"a"})", "!oall engines are busy\n"},
  };
}

}  // namespace aima::gateway
