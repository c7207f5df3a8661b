// Another fiber library with one error queue per fiber: Boost.Fiber. support/own_error_queues.h is
// the example, and tells how to use it; here is what goes wrong without it, and that it does not
// with it.
#include <cerrno>
#include <thread>
#include <vector>

#include <boost/fiber/algo/round_robin.hpp>
#include <boost/fiber/fiber.hpp>
#include <boost/fiber/future.hpp>
#include <boost/fiber/operations.hpp>
#include <gtest/gtest.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

#include "heddle/error_queue.h"

#include "openssl/handles.h"
#include "support/numbered_entries.h"
#include "support/own_error_queues.h"
#include "support/raw_tls.h"
#include "support/tls_pair.h"

namespace heddle {
namespace {

using boost::fibers::fiber;
using boost::fibers::algo::round_robin;
using boost::this_fiber::yield;
using test::numbers;
using test::raise_numbers;
using test::take_all_numbers;

// From 4.0 on SSL_get_error() looks at the connection before it looks at the queue.
const bool kQueueDecides = OPENSSL_version_major() < 4;

// Runs `body` as the first fiber of a thread that has never run one.
template <typename Algorithm, typename Body>
void on_a_thread(Body body) {
  std::thread([&] {
    boost::fibers::use_scheduling_algorithm<Algorithm>();
    body();
  }).join();
}

// Runs them one after the other, until each has stopped for good.
template <typename Algorithm, typename... Bodies>
void in_fibers(Bodies... bodies) {
  on_a_thread<Algorithm>([&] {
    std::vector<fiber> fibers;
    (fibers.emplace_back(bodies), ...);
    for (fiber& each : fibers) each.join();
  });
}

// A healthy connection in memory: the handshake is done, its tickets are read.
class Connection {
 public:
  Connection() {
    BIO* client_end = nullptr;
    BIO* server_end = nullptr;
    EXPECT_EQ(BIO_new_bio_pair(&client_end, 0, &server_end, 0), 1);
    SSL_set_bio(client_.get(), client_end, client_end);
    SSL_set_bio(server_.get(), server_end, server_end);
    SSL_set_connect_state(client_.get());
    SSL_set_accept_state(server_.get());
    constexpr int kTurns = 3;  // Of each end: TLS 1.3 needs two.
    for (int turn = 0; turn < kTurns; ++turn) {
      (void)SSL_do_handshake(client());
      (void)SSL_do_handshake(server_.get());
    }
    EXPECT_TRUE(pass_a_byte());
  }

  SSL* client() { return client_.get(); }

  // Whether what the server sends arrives.
  bool pass_a_byte() {
    char byte = 0;
    return SSL_write(server_.get(), "!", 1) == 1 && SSL_read(client(), &byte, 1) == 1;
  }

 private:
  Context server_context_ = test::server_context();
  Context client_context_ = test::client_context();
  openssl::SslPtr server_{SSL_new(server_context_.native_handle())};
  openssl::SslPtr client_{SSL_new(client_context_.native_handle())};
};

// What OpenSSL says of a read that finds nothing.
int answer_to_read(SSL* ssl) {
  char byte = 0;
  return SSL_get_error(ssl, SSL_read(ssl, &byte, 1));
}

template <typename Algorithm>
int read_after_anothers_failure() {
  int answer = SSL_ERROR_NONE;
  Connection connection;
  in_fibers<Algorithm>([] { test::leave_entry(test::Leak::kOther); },
                       [&] { answer = answer_to_read(connection.client()); });
  EXPECT_TRUE(connection.pass_a_byte());
  return answer;
}

TEST(BoostFiber, EntryOfAnotherFiberFailsAHealthyReadUnlessQueuesAreApart) {
  EXPECT_EQ(read_after_anothers_failure<round_robin>(),
            kQueueDecides ? SSL_ERROR_SSL : SSL_ERROR_WANT_READ);
  EXPECT_EQ(read_after_anothers_failure<OwnErrorQueues>(), SSL_ERROR_WANT_READ);
}

long park_before_read(BIO* /*bio*/, int operation, const char* /*bytes*/, std::size_t /*size*/,
                      int /*number*/, long /*other*/, int result, std::size_t* /*done*/) {
  if (operation == BIO_CB_READ) yield();
  return result;
}

template <typename Algorithm>
int read_during_anothers_failure() {
  int answer = SSL_ERROR_NONE;
  Connection connection;
  BIO_set_callback_ex(SSL_get_rbio(connection.client()), park_before_read);
  in_fibers<Algorithm>(
      [&] {
        ERR_clear_error();  // Is no cure: the entry comes later.
        answer = answer_to_read(connection.client());
      },
      [] { test::leave_entry(test::Leak::kOther); });
  BIO_set_callback_ex(SSL_get_rbio(connection.client()), nullptr);
  EXPECT_TRUE(connection.pass_a_byte());
  return answer;
}

TEST(BoostFiber, EntryThatComesWhileParkedInsideOpenSslFailsTheReadUnlessQueuesAreApart) {
  EXPECT_EQ(read_during_anothers_failure<round_robin>(),
            kQueueDecides ? SSL_ERROR_SSL : SSL_ERROR_WANT_READ);
  EXPECT_EQ(read_during_anothers_failure<OwnErrorQueues>(), SSL_ERROR_WANT_READ);
}

// With any OpenSSL: a handshake begins by clearing the thread's queue.
template <typename Algorithm>
int reason_after_anothers_handshake() {
  int library = 0;
  in_fibers<Algorithm>(
      [&] {
        test::leave_entry(test::Leak::kOther);
        yield();  // To tell somebody, before it looks why.
        library = ERR_GET_LIB(ERR_get_error());
        ERR_clear_error();
      },
      [] { const Connection other; });
  return library;
}

TEST(BoostFiber, HandshakeOfAnotherFiberWipesAReasonUnlessQueuesAreApart) {
  EXPECT_EQ(reason_after_anothers_handshake<round_robin>(), 0);
  EXPECT_EQ(reason_after_anothers_handshake<OwnErrorQueues>(), ERR_LIB_PEM);
}

TEST(OwnErrorQueues, EachFiberFindsItsEntriesAndMarks) {
  const auto story = [](int first) {
    return [first] {
      EXPECT_EQ(ERR_peek_error(), 0U);
      raise_numbers(first, first + 2);
      yield();
      EXPECT_EQ(ERR_set_mark(), 1);
      yield();
      raise_numbers(first + 2, first + 4);
      yield();
      EXPECT_EQ(ERR_pop_to_mark(), 1);
      yield();
      EXPECT_EQ(take_all_numbers(), numbers(first, first + 2));
    };
  };
  in_fibers<OwnErrorQueues>(story(10), story(20), story(30));
}

TEST(OwnErrorQueues, EntriesEndWithTheirFiber) {
  in_fibers<OwnErrorQueues>([] { raise_numbers(1, 4); }, [] { EXPECT_EQ(ERR_peek_error(), 0U); });
}

TEST(OwnErrorQueues, ThreadsOwnFiberKeepsItsEntries) {
  on_a_thread<OwnErrorQueues>([] {
    raise_numbers(1, 4);
    EXPECT_EQ(ERR_set_mark(), 1);
    fiber([] {
      EXPECT_EQ(ERR_peek_error(), 0U);
      raise_numbers(4, 6);
    }).join();
    EXPECT_EQ(ERR_pop_to_mark(), 1);
    EXPECT_EQ(take_all_numbers(), numbers(1, 4));
  });
}

TEST(OwnErrorQueues, FiberThatRunsAtOnceStartsEmptyAndItsStarterKeepsItsEntries) {
  on_a_thread<OwnErrorQueues>([] {
    raise_numbers(1, 4);
    fiber(boost::fibers::launch::dispatch, [] {
      EXPECT_EQ(ERR_peek_error(), 0U);
      raise_numbers(4, 6);
      yield();
      EXPECT_EQ(take_all_numbers(), numbers(4, 6));
    }).join();
    EXPECT_EQ(take_all_numbers(), numbers(1, 4));
  });
}

TEST(OwnErrorQueues, ErrnoStaysWithItsFiber) {
  const auto keep = [](int number) {
    return [number] {
      errno = number;
      yield();
      EXPECT_EQ(errno, number);
    };
  };
  in_fibers<OwnErrorQueues>(keep(EPIPE), keep(ENOENT), [] { EXPECT_EQ(errno, 0); });
}

TEST(OwnErrorQueues, FiberThatAnotherThreadWakesGoesOnWithItsEntries) {
  boost::fibers::promise<void> promise;
  std::thread other;
  in_fibers<OwnErrorQueues>([&] {
    raise_numbers(1, 4);
    other = std::thread([&] { promise.set_value(); });
    promise.get_future().wait();
    EXPECT_EQ(take_all_numbers(), numbers(1, 4));
  });
  other.join();
}

TEST(OwnErrorQueues, ScopeKeepsAFibersOwnLeftoversFromItsConnection) {
  Connection connection;
  in_fibers<OwnErrorQueues>([&] {
    test::leave_entry(test::Leak::kOther);
    const ErrorQueueScope scope;
    EXPECT_EQ(answer_to_read(connection.client()), SSL_ERROR_WANT_READ);
  });
}

}  // namespace
}  // namespace heddle
