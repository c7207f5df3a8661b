// MemoryBio: bytes on their way between somebody's own I/O and a TLS connection.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <utility>

#include "heddle/export.h"
#include "heddle/result.h"

namespace heddle {

// MemoryBio is a queue of bytes in memory, like CPython's ssl.MemoryBIO. An SslObject reads the one
// that its user fills from the network and fills the one that its user sends to the network.
//
// Its buffer can be used in place, so that no byte is copied on its way to or from the kernel:
//
//   const auto room = incoming.prepare(16384);
//   const ssize_t got = recv(fd, room.data(), room.size(), 0);
//   incoming.commit(got > 0 ? got : 0);
//
//   const auto bytes = outgoing.readable();
//   const ssize_t sent = send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
//   if (sent > 0) outgoing.consume(sent);
//
// Memory:   grows by doubling, without a limit of its own, and gives all of it back when all is
//   read: ten thousand idle connections hold none.
// Spans:    what prepare() and readable() return is valid until the next call that changes the
//   MemoryBio, or of the SslObject that uses it.
// Threads:  any, one at a time; needs no runtime. Nothing here parks.
// Errors:   a lack of memory throws std::bad_alloc, and has changed nothing.
class HEDDLE_API MemoryBio {
 public:
  MemoryBio() = default;
  MemoryBio(const MemoryBio&) = delete;
  MemoryBio& operator=(const MemoryBio&) = delete;
  // Takes everything, the end included, and leaves `other` new. An SslObject goes on using the
  // object that it was given.
  MemoryBio(MemoryBio&& other) noexcept { swap(other); }
  MemoryBio& operator=(MemoryBio&& other) noexcept {
    MemoryBio(std::move(other)).swap(*this);
    return *this;
  }
  ~MemoryBio() = default;

  // Appends a copy of `from`. Fails with kInvalid after write_eof().
  Result<void> write(std::span<const std::byte> from);

  // Returns room for `bytes` at the end, uninitialised, to be filled and then committed.
  std::span<std::byte> prepare(std::size_t bytes);

  // Appends the first `bytes` of what prepare() returned last; 0 gives the room back.
  // Precondition: no more than that, and none after write_eof().
  void commit(std::size_t bytes) noexcept;

  // Says that nothing will be appended any more. Idempotent.
  void write_eof() noexcept { ended_ = true; }

  // Moves up to `into.size()` bytes out, oldest first, and returns how many; 0 if there are none.
  std::size_t read(std::span<std::byte> into) noexcept;

  // readable() returns all that can be read, oldest first; consume() drops the first `bytes` of
  // that. Precondition of consume(): `bytes` <= pending().
  std::span<const std::byte> readable() const noexcept;
  void consume(std::size_t bytes) noexcept;

  // Moves all bytes, without copying, into a MemoryBio of their own and leaves this one empty:
  // for a send that goes on while this one is used, such as uv_write(). A write_eof() stays here.
  MemoryBio take() noexcept;

  // How many bytes can be read.
  std::size_t pending() const noexcept { return end_ - begin_; }

  // Whether there is nothing to read and never will be: after write_eof(), once all is read.
  bool eof() const noexcept { return ended_ && pending() == 0; }

 private:
  void swap(MemoryBio& other) noexcept;
  void reserve(std::size_t bytes);
  void release_if_empty() noexcept;

  std::unique_ptr<std::byte[]> storage_;
  std::size_t capacity_ = 0;
  std::size_t begin_ = 0;     // Of what can be read, in storage_.
  std::size_t end_ = 0;       // Likewise.
  std::size_t prepared_ = 0;  // Behind end_, handed out by prepare().
  bool ended_ = false;
};

}  // namespace heddle
