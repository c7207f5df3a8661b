// asio_server CERTIFICATE KEY: a contestant of compare.py. The same server with Boost.Asio's
// stackful coroutines (spawn) and its ssl::stream.
#include <array>
#include <cstdio>
#include <exception>
#include <memory>
#include <string_view>
#include <utility>  // Asio 1.74 uses it without including it.

#include <boost/asio.hpp>
#include <boost/asio/spawn.hpp>
#include <boost/asio/ssl.hpp>

#include "small_http.h"

namespace {

namespace asio = boost::asio;
using Socket = asio::ip::tcp::socket;
using Stream = asio::ssl::stream<Socket>;

void answer_all(Stream& stream, heddle::bench::SmallAnswers& answers, asio::yield_context yield) {
  std::array<char, 16384> buffer;  // NOLINT: what is not read into need not be touched.
  std::size_t filled = 0;
  while (true) {
    const std::size_t count =
        stream.async_read_some(asio::buffer(buffer.data() + filled, buffer.size() - filled), yield);
    filled += count;
    const auto request = heddle::bench::parse_small({buffer.data(), filled});
    if (!request) continue;
    for (std::uint64_t left = request->missing(filled); left > 0;) {
      const auto part = static_cast<std::size_t>(std::min<std::uint64_t>(left, buffer.size()));
      left -= stream.async_read_some(asio::buffer(buffer.data(), part), yield);
    }
    filled = 0;
    asio::async_write(stream, asio::buffer(answers.of(request->wants)), yield);
    if (request->close) return;
  }
}

void serve(Stream& stream, heddle::bench::SmallAnswers& answers, asio::yield_context yield) {
  boost::system::error_code ignored;  // Of those that go without a goodbye.
  try {
    stream.async_handshake(asio::ssl::stream_base::server, yield);
    answer_all(stream, answers, yield);
    stream.async_shutdown(yield[ignored]);
  } catch (const boost::system::system_error&) {
    return;
  }
}

void accept_all(asio::io_context& io, asio::ip::tcp::acceptor& acceptor, asio::ssl::context& tls,
                heddle::bench::SmallAnswers& answers, asio::yield_context yield) {
  while (true) {
    Socket socket(io);
    acceptor.async_accept(socket, yield);
    socket.set_option(asio::ip::tcp::no_delay(true));
    auto stream = std::make_shared<Stream>(std::move(socket), tls);
    asio::spawn(io, [stream, &answers](asio::yield_context its) {
      serve(*stream, answers, std::move(its));
    });
  }
}

void run(const char* certificate, const char* key) {
  asio::ssl::context tls(asio::ssl::context::tls_server);
  tls.use_certificate_chain_file(certificate);
  tls.use_private_key_file(key, asio::ssl::context::pem);
  SSL_CTX_set_session_id_context(tls.native_handle(),
                                 reinterpret_cast<const unsigned char*>("asio"), 4);
  asio::io_context io(1);
  asio::ip::tcp::acceptor acceptor(io, {asio::ip::address_v4::loopback(), 0});
  acceptor.listen(4096);
  heddle::bench::SmallAnswers answers;
  asio::spawn(io, [&](asio::yield_context yield) {
    accept_all(io, acceptor, tls, answers, std::move(yield));
  });
  std::printf("listening on 127.0.0.1:%d\n", acceptor.local_endpoint().port());
  (void)std::fflush(stdout);
  io.run();
}

}  // namespace

// NOLINTNEXTLINE(bugprone-exception-escape): what is not a std::exception ends it, too.
int main(int argc, char** argv) try {
  if (argc != 3) return std::fprintf(stderr, "usage: asio_server CERTIFICATE KEY\n"), 2;
  run(argv[1], argv[2]);
  return 0;
} catch (const std::exception& error) {
  (void)std::fprintf(stderr, "asio_server: %s\n", error.what());
  return 1;
}
