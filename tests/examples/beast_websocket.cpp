// A WebSocket server over TLS: Boost.Beast's synchronous API in fibers. What blocks there, parks.
// beast_websocket LISTEN CERTIFICATE KEY sends each message back.
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

// A Stream as Beast's SyncReadStream and SyncWriteStream. It throws the Error with which the stream
// fails (heddle::Exception), of which an error_code would tell less.
class SyncStream {
 public:
  using executor_type = net::io_context::executor_type;

  explicit SyncStream(Stream& stream) : stream_(stream) {}

  // For the timers of Beast's asynchronous calls, which nobody makes here.
  static executor_type get_executor() {
    static net::io_context unused;
    return unused.get_executor();
  }

  template <typename Buffers>
  std::size_t read_some(const Buffers& buffers, ErrorCode& code) {
    code = {};
    for (const net::mutable_buffer into : beast::buffers_range_ref(buffers)) {
      if (into.size() == 0) continue;
      const std::span room(static_cast<std::byte*>(into.data()), into.size());
      const std::size_t count = stream_.read(room, this_fiber::after(60s)).value();
      if (count == 0) code = net::error::eof;
      return count;
    }
    return 0;
  }
  template <typename Buffers>
  std::size_t write_some(const Buffers& buffers, ErrorCode& code) {
    code = {};
    std::vector<std::span<const std::byte>> pieces;  // Which share records.
    for (const net::const_buffer from : beast::buffers_range_ref(buffers)) {
      pieces.emplace_back(static_cast<const std::byte*>(from.data()), from.size());
    }
    stream_.write(pieces, this_fiber::after(60s)).value();
    return beast::buffer_bytes(buffers);
  }
  template <typename Buffers>
  std::size_t read_some(const Buffers& buffers) {
    ErrorCode code;
    const std::size_t count = read_some(buffers, code);
    return code ? throw boost::system::system_error(code) : count;
  }
  template <typename Buffers>
  std::size_t write_some(const Buffers& buffers) {
    ErrorCode none;
    return write_some(buffers, none);
  }

  // How Beast ends what is below a WebSocket.
  friend void teardown(beast::role_type, SyncStream& stream, ErrorCode& code) {
    stream.stream_.close(this_fiber::after(5s)).value();
    code = {};
  }
  friend void beast_close_socket(SyncStream&) {}

 private:
  Stream& stream_;
};

// Sends messages back until it throws: at the end, websocket::error::closed.
static void echo(Stream& client) {
  client.handshake(this_fiber::after(10s)).value();
  websocket::stream<SyncStream> messages(client);
  messages.read_message_max(1 << 20);
  messages.accept();
  for (beast::flat_buffer message;; message.clear()) {
    messages.read(message);
    messages.text(messages.got_text());
    messages.write(message.data());
  }
}

static Result<void> serve_client(const Context& tls, Socket socket) {
  auto client = Stream::create(tls, std::move(socket));
  if (!client) return client.error();
  try {
    echo(*client);
  } catch (const Exception& failed) {
    std::fprintf(stderr, "client: %s\n", client->explain(failed.error()).c_str());
  } catch (const boost::system::system_error& ended) {
    if (ended.code() == websocket::error::closed) return {};
    std::fprintf(stderr, "client: not WebSocket: %s\n", ended.what());
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
  const auto handle = [&](Socket socket) { return serve_client(tls, std::move(socket)); };
  runtime.spawn("main", [&] { serve_until(std::move(signals), listener, handle).value(); }).value();
  std::printf("listening on %s\n", listener.address().to_string().c_str());
  std::fflush(stdout);
  runtime.run();
} catch (const std::exception& error) {
  return std::fprintf(stderr, "beast_websocket: %s\n", error.what()), 1;
}
