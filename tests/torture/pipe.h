// Pipe: two transports in memory that are joined. Each direction holds a few bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>

#include "heddle/heddle.h"

namespace heddle::torture {

class Pipe {
 public:
  class End final : public Transport {
   public:
    IoResult try_read(std::span<std::byte> into) override;
    IoResult try_write(std::span<const std::byte> from) override;
    Wake wait(Interest interest, Deadline deadline) override;
    void shutdown_write() noexcept override;

    std::size_t chunk = SIZE_MAX;  // What one call moves at most.

   private:
    friend class Pipe;
    Pipe* pipe_ = nullptr;
    std::size_t side_ = 0;
    WaitQueue waiters_;
  };

  explicit Pipe(std::size_t capacity);
  Pipe(const Pipe&) = delete;
  Pipe& operator=(const Pipe&) = delete;
  ~Pipe() = default;

  End& end(std::size_t side) { return ends_[side]; }
  void kill();  // Both ways end, and nothing can be written any more.
  // How often bytes went in or out.
  std::uint64_t moves() const { return moves_; }

 private:
  struct Way {
    std::deque<std::byte> bytes;
    bool ended = false;
    bool broken = false;
  };
  void wake();

  const std::size_t capacity_;
  std::uint64_t moves_ = 0;
  Way ways_[2];  // By the side that writes.
  End ends_[2];
};

// The end as a transport that a stream can own, and the same made of two functions that park.
std::unique_ptr<Transport> owned(Pipe::End& end);
std::unique_ptr<Transport> over_functions(Pipe::End& end);

}  // namespace heddle::torture
