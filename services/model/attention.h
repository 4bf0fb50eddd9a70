// Which layers of a model keep which keys and values.
#pragma once

#include <cstdint>
#include <vector>

#include "aima/model/v1/model.pb.h"

namespace aima::model {

// Figures beyond these are no figures of a model, but would overflow what is computed from them.
inline constexpr int64_t kMaxLayers = 10'000;
inline constexpr int64_t kMaxFigure = 1'000'000'000;

// `value` if it is a believable figure, else 0.
inline int64_t Figure(int64_t value, int64_t max = kMaxFigure) { return value > 0 && value <= max ? value : 0; }

// One model's layers.
struct Attention {
  std::vector<int64_t> kv_heads;   // per layer; 0 where a layer keeps nothing
  std::vector<bool> windowed;      // per layer; may be shorter: the rest sees everything
  int64_t key_length = 0;
  int64_t value_length = 0;
  int64_t windowed_key_length = 0;    // 0: as the others
  int64_t windowed_value_length = 0;  // 0: as the others
  int64_t window = 0;
};

// Fills in kv_heads, key_length, value_length, sliding_window and both kv_numbers_per_token.
void Describe(const Attention& attention, v1::Details& details);

}  // namespace aima::model
