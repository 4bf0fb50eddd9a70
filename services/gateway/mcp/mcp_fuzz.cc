// Feeds noise to /mcp: an input is a sequence of lines, each a message of a client. The first character of a line says
// how it is sent: with the session that an initialize before it opened, with headers as the later era wants them, as GET
// or DELETE, on another path.
#include <absl/strings/match.h>
#include <absl/strings/str_cat.h>
#include <absl/strings/str_split.h>
#include <spdlog/spdlog.h>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <cstdint>
#include <cstdlib>

#include "libs/http/sse.h"
#include "libs/testing/fuzz_seeds.h"
#include "services/gateway/fuzz/world.h"
#include "services/gateway/mcp/cancel.h"
#include "services/gateway/mcp/mcp_face.h"
#include "services/gateway/mcp/testing/fixtures.h"
#include "services/gateway/mcp/unit_source.h"

namespace aima::gateway::mcp {
namespace {

namespace asio = boost::asio;

// What is sent must be JSON, or events with JSON in them.
class Exchange : public http::Exchange {
 public:
  explicit Exchange(http::Request request) : request_(std::move(request)) {}
  http::Request& request() override { return request_; }
  const std::string& peer() const override { return peer_; }
  bool peer_is_loopback() const override { return true; }
  Task<absl::Status> Send(http::Response response) override {
    if (started_) std::abort();
    Start(response.status);
    if (const std::string* id = response.headers.Find("Mcp-Session-Id")) session = *id;
    if (!response.body.empty()) CheckMessage(response.body);
    co_return absl::OkStatus();
  }
  Task<absl::Status> StartStream(int status, http::Headers, std::optional<uint64_t>) override {
    if (started_) std::abort();
    Start(status);
    co_return absl::OkStatus();
  }
  Task<absl::Status> Write(std::string_view bytes) override {
    parser_.Push(bytes);
    while (auto event = parser_.Next()) {
      if (!event->data.empty()) CheckMessage(event->data);
    }
    co_return absl::OkStatus();
  }
  bool WriteNow(std::string_view) override { return false; }
  Task<absl::Status> Flush() override { co_return absl::OkStatus(); }
  Task<absl::Status> Finish() override { co_return absl::OkStatus(); }
  bool started() const override { return started_; }
  int status() const override { return status_; }
  size_t bytes_sent() const override { return 0; }

  std::string session;

 private:
  void Start(int status) {
    started_ = true;
    status_ = status;
    if (status < 200 || status >= 500) std::abort();
  }
  static void CheckMessage(const std::string& text) {
    const json message = json::parse(text, nullptr, false);
    if (!message.is_object() || TextMember(message, "jsonrpc") != "2.0") std::abort();
  }

  http::Request request_;
  const std::string peer_ = "127.0.0.1";
  http::SseParser parser_;
  bool started_ = false;
  int status_ = 0;
};

struct World {
  Loop loop;
  std::unique_ptr<Catalogue> catalogue = Catalogue::Load(AIMA_BINARY_DIR "/share/aima/units.binpb").value();
  config::v1::Config config;
  NoServices services;
  NoEvents events;
  UnitRunner runner{*catalogue, services};
  ResourceWatch watch{loop, *catalogue, runner, events};
  UnitSource units{*catalogue, runner, watch};
  Fixtures fixtures;
  Edge edge{config.api()};
};

http::Request RequestOf(char how, std::string body, const std::string& session) {
  http::Request request = {"POST", "/mcp", {{"Host", "localhost"}, {"Content-Type", "application/json"}}, std::move(body)};
  const int bits = static_cast<unsigned char>(how);
  if (bits & 1) request.headers.Add("Mcp-Session-Id", session);
  if (bits & 2) request.method = bits & 4 ? "GET" : "DELETE";
  if (bits & 8) {
    const json message = json::parse(request.body, nullptr, false);
    request.headers.Add("MCP-Protocol-Version", std::string(kModernVersion));
    request.headers.Add("Mcp-Method", TextMember(message, "method"));
    const json& params = Member(message, "params");
    request.headers.Add("Mcp-Name", TextMember(params, "name") + TextMember(params, "uri") + TextMember(params, "taskId"));
  }
  if (bits & 16) request.headers.Add("X-MCP-Toolsets", std::string(request.body.substr(0, 20)));
  if (bits & 128) request.headers.Add("Last-Event-ID", "1-0");
  return request;
}

void Feed(World& world, absl::string_view text) {
  auto face = std::make_unique<McpFace>(world.loop, world.config, world.edge, std::vector<Source*>{&world.units, &world.fixtures});
  std::string session;
  int lines = 0;
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    if (line.empty() || ++lines > 20) continue;
    Exchange exchange(RequestOf(line[0], std::string(line.substr(1)), session));
    Visit visit{exchange, exchange.request(), "/mcp", Caller{"", Role::kOperate}, CallContext()};
    bool done = false;
    const auto cancel = std::make_shared<asio::cancellation_signal>();
    asio::co_spawn(world.loop, face->Handle(visit),
                   asio::bind_cancellation_slot(cancel->slot(), [&done, cancel](std::exception_ptr) { done = true; }));
    world.loop.restart();
    world.loop.poll();
    // What waits for something gets no more time: its client leaves.
    while (!done) {
      CancelThrough(world.loop, cancel, *cancel);
      world.loop.restart();
      world.loop.run_one();
    }
    if (!exchange.session.empty()) session = exchange.session;
  }
  bool over = false;
  asio::co_spawn(world.loop, face->Shutdown(), [&over](std::exception_ptr) { over = true; });
  world.loop.restart();
  while (!over) world.loop.run_one();
  world.loop.restart();
  world.loop.poll();
}

World& TheWorld() {
  static World* world = [] {
    spdlog::set_level(spdlog::level::off);
    return new World();
  }();
  return *world;
}

// A session in each era that calls a tool.
std::vector<std::string> Seeds() {
  const std::string meta = absl::StrCat(R"("_meta":{"io.modelcontextprotocol/protocolVersion":")", std::string(kModernVersion),
                                        R"(","io.modelcontextprotocol/clientCapabilities":{}})");
  std::vector<std::string> seeds;
  for (const UnitInfo& unit : TheWorld().catalogue->units()) {
    for (const auto& example : unit.options.examples()) {
      const std::string call = absl::StrCat(R"("name":")", unit.name, R"(","arguments":)", example.input());
      seeds.push_back(absl::StrCat(
          R"(@{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"f","version":"1"}}})",
          "\n", R"(A{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{)", call, "}}"));
      seeds.push_back(absl::StrCat(R"(H{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{)", call, ",", meta, "}}"));
    }
  }
  for (const char* method : {"tools/list", "resources/list", "resources/templates/list", "prompts/list", "server/discover", "ping"}) {
    seeds.push_back(absl::StrCat(R"(H{"jsonrpc":"2.0","id":1,"method":")", method, R"(","params":{)", meta, "}}"));
  }
  return seeds;
}

}  // namespace
}  // namespace aima::gateway::mcp

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  aima::testing::WriteSeeds(aima::gateway::mcp::Seeds());
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  aima::gateway::mcp::Feed(aima::gateway::mcp::TheWorld(), absl::string_view(reinterpret_cast<const char*>(data), size));
  return 0;
}
