#include "services/gateway/gateway.h"

#include <absl/strings/str_cat.h>
#include <spdlog/spdlog.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/signal_set.hpp>

#include "libs/base/ids.h"
#include "libs/base/status_macros.h"
#include "libs/errors/errors.h"
#include "libs/events/events.h"
#include "libs/net/listener.h"
#include "libs/rpc/client.h"
#include "libs/runtime/notify.h"
#include "libs/runtime/self_watch.h"
#include "libs/telemetry/log.h"
#include "services/gateway/anthropic/anthropic_api.h"
#include "services/gateway/grpc_face.h"
#include "services/gateway/http_face.h"
#include "services/gateway/mcp/prompts.h"
#include "services/gateway/mcp/unit_source.h"
#include "services/gateway/ollama/ollama_api.h"
#include "services/gateway/operation_service.h"
#include "services/gateway/responses/responses_api.h"
#include "services/gateway/videos/videos_api.h"

namespace aima::gateway {
namespace {

namespace asio = boost::asio;

constexpr absl::Duration kDrainTime = absl::Seconds(25);

std::vector<mcp::Source*> WithMore(std::vector<mcp::Source*> sources, const std::vector<mcp::Source*>& more) {
  sources.insert(sources.begin(), more.begin(), more.end());
  return sources;
}

http::Response Refused(int status, std::string_view message, const http::Request& request, const HttpFace& face) {
  const absl::string_view text(message.data(), message.size());
  const absl::Status error = status == 413   ? Error(unit::v1::TOO_LARGE, text)
                             : status == 500 ? Error(unit::v1::INTERNAL_ERROR, text)
                             : status == 503 ? Error(unit::v1::OVERLOADED, text)
                                             : InvalidInput("", text);
  const std::string request_id = NewId("req_");
  return face.ErrorAnswer(request, request.target.substr(0, request.target.find('?')), error,
                          {request_id, request_id, absl::Now()}, status);
}

class Gateway {
 public:
  Gateway(Loop& loop, const config::v1::Config& config, const std::string& share_dir,
          std::unique_ptr<Catalogue> catalogue, const std::vector<mcp::Source*>& mcp_sources)
      : loop_(loop),
        config_(config),
        catalogue_(std::move(catalogue)),
        keys_(config.general().data_dir() + "/keys/keys.json", config.security().api_key()),
        access_(keys_, config.security().rate_limit_per_min()),
        edge_(config.api()),
        channels_(loop, config.general().data_dir() + "/run"),
        rpc_(rpc::MakeClient(loop, channels_)),
        subscriber_(events::MakeSubscriber(loop, *rpc_)),
        runner_(*catalogue_, *rpc_),
        watch_(loop, *catalogue_, runner_, *subscriber_),
        operations_(loop, config, share_dir, *catalogue_, runner_, *rpc_, keys_),
        units_(*catalogue_),
        documents_(*catalogue_),
        web_(share_dir + "/web"),
        health_(loop, *catalogue_, *rpc_),
        generic_(runner_, watch_, health_),
        grpc_(loop, *catalogue_, channels_, access_, generic_),
        mcp_units_(*catalogue_, runner_, watch_),
        mcp_prompts_(share_dir + "/configs/prompts", *catalogue_, runner_),
        mcp_(loop, config_, edge_, WithMore({&mcp_units_, &mcp_prompts_}, mcp_sources)),
        anthropic_({loop, runner_, edge_}),
        ollama_({loop, runner_, edge_}),
        responses_({loop, runner_, edge_}),
        videos_({loop, runner_, edge_}, operations_.units(), absl::Milliseconds(config.gateway().operation_retention())),
        face_({config_, *catalogue_, *rpc_, runner_, access_, edge_, watch_, operations_.units(), units_, health_, registry_,
               &mcp_, &documents_, &web_, {&anthropic_, &ollama_, &responses_, &videos_}}) {}

  Task<absl::Status> Run() {
    asio::signal_set signals(loop_, SIGTERM, SIGINT);
    const config::v1::Api& api = config_.api();
    const bool has_tls = !api.tls_cert().empty() || !api.tls_key().empty();
    CO_RETURN_IF_ERROR(CheckListener("api.listen_addr", api.listen_addr(), has_tls, !keys_.empty()));
    CO_RETURN_IF_ERROR(CheckListener("api.grpc_addr", api.grpc_addr(), has_tls, !keys_.empty()));
    std::shared_ptr<asio::ssl::context> tls;
    if (has_tls) {
      CO_ASSIGN_OR_RETURN(tls, net::ServerTls(api.tls_cert(), api.tls_key()));
    }
    http::ServerOptions options;
    options.address = api.listen_addr();
    options.max_body_bytes = config_.gateway().max_request_size();
    options.tls_cert = api.tls_cert();
    options.tls_key = api.tls_key();
    options.error_response = [this](int status, std::string_view message, const http::Request& request) {
      return Refused(status, message, request, face_);
    };
    http::Server http(loop_, std::move(options), [this](http::Exchange& exchange) { return face_.Handle(exchange); });
    // The ports first: a second gateway ends at them, before it has taken the first one's socket.
    CO_RETURN_IF_ERROR(http.Start());
    grpc_.SetDatabase([this] { return operations_.DatabaseReached(); });
    if (!api.grpc_addr().empty()) CO_RETURN_IF_ERROR(grpc_.Start(api.grpc_addr(), tls));
    CO_RETURN_IF_ERROR(operations_.Start());
    spdlog::info("serving http={} grpc={}", api.listen_addr(), api.grpc_addr());
    runtime::Notify("READY=1\nSTATUS=serving");
    asio::co_spawn(loop_, runtime::WatchSelf(loop_, *rpc_, OperationService::kDomain, [this] { return draining_; }),
                   asio::detached);
    co_await signals.async_wait(asio::use_awaitable);
    runtime::Notify("STOPPING=1\nSTATUS=draining");
    spdlog::info("draining");
    draining_ = true;
    const absl::Time deadline = absl::Now() + kDrainTime;
    co_await operations_.Stop();
    asio::steady_timer grpc_ended(loop_, asio::steady_timer::time_point::max());
    asio::co_spawn(loop_, grpc_.Shutdown(deadline), [&](std::exception_ptr) {
      grpc_ended.expires_at(asio::steady_timer::time_point::min());
    });
    co_await http.Shutdown(deadline);
    co_await mcp_.Shutdown();
    co_await grpc_ended.async_wait(asio::as_tuple(asio::use_awaitable));
    co_await operations_.Shutdown(deadline);
    co_return absl::OkStatus();
  }

 private:
  Loop& loop_;
  const config::v1::Config& config_;
  const std::unique_ptr<Catalogue> catalogue_;
  prometheus::Registry registry_;
  KeyRing keys_;
  Access access_;
  const Edge edge_;
  rpc::Channels channels_;
  const std::unique_ptr<rpc::Client> rpc_;
  const std::unique_ptr<events::EventSubscriber> subscriber_;
  UnitRunner runner_;
  ResourceWatch watch_;
  OperationService operations_;
  const UnitsJson units_;
  openapi::Documents documents_;
  const WebFiles web_;
  HealthReport health_;
  GenericUnits generic_;
  GrpcFace grpc_;
  mcp::UnitSource mcp_units_;
  mcp::PromptSource mcp_prompts_;
  mcp::McpFace mcp_;
  anthropic::AnthropicApi anthropic_;
  ollama::OllamaApi ollama_;
  responses::ResponsesApi responses_;
  videos::VideosApi videos_;
  HttpFace face_;
  bool draining_ = false;
};

}  // namespace

absl::Status Serve(const config::v1::Config& config, const std::string& share_dir,
                   const std::vector<mcp::Source*>& mcp_sources) {
  ASSIGN_OR_RETURN(std::unique_ptr<Catalogue> catalogue, Catalogue::Load(share_dir + "/units.binpb"));
  Loop loop(1);
  const LogGathering gathering(loop);
  absl::Status result;
  {
    Gateway gateway(loop, config, share_dir, std::move(catalogue), mcp_sources);
    asio::co_spawn(loop, gateway.Run(), [&](std::exception_ptr error, absl::Status status) {
      result = error ? absl::InternalError("the gateway ended by an exception") : status;
      loop.stop();
    });
    loop.run();
  }
  return result;
}

}  // namespace aima::gateway
