// A connection of two SslObjects, whose bytes fibers carry in random pieces.
#pragma once

#include <deque>
#include <optional>
#include <string>

#include "torture/contexts.h"

namespace heddle::torture {

class ObjectConnection final : public RandomConnection {
 public:
  using RandomConnection::RandomConnection;

  void run();
  std::string describe() const override;

 private:
  struct Side {
    MemoryBio incoming;
    MemoryBio outgoing;
    std::optional<SslObject> tls;
    std::deque<std::byte> wire;  // Has left this side.
    WaitQueue waiters;
    const Kind* kind = nullptr;
    std::uint64_t pattern_seed = 0;
    std::size_t target = 0;
    std::size_t sent = 0;
    std::size_t received = 0;
    bool ended = false;
    bool end_seen = false;
  };

  void drive(std::size_t side);
  void carry(std::size_t side, Rng& rng);
  // Each does one call, and returns whether another one is worthwhile before bytes come.
  bool call(std::size_t side, Rng& rng);
  bool write(std::size_t side, Rng& rng);
  bool read(std::size_t side, Rng& rng);
  bool end(std::size_t side, Rng& rng);
  bool failed(std::size_t side, const char* call, const Error& error);

  Side sides_[2];
};

}  // namespace heddle::torture
