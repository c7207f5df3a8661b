// Each allocation fails once, of C++ and of OpenSSL: the outcome is an Error or std::bad_alloc, and
// nothing is left in the error queue. The process lives, and so does whatever is not concerned.
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <memory>
#include <new>
#include <string>
#include <string_view>

#include <gtest/gtest.h>
#include <openssl/err.h>

#include "heddle/error_queue.h"
#include "heddle/fiber.h"
#include "heddle/offload.h"
#include "heddle/runtime.h"
#include "heddle/socket.h"
#include "heddle/tls/ssl_object.h"

#include "base/unique_fd.h"
#include "io/runtime_access.h"
#include "io/sockets.h"
#include "support/numbered_entries.h"
#include "support/seeds.h"
#include "support/short_memory.h"
#include "support/tls_pair.h"

void* operator new(std::size_t bytes) {
  void* const memory = heddle::test::ShortMemory::strikes() ? nullptr : std::malloc(bytes);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}
void* operator new(std::size_t bytes, const std::nothrow_t& /*tag*/) noexcept {
  return heddle::test::ShortMemory::strikes() ? nullptr : std::malloc(bytes);
}
void operator delete(void* memory) noexcept {
  std::free(memory);
}
void operator delete(void* memory, std::size_t /*bytes*/) noexcept {
  std::free(memory);
}

namespace heddle {
namespace {

using test::ShortMemory;

// Before OpenSSL's first allocation: later it refuses.
const int kInstalled = ShortMemory::take_over_openssl();

// An Error or std::bad_alloc, and neither entries nor anything else.
Result<void> outcome(const std::function<Result<void>()>& attempt) {
  Result<void> done = Error{.code = Errc::kExhausted};
  try {
    done = attempt();
  } catch (const std::bad_alloc&) {
    done = Error{.code = Errc::kExhausted, .operation = "std::bad_alloc"};
  }
  return done;
}

// Calls `attempt` with the first allocation failing, the second, and so on until none fails. Beyond
// the first ones only every so manieth: which they are is a matter of the seed.
void fail_each(const std::function<void(bool has_failed)>& check,
               const std::function<void()>& attempt) {
  constexpr std::uint64_t kEach = 300;
  constexpr std::uint64_t kStep = 17;
  constexpr std::uint64_t kMost = 100'000;
  const std::uint64_t first_step = 1 + test::first_seed() % kStep;
  for (std::uint64_t n = 1; n < kMost;) {
    SCOPED_TRACE("allocation " + std::to_string(n));
    ShortMemory::fail_nth(n);
    attempt();
    ShortMemory::stop();
    check(ShortMemory::has_failed());
    if (!ShortMemory::has_failed() || testing::Test::HasFailure()) return;
    n += n < kEach ? 1 : n == kEach ? first_step : kStep;
  }
  ADD_FAILURE() << "there is no end of allocations";
}

std::array<Socket, 2> sockets(Runtime& runtime) {
  std::array<int, 2> fds{};
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds.data()) != 0) {
    std::abort();
  }
  UniqueFd one(fds[0]);
  UniqueFd other(fds[1]);
  auto first = io::SocketFactory::make(io::RuntimeAccess::reactor(runtime), std::move(one)).value();
  auto second =
      io::SocketFactory::make(io::RuntimeAccess::reactor(runtime), std::move(other)).value();
  return {std::move(first), std::move(second)};
}

class OutOfMemoryTest : public testing::TestWithParam<TlsVersion> {
 protected:
  void SetUp() override {
    ASSERT_EQ(kInstalled, 1);
    for (Context* const context : {&server_context_, &client_context_}) {
      context->set_versions(GetParam(), GetParam()).value();
    }
  }

  Result<void> serve(Socket socket) {
    auto stream = Stream::create(server_context_, std::move(socket));
    if (!stream) return stream.error();
    if (const auto ready = stream->handshake(Deadline::never()); !ready) return ready;
    if (const auto read = test::read_some(*stream); !read) return read.error();
    const auto written = stream->write(test::bytes("answer"), Deadline::never());
    return written ? stream->close(Deadline::never()) : written;
  }

  Result<void> ask(Socket socket) {
    auto stream =
        Stream::create(client_context_, std::move(socket), {.server_name = test::kServerName});
    if (!stream) return stream.error();
    const auto written = stream->write(test::bytes("question"), Deadline::never());
    if (!written) return written;
    if (const auto read = test::read_some(*stream); !read) return read.error();
    return stream->close(Deadline::never());
  }

  // The error queue is empty whatever has happened.
  static Result<void> outcome_of_side(const std::function<Result<void>()>& side) {
    const Result<void> done = outcome(side);
    EXPECT_TRUE(ThreadErrorQueue().empty());
    return done;
  }

  Runtime runtime_ = Runtime::create().value();
  Context server_context_ = test::server_context();
  Context client_context_ = test::client_context();
};

// Both sides run in fibers that are spawned within it.
TEST_P(OutOfMemoryTest, ConnectionEndsWithAnErrorOrAnException) {
  Result<void> served;
  Result<void> asked;
  const auto converse = [&] {
    scope([&](Scope& fibers) {
      auto [server, client] = sockets(runtime_);
      const auto side = [&](Result<void>& into, std::function<Result<void>()> run) {
        into = outcome([&] {
          const auto task = fibers.spawn("side", [&into, run] { into = outcome_of_side(run); });
          return task ? Result<void>() : task.error();
        });
      };
      // Shared: a fiber that does not come about closes its end all the same.
      side(served, [this, end = std::make_shared<Socket>(std::move(server))] {
        return serve(std::move(*end));
      });
      side(asked, [this, end = std::make_shared<Socket>(std::move(client))] {
        return ask(std::move(*end));
      });
    });
  };
  const auto check = [&](bool has_failed) {
    EXPECT_TRUE(ThreadErrorQueue().empty());
    if (has_failed) return;
    EXPECT_TRUE(served) << served.error().message();
    EXPECT_TRUE(asked) << asked.error().message();
  };
  const auto in_fiber = [&] {
    converse();  // What is made once, is made now.
    fail_each(check, [&] { (void)outcome([&] { return converse(), Result<void>(); }); });
  };
  ASSERT_TRUE(runtime_.spawn("test", in_fiber));
  runtime_.run();
}

TEST_P(OutOfMemoryTest, ObjectEndsWithAnErrorOrAnException) {
  Result<void> made;
  const auto begin = [&]() -> Result<void> {
    MemoryBio incoming;
    MemoryBio outgoing;
    auto client =
        SslObject::create(client_context_, incoming, outgoing, {.server_name = test::kServerName});
    if (!client) return client.error();
    const auto progress = client->handshake();
    return progress ? Result<void>() : progress.error();
  };
  ASSERT_TRUE(begin());
  const auto check = [&](bool has_failed) {
    EXPECT_TRUE(ThreadErrorQueue().empty());
    EXPECT_TRUE(has_failed || made);
  };
  fail_each(check, [&] { made = outcome(begin); });
}

INSTANTIATE_TEST_SUITE_P(, OutOfMemoryTest, testing::Values(TlsVersion::kTls12, TlsVersion::kTls13),
                         [](const auto& of) {
                           return of.param == TlsVersion::kTls12 ? "tls12" : "tls13";
                         });

TEST(OutOfMemory, ContextIsNotMadeWithAnErrorOrAnException) {
  Result<void> made;
  const Identity& identity = test::identity();
  const auto make = [&]() -> Result<void> {
    Result<Context> context = Context::create(Role::kServer);
    if (!context) return context.error();
    if (auto used = context->use_cert_chain(identity.certificate_pem, identity.key_pem); !used) {
      return used.error();
    }
    const auto trusted = context->add_trusted_certificates(test::bytes(identity.certificate_pem));
    return trusted ? Result<void>() : trusted.error();
  };
  ASSERT_TRUE(make());
  const auto check = [&](bool has_failed) {
    EXPECT_TRUE(ThreadErrorQueue().empty());
    EXPECT_TRUE(has_failed || made);
  };
  fail_each(check, [&] { made = outcome(make); });
}

// OpenSSL allocates where it frees a context, too.
TEST(OutOfMemory, ContextEndsWithoutEntries) {
  for (std::uint64_t n = 1; !testing::Test::HasFailure(); ++n) {
    auto context = std::make_unique<Context>(Context::create(Role::kServer).value());
    ShortMemory::fail_nth(n);
    context.reset();
    ShortMemory::stop();
    EXPECT_TRUE(ThreadErrorQueue().empty());
    if (!ShortMemory::has_failed()) return;
  }
}

TEST(OutOfMemory, EntriesThatCannotBeSetAsideAreDropped) {
  for (std::uint64_t n = 1; !testing::Test::HasFailure(); ++n) {
    test::raise_numbers(1, 3);
    ThreadErrorQueue queue;
    ShortMemory::fail_nth(n);
    const ErrorQueue aside = queue.set_aside();
    ShortMemory::stop();
    EXPECT_TRUE(queue.empty());
    if (!ShortMemory::has_failed()) return;
  }
}

// The reason is not to be read. That there is one is told all the same.
TEST(OutOfMemory, FailureOfAConnectionIsAnError) {
  const Context context = test::server_context();
  for (std::uint64_t n = 1; !testing::Test::HasFailure(); ++n) {
    MemoryBio incoming;
    MemoryBio outgoing;
    auto server = SslObject::create(context, incoming, outgoing).value();
    incoming.write(test::bytes("GET / HTTP/1.0\r\n\r\n")).value();
    ShortMemory::fail_nth(n);
    EXPECT_NO_THROW(EXPECT_FALSE(server.handshake()));
    ShortMemory::stop();
    EXPECT_FALSE(server.handshake());
    if (!ShortMemory::has_failed()) return;
  }
}

TEST(OutOfMemory, ReactorTakesSocketsAfterOneThatItCouldNotTake) {
  Result<void> done;
  const auto attempt = [&]() -> Result<void> {
    auto runtime = Runtime::create();
    if (!runtime) return runtime.error();
    const auto make = [&] { return (void)sockets(*runtime), Result<void>(); };
    const auto first = outcome(make);
    ShortMemory::stop();
    EXPECT_TRUE(outcome(make));
    return first;
  };
  fail_each([&](bool has_failed) { EXPECT_TRUE(has_failed || done); },
            [&] { done = outcome(attempt); });
}

// Fibers wait with a deadline, end and give their stacks back while there is no memory at all.
TEST(OutOfMemory, FibersParkAndEndWithoutMemory) {
  constexpr int kFibers = 100;
  auto runtime = Runtime::create().value();
  int woken = 0;
  const auto sleep = [&woken] {
    if (this_fiber::sleep_until(this_fiber::after(std::chrono::milliseconds(1)))) ++woken;
  };
  const auto in_fiber = [&] {
    scope([&](Scope& fibers) {
      for (int i = 0; i < kFibers; ++i) fibers.spawn("sleeper", sleep).value();
      ShortMemory::fail_all();
      while (woken < kFibers) (void)this_fiber::yield();
      ShortMemory::stop();
    });
  };
  ASSERT_TRUE(runtime.spawn("test", in_fiber));
  runtime.run();
  EXPECT_EQ(woken, kFibers);
}

// Each of another size, so that the pool has no place for its stack yet.
TEST(OutOfMemory, FiberIsNotSpawnedWithAnErrorOrAnException) {
  auto runtime = Runtime::create().value();
  std::size_t stack_bytes = std::size_t{256} * 1024;
  int spawned = 0;
  const auto in_fiber = [&] {
    const auto spawn = [&]() -> Result<void> {
      stack_bytes += std::size_t{64} * 1024;
      Result<void> done;
      scope([&](Scope& fibers) {
        const auto task = fibers.spawn(
            {.name = "a name too long to be kept in place", .stack_bytes = stack_bytes},
            [&spawned] { ++spawned; });
        if (!task) done = task.error();
      });
      return done;
    };
    Result<void> done;
    fail_each([&](bool has_failed) { EXPECT_TRUE(has_failed || done); },
              [&] { done = outcome(spawn); });
  };
  ASSERT_TRUE(runtime.spawn("test", in_fiber));
  runtime.run();
  EXPECT_GE(spawned, 1);
}

// The fiber is woken, whatever fails on the thread of the pool.
TEST(OutOfMemory, OffloadedFunctionComesBack) {
  auto runtime = Runtime::create().value();
  auto pool = OffloadPool::create({.threads = 1}).value();
  int sum = 0;
  const auto in_fiber = [&] {
    const auto add = [&]() -> Result<void> {
      const auto done = pool.run([&sum] { ++sum; }, Deadline::never());
      return done ? Result<void>() : done.error();
    };
    Result<void> done = add();
    fail_each([&](bool has_failed) { EXPECT_TRUE(has_failed || done); },
              [&] { done = outcome(add); });
  };
  ASSERT_TRUE(runtime.spawn("test", in_fiber));
  runtime.run();
  EXPECT_GE(sum, 2);
}

TEST(ErrorOutOfMemoryTest, ContextIsLostRatherThanTheError) {
  const std::string text(100, 'x');
  const Error plain{.code = Errc::kUnreachable, .sys_errno = ECONNREFUSED, .operation = "connect"};
  const Error inner = plain.with("the address of somebody far away");
  const std::string whole = text + ": the address of somebody far away";
  Error outer;
  fail_each(
      [&](bool has_failed) {
        EXPECT_EQ(outer.context(), has_failed ? inner.context() : std::string_view(whole));
        EXPECT_EQ(outer.sys_errno, ECONNREFUSED);
      },
      [&] { outer = inner.with(text); });
}

TEST(ErrorOutOfMemoryTest, ErrorWithoutAContextAllocatesNothing) {
  ShortMemory::fail_nth(1);
  Error error{.code = Errc::kTimedOut, .operation = "read", .detail = "why"};
  const Error copy = error;
  const Result<int> result = copy;
  error = result.error();
  ShortMemory::stop();
  EXPECT_FALSE(ShortMemory::has_failed());
  EXPECT_EQ(error.code, Errc::kTimedOut);
}

}  // namespace
}  // namespace heddle
