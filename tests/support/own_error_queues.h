// Boost.Fiber with one OpenSSL error queue per fiber. For copying: needs nothing of ours but
// heddle/error_queue.h. tests/integration/boost_fiber_test.cpp shows what it is good for.
//
// Boost.Fiber lets a program choose who runs next: a scheduling algorithm is told of every fiber
// that becomes ready, and asked for the next one whenever the running fiber stops. That is all that
// is needed. Install this one first thing on each thread that runs fibers:
//
//   boost::fibers::use_scheduling_algorithm<OwnErrorQueues>();
//
// From then on each fiber finds its error queue, with the marks of ERR_set_mark(3), and its errno
// as it left them, wherever it parks: between calls, in a BIO, in a callback. So whatever else runs
// on the thread, SSL_get_error() speaks of the fiber's own connection.
//
// What a fiber leaves for itself is still its own, and still has to be out of the way of its next
// call of SSL_read() and its like:
//
//   const heddle::ErrorQueueScope scope;  // An empty queue, until the end of the block.
//   const int count = SSL_read(ssl, into, size);
//   const int answer = SSL_get_error(ssl, count);  // Then ERR_get_error(), if that is the answer.
//
// No algorithm helps where two fibers are inside the same SSL object, or where a fiber changes its
// thread inside a call of OpenSSL's.
//
// Fibers take turns as with Boost's default. An algorithm of your own goes into the place of
// round_robin; properties of your own derive from FiberErrors.
#pragma once

#include <cerrno>
#include <chrono>
#include <utility>

#include <boost/fiber/algo/algorithm.hpp>
#include <boost/fiber/algo/round_robin.hpp>
#include <boost/fiber/context.hpp>
#include <boost/fiber/properties.hpp>

#include "heddle/error_queue.h"

// What a fiber takes along while it does not run. Dies with it, whatever is left in the queue.
struct FiberErrors : boost::fibers::fiber_properties {
  using fiber_properties::fiber_properties;

  heddle::ErrorQueue queue;
  int error_number = 0;
};

class OwnErrorQueues : public boost::fibers::algo::algorithm_with_properties<FiberErrors> {
 public:
  using Fiber = boost::fibers::context;

  // The running fiber stops in favour of the one that this returns.
  Fiber* pick_next() noexcept override {
    Fiber* const next = order_.pick_next();
    if (next != nullptr) hand_thread_to(next);
    return next;
  }

  // A fiber that is started by launch::dispatch runs at once, without pick_next(). The first that
  // is heard of it is that the one that started it is ready again, while the new one runs already.
  void awakened(Fiber* fiber, FiberErrors& /*errors*/) noexcept override {
    hand_thread_to(Fiber::active());
    order_.awakened(fiber);
  }

  bool has_ready_fibers() const noexcept override { return order_.has_ready_fibers(); }
  void suspend_until(const std::chrono::steady_clock::time_point& until) noexcept override {
    order_.suspend_until(until);
  }
  void notify() noexcept override { order_.notify(); }

 private:
  void hand_thread_to(Fiber* next) noexcept {
    if (next == owner_) return;
    const int error_number = errno;
    FiberErrors& from = errors_of(owner_);
    FiberErrors& to = errors_of(next);
    from.error_number = error_number;
    from.queue = thread_.set_aside();
    thread_.bring_back(std::move(to.queue));
    errno = to.error_number;
    owner_ = next;
  }

  // Boost makes a fiber's properties when it first becomes ready. The thread's own fiber, and those
  // of launch::dispatch, run before that.
  FiberErrors& errors_of(Fiber* fiber) {
    if (get_properties(fiber) == nullptr) set_properties(fiber, new_properties(fiber));
    return properties(fiber);
  }

  boost::fibers::algo::round_robin order_;
  heddle::ThreadErrorQueue thread_;
  Fiber* owner_ = Fiber::active();  // Whose entries are in the thread's queue.
};
