// A connection's life: handshake, requests, an end that loses nothing.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <list>
#include <string_view>

#include "heddle/deadline.h"
#include "heddle/tls/stream.h"

#include "http/buffer_pool.h"
#include "http/date.h"
#include "http/site.h"

namespace heddle::http {

// How long a peer may take. All are bounds on the whole, not on a single byte.
struct Timeouts {
  Duration handshake = std::chrono::seconds(10);
  Duration head = std::chrono::seconds(10);   // From a request's first byte.
  Duration body = std::chrono::seconds(60);   // All of a request's body.
  Duration idle = std::chrono::seconds(60);   // Between requests.
  Duration write = std::chrono::seconds(60);  // For each chunk of an answer.
  Duration close = std::chrono::seconds(5);
};

// One request, for a log. Views, valid during the call.
struct AccessRecord {
  std::string_view peer;
  std::string_view
      client;  // The subject of its certificate (Certificate::subject), if it sent one.
  std::string_view method;  // What the client sent: escape before use. Empty if unknown.
  std::string_view target;  // The same.
  int status;
  std::uint64_t body_bytes;  // That were meant to be sent.
  bool complete;             // Whether they were.
};

// What a connection is doing. A connection in the first two may be cancelled without
// loss: it owes no answer.
enum class Phase : std::uint8_t { kHandshake, kIdle, kRequest, kClosing };

constexpr bool owes_nothing(Phase phase) noexcept {
  return phase == Phase::kHandshake || phase == Phase::kIdle;
}

// Activity is what a connection is doing, and its place among those that owe nothing.
struct Activity {
  Activity() : place(node.insert(node.begin(), this)) {}
  Activity(const Activity&) = delete;
  Activity& operator=(const Activity&) = delete;
  ~Activity() = default;

  Phase phase = Phase::kClosing;
  std::list<Activity*> node;             // This one alone; empty while that is in Waiting's list.
  std::list<Activity*>::iterator place;  // The same in either list.
};

// Waiting is the connections that owe nothing, in the order in which they began to wait. Changing
// it allocates nothing.
//
// Threads:  one.
class Waiting {
 public:
  // Call this instead of setting the phase.
  void enter(Activity& activity, Phase phase) noexcept {
    if (owes_nothing(activity.phase)) {
      activity.node.splice(activity.node.begin(), list_, activity.place);
    }
    activity.phase = phase;
    if (owes_nothing(phase)) {
      list_.splice(list_.end(), activity.node);
    }
  }

  // The one that has waited longest, or null.
  Activity* longest() const noexcept { return list_.empty() ? nullptr : list_.front(); }

 private:
  std::list<Activity*> list_;
};

// What the connections of one server have in common, on one thread.
struct ConnectionShared {
  ConnectionShared(const Site& site_of_all, const Timeouts& timeouts_of_all)
      : site(site_of_all), timeouts(timeouts_of_all) {}

  const Site& site;
  const Timeouts timeouts;
  std::function<void(const AccessRecord&)> on_request;  // May be empty.
  bool draining = false;  // Set: the answer to the present request is the last one.
  std::uint64_t requests = 0;
  Waiting waiting;
  BufferPool buffers{kBufferBytes};
  DateCache date;

  // A head and 64 KiB: small files go out with their head in one write. A slow reader
  // holds as much for as long as it likes, so larger chunks would cost more than the
  // system calls that they save.
  static constexpr std::size_t kBufferBytes = std::size_t{65} * 1024;
};

// Serves the requests that come on `stream`, and closes it. Fails only with what the
// handshake failed with: afterwards a connection that ends in whatever way is normal. A
// client that speaks plain HTTP is told so in plain HTTP. Parks. `activity` is kept up to
// date, and no longer waits afterwards, even if this throws.
Result<void> serve_connection(Stream& stream, ConnectionShared& shared, Activity& activity,
                              std::string_view peer);

}  // namespace heddle::http
