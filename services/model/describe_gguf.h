// What the keys of a GGUF file mean.
#pragma once

#include "aima/model/v1/model.pb.h"
#include "services/model/gguf.h"

namespace aima::model {

// Architecture, figures, packing. Sums of tensors are those of this file only.
v1::Details DescribeGguf(const Gguf& gguf);

// What the model does; MODEL_TYPE_UNSPECIFIED if the file does not tell, as with adapters and projectors.
v1::ModelType TypeOfGguf(const Gguf& gguf);

// True for the file that gives a language model eyes or ears, which is no model by itself.
bool IsProjector(const Gguf& gguf);

// True for architectures that read a text as a whole and keep no keys and values: BERT and its kin.
bool IsEncoder(std::string_view architecture);

}  // namespace aima::model
