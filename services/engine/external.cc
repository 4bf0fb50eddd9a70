#include "services/engine/external.h"

#include <absl/strings/numbers.h>
#include <absl/strings/str_cat.h>
#include <absl/time/clock.h>
#include <google/protobuf/util/time_util.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <nlohmann/json.hpp>
#include <set>

#include "libs/base/status_macros.h"
#include "libs/base/utf8.h"
#include "services/engine/describe.h"

namespace aima::engine {
namespace {

using Json = nlohmann::json;

constexpr absl::Duration kLookEvery = absl::Seconds(5);
constexpr absl::Duration kPatience = absl::Seconds(3);
constexpr int kSilences = 2;  // until a server that was there is taken for gone
constexpr size_t kMostBytes = 4 << 20;
constexpr size_t kMostModels = 2000;
constexpr int kMostDepth = 16;

// Nothing that is nested deeper than any answer of Ollama's is kept.
Json Parse(const std::string& text) {
  bool deep = false;
  const Json json = Json::parse(
      text,
      [&](int depth, Json::parse_event_t, Json&) {
        deep = deep || depth > kMostDepth;
        return depth <= kMostDepth;
      },
      /*allow_exceptions=*/false);
  return deep ? Json(Json::value_t::discarded) : json;
}

std::string TextOf(const Json& object, const char* key) {
  const auto found = object.is_object() ? object.find(key) : object.end();
  return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

// Ollama names families, not types: those of the encoders make vectors.
std::string TypeOf(const Json& model) {
  static const std::set<std::string> kEncoders = {"bert", "nomic-bert", "nomic-bert-moe", "jina-bert-v2", "xlm-roberta",
                                                  "gemma-embedding"};
  const auto details = model.find("details");
  return details != model.end() && kEncoders.contains(TextOf(*details, "family")) ? "embedding" : "llm";
}

}  // namespace

bool OllamaServer::operator==(const OllamaServer& other) const {
  return version == other.version &&
         std::equal(models.begin(), models.end(), other.models.begin(), other.models.end(),
                    [](const v1::OwnModel& a, const v1::OwnModel& b) {
                      return a.name() == b.name() && a.type() == b.type() && a.description() == b.description();
                    });
}

absl::StatusOr<OllamaServer> ReadOllama(const std::string& version, const std::string& tags) {
  OllamaServer server;
  server.version = TextOf(Parse(version), "version");
  if (server.version.empty() || server.version.size() > 64) {
    return absl::InvalidArgumentError("the answer to /api/version is not Ollama's");
  }
  const Json list = Parse(tags);
  const auto models = list.is_object() ? list.find("models") : list.end();
  // A server without models says null.
  if (models == list.end() || !(models->is_array() || models->is_null())) {
    return absl::InvalidArgumentError("the answer to /api/tags is not Ollama's");
  }
  for (const Json& item : *models) {
    v1::OwnModel model;
    model.set_name(TextOf(item, "name"));
    if (model.name().empty() || model.name().size() > 200 || server.models.size() == kMostModels) continue;
    model.set_type(TypeOf(item));
    const auto details = item.find("details");
    if (details != item.end()) {
      // Cut within a character it would be no text.
      model.set_description(ValidUtf8(absl::StrCat(TextOf(*details, "family"), " ", TextOf(*details, "parameter_size"),
                                                   " ", TextOf(*details, "quantization_level"))
                                          .substr(0, 200)));
    }
    server.models.push_back(std::move(model));
  }
  std::sort(server.models.begin(), server.models.end(),
            [](const v1::OwnModel& a, const v1::OwnModel& b) { return a.name() < b.name(); });
  return server;
}

ExternalOllama::ExternalOllama(Loop& loop, events::Outbox& outbox, const std::string& address,
                               std::function<bool(int)> ours)
    : http_(loop), outbox_(outbox), ours_(std::move(ours)) {
  const size_t colon = address.rfind(':');
  address_.port = 0;
  if (colon == std::string::npos) return;
  address_.host = address.substr(0, colon);
  if (!absl::SimpleAtoi(address.substr(colon + 1), &address_.port)) address_.port = 0;
}

Task<void> ExternalOllama::Watch(CallContext call) {
  while (address_.port > 0) {
    co_await Look(call);
    boost::asio::steady_timer timer(co_await boost::asio::this_coro::executor, absl::ToChronoNanoseconds(kLookEvery));
    co_await timer.async_wait(boost::asio::use_awaitable);
  }
}

Task<void> ExternalOllama::Look(const CallContext& call) {
  absl::StatusOr<OllamaServer> now = absl::NotFoundError("it is an instance of ours");
  if (!ours_(address_.port)) now = co_await Ask();
  silences_ = now.ok() ? 0 : silences_ + 1;
  // A busy server may miss one look; one that refuses connections is gone.
  if (!now.ok() && server_ && silences_ < kSilences && !absl::IsUnavailable(now.status())) co_return;
  if (now.ok() ? server_ == *now : !server_) co_return;
  const std::string where = absl::StrCat(address_.host, ":", address_.port);
  if (!now.ok()) {
    spdlog::info("ollama at {} is gone: {}", where, std::string(now.status().message()));
    server_.reset();
    v1::EngineStopped event;
    event.set_engine_name("ollama");
    event.set_instance_id(kInstance);
    event.set_reason("gone");
    outbox_.Tell(call, event);
    co_return;
  }
  spdlog::info("ollama {} at {} serves {} models", now->version, where, now->models.size());
  if (!server_) {
    ++appearances_;
    found_at_ = absl::Now();
  }
  server_ = *std::move(now);
  v1::EngineStarted event;
  event.set_engine_name("ollama");
  event.set_instance_id(kInstance);
  outbox_.Tell(call, event);
}

Task<absl::StatusOr<OllamaServer>> ExternalOllama::Ask() {
  CO_ASSIGN_OR_RETURN(const std::string version, co_await Get("/api/version"));
  CO_ASSIGN_OR_RETURN(const std::string tags, co_await Get("/api/tags"));
  co_return ReadOllama(version, tags);
}

Task<absl::StatusOr<std::string>> ExternalOllama::Get(std::string path) {
  http::Request request;
  request.target = std::move(path);
  CO_ASSIGN_OR_RETURN(http::Response response,
                      co_await http_.Send(address_, std::move(request), absl::Now() + kPatience, kMostBytes));
  if (response.status != 200) co_return absl::InvalidArgumentError(absl::StrCat("HTTP ", response.status));
  co_return std::move(response.body);
}

v1::Instance ExternalOllama::Instance(const v1::EngineSpec& spec) const {
  v1::Instance out;
  out.set_instance_id(kInstance);
  out.set_engine(spec.name());
  out.set_status(v1::INSTANCE_STATUS_RUNNING);
  out.set_health(v1::HEALTH_HEALTHY);
  out.set_endpoint(absl::StrCat(address_.host, ":", address_.port));
  out.set_external(true);
  out.set_pinned(true);
  *out.mutable_started_at() = google::protobuf::util::TimeUtil::MicrosecondsToTimestamp(absl::ToUnixMicros(found_at_));
  return out;
}

v1::Endpoint ExternalOllama::Endpoint(const v1::EngineSpec& spec) const {
  v1::Endpoint out;
  out.set_instance_id(kInstance);
  out.set_engine(spec.name());
  out.set_host(address_.host);
  out.set_port(address_.port);
  out.set_dialect(spec.dialect());
  for (const std::string& capability : CapabilitiesOf(spec)) out.add_capabilities(capability);
  out.set_max_concurrent(std::max(1, spec.features().max_concurrent()));
  out.set_generation(appearances_);
  out.set_external(true);
  out.set_pinned(true);
  for (const v1::OwnModel& model : server_->models) *out.add_own_models() = model;
  return out;
}

}  // namespace aima::engine
