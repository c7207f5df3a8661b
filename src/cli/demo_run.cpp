// First all healthy connections are made; only then do peers begin to misbehave. The order
// matters: a handshake clears the thread's OpenSSL error queue, and what we want to see is what
// happens between handshakes, to connections that read while somebody's entry is in it.
#include "cli/demo_run.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <fstream>
#include <optional>

#include <fmt/core.h>
#include <malloc.h>
#include <unistd.h>

#include "heddle/fiber.h"
#include "heddle/listener.h"
#include "heddle/runtime.h"
#include "heddle/socket.h"
#include "heddle/sync.h"
#include "heddle/tls/stream.h"

#include "cli/demo_ledger.h"
#include "cli/demo_misdeeds.h"
#include "cli/demo_protocol.h"
#include "cli/demo_server.h"

namespace heddle::cli {
namespace {

// Generous, as the server's: lateness on a busy machine is no error that we look for.
constexpr auto kSetUpLimit = std::chrono::seconds(120);
constexpr auto kAnswerLimit = std::chrono::seconds(60);

constexpr auto kRedraw = std::chrono::milliseconds(100);
constexpr std::size_t kHandshakesAtOnce = 64;

// All healthy clients together ask this often, as far as the machine can.
constexpr std::uint64_t kRequestsPerSecond = 10'000;
constexpr Duration kPauseMin = std::chrono::milliseconds(10);

// Each misdeed is committed by this many peers, again and again, with a pause.
constexpr std::size_t kPeersPerMisdeed = 2;
constexpr auto kMisdeedPause = std::chrono::milliseconds(40);

double resident_bytes() {
  std::ifstream statm("/proc/self/statm");
  double total_pages = 0;
  double resident_pages = 0;
  statm >> total_pages >> resident_pages;
  return resident_pages * static_cast<double>(sysconf(_SC_PAGESIZE));
}

// Run is the state of one policy's run; all of it belongs to the runtime's thread.
class Run {
 public:
  Run(Runtime& runtime, const DemoPlan& plan, Progress& progress)
      : runtime_(runtime),
        plan_(plan),
        progress_(progress),
        ledger_(plan.connections),
        server_(plan.server, ledger_),
        misdeeds_done_(misdeeds().size(), 0) {}

  Result<PolicyReport> measure();

 private:
  Result<PolicyReport> measure_in(Scope& fibers, Listener& listener);
  Result<void> open_all(Scope& fibers);
  Result<void> await_opened(std::size_t count);
  Result<void> misbehave(Scope& fibers, const Scene& scene);
  void repeat(const Scene& scene, std::size_t misdeed, Duration delay);
  void await_end();
  PolicyReport report() const;

  void be_healthy(std::size_t id);
  Result<Stream> open(std::size_t id);
  Error live(std::size_t id, Stream& stream);

  Runtime& runtime_;
  const DemoPlan& plan_;
  Progress& progress_;
  Ledger ledger_;
  DemoServer server_;
  std::optional<Address> address_;
  Semaphore handshakes_{kHandshakesAtOnce};

  std::size_t opened_ = 0;  // Also those that could not be.
  std::optional<Error> open_error_;
  std::uint64_t requests_ = 0;
  std::vector<std::uint64_t> misdeeds_done_;
  double bytes_per_connection_ = 0;
  double seconds_ = 0;
};

// --- A healthy connection ------------------------------------------------------------------------

Result<void> ask(Stream& stream, std::uint64_t number) {
  const Deadline deadline = this_fiber::after(kAnswerLimit);
  const auto asked = send_message(stream, {.number = number}, deadline);
  if (!asked) return asked.error();
  const Result<Message> answer = receive_message(stream, deadline);
  if (!answer) return answer.error();
  if (*answer == Message{.verb = Verb::kAnswer, .number = number}) return {};
  return Error{.code = Errc::kProtocol, .operation = "ask", .detail = "the answer is wrong"};
}

// How long each of `connections` clients waits between two questions.
Duration pause_between(std::size_t connections) {
  const auto second = static_cast<std::uint64_t>(Duration(std::chrono::seconds(1)).count());
  const Duration fair(static_cast<std::int64_t>(second * connections / kRequestsPerSecond));
  return std::max(fair, kPauseMin);
}

// Shakes hands and asks once: the first answer also brings the session tickets, whose processing
// clears the error queue as a handshake does. From then on nothing but answers comes.
Result<Stream> Run::open(std::size_t id) {
  const Deadline deadline = this_fiber::after(kSetUpLimit);
  auto socket = connect(runtime_, *address_, deadline);
  if (!socket) return socket.error();
  const Result<Address> local = socket->local_address();
  if (!local) return local.error();
  ledger_.introduce(local->port(), id);
  auto stream =
      Stream::create(plan_.trusting_client, *std::move(socket), {.server_name = kDemoHost});
  if (!stream) return stream.error();
  if (const auto shaken = stream->handshake(deadline); !shaken) return shaken.error();
  if (auto answered = ask(*stream, 0); !answered) return answered.error();
  return stream;
}

// Asks now and then, and waits in read() meanwhile. Returns what went wrong.
Error Run::live(std::size_t id, Stream& stream) {
  const Duration pause = pause_between(plan_.connections);
  Deadline next = this_fiber::after(pause * static_cast<std::int64_t>(id % 64) / 64);
  for (std::uint64_t number = 1;; ++number) {
    std::array<std::byte, kMessageBytes> unasked{};
    const Result<std::size_t> count = stream.read(unasked, next);
    if (count) {
      return Error{
          .code = Errc::kProtocol, .operation = "wait", .detail = "an answer without a question"};
    }
    if (count.error().code != Errc::kTimedOut) return count.error();
    next = this_fiber::after(pause);
    if (auto answered = ask(stream, number); !answered) return answered.error();
    ++requests_;
  }
}

void Run::be_healthy(std::size_t id) {
  if (!handshakes_.acquire()) return;  // The run was given up.
  auto stream = open(id);
  handshakes_.release();
  ++opened_;
  if (!stream) {
    if (!open_error_) open_error_ = stream.error();
    return;
  }
  // The ledger is told before the stream closes, or else the other end would be the first to fail.
  ledger_.client_failed(id, "client: " + live(id, *stream).message());
}

// --- All of them ---------------------------------------------------------------------------------

Result<void> Run::await_opened(std::size_t count) {
  const auto all = static_cast<double>(plan_.connections);
  while (opened_ < count && !open_error_) {
    const auto slept = this_fiber::sleep_until(this_fiber::after(kRedraw));
    if (!slept) return slept.error();
    progress_.update(static_cast<double>(opened_) / all, "");
  }
  if (open_error_) return *open_error_;
  return {};
}

// Measures the memory, too. The first connection is not counted: it pays for what all share.
Result<void> Run::open_all(Scope& fibers) {
  double before = 0;
  for (std::size_t id = 0; id < plan_.connections; ++id) {
    const auto started = fibers.spawn("client", [this, id] { be_healthy(id); });
    if (!started) return started.error();
    if (id != 0) continue;
    if (const auto first = await_opened(1); !first) return first.error();
    before = resident_bytes();
  }
  if (const auto opened = await_opened(plan_.connections); !opened) return opened.error();
  const auto counted = static_cast<double>(plan_.connections - 1);
  // Below 0 with allocators that keep what an earlier run freed.
  bytes_per_connection_ = std::max(0.0, resident_bytes() - before) / counted;
  return {};
}

void Run::repeat(const Scene& scene, std::size_t misdeed, Duration delay) {
  while (this_fiber::sleep_until(this_fiber::after(delay))) {
    misdeeds()[misdeed].commit(scene);
    if (!this_fiber::cancelled()) ++misdeeds_done_[misdeed];
    delay = kMisdeedPause;
  }
}

Result<void> Run::misbehave(Scope& fibers, const Scene& scene) {
  const std::size_t peers = misdeeds().size() * kPeersPerMisdeed;
  for (std::size_t peer = 0; peer < peers; ++peer) {
    const Duration delay = Duration(kMisdeedPause) * static_cast<std::int64_t>(peer) /
                           static_cast<std::int64_t>(peers);
    const auto started = fibers.spawn("misbehaving peer", [this, &scene, peer, delay] {
      repeat(scene, peer % misdeeds().size(), delay);
    });
    if (!started) return started.error();
  }
  return {};
}

void Run::await_end() {
  const TimePoint begin = this_fiber::now();
  const TimePoint end = begin + plan_.duration;
  const auto seconds_since = [begin] {
    return std::chrono::duration<double>(this_fiber::now() - begin).count();
  };
  while (this_fiber::now() < end) {
    const TimePoint redraw = this_fiber::now() + kRedraw;
    if (!this_fiber::sleep_until(Deadline::at(std::min(redraw, end)))) break;
    progress_.update(seconds_since() / std::chrono::duration<double>(plan_.duration).count(),
                     fmt::format("{} answered, {} declared dead", requests_, ledger_.spurious()));
  }
  seconds_ = seconds_since();
}

PolicyReport Run::report() const {
  PolicyReport report{.policy = runtime_.isolation(),
                      .connections = plan_.connections,
                      .requests = requests_,
                      .seconds = seconds_,
                      .spurious = ledger_.spurious(),
                      .bytes_per_connection = bytes_per_connection_};
  for (std::size_t index = 0; index < misdeeds_done_.size(); ++index) {
    report.misdeeds.emplace_back(misdeeds()[index].name, misdeeds_done_[index]);
  }
  report.reasons.assign(ledger_.reasons().begin(), ledger_.reasons().end());
  std::stable_sort(report.reasons.begin(), report.reasons.end(),
                   [](const auto& left, const auto& right) { return left.second > right.second; });
  return report;
}

Result<PolicyReport> Run::measure_in(Scope& fibers, Listener& listener) {
  const auto serving = fibers.spawn("listener", [&] { server_.run(fibers, listener); });
  if (!serving) return serving.error();
  const std::string_view policy = name_of(runtime_.isolation());
  progress_.begin(fmt::format("{}: opening {} connections", policy, plan_.connections));
  if (const auto opened = open_all(fibers); !opened) return opened.error();

  const std::vector<std::byte> client_hello =
      capture_client_hello(plan_.trusting_client, kDemoHost);
  const Scene scene{.runtime = runtime_,
                    .server = *address_,
                    .server_name = kDemoHost,
                    .trusting = plan_.trusting_client,
                    .distrusting = plan_.distrusting_client,
                    .identity = plan_.identity,
                    .other_identity = plan_.other_identity,
                    .client_hello = client_hello};
  progress_.begin(fmt::format("{}: beside misbehaving peers", policy));
  requests_ = 0;
  const Result<void> misbehaving = scope([&](Scope& bad) -> Result<void> {
    const Result<void> begun = misbehave(bad, scene);
    if (begun) await_end();
    ledger_.close();
    bad.cancel();
    return begun;
  });
  if (!misbehaving) return misbehaving.error();
  return report();
}

Result<PolicyReport> Run::measure() {
  const Result<Address> any_port = Address::from_ip("127.0.0.1", 0);
  if (!any_port) return any_port.error();
  auto listener = Listener::create(runtime_, *any_port);
  if (!listener) return listener.error();
  address_ = listener->address();
  return scope([&](Scope& fibers) {
    Result<PolicyReport> result = measure_in(fibers, *listener);
    ledger_.close();
    fibers.cancel();
    return result;
  });
}

}  // namespace

Result<PolicyReport> run_policy(Isolation policy, const DemoPlan& plan, Progress& progress) {
  malloc_trim(0);  // So that memory freed by an earlier run is not used again, but measured again.
  auto runtime = Runtime::create({.isolation = policy});
  if (!runtime) return runtime.error();
  Result<PolicyReport> report =
      Error{.code = Errc::kCancelled, .operation = "demo"};  // Replaced by the fiber.
  const auto started =
      runtime->spawn("demo", [&] { report = Run(*runtime, plan, progress).measure(); });
  if (!started) return started.error();
  runtime->run();
  return report;
}

}  // namespace heddle::cli
