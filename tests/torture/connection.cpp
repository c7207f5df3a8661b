// How a connection is made of random parts, disturbed, ended and judged.
#include "torture/connection.h"

#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstdlib>
#include <sstream>

#include <openssl/ssl.h>
#include <unistd.h>

namespace heddle::torture {
namespace {

using Descriptors = std::array<int, 2>;

Descriptors unix_pair() {
  Descriptors pair{};
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair.data()) != 0) std::abort();
  return pair;
}

Descriptors tcp_pair() {
  const int listener = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  auto* const any = reinterpret_cast<sockaddr*>(&address);
  socklen_t size = sizeof address;
  if (::bind(listener, any, size) != 0 || ::listen(listener, 1) != 0) std::abort();
  ::getsockname(listener, any, &size);
  const int client = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (::connect(client, any, size) != 0) std::abort();
  const int server = ::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
  ::close(listener);
  return {client, server};
}

int file_with(const std::vector<std::byte>& bytes) {
  std::string path = "/tmp/tortureXXXXXX";
  const int file = ::mkstemp(path.data());
  ::unlink(path.c_str());
  const auto written = ::write(file, bytes.data(), bytes.size());
  if (written != static_cast<ssize_t>(bytes.size())) std::abort();
  return file;
}

}  // namespace

TortureConnection::~TortureConnection() {
  for (const Way& way : ways_) {
    if (way.file >= 0) ::close(way.file);
  }
}

void TortureConnection::make_sockets(bool tcp) {
  const Descriptors pair = tcp ? tcp_pair() : unix_pair();
  for (const int fd : pair) {
    const int bytes = static_cast<int>(rng_.size(60'000));
    if (rng_.one_in(2)) ::setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes);
  }
  for (std::size_t side = 0; side < 2; ++side) {
    transports_[side] = std::make_unique<Socket>(Socket::adopt(world_.runtime, pair[side]).value());
  }
  kill_ = [fd = pair[rng_.below(2)]] { ::shutdown(fd, SHUT_RDWR); };
}

void TortureConnection::make_transports() {
  static constexpr const char* kNames[] = {"unix", "tcp", "memory", "functions"};
  const std::size_t kind = rng_.below(4);
  name_ = kNames[kind];
  if (kind < 2) {
    make_sockets(kind == 1);
    return;
  }
  const std::size_t capacity = rng_.size(rng_.one_in(3) ? 500 : 100'000);
  // A function that writes a flight of TLS parks until it is taken, and meanwhile its fiber does
  // not read: if both sides do so, they wait for ever.
  pipe_ = std::make_unique<Pipe>(kind == 3 ? capacity + 65'536 : capacity);
  kill_ = [this] { pipe_->kill(); };
  std::size_t slowest = capacity;
  for (std::size_t side = 0; side < 2; ++side) {
    Pipe::End& end = pipe_->end(side);
    if (rng_.one_in(2)) end.chunk = rng_.size(3000);
    slowest = std::min(slowest, end.chunk);
    transports_[side] = kind == 2 ? owned(end) : over_functions(end);
  }
  // A few bytes at a time take long.
  target_max_ = std::min(target_max_, 300 + 100 * slowest);
}

void TortureConnection::choose_kinds() {
  kinds_[0] = &world_.shared.client(rng_);
  kinds_[1] = &world_.shared.server(rng_);
  name_ = kinds_[0]->name + " to " + kinds_[1]->name + " over " + name_;
  for (const Kind* kind : kinds_) {
    disturbed_ = disturbed_ || kind->fails;
    late_ = late_ || kind->late;
  }
}

Stream TortureConnection::make_stream(std::size_t side, std::unique_ptr<Transport> transport) {
  StreamOptions options;
  if (side == 0) {
    options.server_name = "server.test";
    options.session = world_.shared.any_session(rng_);
  }
  return checked(
             report_, rng_, "create",
             [&] { return Stream::create(kinds_[side]->context, std::move(transport), options); })
      .value();
}

void TortureConnection::wrap_in_tls(int depth) {
  for (int i = 0; i < depth; ++i) {
    choose_kinds();
    for (std::size_t side = 0; side < 2; ++side) {
      transports_[side] =
          std::make_unique<StreamTransport>(make_stream(side, std::move(transports_[side])));
    }
    target_max_ /= 2;
  }
}

void TortureConnection::choose_targets() {
  for (std::size_t side = 0; side < 2; ++side) {
    Way& way = ways_[side];
    way.seed = mix(seed_ + static_cast<std::uint64_t>(side));
    way.target = rng_.one_in(10) ? 0 : rng_.size(target_max_);
    if (rng_.one_in(3)) way.file = file_with(pattern(way.seed, 0, way.target));
  }
}

void TortureConnection::run() {
  make_transports();
  report_.count("connections over " + name_);
  const int depth = rng_.one_in(4) ? 1 + static_cast<int>(rng_.one_in(3)) : 0;
  wrap_in_tls(depth);
  if (depth > 0) report_.count("TLS in TLS");
  choose_kinds();
  for (std::size_t side = 0; side < 2; ++side) {
    streams_[side] = make_stream(side, std::move(transports_[side]));
  }
  choose_targets();
  hasty_ = rng_.one_in(3);
  if (hasty_ && late_) disturbed_ = true;
  ending_ = static_cast<Ending>(rng_.below(3));
  stage_ = "traffic";
  scope([this](Scope& s) {
    std::vector<Task<void>> tasks;
    for (std::size_t side = 0; side < 2; ++side) {
      tasks.push_back(s.spawn("reader", [this, side] { read_all(side); }).value());
      tasks.push_back(s.spawn("writer", [this, side] { write_all(side); }).value());
    }
    for (std::size_t side = 0; side < 2 && ending_ == Ending::kRelease; ++side) {
      (void)s.spawn("release", [this, side, tasks]() mutable { release(side, tasks); });
    }
    if (rng_.one_in(4)) (void)s.spawn("trouble", [this, tasks]() mutable { trouble(tasks); });
  });
  judge();
  if (ending_ == Ending::kClose) close_both();
  stage_ = "destruction";
  for (auto& stream : streams_) stream.reset();
}

void TortureConnection::trouble(std::vector<Task<void>>& tasks) {
  nap(rng_, Micros(static_cast<std::int64_t>(rng_.size(300'000))));
  if (dead_) return;
  disturbed_ = dead_ = true;
  switch (rng_.below(3)) {
    case 0:
      report_.count("kills");
      break;
    case 1:
      report_.count("cancels");
      tasks[rng_.below(tasks.size())].cancel();
      nap(rng_, Micros(5000));
      break;
    default:
      report_.count("cancels of all");
      for (auto& task : tasks) task.cancel();
      break;
  }
  kill_();
}

void TortureConnection::judge() {
  if (excused()) return;
  for (const Way& way : ways_) {
    if (way.received != way.target || way.sent != way.target || !way.end_seen) {
      fault("nobody disturbed it, but " + std::to_string(way.received) + " of " +
            std::to_string(way.target) + " bytes came");
    }
  }
  report_.count("whole");
  if (ending_ == Ending::kRelease) return;
  if (const auto session = streams_[0]->session()) world_.shared.keep(*session);
  if (streams_[0]->connection_state().resumed) report_.count("resumed");
}

void TortureConnection::close_both() {
  stage_ = "close";
  const bool whole = !excused();
  scope([this, whole](Scope& s) {
    for (std::size_t side = 0; side < 2; ++side) {
      (void)s.spawn("close", [this, side, whole] {
        Rng rng(seed_ + 100 + static_cast<std::uint64_t>(side));
        const bool short_time = rng.one_in(4);
        const Deadline deadline = this_fiber::after(
            short_time ? Micros(rng.below(2000)) : Micros(std::chrono::seconds(whole ? 20 : 1)));
        const auto closed =
            checked(report_, rng, "close", [&] { return streams_[side]->close(deadline); });
        if (!short_time && whole && !closed && closed.error().code == Errc::kTimedOut &&
            !world_.stopping) {
          fault("close() of a whole connection times out");
        }
      });
    }
  });
}

std::string TortureConnection::describe() const {
  std::ostringstream out;
  out << "connection " << id_ << ", " << name_ << ": " << stage_
      << (disturbed_ ? ", disturbed" : "") << (dead_ ? ", dead" : "") << '\n';
  for (std::size_t side = 0; side < 2; ++side) {
    const Way& way = ways_[side];
    SSL* const ssl = streams_[side] ? streams_[side]->native_handle() : nullptr;
    out << "  " << (side == 0 ? "client" : "server") << ": reader " << stages_[side] << ", writer "
        << stages_[2 + side] << "; of " << way.target << " attempted " << way.attempted << ", sent "
        << way.sent << ", received " << way.received << (way.end_tried ? ", end tried" : "")
        << (way.ended ? ", ended" : "") << (way.end_seen ? ", end seen" : "") << "; "
        << (ssl != nullptr ? SSL_state_string_long(ssl) : "no stream") << '\n';
  }
  return out.str();
}

}  // namespace heddle::torture
