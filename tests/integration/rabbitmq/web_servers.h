// Two HTTPS servers for the thread under test: Heddle's, and one that parks fibers as well but
// calls OpenSSL by itself and does not clean up after it, as a library brought along may do.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string_view>

#include "heddle/address.h"
#include "heddle/fiber.h"
#include "heddle/listener.h"
#include "heddle/result.h"
#include "heddle/runtime.h"
#include "heddle/socket.h"
#include "heddle/tls/context.h"
#include "heddle/wait_queue.h"

#include "http/connection.h"
#include "http/site.h"

namespace heddle::test {

// The host that the servers' certificate is for.
inline constexpr const char* kWebHost = "web.heddle.test";

// What they serve, by its path: more than sockets' buffers hold, and a page of some bytes.
inline constexpr std::string_view kDownload = "download";
inline constexpr std::size_t kDownloadBytes = std::size_t{64} * 1024 * 1024;
inline constexpr std::string_view kPage = "page";
inline constexpr std::string_view kPageText = "All is well.";

// WebServer accepts connections in a fiber, which must be cancelled in the end.
//
// Lifetime: outlives the scope that it is started in.
class WebServer {
 public:
  // Serves one connection to its end.
  using Handler = std::function<void(Socket)>;

  // Listens on a port that the kernel chooses.
  static Result<std::unique_ptr<WebServer>> create(Runtime& runtime, Handler handler);

  Result<void> start(Scope& fibers);

  Address address() const { return listener_->address(); }

  // How many connections have ended since the server was started.
  std::uint64_t ended() const noexcept { return ended_; }

  // Parks until that many have.
  Result<void> await_ended(std::uint64_t count, Deadline deadline);

 private:
  WebServer(Listener listener, Handler handler)
      : listener_(std::move(listener)), handler_(std::move(handler)) {}

  std::optional<Listener> listener_;
  const Handler handler_;
  std::uint64_t ended_ = 0;
  WaitQueue changed_;
};

// Heddle's HTTP server on Heddle's streams.
WebServer::Handler careful_handler(const Context& context, http::ConnectionShared& shared);

// Answers one request with kDownloadBytes. OpenSSL's own BIO writes to the socket, and what a
// failed call leaves in the thread's error queue stays there. `cut` counts answers whose writing
// failed.
WebServer::Handler careless_handler(const Context& context, std::uint64_t& cut);

}  // namespace heddle::test
