#include "libs/runtime/host.h"
#include "services/inference/changes.h"
#include "services/inference/inference_units.h"
#include "services/inference/rpc_directory.h"
#include "services/inference/token_count.h"

namespace aima::inference {
namespace {

Task<absl::Status> Wire(runtime::Host& host) {
  auto& models = host.Own<RpcModelDirectory>(host.Rpc());
  auto& engines = host.Own<RpcEngineDirectory>(host.Rpc(), models);
  auto& router = host.Own<Router>(host.loop(), models, engines, host.config().engine().auto_start());
  auto& http = host.Own<http::Client>(host.loop());
  auto& dispatcher = host.Own<Dispatcher>(host.loop(), router, http);
  // A file goes with the operation that names it.
  const LargeVideos videos{.directory = host.data_dir() + "/videos",
                           .keep = absl::Milliseconds(host.config().gateway().operation_retention())};
  auto& units = host.Own<InferenceUnits>(router, dispatcher, host.Outbox(), videos);
  auto& token_count = host.Own<TokenCount>(dispatcher, host.Outbox());
  auto& changes = host.Own<Changes>(router, [&host] { return host.BackgroundCall("follow models and engines"); });
  host.Events().On(
      {"model", "engine"}, [&changes](const event::v1::Event& event) { return changes.Hear(event); },
      [&changes] { return changes.ReadAnew(); });

  host.Spawn(router.loader().UnloadIdle(host.BackgroundCall("unload what is idle")));
  host.Spawn(SweepVideos(videos));

  host.Serve("aima.inference.v1.InferenceService")
      .Bind<&InferenceUnits::Chat>(units)
      .Bind<&InferenceUnits::ChatStream>(units)
      .Bind<&InferenceUnits::Complete>(units)
      .Bind<&InferenceUnits::CompleteStream>(units)
      .Bind<&InferenceUnits::Embed>(units)
      .Bind<&InferenceUnits::Rerank>(units)
      .Bind<&InferenceUnits::Transcribe>(units)
      .Bind<&InferenceUnits::Synthesize>(units)
      .Bind<&InferenceUnits::SynthesizeStream>(units)
      .Bind<&InferenceUnits::GenerateImage>(units)
      .Bind<&InferenceUnits::GenerateVideo>(units)
      .Bind<&InferenceUnits::GenerateVideoStream>(units)
      .Bind<&InferenceUnits::DeleteVideo>(units)
      .Bind<&InferenceUnits::Detect>(units)
      .Bind<&InferenceUnits::Voices>(units)
      .Bind<&InferenceUnits::Models>(units)
      .Bind<&InferenceUnits::MakeRoom>(units)
      .Bind<&InferenceUnits::Forward>(units)
      .Bind<&TokenCount::CountTokens>(token_count);
  co_return absl::OkStatus();
}

}  // namespace
}  // namespace aima::inference

int main(int argc, char** argv) { return aima::runtime::Main(argc, argv, "inference", aima::inference::Wire); }
