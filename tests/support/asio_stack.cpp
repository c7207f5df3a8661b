// Asio as a stack.
#include "support/asio_stack.h"

#include <exception>
#include <utility>

// Boost 1.74 uses what Boost 1.74 warns of.
#define BOOST_ALLOW_DEPRECATED_HEADERS
#define BOOST_COROUTINES_NO_DEPRECATION_WARNING
#include <boost/asio/bind_executor.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/spawn.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/asio/write.hpp>
#include <boost/version.hpp>
#if BOOST_VERSION >= 108000
#include <boost/context/protected_fixedsize_stack.hpp>
#endif

namespace heddle::test {
namespace {

namespace asio = boost::asio;
namespace ssl = boost::asio::ssl;

using boost::system::error_code;
using stale::Answer;
using stale::Outcome;
using stale::Patience;
using Executor = asio::io_context::executor_type;

constexpr std::size_t kStackBytes = std::size_t{256} * 1024;

// --- Two generations of spawn()
// -------------------------------------------------------------------

#if BOOST_VERSION < 108000

void ignore_end() {}

using Handler = asio::executor_binder<void (*)(), Executor>;
using Yield = asio::basic_yield_context<Handler>;

// An asynchronous operation begins on the coroutine's stack, which is then suspended.
constexpr bool kBeginsBeforeSuspending = true;

template <typename Function>
void start_coroutine(asio::io_context& io, Function function) {
  asio::spawn(asio::bind_executor(io.get_executor(), &ignore_end), std::move(function),
              boost::coroutines::attributes(kStackBytes));
}

#else

using Yield = asio::basic_yield_context<Executor>;

// The coroutine is suspended, and the operation begins on the stack of whoever resumed it.
constexpr bool kBeginsBeforeSuspending = false;

template <typename Function>
void start_coroutine(asio::io_context& io, Function function) {
  asio::spawn(io.get_executor(), std::allocator_arg,
              boost::context::protected_fixedsize_stack(kStackBytes), std::move(function),
              [](const std::exception_ptr& failure) {
                if (failure) std::rethrow_exception(failure);
              });
}

#endif

// --- Outcomes
// -------------------------------------------------------------------------------------

Answer classify(const error_code& error) {
  if (!error) return Answer::kDone;
  if (error == asio::error::eof) return Answer::kEnd;
  if (error == asio::error::would_block) return Answer::kWaiting;
  if (error == ssl::error::unexpected_result) return Answer::kTlsFailed;
  // What is left is the system's, or a way to say that the connection was cut.
  if (error.category() != asio::error::get_ssl_category()) return Answer::kTransportFailed;
  // Asio keeps the entry that SSL_get_error() went by, in an int.
  const unsigned long entry = static_cast<unsigned int>(error.value());
  if (ERR_SYSTEM_ERROR(entry)) return Answer::kTransportFailed;
  const bool untrusted =
      ERR_GET_LIB(entry) == ERR_LIB_SSL && ERR_GET_REASON(entry) == SSL_R_CERTIFICATE_VERIFY_FAILED;
  return untrusted ? Answer::kUntrusted : Answer::kTlsFailed;
}

Outcome outcome_of(const error_code& error, std::size_t bytes = 0) {
  if (!error) return {Answer::kDone, bytes, ""};
  return {classify(error), 0, std::string(error.category().name()) + ": " + error.message()};
}

// --- The stack
// ------------------------------------------------------------------------------------

class AsioStack final : public stale::Stack {
 public:
  std::string_view name() const override { return "asio"; }
  Isolation claims() const override { return Isolation::kClear; }

  void run(std::function<void()> entry) override {
    spawn("first", std::move(entry));
    io_.restart();
    do {
      running_ = nullptr;
    } while (io_.run_one() > 0);
    if (failure_) std::rethrow_exception(std::exchange(failure_, nullptr));
  }

  void spawn(const std::string& /*name*/, std::function<void()> entry) override {
    // Posted: else it would begin on top of the caller's stack.
    asio::post(io_, [this, entry = std::move(entry)] {
      start_coroutine(io_, [this, entry](const Yield& yield) { be_a_coroutine(yield, entry); });
    });
  }

  void yield() override {
    if (running_ != nullptr) {
      suspend([this](const Yield& yield) { asio::post(io_, yield); });
    } else {
      run_nested();
    }
  }

  bool switches_inside() const override { return true; }

  std::unique_ptr<stale::StackConnection> connect(const stale::Endpoint& endpoint) override;

  asio::io_context& io() { return io_; }

  // Calls `operation` with what suspends the running coroutine.
  template <typename Operation>
  void suspend(Operation operation) {
    const Yield* const self = running_;
    if (!kBeginsBeforeSuspending) running_ = nullptr;
    operation(*self);
    running_ = self;
  }

 private:
  void be_a_coroutine(const Yield& yield, const std::function<void()>& entry) {
    running_ = &yield;
    try {
      entry();
    } catch (const std::exception&) {
      // Would otherwise leave through whatever resumed the coroutine, which may be OpenSSL.
      failure_ = std::current_exception();
    }
  }

  // Runs all handlers that are ready now. They may make others ready, so poll() might never return.
  void run_nested() {
    bool passed = false;
    asio::post(io_, [&passed] { passed = true; });
    while (!passed) {
      io_.poll_one();
      running_ = nullptr;
    }
  }

  asio::io_context io_;
  const Yield* running_ = nullptr;  // The coroutine whose stack we are on; none: the thread's own.
  std::exception_ptr failure_;
};

class AsioConnection final : public stale::StackConnection {
 public:
  AsioConnection(AsioStack& stack, const stale::Endpoint& endpoint)
      : stack_(stack),
        role_(endpoint.role),
        context_(make_context(endpoint)),
        stream_(asio::local::stream_protocol::socket(stack.io(), asio::local::stream_protocol(),
                                                     endpoint.descriptor),
                context_) {
    stream_.next_layer().non_blocking(true);  // For the synchronous calls.
    if (role_ == Role::kServer) return;
    const std::string host(endpoint.server_name);
    SSL_set_tlsext_host_name(native_handle(), host.c_str());
    // Not by Asio's host_name_verification, which is lost when others set a verify callback.
    X509_VERIFY_PARAM_set1_host(SSL_get0_param(native_handle()), host.data(), host.size());
  }

  Outcome handshake() override {
    const auto type = role_ == Role::kServer ? ssl::stream_base::server : ssl::stream_base::client;
    error_code error;
    stack_.suspend([&](const Yield& yield) { stream_.async_handshake(type, yield[error]); });
    return outcome_of(error);
  }

  Outcome read(std::span<std::byte> into, Patience patience) override {
    const auto buffer = asio::buffer(into.data(), into.size());
    error_code error;
    std::size_t bytes = 0;
    if (patience == Patience::kNone) {
      bytes = stream_.read_some(buffer, error);
    } else {
      stack_.suspend(
          [&](const Yield& yield) { bytes = stream_.async_read_some(buffer, yield[error]); });
    }
    return outcome_of(error, bytes);
  }

  Outcome write(std::span<const std::byte> from) override {
    const auto buffer = asio::buffer(from.data(), from.size());
    error_code error;
    stack_.suspend([&](const Yield& yield) { asio::async_write(stream_, buffer, yield[error]); });
    return outcome_of(error);
  }

  // Synchronous, as async_shutdown() waits for the peer. What does not fit into the socket would be
  // lost, which does not happen to the few bytes of a close_notify unless the peer has stopped
  // reading.
  Outcome shutdown() override {
    error_code error;
    stream_.shutdown(error);
    return outcome_of(error);
  }

  SSL* native_handle() noexcept override { return stream_.native_handle(); }

 private:
  static ssl::context make_context(const stale::Endpoint& endpoint) {
    const auto pem = [](std::string_view text) { return asio::buffer(text.data(), text.size()); };
    if (endpoint.role == Role::kServer) {
      ssl::context context(ssl::context::tls_server);
      context.use_certificate_chain(pem(endpoint.chain_pem));
      context.use_private_key(pem(endpoint.key_pem), ssl::context::pem);
      return context;
    }
    ssl::context context(ssl::context::tls_client);
    if (!endpoint.trusted_pem.empty()) context.add_certificate_authority(pem(endpoint.trusted_pem));
    context.set_verify_mode(ssl::verify_peer);
    return context;
  }

  AsioStack& stack_;
  Role role_;
  ssl::context context_;  // Asio wants it to outlive the stream.
  ssl::stream<asio::local::stream_protocol::socket> stream_;
};

std::unique_ptr<stale::StackConnection> AsioStack::connect(const stale::Endpoint& endpoint) {
  return std::make_unique<AsioConnection>(*this, endpoint);
}

}  // namespace

std::unique_ptr<stale::Stack> make_asio_stack() {
  return std::make_unique<AsioStack>();
}

}  // namespace heddle::test
