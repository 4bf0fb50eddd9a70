// Feeds noise to the readers of model files. Build it with clang and -fsanitize=fuzzer,address,undefined:
//
//   cmake -S . -B build/fuzz -DAIMA_FUZZ=ON -DAIMA_SANITIZE=address,undefined …; ninja -C build/fuzz model_fuzz
//   build/fuzz/tests/model_fuzz -max_len=65536 corpus/
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "services/model/describe_config.h"
#include "services/model/describe_gguf.h"
#include "services/model/estimate.h"
#include "services/model/gguf.h"
#include "services/model/safetensors.h"

namespace aima::model {
namespace {

void CheckGguf(const ByteSource& source) {
  const absl::StatusOr<Gguf> gguf = ReadGguf(source);
  if (!gguf.ok()) return;
  // What was accepted lies within the file.
  if (gguf->tensor_bytes > source.size() || gguf->data_offset > source.size() + (1 << 20)) std::abort();
  v1::Model model;
  model.set_size(static_cast<int64_t>(source.size()));
  model.set_format(v1::MODEL_FORMAT_GGUF);
  model.set_type(TypeOfGguf(*gguf));
  *model.mutable_details() = DescribeGguf(*gguf);
  if (Estimate(model, Serving{}).memory_recommended() < model.size()) std::abort();
  if (model.SerializeAsString().size() > 100'000) std::abort();
}

}  // namespace
}  // namespace aima::model

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const aima::model::MemoryBytes source("fuzz", std::string_view(reinterpret_cast<const char*>(data), size));
  aima::model::CheckGguf(source);
  const auto header = aima::model::ReadSafetensors(source);
  if (header.ok() && header->tensor_bytes > size) std::abort();
  (void)aima::model::DescribeConfig(source, false);
  (void)aima::model::ReadShardNames(source);
  return 0;
}
