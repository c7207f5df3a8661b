// LoadTally: what a thread of the load generator has seen, and what all have together.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "heddle/error.h"

#include "cli/load_histogram.h"

namespace heddle::cli {

// What was being done when something went wrong.
enum class LoadStage : std::uint8_t { kConnect, kHandshake, kSend, kReceive };

// One kind of failure: where, and what a program can do about it.
struct LoadFailure {
  LoadStage stage = LoadStage::kConnect;
  Errc code = Errc::kInternal;
  std::uint64_t count = 0;
  std::string example;  // The message of the first one.

  // Such as "connect: unreachable".
  std::string kind() const;
};

// LoadTally counts. A unit is a request and its answer; with new connections for each, it begins
// with connecting and ends when the connection is closed.
//
// Threads: one; add() when that has ended.
struct LoadTally {
  std::uint64_t answers = 0;                     // Units that were completed.
  std::array<std::uint64_t, 6> status_counts{};  // By the first digit.
  std::uint64_t due = 0;                         // At a fixed rate: units whose time has come.
  std::uint64_t begun = 0;                       // Of these.
  std::uint64_t handshakes = 0;                  // Of all connections.
  std::uint64_t resumed = 0;                     // Of these.
  std::uint64_t unit_handshakes = 0;             // Of the units that were measured.
  std::uint64_t unit_resumed = 0;
  std::uint64_t bytes_sent = 0;  // Before they are encrypted.
  std::uint64_t bytes_received = 0;
  std::uint64_t idle_opened = 0;
  std::uint64_t idle_lost = 0;  // That the peer has ended.
  double seconds = 0;           // From the first unit on.
  double cpu_seconds = 0;       // That this program has used for it, all threads.
  LoadHistogram latency;        // Of units, in nanoseconds, from when they were to begin.
  LoadHistogram handshake;      // From connect() to the end of the handshake.
  std::vector<LoadFailure> failures;
  std::string session;  // Version and suite of the first connection.

  std::uint64_t failed() const;
  // Units that were answered with 2xx or 3xx.
  std::uint64_t succeeded() const { return status_counts[2] + status_counts[3]; }

  void fail(LoadStage stage, const Error& error);
  void add(const LoadTally& other);
};

}  // namespace heddle::cli
