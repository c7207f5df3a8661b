// LoadConnection: one of the connections of the load generator, and its requests.
#pragma once

#include <array>
#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "heddle/address.h"
#include "heddle/deadline.h"
#include "heddle/runtime.h"
#include "heddle/socket.h"
#include "heddle/tls/session.h"
#include "heddle/tls/stream.h"

#include "cli/load_answer.h"
#include "cli/load_plan.h"
#include "cli/load_tally.h"

namespace heddle::cli {

// By the clock, which the runtime's own time may be behind: latency is what is to be measured.
TimePoint load_clock() noexcept;

// What the connections of a thread share.
struct LoadTarget {
  LoadTarget(Runtime& its_runtime, const LoadPlan& its_plan, LoadTally& its_tally);

  Runtime& runtime;
  const LoadPlan& plan;
  LoadTally& tally;
  std::vector<std::span<const std::byte>> request;  // Views into the plan.
  std::size_t request_bytes = 0;
  // Where the first connection was made to: others need not look the name up or race.
  std::optional<Address> address{};
  bool measuring = false;  // What was done before is not in the tally's figures of units.
};

// LoadConnection opens a connection, sends requests on it, and opens another one when it has ended.
// What goes wrong is counted in the tally and ends the connection; a fiber that was cancelled is
// not counted.
//
// Fibers: one. Everything but the constructor parks.
class LoadConnection {
 public:
  explicit LoadConnection(LoadTarget& target);

  // Connects and makes the handshake. Precondition: it is not open.
  bool open(Deadline deadline);
  bool is_open() const noexcept { return stream_.has_value(); }

  // Sends the request and reads the answer. Precondition: it is open.
  bool exchange(Deadline deadline);

  // Both, as the plan says, and what is counted of a unit that was to begin at `begin`. Returns the
  // time at which the answer was there, or nothing if it is not.
  std::optional<TimePoint> unit(TimePoint begin);

  // Ends it in order. Does nothing if it is not open.
  void close();

  // Waits until the peer ends the connection, or the fiber is cancelled. Precondition: it is open.
  void idle();

 private:
  // A record's worth: what one SSL_read() can bring. Untouched pages cost nothing.
  static constexpr std::size_t kReadBytes = std::size_t{16} * 1024;

  Result<Socket> dial(Deadline deadline);
  Result<void> receive(Deadline deadline);
  void count_handshake();
  bool fail(LoadStage stage, const Error& error);

  LoadTarget& target_;
  std::optional<Stream> stream_;
  std::optional<Session> session_;  // To be resumed next.
  LoadAnswer answer_;
  std::unique_ptr<std::array<std::byte, kReadBytes>> buffer_;
};

}  // namespace heddle::cli
