// A scripted engine that stands in for llama-server, takes its command line and speaks OpenAI's interface, so that what
// is measured is what lies before an engine. The fields max_tokens and tokens_per_second of a request say how many
// tokens it gets and how fast; without a speed they come at once.
#include <absl/strings/numbers.h>
#include <absl/strings/str_cat.h>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <nlohmann/json.hpp>

#include <cstdio>
#include <string>
#include <string_view>

#include "libs/http/server.h"
#include "libs/http/sse.h"

namespace aima::bench {
namespace {

using Json = nlohmann::json;
constexpr std::string_view kToken = " token";
constexpr int kDimensions = 64;

std::string Chunk(std::string_view text, bool last) {
  const Json delta = last ? Json::object() : Json{{"content", text}};
  const Json choice = {{"index", 0}, {"delta", delta}, {"finish_reason", last ? Json("stop") : Json(nullptr)}};
  return http::FormatSse("", Json{{"id", "chatcmpl-1"},
                                  {"object", "chat.completion.chunk"},
                                  {"created", 1},
                                  {"model", "bench"},
                                  {"choices", Json::array({choice})}}
                                 .dump());
}

Json Usage(int tokens) {
  return {{"prompt_tokens", 12}, {"completion_tokens", tokens}, {"total_tokens", 12 + tokens}};
}

std::string Whole(int tokens) {
  std::string text;
  for (int i = 0; i < tokens; ++i) text += kToken;
  const Json choice = {{"index", 0}, {"message", {{"role", "assistant"}, {"content", text}}}, {"finish_reason", "stop"}};
  return Json{{"id", "chatcmpl-1"}, {"object", "chat.completion"},      {"created", 1},
              {"model", "bench"},   {"choices", Json::array({choice})}, {"usage", Usage(tokens)}}
      .dump();
}

std::string Embedding() {
  Json vector = Json::array();
  for (int i = 0; i < kDimensions; ++i) vector.push_back(0.0625 + i / 1024.0);
  const Json item = {{"object", "embedding"}, {"index", 0}, {"embedding", vector}};
  return Json{{"object", "list"}, {"model", "bench"}, {"data", Json::array({item})}, {"usage", Usage(0)}}.dump();
}

Task<void> Stream(http::Exchange& exchange, int tokens, double per_second) {
  using Clock = std::chrono::steady_clock;
  static const std::string token = Chunk(kToken, false);
  if (!(co_await exchange.StartStream(200, {{"Content-Type", "text/event-stream"}})).ok()) co_return;
  const std::string end = absl::StrCat(Chunk("", true), http::FormatSse("", "[DONE]"));
  if (per_second <= 0) {
    std::string all;
    for (int i = 0; i < tokens; ++i) all += token;
    (void)co_await exchange.Write(all + end);
  } else {
    const auto step = std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(1 / per_second));
    boost::asio::steady_timer timer(co_await boost::asio::this_coro::executor);
    // Streams do not tick together; the first token comes at once.
    auto at = Clock::now() - step * (rand() % 1000) / 1000;
    for (int i = 0; i < tokens; ++i) {
      if (!(co_await exchange.Write(token)).ok()) co_return;
      timer.expires_at(at += step);
      co_await timer.async_wait(boost::asio::use_awaitable);
    }
    (void)co_await exchange.Write(end);
  }
  (void)co_await exchange.Finish();
}

Task<void> Answer(http::Exchange& exchange) {
  const http::Request& request = exchange.request();
  http::Response response{200, {{"Content-Type", "application/json"}}, "{}"};
  if (request.method == "POST") {
    const Json body = Json::parse(request.body, nullptr, false);
    if (!body.is_object()) {
      response.status = 400;
    } else if (body.contains("input")) {
      response.body = Embedding();
    } else {
      const int tokens = body.value("max_tokens", 64);
      if (body.value("stream", false)) {
        co_await Stream(exchange, tokens, body.value("tokens_per_second", 0.0));
        co_return;
      }
      response.body = Whole(tokens);
    }
  }
  (void)co_await exchange.Send(std::move(response));
}

}  // namespace
}  // namespace aima::bench

int main(int argc, char** argv) {
  std::string port = "0";
  for (int i = 1; i + 1 < argc; ++i) {
    if (std::string_view(argv[i]) == "--port") port = argv[i + 1];
  }
  aima::Loop loop;
  aima::http::ServerOptions options;
  options.address = "127.0.0.1:" + port;
  options.idle_timeout = absl::Hours(1);
  aima::http::Server server(loop, options, aima::bench::Answer);
  if (const absl::Status started = server.Start(); !started.ok()) {
    return fprintf(stderr, "%s\n", std::string(started.message()).c_str()), 1;
  }
  boost::asio::signal_set signals(loop, SIGTERM, SIGINT);
  signals.async_wait([&](auto, int) { loop.stop(); });
  loop.run();
}
