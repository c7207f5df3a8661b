// TLS to a proxy, and a tunnel through it.
#include "cli/proxy.h"

#include <algorithm>
#include <chrono>
#include <optional>
#include <utility>

#include "heddle/fiber.h"
#include "heddle/socket.h"
#include "heddle/tls/http_connect.h"
#include "heddle/tls/stream.h"
#include "heddle/tls/stream_transport.h"

#include "http/escape.h"

namespace heddle::cli {
namespace {

constexpr std::string_view kScheme = "https://";

// How long to wait for the proxy's end after a refusal, so that our alert is not lost.
constexpr auto kLinger = std::chrono::milliseconds(500);

bool is_control(char c) {
  return (c >= 0 && c < ' ') || c == 0x7f;
}

// Nothing if it is malformed, or would be a control character.
std::optional<std::string> percent_decode(std::string_view text) {
  std::string decoded;
  while (!text.empty()) {
    const std::optional<char> c = http::take_decoded(text);
    if (!c || is_control(*c)) return std::nullopt;
    decoded += *c;
  }
  return decoded;
}

// From "USER:PASSWORD" in a URL to that of Basic.
std::optional<std::string> decode_credentials(std::string_view userinfo) {
  const std::size_t colon = userinfo.find(':');
  if (colon == std::string_view::npos) return std::nullopt;
  if (userinfo.find_first_of("/?#") != std::string_view::npos) return std::nullopt;
  const auto user = percent_decode(userinfo.substr(0, colon));
  const auto password = percent_decode(userinfo.substr(colon + 1));
  if (!user || !password || user->find(':') != std::string::npos) return std::nullopt;
  return *user + ':' + *password;
}

}  // namespace

std::string without_credentials(std::string_view text) {
  std::string shown;
  while (!text.empty()) {
    const std::size_t begins = text.find_first_not_of(" \t\r\n");
    const std::size_t ends = std::min(text.find_first_of(" \t\r\n", begins), text.size());
    shown += text.substr(0, std::min(begins, text.size()));
    if (begins == std::string_view::npos) break;
    const std::string_view word = text.substr(begins, ends - begins);
    if (const std::size_t at = word.rfind('@'); at != std::string_view::npos) {
      const std::size_t scheme = word.find("://");
      if (scheme < at) shown += word.substr(0, scheme + 3);
      shown.append("...").append(word.substr(at));
    } else {
      shown += word;
    }
    text.remove_prefix(ends);
  }
  return shown;
}

std::optional<Proxy> parse_proxy(std::string_view url) {
  if (url.substr(0, kScheme.size()) != kScheme) return std::nullopt;
  url.remove_prefix(kScheme.size());
  if (url.ends_with('/')) url.remove_suffix(1);
  Proxy proxy;
  if (const std::size_t at = url.rfind('@'); at != std::string_view::npos) {
    const std::optional<std::string> decoded = decode_credentials(url.substr(0, at));
    if (!decoded) return std::nullopt;
    proxy.credentials = *decoded;
    url.remove_prefix(at + 1);
  }
  const std::optional<Endpoint> endpoint = parse_endpoint(url);
  if (!endpoint || endpoint->host.empty()) return std::nullopt;
  proxy.endpoint = *endpoint;
  return proxy;
}

Tunnel open_tunnel(Runtime& runtime, const Proxy& proxy, const Context& context,
                   const Endpoint& target, Deadline deadline) {
  Result<Socket> socket = connect(runtime, proxy.endpoint.host, proxy.endpoint.port, deadline);
  if (!socket) return {.transport = socket.error()};
  Result<Stream> stream =
      Stream::create(context, *std::move(socket), {.server_name = proxy.endpoint.host});
  if (!stream) return {.transport = stream.error()};
  const Result<void> connected = http_connect(
      *stream, {.host = target.host, .port = target.port, .credentials = proxy.credentials},
      deadline);
  if (!connected) {
    (void)stream->close(this_fiber::after(kLinger));
    const Error& error = connected.error();
    Tunnel failed{.transport = error, .reached = true, .message = stream->explain(error)};
    if (error.code == Errc::kUntrusted) failed.certificates = stream->peer_certificates();
    return failed;
  }
  return {.transport =
              std::unique_ptr<Transport>(std::make_unique<StreamTransport>(*std::move(stream))),
          .reached = true};
}

}  // namespace heddle::cli
