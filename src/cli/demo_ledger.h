// Ledger: who was healthy, and what they were blamed for.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "heddle/error.h"

namespace heddle::cli {

// Ledger keeps the book of the healthy connections. Both ends are ours, neither misbehaves and the
// network between them is this machine's memory: so whatever fails on one of them is spurious. The
// first failure of a connection counts, on either end; what the other end makes of it does not.
class Ledger {
 public:
  explicit Ledger(std::size_t connections) : blamed_(connections, false) {}

  // A server knows a client by its port: tells that this port is healthy connection `id`.
  void introduce(std::uint16_t client_port, std::size_t id) { ids_[client_port] = id; }

  void client_failed(std::size_t id, std::string_view what);
  // Does nothing if the port is of no healthy connection.
  void server_failed(std::uint16_t client_port, std::string_view what);

  // From now on failures are the end of the run and not counted.
  void close() { closed_ = true; }

  std::size_t spurious() const noexcept { return spurious_; }
  // What was said, and of how many connections.
  const std::map<std::string, std::size_t>& reasons() const noexcept { return reasons_; }

 private:
  std::unordered_map<std::uint16_t, std::size_t> ids_;
  std::vector<bool> blamed_;
  std::map<std::string, std::size_t> reasons_;
  std::size_t spurious_ = 0;
  bool closed_ = false;
};

}  // namespace heddle::cli
