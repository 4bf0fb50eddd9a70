#include "services/inference/scripted_engine.h"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <deque>
#include <utility>

namespace aima::inference {
namespace asio = boost::asio;
using asio::ip::tcp;

namespace {
constexpr auto kQuiet = asio::as_tuple(asio::use_awaitable);
}

struct ScriptedEngine::State {
  explicit State(Loop& loop) : loop(loop), acceptor(loop, tcp::endpoint(asio::ip::address_v4::loopback(), 0)) {}
  Loop& loop;
  tcp::acceptor acceptor;
  std::deque<Script> scripts;
  std::vector<Request> requests;
  int abandoned = 0;
};

ScriptedEngine::ScriptedEngine(Loop& loop) : state_(std::make_shared<State>(loop)) {
  port_ = state_->acceptor.local_endpoint().port();
  asio::co_spawn(loop, Accept(state_), asio::detached);
}

ScriptedEngine::~ScriptedEngine() {
  boost::system::error_code ignored;
  state_->acceptor.close(ignored);
}

void ScriptedEngine::Then(Script script) { state_->scripts.push_back(std::move(script)); }
const std::vector<ScriptedEngine::Request>& ScriptedEngine::requests() const { return state_->requests; }
int ScriptedEngine::abandoned() const { return state_->abandoned; }

Endpoint ScriptedEngine::At(const std::string& model) const {
  Endpoint endpoint;
  endpoint.instance_id = model + "-instance";
  endpoint.engine = "scripted";
  endpoint.model_id = model;
  endpoint.served_name = model;
  endpoint.host = "127.0.0.1";
  endpoint.port = port_;
  endpoint.api_key = "engine-key";
  endpoint.dialect = "openai";
  endpoint.max_concurrent = 4;
  return endpoint;
}

Task<void> ScriptedEngine::Accept(std::shared_ptr<State> state) {
  while (true) {
    auto [error, socket] = co_await state->acceptor.async_accept(kQuiet);
    if (error) co_return;
    asio::co_spawn(state->loop, Serve(state, std::move(socket)), asio::detached);
  }
}

Task<void> ScriptedEngine::Serve(std::shared_ptr<State> state, tcp::socket socket) {
  std::string buffer;
  auto [error, size] = co_await asio::async_read_until(socket, asio::dynamic_buffer(buffer), "\r\n\r\n", kQuiet);
  if (error) co_return;
  Request request;
  request.head = buffer.substr(0, size);
  request.body = buffer.substr(size);
  std::string lower = request.head;
  for (char& c : lower) c = static_cast<char>(tolower(c));
  if (const size_t at = lower.find("content-length:"); at != std::string::npos) {
    const size_t length = std::strtoul(lower.c_str() + at + 15, nullptr, 10);
    const size_t have = request.body.size();
    request.body.resize(std::max(length, have));
    if (length > have) co_await asio::async_read(socket, asio::buffer(&request.body[have], length - have), kQuiet);
  }
  state->requests.push_back(std::move(request));
  if (state->scripts.empty()) co_return;
  const Script script = state->scripts.front();
  if (state->scripts.size() > 1) state->scripts.pop_front();
  asio::steady_timer timer(state->loop);
  for (const Step& step : script) {
    if (step.kind == Step::kSend) {
      auto [failed, sent] = co_await asio::async_write(socket, asio::buffer(step.bytes), kQuiet);
      if (failed) {
        ++state->abandoned;
        co_return;
      }
    } else if (step.kind == Step::kPause) {
      timer.expires_after(std::chrono::milliseconds(step.milliseconds));
      co_await timer.async_wait(kQuiet);
    } else if (step.kind == Step::kCut) {
      socket.set_option(tcp::socket::linger(true, 0));  // reset, as a killed process does
      co_return;
    } else {
      char byte;
      auto [gone, count] = co_await socket.async_read_some(asio::buffer(&byte, 1), kQuiet);
      if (gone) ++state->abandoned;
      co_return;
    }
  }
}

ScriptedEngine::Script ScriptedEngine::Answer(int status, const std::string& type, const std::string& body) {
  return {{Step::kSend, "HTTP/1.1 " + std::to_string(status) + " Scripted\r\nContent-Type: " + type +
                            "\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body}};
}

ScriptedEngine::Script ScriptedEngine::Stream(const std::vector<std::string>& events) {
  Script script = {
      {Step::kSend, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"}};
  for (const std::string& event : events) {
    const std::string text = "data: " + event + "\n\n";
    char size[16];
    snprintf(size, sizeof(size), "%zx\r\n", text.size());
    script.push_back({Step::kSend, size + text + "\r\n"});
  }
  script.push_back({Step::kSend, "0\r\n\r\n"});
  return script;
}

std::string ScriptedEngine::Piece(const std::string& text) {
  return R"({"id":"c1","object":"chat.completion.chunk","created":7,"model":"m","choices":[{"index":0,"delta":{"content":")" +
         text + R"("},"finish_reason":null}]})";
}

}  // namespace aima::inference
