// What a program must not do, and the one line that it is told: include/MISUSE.md is this list.
#include <sys/socket.h>

#include <array>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <memory>
#include <regex>
#include <sstream>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "heddle/buffered.h"
#include "heddle/callback_transport.h"
#include "heddle/channel.h"
#include "heddle/fiber.h"
#include "heddle/listener.h"
#include "heddle/offload.h"
#include "heddle/runtime.h"
#include "heddle/socket.h"
#include "heddle/sync.h"
#include "heddle/threads.h"
#include "heddle/tls/callbacks.h"
#include "heddle/tls/certificate.h"
#include "heddle/tls/certificate_watcher.h"
#include "heddle/tls/context.h"
#include "heddle/tls/make_certificate.h"
#include "heddle/tls/memory_bio.h"
#include "heddle/tls/private_key.h"
#include "heddle/tls/session.h"
#include "heddle/tls/ssl_object.h"
#include "heddle/tls/stream.h"

#include "support/tls_pair.h"

namespace heddle {
namespace {

constexpr Deadline kNever = Deadline::never();

// Runs `body` in a fiber of a runtime that is on its way out.
void in_fiber(const std::function<void(Runtime&)>& body) {
  Runtime runtime = Runtime::create().value();
  (void)runtime.spawn("worker", [&] { body(runtime); });
  runtime.run();
}

void in_posted_work(const std::function<void()>& body) {
  Runtime runtime = Runtime::create().value();
  runtime.post(body);
  runtime.run();
}

std::array<Socket, 2> sockets(Runtime& runtime) {
  std::array<int, 2> ends{};
  if (::socketpair(AF_UNIX, SOCK_STREAM, 0, ends.data()) != 0) std::abort();
  return {Socket::adopt(runtime, ends[0]).value(), Socket::adopt(runtime, ends[1]).value()};
}

Context client() {
  return test::client_context();
}
Context server() {
  return test::server_context();
}

// A transport of functions, of which only one counts.
CallbackTransport transport(CallbackTransport::Functions functions) {
  if (!functions.read) functions.read = [](auto, Deadline) { return Result<std::size_t>(0U); };
  if (!functions.write) {
    functions.write = [](auto from, Deadline) { return Result<std::size_t>(from.size()); };
  }
  return CallbackTransport(std::move(functions));
}

struct Misuse {
  const char* what;  // The program does.
  const char* told;  // Behind "heddle: ".
  std::function<void()> program;
};

const std::vector<Misuse>& fibers_and_threads() {
  static const std::vector<Misuse> all{
      {"calls what is for fibers on a plain thread",
       "yield() on a thread on which no runtime runs: call it in a fiber of one",
       [] { (void)this_fiber::yield(); }},
      {"asks for the runtime on a plain thread",
       "this_fiber::runtime() on a thread on which no runtime runs",
       [] { (void)this_fiber::runtime(); }},
      {"waits in posted work",
       "a wait for a semaphore outside any fiber: work that was posted must not wait, spawn a "
       "fiber for it",
       [] {
         in_posted_work([] {
           Semaphore none(0);
           (void)none.acquire(kNever);
         });
       }},
      {"pushes to a channel in posted work",
       "Channel::push() outside any fiber, in work that was posted to a runtime: call try_push(), "
       "which never waits",
       [] {
         in_posted_work([] {
           Channel<int> channel(1);
           (void)channel.push(1);
         });
       }},
      {"wakes another runtime's fiber without post()",
       "fiber 'worker', which waits for a semaphore, is woken on another runtime's thread: use "
       "Runtime::post() (in fiber 'other')",
       [] {
         Semaphore none(0);
         in_fiber([&](Runtime&) {
           scope([&](Scope& fibers) {
             (void)fibers.spawn("helper", [&] {
               std::thread([&] {
                 Runtime other = Runtime::create().value();
                 (void)other.spawn("other", [&] { none.release(); });
                 other.run();
               }).join();
             });
             (void)none.acquire(kNever);
           });
         });
       }},
      {"pushes to another runtime's channel without post()",
       "fiber 'worker', which waits for a channel, is woken on another runtime's thread: use "
       "Runtime::post() (in fiber 'other')",
       [] {
         Channel<int> channel(1);
         in_fiber([&](Runtime&) {
           scope([&](Scope& fibers) {
             (void)fibers.spawn("helper", [&] {
               std::thread([&] {
                 Runtime other = Runtime::create().value();
                 (void)other.spawn("other", [&] { (void)channel.try_push(1); });
                 other.run();
               }).join();
             });
             (void)channel.pop(kNever);
           });
         });
       }},
      {"joins the fiber that it is",
       "Task::join() of the fiber that calls it, which would wait for itself: join it from another "
       "(in fiber 'selfish')",
       [] {
         in_fiber([](Runtime&) {
           std::optional<Task<void>> self;
           scope([&](Scope& fibers) {
             self = fibers.spawn("selfish", [&] { (void)self->join(); }).value();
           });
         });
       }},
      {"takes a result twice",
       "Task::join() once more: the result was taken by the first; keep it (in fiber 'worker')",
       [] {
         in_fiber([](Runtime&) {
           scope([](Scope& fibers) {
             auto task = fibers.spawn("child", [] { return 7; });
             (void)task->join();
             (void)task->join();
           });
         });
       }},
      {"joins a scope from inside",
       "Scope::join() by a fiber of that scope, which would wait for itself: join it from the "
       "fiber that opened it (in fiber 'child')",
       [] {
         in_fiber([](Runtime&) {
           scope([](Scope& fibers) {
             (void)fibers.spawn("child", [&] { (void)fibers.join(kNever); });
           });
         });
       }},
      {"calls run() in a fiber", "run() inside run(), on one thread (in fiber 'worker')",
       [] { in_fiber([](Runtime& runtime) { runtime.run(); }); }},
      {"calls run_on_threads() in a fiber",
       "run_on_threads() where a runtime runs: call it on a plain thread, which becomes the first "
       "of "
       "them (in fiber 'worker')",
       [] {
         in_fiber([](Runtime&) {
           struct Worker {
             static void run() {}
           };
           (void)run_on_threads<Worker>(
               {.threads = 1}, [](Runtime&, std::size_t) { return std::make_unique<Worker>(); });
         });
       }},
      {"destroys a runtime with fibers",
       "a runtime is destroyed while 1 fibers have not finished, such as 'late': stop() and run() "
       "it first",
       [] {
         Runtime runtime = Runtime::create().value();
         (void)runtime.spawn("late", [] {});
       }},
      {"destroys what a fiber waits for",
       "what fiber 'waiter' waits for (for a semaphore) is destroyed: wake or join it first (in "
       "fiber 'worker')",
       [] {
         in_fiber([](Runtime&) {
           scope([](Scope& fibers) {
             auto none = std::make_unique<Semaphore>(0);
             (void)fibers.spawn("waiter", [&] { (void)none->acquire(kNever); });
             (void)this_fiber::yield();
             none.reset();
           });
         });
       }},
      {"counts a group down too often",
       "WaitGroup::done() more often than add(): call it once for each",
       [] { WaitGroup().done(); }},
      {"recurses without end", "fiber 'worker' ran over its stack of 128 KiB",
       [] {
         static const std::function<int(int)> deep = [](int depth) {
           std::array<volatile char, 1024> frame;
           frame[0] = 1;
           return deep(depth + 1) + frame[0];
         };
         in_fiber([](Runtime&) { (void)deep(0); });
       }},
      {"uses what was moved from",
       "Runtime::run() of a handle that was moved from: it may only be assigned to and destroyed",
       [] {
         Runtime runtime = Runtime::create().value();
         const Runtime taken = std::move(runtime);
         runtime.run();
       }},
      {"takes the value of a failure",
       "the value of a Result was taken that holds an error (ask has_value() first): nowhere: "
       "parse "
       "an address: not usable: expected IP:PORT, [IPV6]:PORT or unix:PATH",
       [] { (void)*Address::parse("nowhere"); }},
  };
  return all;
}

const std::vector<Misuse>& transports_and_buffers() {
  static const std::vector<Misuse> all{
      {"reads a socket in two fibers",
       "fibers 'worker' and 'second' wait at once to read from one descriptor: one may read while "
       "another writes (in fiber 'second')",
       [] {
         in_fiber([](Runtime& runtime) {
           auto ends = sockets(runtime);
           std::array<std::byte, 1> byte{};
           scope([&](Scope& fibers) {
             (void)fibers.spawn("second", [&] { (void)ends[0].read(byte, kNever); });
             (void)ends[0].read(byte, kNever);
           });
         });
       }},
      {"destroys a socket under a reader",
       "a socket, listener or the like is destroyed while fiber 'reader' waits for it: cancel and "
       "join the fiber before (in fiber 'worker')",
       [] {
         in_fiber([](Runtime& runtime) {
           auto ends = std::make_unique<std::array<Socket, 2>>(sockets(runtime));
           std::array<std::byte, 1> byte{};
           scope([&](Scope& fibers) {
             (void)fibers.spawn("reader", [&] { (void)(*ends)[0].read(byte, kNever); });
             (void)this_fiber::yield();
             ends.reset();
           });
         });
       }},
      {"uses a socket on another runtime",
       "a wait to read from a descriptor of another runtime: use it on the one that it was made "
       "for (in "
       "fiber 'other')",
       [] {
         in_fiber([](Runtime& runtime) {
           auto ends = sockets(runtime);
           std::thread([&] {
             Runtime other = Runtime::create().value();
             std::array<std::byte, 1> byte{};
             (void)other.spawn("other", [&] { (void)ends[0].read(byte, kNever); });
             other.run();
           }).join();
         });
       }},
      {"destroys a stream under a reader",
       "a stream is destroyed while a fiber ('reader') is inside a call of it: close() the stream, "
       "or cancel and join the fiber before (in fiber 'worker')",
       [] {
         in_fiber([](Runtime& runtime) {
           auto ends = sockets(runtime);
           auto stream =
               std::make_unique<Stream>(Stream::create(server(), std::move(ends[0])).value());
           std::array<std::byte, 1> byte{};
           scope([&](Scope& fibers) {
             (void)fibers.spawn("reader", [&] { (void)stream->read(byte, kNever); });
             (void)this_fiber::yield();
             stream.reset();
           });
         });
       }},
      {"makes a CallbackTransport without functions",
       "CallbackTransport() without a read or a write function: it needs both",
       [] { (void)CallbackTransport({}); }},
      {"returns more bytes than there was room for",
       "a CallbackTransport's read function returned 20000 where it was given 16384 bytes: it says "
       "how many of those it has used (in fiber 'worker')",
       [] {
         in_fiber([](Runtime&) {
           auto bad =
               transport({.read = [](auto, Deadline) { return Result<std::size_t>(20'000U); }});
           (void)bad.wait(Interest::kRead, kNever);
         });
       }},
      {"destroys a pool of threads from inside",
       "an OffloadPool is destroyed by a function that runs on it, and would wait for itself: keep "
       "it longer",
       [] {
         in_fiber([](Runtime&) {
           auto pool = std::make_shared<OffloadPool>(OffloadPool::create({.threads = 1}).value());
           auto* const used = pool.get();
           (void)used->run([pool = std::move(pool)]() mutable { pool.reset(); }, kNever);
         });
       }},
      {"asks for more than nice(1) gives",
       "OffloadPool::create() with nice 20: 0 to 19, as of nice(1), without rights",
       [] { (void)OffloadPool::create({.nice = 20}); }},
      {"reads until nothing",
       "BufferedReader::read_until() with an empty delimiter: every text begins with that (in "
       "fiber 'worker')",
       [] {
         in_fiber([](Runtime& runtime) {
           auto ends = sockets(runtime);
           BufferedReader reader(ends[0]);
           (void)reader.read_until("", 10, kNever);
         });
       }},
      {"commits more than it prepared",
       "MemoryBio::commit() of 9 bytes where prepare() gave room for 8: commit once, before any "
       "other call",
       [] {
         MemoryBio bio;
         (void)bio.prepare(8);
         bio.commit(9);
       }},
      {"consumes more than there is",
       "MemoryBio::consume() of 1 bytes where 0 can be read: ask readable() again after any other "
       "call",
       [] { MemoryBio().consume(1); }},
      {"appends behind the end",
       "MemoryBio::commit() after write_eof(): nothing comes behind the end",
       [] {
         MemoryBio bio;
         (void)bio.prepare(8);
         bio.write_eof();
         bio.commit(1);
       }},
  };
  return all;
}

const std::vector<Misuse>& contexts() {
  static const std::vector<Misuse> all{
      {"gives a client what is for servers",
       "Context::on_client_hello() on a client context: it is for servers; create that with "
       "Role::kServer",
       [] { client().on_client_hello([](const ClientHello&) { return HelloAnswer::go_on(); }); }},
      {"gives a server what is for clients",
       "Context::on_new_session() on a server context: it is for clients; create that with "
       "Role::kClient",
       [] {
         server().on_new_session(
             [](const ConnectionView&, const Session&) -> Result<void> { return {}; });
       }},
      {"gives half of a session store",
       "Context::set_session_store() with an empty function: a store has both put and get",
       [] { (void)server().set_session_store({}); }},
      {"gives an empty function for ticket keys",
       "Context::on_ticket_keys() with an empty function: there is nobody to ask for keys",
       [] { (void)server().on_ticket_keys({}); }},
      {"parks while it is shown a message",
       "it yields inside the message callback of a TLS connection, where no other fiber may run: "
       "do it before or behind that (in fiber 'worker')",
       [] {
         in_fiber([](Runtime&) {
           Context context = client();
           context.on_message(
               [](const ConnectionView&, const TlsMessage&) { return this_fiber::yield(); });
           MemoryBio in;
           MemoryBio out;
           (void)SslObject::create(context, in, out, {.server_name = test::kServerName})
               .value()
               .handshake();
         });
       }},
      {"sets versions the wrong way round",
       "Context::set_versions() from a newer version to an older one: the oldest comes first",
       [] { (void)client().set_versions(TlsVersion::kTls13, TlsVersion::kTls12); }},
      {"names nobody who signs",
       "Credentials::with_signer() with a null signer: there is nobody to sign",
       [] { (void)Credentials::with_signer("", nullptr); }},
      {"puts no credentials together", "Credentials::combine() of none: there is nothing to show",
       [] { (void)Credentials::combine({}); }},
      {"watches no files", "CertificateWatcher::create() of no files: there is nothing to watch",
       [] { (void)CertificateWatcher::create({}); }},
      {"keeps a session that there is not",
       "Session() of a null SSL_SESSION: ask SSL_get1_session() for one only after the handshake",
       [] { (void)Session(nullptr); }},
      {"makes a certificate for nobody",
       "make_self_signed() without a name: name the host or the address that it is for",
       [] { (void)make_self_signed({}); }},
      {"makes a certificate without any name",
       "make_certificate() without a name: set common_name or names",
       [] { (void)make_certificate({}); }},
  };
  return all;
}

const std::vector<Misuse>& all_misuses() {
  static const std::vector<Misuse> all = [] {
    std::vector<Misuse> joined = fibers_and_threads();
    for (const auto* const some : {&transports_and_buffers(), &contexts()}) {
      joined.insert(joined.end(), some->begin(), some->end());
    }
    return joined;
  }();
  return all;
}

std::string escaped(std::string_view text) {
  return std::regex_replace(std::string(text), std::regex(R"([.^$|()\[\]{}*+?\\])"), R"(\$&)");
}

class MisuseDeathTest : public testing::TestWithParam<std::size_t> {};

TEST_P(MisuseDeathTest, EndsTheProgramWithOneLineThatHelps) {
  const Misuse& misuse = all_misuses().at(GetParam());
  EXPECT_DEATH(misuse.program(), "^heddle: " + escaped(misuse.told) + "[^\n]*\n$") << misuse.what;
}

INSTANTIATE_TEST_SUITE_P(All, MisuseDeathTest,
                         testing::Range(std::size_t{0}, all_misuses().size()));

TEST(MisuseTest, TableIsThisList) {
  const char* const path = std::getenv("HEDDLE_MISUSES");
  std::ifstream file(path != nullptr ? path : "include/MISUSE.md");
  ASSERT_TRUE(file) << "not there, nor named by $HEDDLE_MISUSES";
  std::stringstream text;
  text << file.rdbuf();
  const std::string table = text.str();
  for (const Misuse& misuse : all_misuses()) {
    const std::string row = std::string("| ") + misuse.what + " | `" + misuse.told + "` |\n";
    EXPECT_NE(table.find(row), std::string::npos) << "is not there:\n" << row;
  }
  std::size_t rows = 0;
  for (std::size_t at = 0; (at = table.find("\n| ", at)) != std::string::npos; ++at) ++rows;
  EXPECT_EQ(rows, all_misuses().size() + 1) << "with the head of the table";
}

}  // namespace
}  // namespace heddle
