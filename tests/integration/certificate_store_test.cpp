// A server that fetches the certificate of each connection over TLS, from another Heddle server,
// within its SNI callback: 500 handshakes at once on one thread, beside fibers whose OpenSSL calls
// fail and leave entries in the error queue.
#include <array>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>
#include <openssl/opensslv.h>

#include "heddle/fiber.h"
#include "heddle/listener.h"
#include "heddle/runtime.h"
#include "heddle/socket.h"
#include "heddle/sync.h"
#include "heddle/tls/context.h"
#include "heddle/tls/stream.h"

#include "support/raw_tls.h"
#include "support/server_process.h"
#include "support/tls_pair.h"

namespace heddle {
namespace {

using std::chrono::minutes;
using std::chrono::seconds;

// From 4.0 on SSL_get_error() looks at the connection before it looks at the queue.
constexpr bool kQueueDecides = OPENSSL_VERSION_NUMBER < 0x40000000L;

constexpr std::size_t kHandshakes = 500;
constexpr std::size_t kNames = 10;

std::string name_of(std::size_t index) {
  return "site-" + std::to_string(index % kNames) + ".test";
}

const std::vector<Identity>& identities() {
  static const std::vector<Identity> made = [] {
    std::vector<Identity> all;
    for (std::size_t i = 0; i < kNames; ++i) all.push_back(make_self_signed({name_of(i)}).value());
    return all;
  }();
  return made;
}

// Store is the certificate store, seen by those who fetch from it.
class Store {
 public:
  Store() {
    for (std::size_t i = 0; i < kNames; ++i) {
      process_.serve_file(name_of(i), identities()[i].certificate_pem + identities()[i].key_pem);
    }
    context_.add_trusted_certificates(test::bytes(process_.certificate_pem())).value();
  }

  // GET /`name`, over a connection of its own.
  Result<std::string> fetch(Runtime& runtime, const std::string& name, Deadline deadline) const {
    auto socket = connect(runtime, process_.address(), deadline);
    if (!socket) return socket.error();
    auto stream = Stream::create(context_, *std::move(socket), {.server_name = "localhost"});
    if (!stream) return stream.error();
    const std::string request =
        "GET /" + name + " HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    if (auto sent = stream->write(test::bytes(request), deadline); !sent) return sent.error();
    std::string answer;
    std::array<char, 4096> part{};
    for (;;) {
      const auto count = stream->read(std::as_writable_bytes(std::span(part)), deadline);
      if (!count) return count.error();
      if (*count == 0) break;
      answer.append(part.data(), *count);
    }
    (void)stream->close(deadline);
    const std::size_t body = answer.find("\r\n\r\n");
    if (!answer.starts_with("HTTP/1.1 200 ") || body == std::string::npos) {
      return Error{.code = Errc::kProtocol, .operation = "fetch a certificate"};
    }
    return answer.substr(body + 4);
  }

 private:
  test::ServerProcess process_{{"--handshake-timeout", "120"}};
  Context context_ = Context::create(Role::kClient, Trust::kNothing).value();
};

// The clients live on a thread of their own, so that what happens to the server's thread is the
// server's alone. Each asks for one name and insists on its certificate.
class Clients {
 public:
  explicit Clients(const Address& server) : thread_([this, server] { run(server); }) {}
  Clients(const Clients&) = delete;
  Clients& operator=(const Clients&) = delete;
  ~Clients() {
    if (thread_.joinable()) thread_.join();
  }

  // Waits for all, and returns how many were served.
  std::size_t finish() {
    thread_.join();
    return served_;
  }

 private:
  void run(const Address& server) {
    auto runtime = Runtime::create().value();
    Context context = Context::create(Role::kClient, Trust::kNothing).value();
    for (const Identity& each : identities()) {
      context.add_trusted_certificates(test::bytes(each.certificate_pem)).value();
    }
    for (std::size_t i = 0; i < kHandshakes; ++i) {
      runtime.spawn("client", [&, i] { visit(runtime, context, server, name_of(i)); }).value();
    }
    runtime.run();
  }

  void visit(Runtime& runtime, const Context& context, const Address& server,
             const std::string& name) {
    const Deadline deadline = this_fiber::after(minutes(2));
    auto socket = connect(runtime, server, deadline);
    if (!socket) return;
    auto stream = Stream::create(context, *std::move(socket), {.server_name = name}).value();
    std::array<std::byte, 16> answer{};
    const auto count = stream.read(answer, deadline);
    (void)stream.close(deadline);
    if (count && *count > 0) ++served_;
  }

  std::size_t served_ = 0;  // The thread's.
  std::thread thread_;
};

// Front is the server whose certificates are in the store.
class Front {
 public:
  Front(const Store& store, Isolation isolation)
      : store_(store), runtime_(Runtime::create({.isolation = isolation}).value()) {
    context_.on_server_name([this](const ClientHello& hello) { return choose(hello); });
  }

  struct Outcome {
    std::size_t completed = 0;
    std::size_t failed = 0;
    std::size_t served_clients = 0;
    std::size_t parked_at_once = 0;
    std::string first_failure;
  };

  Outcome serve_all() {
    auto listener = Listener::create(*runtime_, Address::from_ip("127.0.0.1", 0).value()).value();
    Clients clients(listener.address());
    runtime_
        ->spawn("front",
                [&] {
                  scope([&](Scope& fibers) {
                    for (int i = 0; i < 3; ++i) fibers.spawn("leaker", [this] { leak(); }).value();
                    scope([&](Scope& connections) {
                      for (std::size_t i = 0; i < kHandshakes; ++i) {
                        const auto socket = std::make_shared<Socket>(
                            listener.accept(this_fiber::after(minutes(2))).value());
                        connections
                            .spawn("connection", [this, socket] { serve_one(std::move(*socket)); })
                            .value();
                      }
                    });
                    over_ = true;
                  });
                })
        .value();
    runtime_->run();
    outcome_.served_clients = clients.finish();
    return outcome_;
  }

 private:
  Result<HelloAnswer> choose(const ClientHello& hello) {
    ++parked_;
    outcome_.parked_at_once = std::max(outcome_.parked_at_once, parked_);
    const auto pem = store_.fetch(*runtime_, std::string(hello.server_name()), hello.deadline());
    if (const auto met = meet_the_others(hello.native_handle(), hello.deadline()); !met) {
      return met.error();
    }
    --parked_;
    if (!pem) return pem.error();
    Context chosen = Context::create(Role::kServer).value();
    if (auto used = chosen.use_cert_chain(*pem, *pem); !used) return used.error();
    return HelloAnswer::use(chosen);
  }

  // Nobody goes on before all have come here: after the last call of TLS, so that nothing clears
  // the queue between what others leave there and the return to OpenSSL.
  Result<void> meet_the_others(const SSL* who, Deadline deadline) {
    auto lock = mutex_.lock(deadline);
    if (!lock) return lock.error();
    met_.insert(who);
    if (met_.size() == kHandshakes) all_here_.notify_all();
    while (met_.size() < kHandshakes) {
      if (auto woken = all_here_.wait(*lock, deadline); !woken) return woken.error();
    }
    return {};
  }

  void serve_one(Socket socket) {
    auto stream = Stream::create(context_, std::move(socket)).value();
    const Deadline deadline = this_fiber::after(minutes(2));
    const auto shaken = stream.handshake(deadline);
    // If it did not come as far as to the callback, the others must not wait for it.
    if (!shaken && !met_.contains(stream.native_handle())) {
      (void)meet_the_others(stream.native_handle(), deadline);
    }
    const auto sent = shaken ? stream.write(test::bytes("served"), deadline) : shaken;
    if (sent) {
      ++outcome_.completed;
    } else {
      if (outcome_.failed++ == 0) outcome_.first_failure = sent.error().message();
    }
    (void)stream.close(deadline);
  }

  // Whatever parks finds an entry when it goes on, unless the queues are kept apart.
  void leak() {
    while (!over_) {
      test::leave_entry(test::Leak::kOther);
      if (!this_fiber::yield()) return;
    }
  }

  const Store& store_;
  std::optional<Runtime> runtime_;
  Context context_ = Context::create(Role::kServer).value();
  Mutex mutex_;
  Condition all_here_;
  std::size_t parked_ = 0;
  std::set<const SSL*> met_;
  bool over_ = false;
  Outcome outcome_;
};

class CertificateStore : public testing::Test {
 protected:
  void SetUp() override { test::raise_descriptor_limit(); }

  Store store_;
};

TEST_F(CertificateStore, FiveHundredHandshakesFetchTheirCertificatesAndNoneFails) {
  Front front(store_, Isolation::kIsolated);
  const auto outcome = front.serve_all();
  EXPECT_EQ(outcome.parked_at_once, kHandshakes);
  EXPECT_EQ(outcome.completed, kHandshakes);
  EXPECT_EQ(outcome.served_clients, kHandshakes) << "each under the name that it asked for";
  EXPECT_EQ(outcome.failed, 0U) << outcome.first_failure;
}

// The same, to show what the policies are for.
TEST_F(CertificateStore, UnderClearHandshakesFail) {
  Front front(store_, Isolation::kClear);
  const auto outcome = front.serve_all();
  EXPECT_EQ(outcome.completed + outcome.failed, kHandshakes);
  EXPECT_EQ(outcome.failed > 0, kQueueDecides) << outcome.failed << " failed";
  RecordProperty("failed", static_cast<int>(outcome.failed));
  RecordProperty("first_failure", outcome.first_failure);
}

TEST_F(CertificateStore, UnderSharedHandshakesFail) {
  Front front(store_, Isolation::kShared);
  const auto outcome = front.serve_all();
  EXPECT_EQ(outcome.completed + outcome.failed, kHandshakes);
  EXPECT_EQ(outcome.failed > 0, kQueueDecides) << outcome.failed << " failed";
  RecordProperty("failed", static_cast<int>(outcome.failed));
  RecordProperty("first_failure", outcome.first_failure);
}

}  // namespace
}  // namespace heddle
