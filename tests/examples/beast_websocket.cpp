// A WebSocket server over TLS: Boost.Beast's synchronous API in fibers. What blocks there, parks.
//
//   beast_websocket LISTEN CERTIFICATE KEY
// Sends each message back.
#include <csignal>
#include <cstdio>

#include <boost/asio/io_context.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/websocket.hpp>

#include "heddle/heddle.h"

using namespace heddle;  // NOLINT(google-build-using-namespace): it is an example.
using namespace std::chrono_literals;
namespace net = boost::asio;
namespace beast = boost::beast;
namespace websocket = boost::beast::websocket;
using ErrorCode = boost::system::error_code;

// A Stream as Beast's SyncReadStream and SyncWriteStream. The Error behind the last error_code, of
// which Beast knows less, is kept.
class SyncStream {
 public:
  using executor_type = net::io_context::executor_type;

  SyncStream(Stream& stream, net::io_context& unused) : stream_(stream), unused_(unused) {}

  // Beast has timers of its own for its asynchronous calls, which nobody makes here.
  executor_type get_executor() { return unused_.get_executor(); }

  template <typename Buffers>
  std::size_t read_some(const Buffers& buffers, ErrorCode& code) {
    const auto into =
        first_of(net::buffer_sequence_begin(buffers), net::buffer_sequence_end(buffers));
    if (into.size() == 0) return code = {}, 0;
    const auto count = stream_.read(std::span(static_cast<std::byte*>(into.data()), into.size()),
                                    this_fiber::after(60s));
    code = count ? *count == 0 ? ErrorCode(net::error::eof) : ErrorCode() : keep(count.error());
    return count ? *count : 0;
  }
  template <typename Buffers>
  std::size_t write_some(const Buffers& buffers, ErrorCode& code) {
    const net::const_buffer from =
        first_of(net::buffer_sequence_begin(buffers), net::buffer_sequence_end(buffers));
    const auto done = stream_.write(
        std::span(static_cast<const std::byte*>(from.data()), from.size()), this_fiber::after(60s));
    code = done ? ErrorCode() : keep(done.error());
    return done ? from.size() : 0;
  }
  template <typename Buffers>
  std::size_t read_some(const Buffers& buffers) {
    return or_throw([&](ErrorCode& code) { return read_some(buffers, code); });
  }
  template <typename Buffers>
  std::size_t write_some(const Buffers& buffers) {
    return or_throw([&](ErrorCode& code) { return write_some(buffers, code); });
  }

  std::string explain() const { return error_ ? stream_.explain(*error_) : "not WebSocket"; }

  // How Beast ends what is below a WebSocket.
  friend void teardown(beast::role_type, SyncStream& stream, ErrorCode& code) {
    const auto done = stream.stream_.close(this_fiber::after(5s));
    code = done ? ErrorCode() : stream.keep(done.error());
  }
  friend void beast_close_socket(SyncStream&) {}

 private:
  // The first buffer with room.
  template <typename Position>
  static auto first_of(Position at, Position end) -> std::decay_t<decltype(*at)> {
    while (at != end && net::buffer_size(*at) == 0) ++at;
    return at != end ? std::decay_t<decltype(*at)>(*at) : std::decay_t<decltype(*at)>();
  }
  template <typename Call>
  static std::size_t or_throw(Call call) {
    ErrorCode code;
    const std::size_t count = call(code);
    if (code) throw boost::system::system_error(code);
    return count;
  }
  ErrorCode keep(const Error& error) {
    error_ = error;
    return net::error::connection_aborted;
  }

  Stream& stream_;
  net::io_context& unused_;
  std::optional<Error> error_;
};

static Result<void> serve_client(const Context& tls, net::io_context& unused, Socket socket) {
  auto client = Stream::create(tls, std::move(socket));
  if (!client) return client.error();
  auto greeted = client->handshake(this_fiber::after(10s));
  if (!greeted) return greeted;
  websocket::stream<SyncStream> messages(*client, unused);
  ErrorCode code;
  messages.read_message_max(1 << 20);
  messages.accept(code);
  for (beast::flat_buffer message; !code; message.clear()) {
    if (messages.read(message, code) == 0 && code) break;
    messages.text(messages.got_text());
    if (!code) messages.write(message.data(), code);
  }
  if (code != websocket::error::closed) {
    std::fprintf(stderr, "client: %s (%s)\n", code.message().c_str(),
                 messages.next_layer().explain().c_str());
  }
  return {};
}

int main(int argc, char** argv) try {
  if (argc != 4) throw std::runtime_error("usage: beast_websocket LISTEN CERTIFICATE KEY");
  auto runtime = Runtime::create().value();
  auto signals = Signals::create(runtime, {SIGINT, SIGTERM}).value();
  auto tls = Context::create(Role::kServer).value();
  tls.load_cert_chain(argv[2], argv[3]).value();
  auto listener = Listener::create(runtime, Address::parse(argv[1]).value()).value();
  net::io_context unused;
  const auto handler = [&](Socket socket) { return serve_client(tls, unused, std::move(socket)); };
  auto serving = runtime.spawn("serve", [&] { serve(listener, handler); }).value();
  const auto wait_for_end = [&] { (void)signals.wait(Deadline::never()), serving.cancel(); };
  runtime.spawn("stop", wait_for_end).value();
  std::printf("listening on %s\n", listener.address().to_string().c_str());
  std::fflush(stdout);
  runtime.run();
} catch (const std::exception& error) {
  return std::fprintf(stderr, "beast_websocket: %s\n", error.what()), 1;
}
