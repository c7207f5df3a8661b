// PacketCapture: which ends and resets really went over the loopback interface.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "base/unique_fd.h"

namespace heddle::test {

// One TCP segment that ends something. Ports in host order.
struct EndingSegment {
  std::uint16_t from = 0;
  std::uint16_t to = 0;
  bool fin = false;
  bool rst = false;
};

// PacketCapture sees the FIN and RST segments of IPv4 on the loopback interface, from its creation
// on, in the order in which they were sent: a kernel filter drops the others, so none gets lost.
class PacketCapture {
 public:
  // Returns nothing without the right to (CAP_NET_RAW).
  static std::optional<PacketCapture> start();

  // Those of the connection between the two ports that have been sent so far.
  std::vector<EndingSegment> between(std::uint16_t one, std::uint16_t other);

 private:
  explicit PacketCapture(UniqueFd fd) : fd_(std::move(fd)) {}

  UniqueFd fd_;
  std::vector<EndingSegment> seen_;
};

}  // namespace heddle::test
