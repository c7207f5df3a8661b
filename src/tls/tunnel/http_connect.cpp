// CONNECT, and no more of HTTP than its answer's head.
#include "heddle/tls/http_connect.h"

#include <algorithm>
#include <array>
#include <new>
#include <string>
#include <string_view>

#include <openssl/evp.h>

#include "base/host_name.h"
#include "base/wiped.h"

namespace heddle {
namespace {

constexpr std::size_t kHeadBytesMax = std::size_t{16} * 1024;  // All heads, interim ones too.
constexpr const char* kConnect = "CONNECT";

Error refusal(int status) {
  struct Known {
    int status;
    Errc code;
    const char* detail;
  };
  static constexpr std::array kKnown = {
      Known{400, Errc::kProtocol, "the proxy answers 400, bad request"},
      Known{401, Errc::kInvalid, "the proxy answers 401, unauthorized"},
      Known{403, Errc::kInvalid, "the proxy answers 403, forbidden"},
      Known{404, Errc::kUnreachable, "the proxy answers 404, not found"},
      Known{405, Errc::kProtocol, "the proxy answers 405, method not allowed"},
      Known{407, Errc::kInvalid, "the proxy answers 407, it wants credentials"},
      Known{429, Errc::kProtocol, "the proxy answers 429, too many requests"},
      Known{500, Errc::kProtocol, "the proxy answers 500, internal error"},
      Known{501, Errc::kProtocol, "the proxy answers 501, not implemented"},
      Known{502, Errc::kUnreachable, "the proxy answers 502, bad gateway"},
      Known{503, Errc::kUnreachable, "the proxy answers 503, unavailable"},
      Known{504, Errc::kUnreachable, "the proxy answers 504, gateway timeout"},
  };
  const auto* const found =
      std::find_if(kKnown.begin(), kKnown.end(), [&](auto& each) { return each.status == status; });
  if (found != kKnown.end()) {
    return {.code = found->code, .operation = kConnect, .detail = found->detail};
  }
  const char* const detail = status >= 500   ? "the proxy answers with another 5xx"
                             : status >= 400 ? "the proxy answers with another 4xx"
                             : status >= 300 ? "the proxy answers with a redirection"
                                             : "the proxy answers with 101";
  return {.code = Errc::kProtocol, .operation = kConnect, .detail = detail};
}

std::string base64(std::string_view text) {
  std::string encoded((text.size() + 2) / 3 * 4 + 1, '\0');  // And a terminator.
  const int size = EVP_EncodeBlock(reinterpret_cast<unsigned char*>(encoded.data()),
                                   reinterpret_cast<const unsigned char*>(text.data()),
                                   static_cast<int>(text.size()));
  encoded.resize(static_cast<std::size_t>(size));
  return encoded;
}

std::string authority_of(const HttpConnectRequest& request) {
  const bool is_v6 = request.host.find(':') != std::string::npos;
  return (is_v6 ? '[' + request.host + ']' : request.host) + ':' + std::to_string(request.port);
}

std::string head_of(const HttpConnectRequest& request) {
  const std::string authority = authority_of(request);
  std::string head;
  head.reserve(2 * authority.size() + 2 * request.credentials.size() + 128);  // See Wiped.
  head.append("CONNECT ").append(authority).append(" HTTP/1.1\r\nHost: ").append(authority);
  head.append("\r\n");
  if (!request.credentials.empty()) {
    std::string encoded = base64(request.credentials);
    const Wiped wiped(encoded);
    head.append("Proxy-Authorization: Basic ").append(encoded).append("\r\n");
  }
  head.append("\r\n");
  return head;
}

// HeadEnd looks for the empty line, byte by byte: a line may end without a carriage return (RFC
// 9112, 2.2).
class HeadEnd {
 public:
  // Returns whether `c` is the head's last byte.
  bool pass(char c) {
    if (c == '\r') return false;
    const bool ends = c == '\n' && line_is_empty_;
    line_is_empty_ = c == '\n';
    return ends;
  }

 private:
  bool line_is_empty_ = false;  // But the status line: that is never empty.
};

// Reads one head and not a byte of what follows. `head` grows by it.
Result<void> read_head(Stream& proxy, std::string& head, Deadline deadline) {
  HeadEnd end;
  std::array<char, 2048> seen{};
  while (head.size() < kHeadBytesMax) {
    const auto got = proxy.peek(std::as_writable_bytes(std::span(seen)), deadline);
    if (!got) return got.error();
    if (*got == 0) {
      return Error{.code = Errc::kDisconnected,
                   .operation = kConnect,
                   .detail = "the proxy closed the connection"};
    }
    std::size_t count = 0;
    bool is_whole = false;
    while (count < *got && !is_whole) is_whole = end.pass(seen.at(count++));
    head.append(seen.data(), count);
    auto wanted = std::as_writable_bytes(std::span(seen)).first(count);
    while (!wanted.empty()) {
      const auto taken = proxy.read(wanted, deadline);  // At once: they have been seen.
      if (!taken) return taken.error();
      wanted = wanted.subspan(*taken);
    }
    if (is_whole) return {};
  }
  return Error{
      .code = Errc::kProtocol, .operation = kConnect, .detail = "the answer's head is too long"};
}

// The status of an answer whose head begins at `head`, or 0.
int status_of(std::string_view head) {
  constexpr std::string_view kVersion = "HTTP/1.";
  constexpr std::size_t kDigits = 9;  // "HTTP/1.1 200"
  const auto is_digit = [](char c) { return c >= '0' && c <= '9'; };
  if (head.size() <= kDigits + 3 || head.substr(0, kVersion.size()) != kVersion) return 0;
  const bool well_formed = is_digit(head[7]) && head[8] == ' ' && is_digit(head[9]) &&
                           is_digit(head[10]) && is_digit(head[11]) && !is_digit(head[12]);
  if (!well_formed) return 0;
  return (head[9] - '0') * 100 + (head[10] - '0') * 10 + (head[11] - '0');
}

Result<void> ask(Stream& proxy, const HttpConnectRequest& request, Deadline deadline) {
  const Result<Host> host = Host::parse(request.host);
  if (!host) return host.error();
  // A zone is ours (RFC 4007, section 6), and the proxy has others.
  if (!host->zone.empty() || request.port == 0 || request.credentials.size() > 4096) {
    return Error{.code = Errc::kInvalid,
                 .operation = kConnect,
                 .detail = "a zone, port 0 or credentials over 4096 bytes"};
  }
  std::string ours = head_of(request);
  const Wiped wiped(ours);
  const auto sent = proxy.write(std::as_bytes(std::span(ours)), deadline);
  if (!sent) return sent.error();
  std::string head;
  for (;;) {
    const std::size_t begins = head.size();
    if (const auto read = read_head(proxy, head, deadline); !read) return read.error();
    const int status = status_of(std::string_view(head).substr(begins));
    if (status / 100 == 2) return {};
    if (status < 100) {
      return Error{
          .code = Errc::kProtocol, .operation = kConnect, .detail = "the answer is not HTTP"};
    }
    if (status / 100 > 1 || status == 101) return refusal(status);
  }
}

}  // namespace

Result<void> http_connect(Stream& proxy, const HttpConnectRequest& request, Deadline deadline) {
  const Result<void> connected = ask(proxy, request, deadline);
  if (connected) return {};
  try {
    return connected.error().with(authority_of(request));
  } catch (const std::bad_alloc&) {
    return connected;
  }
}

}  // namespace heddle
