// Whether the server answers at all.
#pragma once

#include <boost/asio/steady_timer.hpp>
#include <functional>
#include <memory>

#include "libs/pg/connection.h"
#include "libs/pg/lane.h"

namespace aima::pg {

// Asks the server something small every few seconds. One that has stopped (a frozen machine, a disk that hangs) breaks
// no connection and answers nothing, and those who wait for it cannot tell it from a slow statement. So where the
// shared connection gives no answer, a fresh one is tried: only if that gets none either, the server is silent.
class Probe : public std::enable_shared_from_this<Probe> {
 public:
  // `silent` runs each time that silence is found, until Close.
  Probe(Loop& loop, const Options& options, std::shared_ptr<Lane> lane, std::function<void()> silent);
  void Start();
  void Close();

 private:
  Task<void> Run(std::shared_ptr<Probe> self);
  Task<bool> LaneAnswers();
  Task<bool> ServerAnswers();

  Loop& loop_;
  const Options options_;
  const std::shared_ptr<Lane> lane_;
  const std::function<void()> silent_;
  boost::asio::steady_timer timer_;
  bool closed_ = false;
};

}  // namespace aima::pg
