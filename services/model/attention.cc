#include "services/model/attention.h"

#include <algorithm>

namespace aima::model {

void Describe(const Attention& attention, v1::Details& details) {
  int64_t most = 0, full = 0, windowed = 0;
  const auto or_else = [](int64_t value, int64_t otherwise) { return value > 0 ? value : otherwise; };
  const int64_t numbers = attention.key_length + attention.value_length;
  const int64_t windowed_numbers = or_else(attention.windowed_key_length, attention.key_length) +
                                   or_else(attention.windowed_value_length, attention.value_length);
  for (size_t layer = 0; layer < attention.kv_heads.size(); ++layer) {
    const int64_t heads = Figure(attention.kv_heads[layer], 1'000'000);
    most = std::max(most, heads);
    const bool sees_window = attention.window > 0 && layer < attention.windowed.size() && attention.windowed[layer];
    (sees_window ? windowed : full) += heads * (sees_window ? windowed_numbers : numbers);
  }
  details.set_kv_heads(most);
  details.set_key_length(attention.key_length);
  details.set_value_length(attention.value_length);
  details.set_kv_numbers_per_token(full);
  details.set_kv_numbers_per_token_windowed(windowed);
  details.set_sliding_window(windowed > 0 ? attention.window : 0);
}

}  // namespace aima::model
