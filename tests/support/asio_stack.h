// Boost.Asio's ssl::stream in coroutines of boost::asio::spawn(), as a stack for the stale-error
// harness: an example of how to run the scenarios against a stack that is not ours.
//
// Asio calls ERR_clear_error() before each call of OpenSSL's and reads the error at once after it.
// It does its I/O between those calls, into and out of a pair of memory BIOs. So it claims kClear,
// and is wrong where something happens on the thread while OpenSSL is at work.
//
// That is possible, since yield() may be called in OpenSSL's callbacks. Two kinds of stack are
// met there. On the coroutine's own, where the call is synchronous, or is the first one of an
// asynchronous operation before Boost 1.80, the coroutine is suspended as anywhere else. On the one
// of the thread that runs the io_context (later calls; from 1.80 on the first one, too) there is no
// coroutine to suspend, and the io_context's handlers run in a nested loop, as in programs that
// call io_context::poll_one() in a callback. To the error queue both are the same.
#pragma once

#include <memory>

#include "heddle/stale.h"

namespace heddle::test {

std::unique_ptr<stale::Stack> make_asio_stack();

}  // namespace heddle::test
