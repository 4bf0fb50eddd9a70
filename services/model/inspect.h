// Finds out what the files at a path are.
#pragma once

#include <absl/status/statusor.h>

#include <string>
#include <vector>

#include "aima/model/v1/model.pb.h"
#include "services/model/import_roots.h"

namespace aima::model {

// What was found. Every header was read and checked.
struct Inspection {
  v1::ModelFormat format = v1::MODEL_FORMAT_UNSPECIFIED;
  v1::ModelType type = v1::MODEL_TYPE_UNSPECIFIED;  // unspecified if the files do not tell
  std::string name;        // for people: from the name of the file or directory
  std::string inner_name;  // as the files call the model; empty if they do not
  std::string path;                                 // what engines are given
  bool directory = false;
  v1::Details details;
  std::vector<v1::ModelFile> files;  // the first is the main one; without digests
  int64_t size = 0;                  // bytes of all files
};

// Inspects a file or directory; blocks on the disk. MODEL_FILE_NOT_FOUND, MODEL_PATH_REFUSED, MODEL_FILE_CORRUPT,
// MODEL_FORMAT_UNSUPPORTED or MODEL_FORMAT_UNSAFE says what is wrong.
absl::StatusOr<Inspection> Inspect(const ImportRoots& roots, const std::string& path);

// Reads the header of one file of a model of this format again, if it has one.
absl::Status CheckHeader(const FileBytes& file, v1::ModelFormat format);

// The name without what tells format, packing and part: "SmolLM2-135M-Instruct.Q4_1.gguf" is SmolLM2-135M-Instruct.
std::string ModelNameOf(const std::string& file_name);

}  // namespace aima::model
