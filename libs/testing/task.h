// Runs Tasks in tests.
#pragma once

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <exception>
#include <optional>

#include "libs/base/task.h"

namespace aima::testing {

// Runs `task` on `loop` until it is done and returns its result. Other work on the loop runs meanwhile.
template <class T>
T Run(Loop& loop, Task<T> task) {
  std::optional<T> result;
  std::exception_ptr thrown;
  boost::asio::co_spawn(loop, std::move(task), [&](std::exception_ptr error, T value) {
    thrown = error;
    if (!error) result.emplace(std::move(value));
  });
  loop.restart();
  while (!result && !thrown && loop.run_one() > 0) {
  }
  if (thrown) std::rethrow_exception(thrown);
  return std::move(result).value();
}

inline void Run(Loop& loop, Task<void> task) {
  Run(loop, [](Task<void> inner) -> Task<bool> {
    co_await std::move(inner);
    co_return true;
  }(std::move(task)));
}

}  // namespace aima::testing
