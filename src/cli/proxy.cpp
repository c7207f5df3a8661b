// TLS to a proxy, and a tunnel through it.
#include "cli/proxy.h"

#include <chrono>
#include <utility>

#include "heddle/fiber.h"
#include "heddle/socket.h"
#include "heddle/tls/http_connect.h"
#include "heddle/tls/stream.h"
#include "heddle/tls/stream_transport.h"

namespace heddle::cli {
namespace {

constexpr std::string_view kScheme = "https://";

// How long to wait for the proxy's end after a refusal, so that our alert is not lost.
constexpr auto kLinger = std::chrono::milliseconds(500);

}  // namespace

std::optional<Proxy> parse_proxy(std::string_view url) {
  if (url.substr(0, kScheme.size()) != kScheme) return std::nullopt;
  url.remove_prefix(kScheme.size());
  if (url.ends_with('/')) url.remove_suffix(1);
  Proxy proxy;
  if (const std::size_t at = url.rfind('@'); at != std::string_view::npos) {
    proxy.credentials = url.substr(0, at);
    if (proxy.credentials.find(':') == std::string::npos) return std::nullopt;
    url.remove_prefix(at + 1);
  }
  const std::optional<Endpoint> endpoint = parse_endpoint(url);
  if (!endpoint || endpoint->host.empty()) return std::nullopt;
  proxy.endpoint = *endpoint;
  return proxy;
}

Result<std::unique_ptr<Transport>> open_tunnel(Runtime& runtime, const Proxy& proxy,
                                               const Context& context, const Endpoint& target,
                                               Deadline deadline) {
  Result<std::unique_ptr<Socket>> socket =
      connect(runtime, proxy.endpoint.host, proxy.endpoint.port, deadline);
  if (!socket) return socket.error();
  Result<std::unique_ptr<Stream>> stream =
      Stream::create(context, *std::move(socket), {.server_name = proxy.endpoint.host});
  if (!stream) return stream.error();
  const Result<void> connected = http_connect(
      **stream, {.host = target.host, .port = target.port, .credentials = proxy.credentials},
      deadline);
  if (!connected) {
    (void)(*stream)->close(this_fiber::after(kLinger));
    return connected.error();
  }
  return std::unique_ptr<Transport>(std::make_unique<StreamTransport>(*std::move(stream)));
}

}  // namespace heddle::cli
