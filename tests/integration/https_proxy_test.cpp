// curl through an HTTPS proxy made of this library: the other side of http_connect().
#include <sys/socket.h>

#include <array>
#include <string>
#include <thread>
#include <utility>

#include <gtest/gtest.h>

#include "heddle/fiber.h"
#include "heddle/listener.h"
#include "heddle/runtime.h"
#include "heddle/socket.h"
#include "heddle/tls/http_connect.h"
#include "heddle/tls/stream.h"
#include "heddle/tls/stream_transport.h"

#include "base/unique_fd.h"
#include "support/server_process.h"
#include "support/tls_pair.h"

namespace heddle {
namespace {

using std::chrono::seconds;
using test::bytes;
using test::together;

// HttpsProxy is a proxy on a thread of its own that knows CONNECT, and stops when it is destroyed.
class HttpsProxy {
 public:
  HttpsProxy() {
    EXPECT_TRUE(runtime_.spawn("accept", [this] {
      serve(listener_, [this](Socket socket) { talk(std::move(socket)); });
    }));
    thread_ = std::thread([this] { runtime_.run(); });
  }
  HttpsProxy(const HttpsProxy&) = delete;
  HttpsProxy& operator=(const HttpsProxy&) = delete;
  ~HttpsProxy() {
    runtime_.stop();
    thread_.join();
  }

  const Address& address() const { return address_; }

 private:
  static constexpr Deadline kNever = Deadline::never();

  void talk(Socket socket) {
    auto client = test::server(context_, socket);
    std::string head;
    while (!head.ends_with("\r\n\r\n")) {
      std::array<char, 1> next{};
      const auto got = client.read(std::as_writable_bytes(std::span(next)), kNever);
      if (!got || *got == 0) return;
      head += next[0];
    }
    const std::size_t begin = head.find(' ') + 1;
    const auto where = Address::parse(head.substr(begin, head.find(' ', begin) - begin));
    if (head.substr(0, begin) != "CONNECT " || !where) {
      (void)client.write(bytes("HTTP/1.1 405 Only CONNECT\r\n\r\n"), kNever);
    } else if (auto origin = connect(runtime_, *where, kNever); !origin) {
      (void)client.write(bytes("HTTP/1.1 502 No origin\r\n\r\n"), kNever);
    } else if (client.write(bytes("HTTP/1.1 200 Connected\r\n\r\n"), kNever)) {
      together({[&] { to_origin(client, *origin); }, [&] { to_client(*origin, client); }});
    }
    (void)client.close(this_fiber::after(seconds(5)));
  }

  static void to_origin(Stream& client, Socket& origin) {
    std::array<std::byte, 16'384> buffer;
    for (;;) {
      const auto count = client.read(buffer, kNever);
      if (!count || *count == 0) return origin.shutdown_write();
      if (!origin.write(std::span(buffer).first(*count), kNever)) return;
    }
  }
  static void to_client(Socket& origin, Stream& client) {
    std::array<std::byte, 16'384> buffer;
    for (;;) {
      const auto count = origin.read(buffer, kNever);
      if (!count || *count == 0) return (void)client.shutdown_write(kNever);
      if (!client.write(std::span(buffer).first(*count), kNever)) return;
    }
  }

  Context context_ = test::server_context();
  Runtime runtime_ = Runtime::create().value();
  Listener listener_ = Listener::create(runtime_, Address::parse("127.0.0.1:0").value()).value();
  const Address address_ = listener_.address();
  std::thread thread_;
};

// Prints the proxy's status, the origin's, and the body's size.
test::Finished curl(const HttpsProxy& proxy, const std::string& url) {
  return test::run_program({"curl", "-sk", "--max-time", "60", "--proxy-insecure", "--proxy",
                            "https://" + proxy.address().to_string(), "-o", "/dev/null", "-w",
                            "%{http_connect} %{http_code} %{size_download}", url});
}

TEST(HttpsProxyTest, CurlReachesHeddleServeThroughIt) {
  const HttpsProxy proxy;
  const test::ServerProcess origin;
  const auto done = curl(proxy, "https://" + origin.address().to_string() + "/small");
  EXPECT_EQ(done.status, 0);
  EXPECT_EQ(done.output, "200 200 13");
}

TEST(HttpsProxyTest, CurlIsToldOfAnOriginThatIsDead) {
  const HttpsProxy proxy;
  // Bound, and never listens: nobody else can take the port.
  const UniqueFd bound(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  Address any = Address::parse("127.0.0.1:0").value();
  ASSERT_EQ(::bind(bound.get(), any.data(), any.size()), 0);
  sockaddr_storage storage{};
  socklen_t size = sizeof(storage);
  auto* const generic = reinterpret_cast<sockaddr*>(&storage);
  ASSERT_EQ(::getsockname(bound.get(), generic, &size), 0);
  const auto done = curl(proxy, "https://" + Address::from_sockaddr(generic, size).to_string());
  EXPECT_NE(done.status, 0);
  EXPECT_EQ(done.output, "502 000 0");
}

// And the library's own client through the library's proxy.
TEST(HttpsProxyTest, HttpConnectReachesHeddleServeThroughIt) {
  const HttpsProxy proxy;
  const test::ServerProcess origin;
  auto runtime = Runtime::create().value();
  const Context to_proxy = test::client_context();
  Context to_origin = Context::create(Role::kClient, Trust::kNothing).value();
  to_origin.add_trusted_certificates(bytes(origin.certificate_pem())).value();
  ASSERT_TRUE(runtime.spawn("client", [&] {
    const Deadline deadline = runtime.after(seconds(60));
    auto outer = Stream::create(to_proxy, connect(runtime, proxy.address(), deadline).value(),
                                {.server_name = test::kServerName})
                     .value();
    http_connect(outer, {.host = "127.0.0.1", .port = origin.address().port()}, deadline).value();
    auto stream =
        Stream::create(to_origin, StreamTransport(std::move(outer)), {.server_name = "127.0.0.1"})
            .value();
    stream.write(bytes("GET /small HTTP/1.0\r\n\r\n"), deadline).value();
    EXPECT_TRUE(test::read_text(stream, 10'000, deadline).starts_with("HTTP/1.1 200 "));
    const auto closed = stream.close(deadline);
    EXPECT_TRUE(closed) << closed.error().message();
  }));
  runtime.run();
}

}  // namespace
}  // namespace heddle
