// How many tokens a conversation is.
#pragma once

#include <absl/status/statusor.h>

#include "services/inference/dispatcher.h"

namespace aima::inference {

// inference.count_tokens. Only the engine knows its tokenizer and its chat template, so it is asked: by the address
// that llama.cpp counts at, else by that of vLLM, else by having it read the conversation and write one token.
class TokenCount {
 public:
  TokenCount(Dispatcher& dispatcher, events::Outbox& outbox) : dispatcher_(dispatcher), outbox_(outbox) {}

  Task<absl::StatusOr<v1::CountTokensResponse>> CountTokens(CallContext& call, const v1::CountTokensRequest& request);

 private:
  Dispatcher& dispatcher_;
  events::Outbox& outbox_;
};

}  // namespace aima::inference
