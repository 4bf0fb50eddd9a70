// Feeds noise to a listener: bytes come in over a socket, in pieces, and go through all that a request goes through, from
// the parser to the access check, the paths, JSON and the unit's rules, and through the APIs of other vendors and back.
// The first byte of an input says into how many pieces it is cut. What follows the line `---` is what the services behind
// the gateway answer (scripted_services.h); without it they are away. `Content-Length: ?` stands for the right one.
#include <absl/strings/str_cat.h>
#include <absl/strings/strip.h>
#include <spdlog/spdlog.h>
#include <sys/socket.h>
#include <unistd.h>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/co_spawn.hpp>
#include <algorithm>
#include <csignal>
#include <cstdint>
#include <random>

#include "libs/http/connection.h"
#include "libs/http/url.h"
#include "libs/testing/fuzz_seeds.h"
#include "services/gateway/anthropic/anthropic_api.h"
#include "services/gateway/fuzz/answer_check.h"
#include "services/gateway/fuzz/mutation.h"
#include "services/gateway/fuzz/scripted_services.h"
#include "services/gateway/fuzz/translation_seeds.h"
#include "services/gateway/fuzz/world.h"
#include "services/gateway/http_face.h"
#include "services/gateway/mcp/unit_source.h"
#include "services/gateway/ollama/ollama_api.h"
#include "services/gateway/responses/responses_api.h"
#include "services/gateway/videos/videos_api.h"

namespace aima::gateway {
namespace {

namespace asio = boost::asio;

struct World {
  World() {
    config.mutable_gateway()->set_request_timeout(1000);
    face = std::make_unique<HttpFace>(Parts{config, *catalogue, services, runner, access, edge, watch, operations,
                                            units, health, registry, &mcp, &documents, &web,
                                            {&anthropic, &ollama, &responses, &videos}});
  }

  Loop loop;
  std::unique_ptr<Catalogue> catalogue = Catalogue::Load(AIMA_BINARY_DIR "/share/aima/units.binpb").value();
  config::v1::Config config;
  ScriptedServices services{loop};
  NoEvents events;
  prometheus::Registry registry;
  KeyRing keys{"/nonexistent", "k"};
  Access access{keys, 0};
  Edge edge{config.api()};
  UnitRunner runner{*catalogue, services};
  ResourceWatch watch{loop, *catalogue, runner, events};
  OperationUnits operations{{*catalogue, runner, keys, nullptr}, absl::Hours(1)};
  const UnitsJson units{*catalogue};
  openapi::Documents documents{*catalogue};
  const WebFiles web{AIMA_SOURCE_DIR "/services/gateway/web"};
  HealthReport health{loop, *catalogue, services};
  mcp::UnitSource mcp_units{*catalogue, runner, watch};
  mcp::McpFace mcp{loop, config, edge, std::vector<mcp::Source*>{&mcp_units}};
  anthropic::AnthropicApi anthropic{{loop, runner, edge}};
  ollama::OllamaApi ollama{{loop, runner, edge}};
  responses::ResponsesApi responses{{loop, runner, edge}};
  videos::VideosApi videos{{loop, runner, edge}, operations, absl::Hours(1)};
  std::unique_ptr<HttpFace> face;
};

class Owner : public http::ConnectionOwner {
 public:
  explicit Owner(World& world) : handler_([&world](http::Exchange& exchange) { return world.face->Handle(exchange); }) {
    options_.max_body_bytes = 64 << 10;
    options_.error_response = [](int status, std::string_view message, const http::Request&) {
      return ErrorResponse(InvalidInput("", absl::string_view(message.data(), message.size())), {}, status);
    };
  }
  const http::ServerOptions& options() const override { return options_; }
  const http::Handler& handler() const override { return handler_; }
  asio::ssl::context* tls() override { return nullptr; }
  bool draining() const override { return false; }
  const std::string& date() override { return date_; }

 private:
  http::ServerOptions options_;
  const http::Handler handler_;
  const std::string date_ = "Thu, 01 Jan 2026 00:00:00 GMT";
};

void Drain(int client, std::string& answer) {
  char buffer[16 << 10];
  for (ssize_t got; (got = ::read(client, buffer, sizeof buffer)) > 0;) {
    if (answer.size() < 1 << 20) answer.append(buffer, got);
  }
}

// Runs what can run now.
void Turn(World& world, int client, std::string& answer) {
  for (int i = 0; i < 200; ++i) {
    world.loop.restart();
    const size_t ran = world.loop.poll();
    Drain(client, answer);
    if (ran == 0) return;
  }
}

// What a client sends, cut off the front of `input`.
std::string TakeRequest(std::string_view& input) {
  constexpr std::string_view kEnd = "\n---\n";
  const size_t end = input.find(kEnd);
  std::string request(input.substr(0, end));
  input.remove_prefix(end == std::string_view::npos ? input.size() : end + kEnd.size());
  constexpr std::string_view kLength = "Content-Length: ?\r\n";
  const size_t length = request.find(kLength);
  const size_t body = request.find("\r\n\r\n");
  if (length != std::string::npos && body != std::string::npos && length < body) {
    request.replace(length + kLength.size() - 3, 1, std::to_string(request.size() - body - 4));
  }
  return request;
}

void Feed(World& world, Owner& owner, std::string_view input) {
  if (input.empty()) return;
  const size_t pieces = 1 + (static_cast<uint8_t>(input[0]) & 7);
  input.remove_prefix(1);
  const std::string request = TakeRequest(input);
  world.services.Play(input);
  std::string_view text = request;
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) != 0) return;
  const int client = ends[1];
  net::Socket socket(world.loop);
  socket.assign(asio::generic::stream_protocol(AF_UNIX, 0), ends[0]);
  auto connection = std::make_shared<http::Connection>(owner, std::move(socket));
  bool done = false;
  asio::co_spawn(world.loop, connection->Run(false),
                 asio::bind_cancellation_slot(connection->slot(), [&](std::exception_ptr) { done = true; }));
  std::string answer;
  const size_t step = text.size() / pieces + 1;
  while (!text.empty() && !done) {
    const ssize_t sent = ::send(client, text.data(), std::min(step, text.size()), MSG_NOSIGNAL);
    if (sent <= 0) break;
    text.remove_prefix(sent);
    Turn(world, client, answer);
  }
  ::shutdown(client, SHUT_WR);
  Turn(world, client, answer);
  // Its client leaves: what waits for something ends by that.
  ::close(client);
  connection->Abort();
  while (!done) {
    world.loop.restart();
    world.loop.run_one();
  }
  // Its signal outlives what it has put on the loop.
  world.loop.restart();
  world.loop.poll();
  CheckAnswer(answer, !world.services.forwarded());
}

std::string Request(const std::string& method, const std::string& target, const std::string& body, const char* more = "") {
  return absl::StrCat(std::string(1, '\0'), method, " ", target,
                      " HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n", more,
                      "Content-Length: ", body.size(), "\r\n\r\n", body);
}

std::vector<std::string> Seeds(World& world) {
  std::vector<std::string> seeds;
  for (const UnitInfo& unit : world.catalogue->units()) {
    const std::string path = absl::StrCat("/api/v2/", unit.command() ? "command/" : "query/", unit.name);
    for (const auto& example : unit.options.examples()) {
      seeds.push_back(Request("POST", path, example.input(), "Authorization: Bearer k\r\n"));
      seeds.push_back(Request("POST", "/api/v2/execute",
                              absl::StrCat("{\"unit\":\"", unit.name, "\",\"input\":", example.input(), "}")));
    }
    if (!unit.command()) {
      seeds.push_back(Request("GET", path + "?limit=1&model_id=a%20b", "", "Accept-Encoding: gzip\r\nX-API-Key: k\r\n"));
    }
    if (unit.stream) seeds.push_back(Request("POST", path, "{}", "Accept: application/x-ndjson\r\n"));
  }
  for (const ViewInfo& view : world.catalogue->views()) {
    seeds.push_back(Request("GET", "/api/v2/resource/" + http::PercentEncode(view.uri), ""));
    seeds.push_back(Request("GET", absl::StrCat("/api/v2/resource/", absl::StripPrefix(view.uri, "asms://"), "/watch"), ""));
  }
  for (const char* path :
       {"/", "/docs", "/docs/reference.js", "/openapi.json", "/metrics", "/health", "/api/v2/units", "/v1/models",
        "/api/v2/schema/model.list", "/api/v2/operations/op_1/wait?timeout=1", "/.well-known/oauth-protected-resource"}) {
    seeds.push_back(Request("GET", path, "", "If-None-Match: *\r\nOrigin: http://localhost\r\n"));
  }
  seeds.push_back(Request("POST", "/mcp", R"({"jsonrpc":"2.0","id":1,"method":"tools/list"})",
                          "MCP-Protocol-Version: 2025-06-18\r\n"));
  for (const TranslationSeed& seed : TranslationSeeds()) {
    seeds.push_back(absl::StrCat(std::string(1, '\0'), seed.method, " ", seed.target,
                                 " HTTP/1.1\r\nHost: localhost\r\nanthropic-version: 2023-06-01\r\nContent-Length: ?\r\n\r\n",
                                 seed.body, "\n---\n", seed.script));
  }
  seeds.push_back(
      "\3POST /api/v2/execute HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n"
      "Transfer-Encoding: chunked\r\n\r\n5\r\n{\"uni\r\n10;x=y\r\nt\":\"model.list\"}\r\n0\r\nTrailer: x\r\n\r\n"
      "GET /health HTTP/1.0\r\n\r\n");
  return seeds;
}

World& TheWorld() {
  static World* world = [] {
    spdlog::set_level(spdlog::level::off);
    std::signal(SIGPIPE, SIG_IGN);
    return new World();
  }();
  return *world;
}

}  // namespace
}  // namespace aima::gateway

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  aima::testing::WriteSeeds(aima::gateway::Seeds(aima::gateway::TheWorld()));
  return 0;
}

extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t max_size);

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size, unsigned seed) {
  std::mt19937 random(seed);
  if (random() % 2 == 0) return LLVMFuzzerMutate(data, size, max_size);
  const std::string mutated =
      aima::gateway::MutateParts(std::string(reinterpret_cast<const char*>(data), size), random);
  if (mutated.empty() || mutated.size() > max_size) return LLVMFuzzerMutate(data, size, max_size);
  std::copy(mutated.begin(), mutated.end(), data);
  return mutated.size();
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static auto* owner = new aima::gateway::Owner(aima::gateway::TheWorld());
  aima::gateway::Feed(aima::gateway::TheWorld(), *owner, std::string_view(reinterpret_cast<const char*>(data), size));
  return 0;
}
