#include "services/model/sniff.h"

#include <absl/strings/match.h>
#include <absl/strings/str_cat.h>

#include <algorithm>

#include "libs/errors/errors.h"

namespace aima::model {

absl::Status Unsafe(const std::string& path) {
  return Error(v1::MODEL_FORMAT_UNSAFE,
               absl::StrCat("'", path, "' holds pickled Python objects, which can run code when they are read"),
               {{"path", path}});
}

bool HasPickleName(std::string_view name) {
  for (const std::string_view suffix : {".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib", ".bin"}) {
    if (absl::EndsWithIgnoreCase(absl::string_view(name.data(), name.size()),
                                 absl::string_view(suffix.data(), suffix.size()))) {
      return true;
    }
  }
  return false;
}

absl::StatusOr<v1::ModelFormat> Sniff(const ByteSource& file) {
  char head[16] = {};
  const size_t count = std::min<uint64_t>(sizeof head, file.size());
  RETURN_IF_ERROR(file.ReadAt(0, head, count));
  const std::string_view start(head, count);
  if (start.starts_with("GGUF")) return v1::MODEL_FORMAT_GGUF;
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(head[i]); };
  const bool pickle = count >= 2 && byte(0) == 0x80 && byte(1) >= 1 && byte(1) <= 5;
  const bool archive = start.starts_with(std::string_view("PK\x03\x04", 4));
  if (pickle || (archive && HasPickleName(file.name())) || (archive && absl::EndsWith(file.name(), ".zip"))) {
    return Unsafe(file.name());
  }
  if (absl::EndsWith(file.name(), ".safetensors") || (count > 8 && head[8] == '{' && head[7] == 0)) {
    return v1::MODEL_FORMAT_SAFETENSORS;
  }
  if (absl::EndsWith(file.name(), ".gguf")) return Corrupt(file, 0, "it does not begin with 'GGUF'");
  if (absl::EndsWith(file.name(), ".onnx")) {
    if (count < 2 || head[0] != 0x08) return Corrupt(file, 0, "it does not begin as an ONNX graph does");
    return v1::MODEL_FORMAT_ONNX;
  }
  if (HasPickleName(file.name())) return Unsafe(file.name());
  return Error(v1::MODEL_FORMAT_UNSUPPORTED,
               absl::StrCat("'", file.name(), "' is no GGUF, safetensors or ONNX file"),
               {{"path", file.name()}});
}

}  // namespace aima::model
