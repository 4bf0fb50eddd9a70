// Coroutines of AIMA: one event loop per process, one Task per call.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>

namespace aima {

// What a handler returns. A Task runs on the process's event loop and starts when it is awaited or spawned.
// It never throws across one of our function boundaries: failures are absl::Status values.
template <class T>
using Task = boost::asio::awaitable<T>;

// The event loop of a process. One thread runs it, so code in Tasks needs no locks; work that blocks must
// go to a thread of its own.
using Loop = boost::asio::io_context;

}  // namespace aima
