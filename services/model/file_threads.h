// Threads for work on files, which would stall the event loop.
#pragma once

#include <absl/status/status.h>
#include <absl/time/clock.h>
#include <absl/time/time.h>

#include <atomic>
#include <boost/asio/associated_cancellation_slot.hpp>
#include <boost/asio/associated_executor.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <functional>
#include <memory>
#include <type_traits>
#include <utility>

#include "libs/base/task.h"

namespace aima::model {

// Runs functions on threads of its own and hands their results back to the loop. Quick work, such as reading a
// header, has threads apart from those that read whole files.
class FileThreads {
 public:
  FileThreads() : quick_(2), slow_(2) {}
  ~FileThreads() {
    Stop();
    quick_.join();
    slow_.join();
  }
  FileThreads(const FileThreads&) = delete;
  FileThreads& operator=(const FileThreads&) = delete;

  // `work` must keep all that it uses: the caller may be gone when it runs.
  template <class Work>
  Task<std::invoke_result_t<Work>> RunQuick(Work work) {
    return RunOn(quick_, std::move(work), nullptr);
  }

  // Asked now and then by slow work: an error once the caller no longer waits or the process ends.
  using GoOn = std::function<absl::Status()>;
  template <class Work>
  Task<std::invoke_result_t<Work, GoOn>> RunSlow(absl::Time deadline, Work work) {
    const auto gone = std::make_shared<std::atomic<bool>>(false);
    GoOn go_on = [until = GoOnUntil(deadline), gone]() -> absl::Status {
      return *gone ? absl::CancelledError("the caller has gone") : until();
    };
    return RunOn(slow_, [work = std::move(work), go_on = std::move(go_on)]() mutable { return work(go_on); }, gone);
  }

  // For slow work that outlives callers: goes on until the deadline or the end of the process.
  GoOn GoOnUntil(absl::Time deadline) const {
    return [stopping = stopping_, deadline]() -> absl::Status {
      if (*stopping) return absl::UnavailableError("the model service is stopping");
      if (absl::Now() > deadline) return absl::DeadlineExceededError("reading the files took longer than allowed");
      return absl::OkStatus();
    };
  }
  template <class Work>
  Task<std::invoke_result_t<Work>> RunSlow(Work work) {
    return RunOn(slow_, std::move(work), nullptr);
  }

  // Slow work ends soon after, with an error.
  void Stop() { *stopping_ = true; }

 private:
  // Sets `gone` when whoever waits is cancelled.
  template <class Work>
  static Task<std::invoke_result_t<Work>> RunOn(boost::asio::thread_pool& pool, Work work,
                                                std::shared_ptr<std::atomic<bool>> gone) {
    using Result = std::invoke_result_t<Work>;
    auto start = [&pool, gone](auto handler, Work work) {
      auto slot = boost::asio::get_associated_cancellation_slot(handler);
      if (gone && slot.is_connected()) slot.assign([gone](boost::asio::cancellation_type) { *gone = true; });
      auto executor = boost::asio::get_associated_executor(handler);
      boost::asio::post(pool, [handler = std::move(handler), work = std::move(work), executor,
                               guard = boost::asio::make_work_guard(executor)]() mutable {
        Result result = work();
        boost::asio::post(executor, [handler = std::move(handler), result = std::move(result)]() mutable {
          std::move(handler)(std::move(result));
        });
      });
    };
    co_return co_await boost::asio::async_initiate<const boost::asio::use_awaitable_t<>, void(Result)>(
        std::move(start), boost::asio::use_awaitable, std::move(work));
  }

  const std::shared_ptr<std::atomic<bool>> stopping_ = std::make_shared<std::atomic<bool>>(false);
  boost::asio::thread_pool quick_;
  boost::asio::thread_pool slow_;
};

}  // namespace aima::model
