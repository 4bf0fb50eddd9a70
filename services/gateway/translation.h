// HTTP APIs of other vendors. A translation turns one HTTP request into calls of units and their answers into what that
// API answers; who may call, limits, deadlines, cancellation and logs are those of the units.
#pragma once

#include <absl/status/statusor.h>

#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "libs/base/call_context.h"
#include "libs/http/server.h"
#include "services/gateway/edge.h"
#include "services/gateway/unit_runner.h"

namespace aima::gateway {

// One HTTP request, and what the log is to say about it.
struct TranslatedVisit {
  http::Exchange& exchange;
  http::Request& request;
  std::string path;   // decoded, without query
  std::string query;  // as sent
  Caller caller;
  CallContext context;
  std::string unit = "http";  // label of logs and metrics: the unit that was called
  std::string outcome = "OK";
};

// What the messages of a streamed unit become. Appends text and sends nothing.
class StreamForm {
 public:
  virtual ~StreamForm() = default;
  virtual const char* content_type() const = 0;
  // Comes before everything else, once.
  virtual void Begin(std::string&) {}
  // The same where a message has come already.
  virtual void BeginWith(const nlohmann::json& /*first*/, std::string& out) { Begin(out); }
  virtual void Add(const nlohmann::json& message, std::string& out) = 0;
  // The unit has ended well.
  virtual void End(std::string& out) = 0;
  // The unit has failed after Begin.
  virtual void Fail(const absl::Status& status, std::string& out) = 0;
  // Says that the answer is still worked on; empty if the API has no such thing.
  virtual std::string_view alive() const { return {}; }
};

// One API. Used on the loop.
class Translation {
 public:
  // All of it outlives the translation.
  struct Parts {
    Loop& loop;
    UnitRunner& runner;
    const Edge& edge;
    absl::Duration patience = absl::Seconds(10);  // of clients with a stream in which nothing happens
  };

  explicit Translation(Parts parts) : parts_(parts) {}
  virtual ~Translation() = default;

  // True if this request is one of this API.
  virtual bool Owns(const http::Request& request, std::string_view path) const = 0;

  // Answers one request; the caller has been admitted.
  Task<void> Handle(TranslatedVisit& visit);

  // What tells of an error in the form of this API. `http_status` 0 is the one that fits.
  virtual http::Response ErrorAnswer(const absl::Status& status, const std::string& request_id,
                                     int http_status = 0) const = 0;

 protected:
  // Answers, or returns the error that is to be answered.
  virtual Task<absl::Status> Serve(TranslatedVisit& visit) = 0;

  // The body, which must be a JSON object. Its type is not looked at: these APIs do not, and web pages were refused
  // before.
  static absl::StatusOr<nlohmann::json> Body(const TranslatedVisit& visit);
  // What a unit answers.
  Task<absl::StatusOr<nlohmann::json>> Run(TranslatedVisit& visit, std::string_view unit, nlohmann::json input);
  // Runs the streaming form of a unit and answers with what `form` makes of it. The answer begins with the unit's first
  // message, so that what fails before has a status of its own, or when the client has waited long enough for a sign.
  // What is to be done before a client knows that all went well, and may leave, is done by `before_end`.
  Task<absl::Status> Stream(TranslatedVisit& visit, std::string_view unit, nlohmann::json input, StreamForm& form,
                            std::function<Task<void>()> before_end = {});
  // Sends a whole answer.
  Task<absl::Status> Answer(TranslatedVisit& visit, const nlohmann::json& body, http::Headers headers = {});
  Task<absl::Status> Send(TranslatedVisit& visit, http::Response response);

  // Headers that tell the request's id, under the name that the API has for it.
  virtual const char* request_id_header() const { return "X-Request-Id"; }

  const Parts& parts() const { return parts_; }

 private:
  const Parts parts_;
};

}  // namespace aima::gateway
