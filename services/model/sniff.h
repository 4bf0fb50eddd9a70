// What a file is, by its first bytes and its name.
#pragma once

#include <absl/status/statusor.h>

#include "aima/model/v1/model.pb.h"
#include "services/model/byte_source.h"

namespace aima::model {

// MODEL_FORMAT_UNSAFE for formats that run code when they are read, such as Python's pickle, whatever the file is
// called; MODEL_FORMAT_UNSUPPORTED for all others that are not known.
absl::StatusOr<v1::ModelFormat> Sniff(const ByteSource& file);

// MODEL_FORMAT_UNSAFE for this file.
absl::Status Unsafe(const std::string& path);

// True if the name is one of those that pickled weights have.
bool HasPickleName(std::string_view name);

}  // namespace aima::model
