// Link: the bytes between one SSL object and its transport, and the BIO that
// OpenSSL sees of it.
#pragma once

#include <cstddef>
#include <exception>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "heddle/error.h"
#include "heddle/transport.h"

#include "openssl/handles.h"

namespace heddle::tls {

class ThreadBuffers;

// BioState is what a BIO of ours knows of a failure and has no words for in OpenSSL's.
struct BioState {
  bool at_end = false;           // The end has been read: there is nothing more to come.
  std::optional<Error> failure;  // Of the transport, and OpenSSL was told that there is one.
  std::exception_ptr thrown;  // By a transport or a callback: OpenSSL's frames are no way for it.
};

// Link lets OpenSSL read and write without ever waiting.
//
// Reading: one read of the transport fills a buffer that all links of the thread
// share, so it brings whole flights and many records, and an idle connection
// holds no buffer. Bytes that OpenSSL has not asked for yet stay there until
// another link needs the buffer; only then are they copied out.
//
// Writing: what OpenSSL writes is collected, and sent by flush(): one system call
// for a flight or for several records. So OpenSSL always gets rid of a record
// whole, and no call of it is ever left half done when a fiber gives up.
class Link {
 public:
  explicit Link(Transport& transport) noexcept : transport_(transport) {}
  Link(const Link&) = delete;
  Link& operator=(const Link&) = delete;
  ~Link();

  Transport& transport() const noexcept { return transport_; }

  BioState& state() noexcept { return state_; }

  // Bytes that OpenSSL has written and the transport has not taken.
  std::size_t output_bytes() const noexcept;

  // Offers them to the transport. kWouldBlock: some are left. kBytes: none is.
  // kFailed, once: they are dropped, and so is what OpenSSL writes from then on; state() says why.
  IoResult flush() noexcept;

  // Reads ahead, unless bytes are left over. kWouldBlock: there are none.
  IoResult prefetch() noexcept;

  // Begins with what another BIO had: bytes of the peer that were not read, and bytes that were
  // not sent. Precondition: nothing was read or written before.
  void carry_over(std::vector<std::byte> unread, std::vector<std::byte> unsent) noexcept;

  // For the BIO.
  IoResult read(std::span<std::byte> into) noexcept;
  void write(std::span<const std::byte> from);

 private:
  friend class ThreadBuffers;

  ThreadBuffers& buffers() const;
  IoResult fill() noexcept;
  IoResult send(std::span<const std::byte>& from) noexcept;
  template <typename Try>
  IoResult attempt(const char* what, Try attempt) noexcept;

  Transport& transport_;
  // The thread's, from the first use on. Shared, since a link may outlive the thread.
  mutable std::shared_ptr<ThreadBuffers> buffers_;
  BioState state_;
  bool output_broken_ = false;         // The transport failed to write: output is dropped.
  std::span<std::byte> input_;         // Read and not asked for yet, wherever it lies.
  std::vector<std::byte> kept_input_;  // Where it lies when the shared buffer was needed.
  std::vector<std::byte> kept_output_;
  std::size_t kept_output_sent_ = 0;
};

// Makes a BIO over `link`, which must outlive it. Throws std::bad_alloc.
openssl::BioPtr make_bio(Link& link);

// A buffer of the thread, for gathering small pieces into one record. Its content
// is anyone's after the next park.
std::span<std::byte> gather_buffer() noexcept;

}  // namespace heddle::tls
