#include "services/inference/rerank.h"

#include <absl/strings/str_cat.h>

#include <algorithm>
#include <cmath>

#include "libs/base/status_macros.h"
#include "libs/errors/errors.h"
#include "services/inference/exchange.h"

namespace aima::inference {
namespace {

// The best first, no more than asked for, with their texts where they are asked for.
void Settle(const v1::RerankRequest& request, v1::RerankResponse& response) {
  std::sort(response.mutable_results()->begin(), response.mutable_results()->end(), [](const auto& a, const auto& b) {
    if (a.relevance_score() != b.relevance_score()) return a.relevance_score() > b.relevance_score();
    return a.index() < b.index();
  });
  if (request.has_top_n() && response.results_size() > request.top_n()) {
    response.mutable_results()->DeleteSubrange(request.top_n(), response.results_size() - request.top_n());
  }
  if (!request.return_documents()) return;
  for (v1::RankedDocument& result : *response.mutable_results()) result.set_document(request.documents(result.index()));
}

Task<absl::StatusOr<v1::RerankResponse>> RankByCosine(const CallContext& call, Dispatcher& dispatcher, RequestLog& log,
                                                      const v1::RerankRequest& request) {
  v1::EmbedRequest texts;
  texts.set_model(request.model());
  texts.add_input(request.query());
  texts.mutable_input()->MergeFrom(request.documents());
  CO_ASSIGN_OR_RETURN(const v1::EmbedResponse vectors,
                      (co_await AskWhole<v1::EmbedResponse>(
                          call, dispatcher, log, request.model(), Ask::kRerank,
                          [&](const Dialect& dialect, const Endpoint& engine) { return dialect.Embed(texts, engine); })));
  v1::RerankResponse response;
  response.set_method("embedding-cosine");
  response.set_model(vectors.model());
  *response.mutable_usage() = vectors.usage();
  const auto& embeddings = vectors.embeddings();
  const bool same = std::all_of(embeddings.begin(), embeddings.end(),
                                [&](const auto& vector) { return vector.values_size() == embeddings[0].values_size(); });
  if (embeddings.size() != texts.input_size() || !same) {
    co_return Error(v1::INFERENCE_ENGINE_FAILED,
                    absl::StrCat("the engine made ", embeddings.size(), " embeddings of ", texts.input_size(),
                                 " texts, or such of different lengths"));
  }
  for (int i = 0; i < request.documents_size(); ++i) {
    v1::RankedDocument& result = *response.add_results();
    result.set_index(i);
    result.set_relevance_score(Cosine(embeddings[0], embeddings[i + 1]));
  }
  co_return response;
}

}  // namespace

double Cosine(const google::protobuf::ListValue& one, const google::protobuf::ListValue& other) {
  double product = 0;
  double one_squared = 0;
  double other_squared = 0;
  for (int i = 0; i < std::min(one.values_size(), other.values_size()); ++i) {
    const double a = one.values(i).number_value();
    const double b = other.values(i).number_value();
    product += a * b;
    one_squared += a * a;
    other_squared += b * b;
  }
  const double lengths = std::sqrt(one_squared * other_squared);
  return lengths > 0 ? product / lengths : 0;
}

Task<absl::StatusOr<v1::RerankResponse>> Rank(CallContext call, Router& router, Dispatcher& dispatcher, RequestLog& log,
                                              const v1::RerankRequest& request) {
  CO_ASSIGN_OR_RETURN(const ModelRecord model, co_await router.catalog().Resolve(call, request.model()));
  absl::StatusOr<v1::RerankResponse> response;
  if (model.type == v1::MODEL_TYPE_EMBEDDING) {
    response = co_await RankByCosine(call, dispatcher, log, request);
  } else {
    response = co_await AskWhole<v1::RerankResponse>(
        call, dispatcher, log, request.model(), Ask::kRerank,
        [&](const Dialect& dialect, const Endpoint& engine) { return dialect.Rerank(request, engine); });
  }
  if (response.ok()) Settle(request, *response);
  co_return response;
}

}  // namespace aima::inference
