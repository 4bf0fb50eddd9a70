// What may be asked of a source, and what its answers may name.
#pragma once

#include <absl/status/statusor.h>

#include <string>
#include <string_view>

#include "aima/model/v1/model.pb.h"
#include "services/model/source.h"

namespace aima::model {

// Reads a request into its parts: "llama3.2:1b" has a tag, "org/name:Q8_0" a packing. `default_source` stands for a
// source that is not given. INVALID_INPUT names the field that is wrong.
absl::StatusOr<Wish> ReadWish(const v1::PullRequest& request, v1::ModelSource default_source);

// What the model is called if nobody says otherwise.
std::string NameFor(const Wish& wish);

// "ollama", "huggingface" or "modelscope".
std::string NameOfSource(v1::ModelSource source);
v1::ModelSource SourceOfName(std::string_view name);

// True for a relative path of a few plain segments: nothing in it leads elsewhere, is hidden, or is not UTF-8 text.
bool IsSafeFileName(std::string_view name);

// True for so many hexadecimal digits in lower case.
bool IsHex(std::string_view text, size_t digits);

}  // namespace aima::model
