// Feeds noise to the way to an engine and back: what callers ask is JSON or, for /v1/*, a body; what the engine answers is
// bytes over a socket, in pieces, through the HTTP client, the dialects and the OpenAI surface.
//
// An input begins with three bytes: into how many pieces answers are cut, which unit is asked, how the engine is spoken to.
// Then come what is asked and, each after a line `---`, the answers of the engine to one request after the other. The first
// character of an answer says what its head is: h that the answer has one itself, s a stream of events, j JSON, n lines of
// JSON, w sound, e a refusal, u that it still loads. An engine that has no answer left hangs up.
#include <absl/strings/match.h>
#include <absl/strings/str_split.h>
#include <spdlog/spdlog.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "libs/errors/errors.h"
#include "libs/testing/fuzz_seeds.h"
#include "libs/unit/json_codec.h"
#include "libs/unit/rules.h"
#include "services/inference/fakes.h"
#include "services/inference/inference_units.h"
#include "services/inference/token_count.h"

namespace aima::inference {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using google::protobuf::Message;

constexpr auto kQuiet = asio::as_tuple(asio::use_awaitable);
constexpr char kBoundary[] = "\n---\n";

[[noreturn]] void Fail(const char* what, const std::string& about) {
  std::fprintf(stderr, "%s: %s\n", what, about.substr(0, 4000).c_str());
  std::abort();
}

// Answers one request per connection with the next of its answers.
class Engine {
 public:
  Engine(Loop& loop, size_t pieces, std::deque<std::string> answers)
      : loop_(loop), pieces_(pieces), answers_(std::move(answers)), acceptor_(loop, {asio::ip::address_v4::loopback(), 0}) {
    asio::co_spawn(loop, Accept(), asio::detached);
  }
  int port() const { return acceptor_.local_endpoint().port(); }

 private:
  Task<void> Accept() {
    while (true) {
      auto [error, socket] = co_await acceptor_.async_accept(kQuiet);
      if (error) co_return;
      if (answers_.empty()) continue;
      asio::co_spawn(loop_, Serve(std::move(socket), std::move(answers_.front()), pieces_), asio::detached);
      answers_.pop_front();
    }
  }
  static Task<void> Serve(tcp::socket socket, std::string answer, size_t pieces) {
    char request[1 << 12];
    co_await socket.async_read_some(asio::buffer(request), kQuiet);
    const size_t step = answer.size() / pieces + 1;
    for (size_t at = 0; at < answer.size(); at += step) {
      const size_t size = std::min(step, answer.size() - at);
      auto [error, sent] = co_await asio::async_write(socket, asio::buffer(answer.data() + at, size), kQuiet);
      if (error) co_return;
    }
    boost::system::error_code ignored;
    socket.shutdown(tcp::socket::shutdown_send, ignored);
    // Whoever hangs up with bytes unread takes back what was sent.
    while (true) {
      auto [error, size] = co_await socket.async_read_some(asio::buffer(request), kQuiet);
      if (error) co_return;
    }
  }

  Loop& loop_;
  const size_t pieces_;
  std::deque<std::string> answers_;
  tcp::acceptor acceptor_;
};

std::string WithHead(absl::string_view answer) {
  if (answer.empty()) return "";
  const std::string body(answer.substr(1));
  const auto head = [&](const char* line, const char* type) {
    return absl::StrCat("HTTP/1.1 ", line, "\r\nContent-Type: ", type, "\r\n\r\n", body);
  };
  switch (answer[0]) {
    case 's': return head("200 OK", "text/event-stream");
    case 'j': return head("200 OK", "application/json");
    case 'n': return head("200 OK", "application/x-ndjson");
    case 'w': return head("200 OK", "audio/wav");
    case 'e': return head("400 Bad Request", "application/json");
    case 'u': return head("503 Service Unavailable", "application/json");
    default: return body;
  }
}

// For whom time passes at once: what looks again and again does so until the engine has no answer left.
class HurriedDispatcher : public Dispatcher {
 public:
  HurriedDispatcher(Loop& loop, Router& router, http::Client& http) : Dispatcher(loop, router, http), loop_(loop) {}
  Task<void> Pause(absl::Duration) override { co_await asio::post(loop_, asio::use_awaitable); }

 private:
  Loop& loop_;
};

struct World {
  World(size_t pieces, const std::string& dialect, bool cancels, std::deque<std::string> answers)
      : engine(loop, pieces, std::move(answers)) {
    models.models.clear();
    models.Add("m", v1::MODEL_TYPE_UNSPECIFIED);
    models.Add("r", v1::MODEL_TYPE_RERANK);
    for (const char* model : {"m", "r"}) {
      Endpoint endpoint;
      endpoint.instance_id = endpoint.model_id = model;
      endpoint.served_name = "served";
      endpoint.engine = "fuzzed";
      endpoint.host = "127.0.0.1";
      endpoint.port = engine.port();
      endpoint.dialect = dialect;
      endpoint.max_concurrent = 4;
      endpoint.cancels_whole_answers = cancels;
      engines.endpoints.push_back(std::move(endpoint));
    }
    call.deadline = absl::Now() + absl::Hours(1);
  }

  Loop loop;  // outlives the others, as in the service
  Engine engine;
  FakeModels models;
  FakeEngines engines;
  FakeOutbox outbox;
  Router router{loop, models, engines, /*auto_start=*/false};
  http::Client http{loop};
  HurriedDispatcher dispatcher{loop, router, http};
  InferenceUnits units{router, dispatcher, outbox};
  TokenCount tokens{dispatcher, outbox};
  CallContext call;
};

// Who gets a message must be able to read it.
void CheckMessage(const Message& message) {
  const std::unique_ptr<Message> read(message.New());
  if (!read->ParseFromString(message.SerializeAsString())) Fail("a message cannot be read", message.ShortDebugString());
}

// Who gets an error must learn what it is.
void CheckStatus(const absl::Status& status) {
  if (status.ok()) return;
  const ErrorDetails sent = DetailsOf(status);
  if (sent.reason == "INTERNAL_ERROR" || sent.message.empty()) Fail("a defect", status.ToString());
  const absl::Status read = StatusFromWire(static_cast<int>(status.code()), status.message(), SerializeDetails(status));
  if (DetailsOf(read).reason != sent.reason) Fail("an error cannot be read", status.ToString());
}

template <class T>
class CheckingWriter : public StreamWriter<T> {
 public:
  Task<absl::Status> Write(const T& message) override {
    CheckMessage(message);
    co_return absl::OkStatus();
  }
};

// Runs on until nothing happens any more.
void Turn(Loop& loop) {
  loop.restart();
  while (loop.poll() > 0 || loop.run_one_for(std::chrono::microseconds(200)) > 0) {
  }
}

void RunCall(World& world, Task<absl::Status> work) {
  bool done = false;
  bool left = false;
  asio::cancellation_signal cancel;
  asio::co_spawn(world.loop, std::move(work),
                 asio::bind_cancellation_slot(cancel.slot(), [&](std::exception_ptr thrown, absl::Status status) {
                   done = true;
                   if (thrown && !left) std::rethrow_exception(thrown);
                   if (!thrown) CheckStatus(status);
                 }));
  Turn(world.loop);
  // What waits for somebody else waits in vain: its caller leaves.
  while (!done) {
    left = true;
    cancel.emit(asio::cancellation_type::terminal);
    world.loop.restart();
    world.loop.run_one();
  }
  Turn(world.loop);
  for (const auto& event : world.outbox.told) CheckMessage(*event);
}

// A request as a service gets it; false if the gateway or the runtime would have refused it.
bool ReadRequest(absl::string_view text, Message& request) {
  const absl::StatusOr<nlohmann::json> json = ParseJsonText({text.data(), text.size()});
  if (!json.ok() || !ParseJson(*json, request).ok()) return false;
  ApplyDefaults(request);
  return BrokenRules(request).empty();
}

template <class Response, class Units, class Request>
void Ask(World& world, absl::string_view text, Units& units,
         Task<absl::StatusOr<Response>> (Units::*unit)(CallContext&, const Request&)) {
  Request request;
  if (!ReadRequest(text, request)) return;
  RunCall(world, [](World& world, Units& units, auto unit, const Request& request) -> Task<absl::Status> {
    const absl::StatusOr<Response> response = co_await (units.*unit)(world.call, request);
    if (response.ok()) CheckMessage(*response);
    co_return response.status();
  }(world, units, unit, request));
}

template <class Response, class Request>
void Ask(World& world, absl::string_view text, InferenceUnits& units,
         Task<absl::Status> (InferenceUnits::*unit)(CallContext&, const Request&, StreamWriter<Response>&)) {
  Request request;
  if (!ReadRequest(text, request)) return;
  CheckingWriter<Response> out;
  RunCall(world, (units.*unit)(world.call, request, out));
}

void Forward(World& world, absl::string_view body, const char* path, const char* type) {
  v1::ForwardRequest request;
  request.set_method("POST");
  request.set_path(path);
  auto* header = request.add_headers();
  header->set_name("content-type");
  header->set_value(type);
  request.set_body(std::string(body));
  CheckingWriter<v1::ForwardChunk> out;
  RunCall(world, world.units.Forward(world.call, request, out));
}

constexpr char kJson[] = "application/json";
constexpr char kForm[] = "multipart/form-data; boundary=x";

using Asking = std::function<void(World&, absl::string_view)>;
const std::vector<Asking>& Units() {
  using U = InferenceUnits;
  static const std::vector<Asking> units = {
      [](World& w, absl::string_view t) { Ask(w, t, w.units, &U::Chat); },
      [](World& w, absl::string_view t) { Ask(w, t, w.units, &U::ChatStream); },
      [](World& w, absl::string_view t) { Ask(w, t, w.units, &U::Complete); },
      [](World& w, absl::string_view t) { Ask(w, t, w.units, &U::CompleteStream); },
      [](World& w, absl::string_view t) { Ask(w, t, w.units, &U::Embed); },
      [](World& w, absl::string_view t) { Ask(w, t, w.units, &U::Rerank); },
      [](World& w, absl::string_view t) { Ask(w, t, w.units, &U::Transcribe); },
      [](World& w, absl::string_view t) { Ask(w, t, w.units, &U::Synthesize); },
      [](World& w, absl::string_view t) { Ask(w, t, w.units, &U::SynthesizeStream); },
      [](World& w, absl::string_view t) { Ask(w, t, w.units, &U::GenerateImage); },
      [](World& w, absl::string_view t) { Ask(w, t, w.units, &U::GenerateVideoStream); },
      [](World& w, absl::string_view t) { Ask(w, t, w.units, &U::Detect); },
      [](World& w, absl::string_view t) { Ask(w, t, w.tokens, &TokenCount::CountTokens); },
      [](World& w, absl::string_view t) { Forward(w, t, "/v1/chat/completions", kJson); },
      [](World& w, absl::string_view t) { Forward(w, t, "/v1/completions", kJson); },
      [](World& w, absl::string_view t) { Forward(w, t, "/v1/embeddings", kJson); },
      [](World& w, absl::string_view t) { Forward(w, t, "/v1/rerank", kJson); },
      [](World& w, absl::string_view t) { Forward(w, t, "/v1/audio/speech", kJson); },
      [](World& w, absl::string_view t) { Forward(w, t, "/v1/audio/transcriptions", kForm); },
      [](World& w, absl::string_view t) { Forward(w, t, "/v1/images/generations", kJson); },
  };
  return units;
}

void Feed(absl::string_view input) {
  if (input.size() < 3) return;
  const size_t pieces = 1 + (static_cast<uint8_t>(input[0]) & 7);
  const Asking& ask = Units()[static_cast<uint8_t>(input[1]) % Units().size()];
  static constexpr const char* kDialects[] = {"openai", "ollama", "open_inference"};
  const uint8_t how = static_cast<uint8_t>(input[2]);
  std::deque<std::string> parts = absl::StrSplit(input.substr(3), kBoundary);
  const std::string text = std::move(parts.front());
  parts.pop_front();
  for (std::string& answer : parts) answer = WithHead(answer);
  World world(pieces, kDialects[(how & 15) % 3], how & 16, std::move(parts));
  ask(world, text);
}

// What each unit is asked, and what an engine that speaks OpenAI's interface answers.
struct Seed {
  char unit;
  const char* asked;
  const char* answer;
};
constexpr char kPieces[] =
    "sdata: {\"choices\":[{\"delta\":{\"content\":\"Hel\",\"reasoning_content\":\"r\"}}]}\n\n"
    "data: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":0,\"id\":\"c\",\"function\":{\"name\":\"f\",\"arguments\":\"{\"}}]}}]}\n\n"
    "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n"
    "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":2,\"prompt_tokens_details\":{\"cached_tokens\":1}}}\n\n"
    "data: [DONE]\n\n";
constexpr char kTexts[] =
    "sdata: {\"choices\":[{\"index\":0,\"text\":\"a\"}]}\n\ndata: {\"choices\":[{\"text\":\"b\",\"finish_reason\":\"length\"}]}\n\ndata: [DONE]\n\n";
constexpr char kChat[] =
    R"({"model":"m","max_tokens":5,"temperature":0.5,"stop":["x"],"seed":1,"tools":[{"type":"function"}],"tool_choice":"auto",)"
    R"("response_format":{"type":"json_object"},"engine_options":{"top_k":1},"messages":[{"role":"system","content":"s"},)"
    R"({"role":"user","parts":[{"type":"text","text":"t"},{"type":"image_url","image_url":{"url":"data:image/png;base64,AAAA"}}]},)"
    R"({"role":"assistant","content":"c","tool_calls":[{"id":"i","name":"f","arguments":"{\"a\":1}"}]},{"role":"tool","tool_call_id":"i","content":"r"}]})";
const Seed kSeeds[] = {
    {0, kChat, kPieces},
    {1, kChat, kPieces},
    {1, R"({"model":"m","message":"Hi"})", "sdata: {\"choices\":[{\"delta\":{\"content\":\"Hel"},
    {1, R"({"model":"m","message":"Hi"})", "sdata: {\"error\":{\"message\":\"broken\",\"code\":500}}\n\n"},
    {0, R"({"model":"m","message":"Hi"})", "e{\"error\":{\"message\":\"the context is too long\",\"type\":\"exceed_context_size_error\"}}"},
    {2, R"({"model":"m","prompt":"p"})", kTexts},
    {3, R"({"model":"m","prompt":"p"})", kTexts},
    {4, R"({"model":"m","input":["a","b"]})", R"(j{"data":[{"index":0,"embedding":[0.5,1]},{"index":1,"embedding":[1,2]}],"usage":{"prompt_tokens":3}})"},
    {5, R"({"model":"r","query":"q","documents":["a","b"],"top_n":1})", R"(j{"results":[{"index":1,"relevance_score":0.5},{"index":0,"relevance_score":0.1}]})"},
    {6, R"({"model":"m","audio":"UklGRg=="})", R"(j{"text":"t","language":"en","duration":1.5,"segments":[{"start":0,"end":1,"text":"t"}]})"},
    {7, R"({"model":"m","text":"t"})", "wRIFF"},
    {8, R"({"model":"m","text":"t","format":"pcm"})", "wRIFF"},
    {9, R"({"model":"m","prompt":"p","size":"64x64","n":1})", R"(j{"data":[{"b64_json":"iVBORw0KGgo="}]})"},
    {10, R"({"model":"m","prompt":"p","duration":4})", R"(j{"id":"v","status":"failed","progress":5,"error":{"message":"e"}})"},
    {10, R"({"model":"m","prompt":"p","duration":4})",
     R"(j{"id":"v","status":"queued","seconds":"4"})" "\n---\n" R"(j{"id":"v","status":"in_progress","progress":50})" "\n---\n"
     R"(j{"id":"v","status":"completed","progress":100})" "\n---\n" "hHTTP/1.1 200 OK\r\nContent-Type: video/mp4\r\n\r\nftyp" "\n---\n" "j{}"},
    {10, R"({"model":"m","prompt":"p","seed":1})",
     R"(j{"id":"v","status":"queued"})" "\n---\n" "u" "\n---\n" R"(j{"id":"v","status":"failed","error":{"message":"e"}})"},
    {11, R"({"model":"m","image":"iVBORw0KGgo="})", R"(j{"detections":[{"label":"cat","score":0.5,"box":{"x":1,"y":2,"width":3,"height":4}}]})"},
    {12, kChat, R"(j{"prompt":"p"})" "\n---\n" R"(j{"tokens":[1,2,3]})"},
    {13, R"({"model":"m","stream":true,"messages":[]})", kPieces},
    {13, R"({"messages":[],"model":"m"})", kPieces},
    {14, R"({"model":"m","prompt":"p"})", kTexts},
    {15, R"({"model":"m","input":"a"})", R"(j{"data":[]})"},
    {16, R"({"model":"m","query":"q","documents":["a",{"text":"b"}]})", R"(j{"data":[{"embedding":[1]},{"embedding":[1]},{"embedding":[1]}]})"},
    {17, R"({"model":"m","input":"a"})", "wRIFF"},
    {18, "--x\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nm\r\n--x--\r\n", R"(j{"text":"t"})"},
    {19, R"({"model":"m","prompt":"a"})", "u"},
};

std::vector<std::string> Seeds() {
  std::vector<std::string> seeds;
  for (const Seed& seed : kSeeds) seeds.push_back(absl::StrCat(std::string({'\0', seed.unit, '\0'}), seed.asked, kBoundary, seed.answer));
  // What engines answered once, to every unit in every dialect: most of it is no answer to that, which is another case.
  std::error_code none;
  for (const auto& file : std::filesystem::directory_iterator(AIMA_SOURCE_DIR "/services/inference/testdata", none)) {
    if (file.path().extension() != ".http" || file.file_size() > 8 << 10) continue;
    std::ostringstream recorded;
    recorded << std::ifstream(file.path(), std::ios::binary).rdbuf();
    for (const Seed& seed : kSeeds) {
      for (char dialect = 0; dialect < 3; ++dialect) {
        if (seed.unit > 12 && dialect > 0) continue;
        seeds.push_back(absl::StrCat(std::string({'\3', seed.unit, dialect}), seed.asked, kBoundary, "h", recorded.str()));
      }
    }
  }
  return seeds;
}

}  // namespace
}  // namespace aima::inference

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  spdlog::set_level(spdlog::level::off);
  std::signal(SIGPIPE, SIG_IGN);
  aima::testing::WriteSeeds(aima::inference::Seeds());
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  aima::inference::Feed(absl::string_view(reinterpret_cast<const char*>(data), size));
  return 0;
}
