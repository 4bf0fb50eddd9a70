// Which files of a repository make a model.
#pragma once

#include <absl/status/statusor.h>

#include <cstdint>
#include <string>
#include <vector>

namespace aima::model {

// One file of a repository, as its source tells.
struct RepositoryFile {
  std::string name;
  int64_t size = 0;
  std::string sha256;
  std::string git_id;
};

// The weights in one packing, and the configuration, tokenizer and licence beside them; names keep their subfolders.
// GGUF is preferred, for the default engine reads it, then safetensors, then ONNX.
struct FileChoice {
  std::vector<RepositoryFile> files;
  std::string main;  // the file that engines are given; empty if it is the directory
};

// `quantization` in upper case; empty takes the best compromise that there is. INVALID_INPUT names what there is if it is
// something else; MODEL_FORMAT_UNSAFE if the repository has pickled weights only; MODEL_FORMAT_UNSUPPORTED if it has none.
absl::StatusOr<FileChoice> ChooseFiles(const std::string& repo, std::vector<RepositoryFile> files,
                                       const std::string& quantization);

// The packing in the name of a GGUF file, in upper case: "x-Q4_K_M-00001-of-00002.gguf" is Q4_K_M. Empty if there is none.
std::string PackingOf(const std::string& name);

}  // namespace aima::model
