// OpenAI's Videos API: /v1/videos. A video is an operation that calls inference.generate_video, under the operation's id.
#pragma once

#include <string>

#include "libs/http/range.h"
#include "services/gateway/operation_units.h"
#include "services/gateway/translation.h"
#include "services/gateway/videos/content.h"

namespace aima::gateway::videos {

class VideosApi : public Translation {
 public:
  // Operations that have ended are kept for `retention`.
  VideosApi(Parts parts, OperationUnits& operations, absl::Duration retention)
      : Translation(parts), operations_(operations), retention_(retention) {}

  bool Owns(const http::Request& request, std::string_view path) const override;
  http::Response ErrorAnswer(const absl::Status& status, const std::string& request_id, int http_status) const override;

 protected:
  Task<absl::Status> Serve(TranslatedVisit& visit) override;

 private:
  Task<absl::Status> Create(TranslatedVisit& visit);
  Task<absl::Status> List(TranslatedVisit& visit);
  Task<absl::Status> Show(TranslatedVisit& visit, std::string id);
  Task<absl::Status> Content(TranslatedVisit& visit, std::string id);
  // Answers with a part of the content, piece by piece.
  Task<absl::Status> SendPart(TranslatedVisit& visit, const videos::Content& content, http::Part part,
                              http::Headers headers);
  Task<absl::Status> Delete(TranslatedVisit& visit, std::string id);
  // The operation, if it is a video that the caller sees.
  Task<absl::StatusOr<operations::Operation>> Find(const CallContext& call, const std::string& id, bool with_result);
  // Until the operation has told anything of itself, or for a moment: what cannot be made at all is known by then.
  Task<absl::StatusOr<operations::Operation>> FirstSign(const CallContext& call, const std::string& id);
  // What is done in the name of a unit, for whoever may call it.
  absl::StatusOr<CallContext> CallFor(TranslatedVisit& visit, std::string_view unit) const;

  OperationUnits& operations_;
  const absl::Duration retention_;
};

}  // namespace aima::gateway::videos
