// Link: the bytes between one SSL object and its transport, and the BIO that
// OpenSSL sees of it.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <vector>

#include "heddle/transport.h"

#include "openssl/handles.h"

namespace heddle::tls {

class ThreadBuffers;

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

  // The transport's end has been read: there is nothing more to come.
  bool at_end() const noexcept { return at_end_; }
  // errno of the transport failure that OpenSSL was told of, or 0.
  int failed_errno() const noexcept { return failed_errno_; }

  // Bytes that OpenSSL has written and the transport has not taken.
  std::size_t output_bytes() const noexcept;

  // Offers them to the transport. kWouldBlock: some are left. kBytes: none is.
  // kFailed, once: they are dropped, and so is what OpenSSL writes from then on.
  IoResult flush() noexcept;

  // Reads ahead, unless bytes are left over. kWouldBlock: there are none.
  IoResult prefetch() noexcept;

  // For the BIO.
  IoResult read(std::span<std::byte> into) noexcept;
  void write(std::span<const std::byte> from);

 private:
  friend class ThreadBuffers;

  ThreadBuffers& buffers() const;
  IoResult fill() noexcept;
  IoResult send(std::span<const std::byte>& from) noexcept;

  Transport& transport_;
  // The thread's, from the first use on. Shared, since a link may outlive the thread.
  mutable std::shared_ptr<ThreadBuffers> buffers_;
  bool at_end_ = false;
  int failed_errno_ = 0;
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
