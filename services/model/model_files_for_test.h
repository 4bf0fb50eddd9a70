// Writes small model files for tests.
#pragma once

#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace aima::model::testing {

// A directory that goes with the object.
class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    std::string path = (std::filesystem::temp_directory_path() / "aima-model-XXXXXX").string();
    path_ = ::mkdtemp(path.data());
  }
  ~TemporaryDirectory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;

  const std::string& path() const { return path_; }
  // Writes a file, with the directories that it needs, and returns its path.
  std::string Write(const std::string& name, std::string_view bytes) const {
    const std::filesystem::path path = std::filesystem::path(path_) / name;
    std::filesystem::create_directories(path.parent_path());
    std::ofstream(path, std::ios::binary).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    return path.string();
  }

 private:
  std::string path_;
};

template <class T>
std::string Number(T value) {
  return std::string(reinterpret_cast<const char*>(&value), sizeof value);
}

// Puts a GGUF file together, right or wrong.
class GgufWriter {
 public:
  static std::string Name(std::string_view name) { return Number<uint64_t>(name.size()) + std::string(name); }

  GgufWriter& Text(std::string_view key, std::string_view value) {
    return Raw(Name(key) + Number<uint32_t>(8) + Name(value));
  }
  GgufWriter& U32(std::string_view key, uint32_t value) {
    return Raw(Name(key) + Number<uint32_t>(4) + Number(value));
  }
  GgufWriter& List(std::string_view key, const std::vector<int32_t>& values) {
    std::string bytes = Name(key) + Number<uint32_t>(9) + Number<uint32_t>(5) + Number<uint64_t>(values.size());
    for (const int32_t value : values) bytes += Number(value);
    return Raw(bytes);
  }
  GgufWriter& Texts(std::string_view key, size_t count) {
    std::string bytes = Name(key) + Number<uint32_t>(9) + Number<uint32_t>(8) + Number<uint64_t>(count);
    for (size_t i = 0; i < count; ++i) bytes += Name("t" + std::to_string(i));
    return Raw(bytes);
  }
  // One key, as bytes.
  GgufWriter& Raw(const std::string& bytes) {
    keys_ += bytes;
    ++key_count_;
    return *this;
  }
  // A tensor of 32-bit numbers behind those before it.
  GgufWriter& Tensor(std::string_view name, std::vector<uint64_t> shape) {
    uint64_t bytes = 4;
    for (const uint64_t length : shape) bytes *= length;
    RawTensor(name, std::move(shape), /*type=*/0, data_);
    data_ += (bytes + 31) / 32 * 32;
    return *this;
  }
  GgufWriter& RawTensor(std::string_view name, std::vector<uint64_t> shape, uint32_t type, uint64_t offset) {
    tensors_ += Name(name) + Number<uint32_t>(static_cast<uint32_t>(shape.size()));
    for (const uint64_t length : shape) tensors_ += Number(length);
    tensors_ += Number(type) + Number(offset);
    ++tensor_count_;
    return *this;
  }
  GgufWriter& Claim(uint64_t tensors, uint64_t keys) {
    tensor_count_ = tensors;
    key_count_ = keys;
    return *this;
  }

  std::string Header(uint32_t version = 3) const {
    return "GGUF" + Number(version) + Number(tensor_count_) + Number(key_count_) + keys_ + tensors_;
  }
  std::string File(uint32_t version = 3) const {
    std::string file = Header(version);
    file.resize((file.size() + 31) / 32 * 32);
    for (uint64_t i = 0; i < data_; ++i) file.push_back(static_cast<char>(i * 31 + 7));
    return file;
  }

 private:
  std::string keys_, tensors_;
  uint64_t key_count_ = 0, tensor_count_ = 0, data_ = 0;
};

// A whole tiny language model: 2 layers, 4 heads of which 2 keep keys and values, 8 numbers per head.
inline GgufWriter TinyLlama(std::string_view name = "Tiny") {
  GgufWriter writer;
  writer.Text("general.architecture", "llama").Text("general.type", "model").Text("general.name", name);
  writer.Text("general.license", "apache-2.0").U32("general.file_type", 0);
  writer.U32("llama.block_count", 2).U32("llama.context_length", 256).U32("llama.embedding_length", 32);
  writer.U32("llama.feed_forward_length", 64).U32("llama.attention.head_count", 4);
  writer.U32("llama.attention.head_count_kv", 2);
  writer.Text("tokenizer.ggml.model", "gpt2").Texts("tokenizer.ggml.tokens", 100);
  writer.Text("tokenizer.chat_template", "{{ messages }}");
  writer.Tensor("token_embd.weight", {32, 100}).Tensor("output_norm.weight", {32});
  return writer;
}

// A safetensors file of this header and so many bytes of data.
inline std::string SafetensorsFile(const std::string& header, size_t data_bytes) {
  return Number<uint64_t>(header.size()) + header + std::string(data_bytes, '\x2a');
}

inline std::string TinySafetensors() {
  return SafetensorsFile(R"({"__metadata__":{"format":"pt"},)"
                         R"("a":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},)"
                         R"("b":{"dtype":"BF16","shape":[8],"data_offsets":[24,40]}})",
                         40);
}

}  // namespace aima::model::testing
