// An HTTP server for tests that answers as it is told, byte for byte, faults included.
#pragma once

#include <boost/asio/ip/tcp.hpp>
#include <memory>
#include <string>
#include <vector>

#include "libs/base/task.h"
#include "services/inference/directory.h"

namespace aima::inference {

// Listens on a free port of 127.0.0.1 while it lives. Each request takes the next script; the last one repeats.
class ScriptedEngine {
 public:
  struct Step {
    enum Kind { kSend, kPause, kCut, kStall } kind;
    std::string bytes;     // kSend
    int milliseconds = 0;  // kPause
  };
  using Script = std::vector<Step>;

  explicit ScriptedEngine(Loop& loop);
  ~ScriptedEngine();

  void Then(Script script);
  int port() const { return port_; }
  Endpoint At(const std::string& model) const;

  struct Request {
    std::string head;
    std::string body;
  };
  const std::vector<Request>& requests() const;
  // Connections of which the client closed its end before the script was done.
  int abandoned() const;

  // Scripts of usual answers.
  static Script Answer(int status, const std::string& type, const std::string& body);
  // Each string becomes one event, sent on its own.
  static Script Stream(const std::vector<std::string>& events);
  static std::string Piece(const std::string& text);

 private:
  struct State;
  static Task<void> Accept(std::shared_ptr<State> state);
  static Task<void> Serve(std::shared_ptr<State> state, boost::asio::ip::tcp::socket socket);

  std::shared_ptr<State> state_;
  int port_ = 0;
};

}  // namespace aima::inference
