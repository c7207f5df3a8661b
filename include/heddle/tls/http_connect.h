// http_connect(): a tunnel through an HTTPS proxy.
#pragma once

#include <cstdint>
#include <string>

#include "heddle/deadline.h"
#include "heddle/export.h"
#include "heddle/result.h"
#include "heddle/tls/stream.h"

namespace heddle {

struct HttpConnectRequest {
  std::string host;  // Of the origin: a name, or an IP address without brackets or zone.
  std::uint16_t port = 0;
  std::string credentials{};  // "user:password" for the proxy (RFC 7617), or empty.
};

// Asks the HTTP proxy at the other end of `proxy` to connect to an origin (CONNECT, RFC 9110,
// 9.3.6), and returns once it is connected. From then on `proxy` carries the origin's bytes, none
// of which is read here: put a StreamTransport over it. Parks.
//
// Fails with kUnreachable if the proxy does not reach the origin (404, 502, 503, 504), kInvalid if
// it wants other credentials or allows no such tunnel (401, 403, 407), or if `request` cannot be
// sent; kProtocol if it answers with any other status, with no HTTP, or with more than 16 KiB of
// head; kDisconnected if it closes instead; and as Stream::read() and write() do. The status is in
// `Error::detail`, and the origin is the error's context. After a failure `proxy` can only be
// closed.
HEDDLE_API Result<void> http_connect(Stream& proxy, const HttpConnectRequest& request,
                                     Deadline deadline);

}  // namespace heddle
