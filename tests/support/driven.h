// One TLS connection, driven in each of the ways there are, behind one set of calls.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "heddle/deadline.h"
#include "heddle/result.h"
#include "heddle/tls/ssl_object.h"
#include "heddle/tls/stream.h"
#include "heddle/tls/stream_transport.h"
#include "heddle/transport.h"

namespace heddle::test {

// Driven is a Stream, a SslObject whose bytes are moved to and from a transport, or a Stream that
// is the byte pipe of another one. Its calls are those of Stream, whichever it is.
class Driven {
 public:
  enum class Way { kStream, kSslObject, kStreamTransport };
  static constexpr Way kWays[] = {Way::kStream, Way::kSslObject, Way::kStreamTransport};
  static std::string name(Way way);

  // `below` must outlive it.
  Driven(Way way, const Context& context, const StreamOptions& options, Transport& below);

  Result<void> handshake(Deadline deadline = Deadline::never());
  // 0 at the peer's end.
  Result<std::size_t> read(std::span<std::byte> into, Deadline deadline = Deadline::never());
  Result<void> write(std::string_view text, Deadline deadline = Deadline::never());
  // Sends close_notify.
  Result<void> end(Deadline deadline = Deadline::never());

  SSL* ssl() const;
  // Precondition: it is a Stream below another one.
  StreamTransport& as_transport() { return above_.value(); }

 private:
  template <typename Call>
  Result<Progress> drive_object(Call call, Deadline deadline);
  void send();
  Result<void> move(Interest interest, Deadline deadline);
  Result<std::size_t> read_above(std::span<std::byte> into, Deadline deadline);
  Result<void> write_above(std::span<const std::byte> from, Deadline deadline);
  Result<void> wait_above(Interest interest, Deadline deadline);

  Transport& below_;
  MemoryBio incoming_;
  MemoryBio outgoing_;
  std::optional<SslObject> object_;
  std::optional<Stream> stream_;
  std::optional<StreamTransport> above_;
};

}  // namespace heddle::test
