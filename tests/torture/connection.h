// One connection of a torture run: what its two sides have sent, received, and may expect.
#pragma once

#include <array>
#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "torture/contexts.h"
#include "torture/pipe.h"

namespace heddle::torture {

// Way is one direction. Its bytes follow from `seed`.
struct Way {
  std::uint64_t seed = 0;
  std::size_t target = 0;     // How many bytes are to be sent.
  std::size_t sent = 0;       // write() has returned for these.
  std::size_t attempted = 0;  // These may have left.
  std::size_t received = 0;
  int file = -1;           // Holds the bytes, for sendfile().
  bool end_tried = false;  // shutdown_write() was called, ...
  bool ended = false;      // ... and succeeded.
  bool end_seen = false;
};

enum class Ending : std::uint8_t { kDestroy, kClose, kRelease };

class TortureConnection final : public RandomConnection {
 public:
  using RandomConnection::RandomConnection;
  TortureConnection(const TortureConnection&) = delete;
  TortureConnection& operator=(const TortureConnection&) = delete;
  ~TortureConnection() override;

  void run();
  std::string describe() const override;

 private:
  std::uint64_t moves() const override { return pipe_ ? pipe_->moves() : 0; }

  // Setting up: connection.cpp.
  void make_transports();
  void make_sockets(bool tcp);
  void wrap_in_tls(int depth);
  Stream make_stream(std::size_t side, std::unique_ptr<Transport> transport);
  void choose_kinds();
  void choose_targets();

  // While it lasts: connection.cpp.
  void trouble(std::vector<Task<void>>& tasks);
  void judge();
  void close_both();

  // What fibers do: traffic.cpp.
  void read_all(std::size_t side);
  bool take(std::size_t side, Rng& rng, std::span<std::byte> into);
  bool read_failed(std::size_t side, Rng& rng, const Error& error);
  void end_seen(Way& way);
  void write_all(std::size_t side);
  bool put(std::size_t side, Rng& rng);
  Result<void> send(std::size_t side, Rng& rng, std::size_t count, Deadline deadline);
  void stir(SSL* ssl, Rng& rng);
  void end_writing(std::size_t side, Rng& rng);

  // Plain text after the connection: release.cpp.
  void release(std::size_t side, std::vector<Task<void>>& tasks);
  bool exchange(std::size_t side, Stream::Released released);

  std::unique_ptr<Pipe> pipe_;
  std::array<std::unique_ptr<Transport>, 2> transports_;
  const Kind* kinds_[2] = {nullptr, nullptr};  // Those of the connection that is made next.
  std::optional<Stream> streams_[2];
  std::function<void()> kill_;
  Way ways_[2];  // By the side that writes.
  Ending ending_ = Ending::kDestroy;
  std::size_t target_max_ = 300'000;
  bool hasty_ = false;                            // Short deadlines in implicit handshakes, too.
  bool late_ = false;                             // Callbacks give up at a deadline.
  const char* stages_[4] = {"-", "-", "-", "-"};  // Readers, then writers.
  const char* stage_ = "set up";
};

}  // namespace heddle::torture
