// The stale-error bug as a regression harness: run its scenarios against any TLS stack that is
// built on OpenSSL. `heddle stale` does it for this library; a test suite of your own does it for
// yours:
//
//   class MyStack : public heddle::stale::Stack { ... };
//
//   class StaleErrors : public testing::TestWithParam<heddle::stale::Scenario> {};
//   TEST_P(StaleErrors, HealthyConnectionStaysHealthy) {
//     MyStack stack;
//     const heddle::stale::Cell cell = heddle::stale::run(stack, GetParam());
//     EXPECT_TRUE(cell.right()) << cell.explain();
//   }
//   INSTANTIATE_TEST_SUITE_P(All, StaleErrors, testing::ValuesIn(heddle::stale::scenarios()),
//                            heddle::stale::test_name);
//
// A scenario has three parts: a real OpenSSL operation that fails, or succeeds, and leaves an entry
// in the thread's error queue; the unrelated operation of the victim; and the point at which the
// first interrupts the second. Link with libheddle_stale.
//
// Threads:  everything happens on the calling thread. Its own error queue is left as it was.
// Errors:   exceptions that a Stack throws make the cell kBroken. SIGPIPE is ignored during a run.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "heddle/error_queue.h"
#include "heddle/export.h"
#include "heddle/isolation.h"
#include "heddle/tls/context.h"

using SSL = struct ssl_st;

namespace heddle::stale {

// --- What a stack has to offer ------------------------------------------------------------------

// How a stack classified the end of an operation.
enum class Answer : std::uint8_t {
  kDone,
  kEnd,              // The peer has sent close_notify.
  kWaiting,          // Nothing to do until the peer acts. For Patience::kNone only.
  kTransportFailed,  // The connection below TLS broke: a reset, EPIPE, an end without close_notify.
  kTlsFailed,        // TLS itself failed.
  kUntrusted,        // The peer's certificate did not verify.
  kUnsupported,      // The stack has no such operation.
};

struct Outcome {
  Answer answer = Answer::kDone;
  std::size_t bytes = 0;  // That were read.
  std::string words;      // What the stack said, if it failed.
};

enum class Patience : bool {
  kNone,    // Say kWaiting when the peer has to act first.
  kForever  // Wait, and let other fibers run meanwhile.
};

// One end of a connection; the harness itself plays the other.
class HEDDLE_API StackConnection {
 public:
  StackConnection() = default;
  StackConnection(const StackConnection&) = delete;
  StackConnection& operator=(const StackConnection&) = delete;
  virtual ~StackConnection() = default;

  // Waits as long as it takes.
  virtual Outcome handshake() = 0;
  virtual Outcome read(std::span<std::byte> into, Patience patience) = 0;
  virtual Outcome peek(std::span<std::byte> /*into*/) { return {Answer::kUnsupported, 0, ""}; }
  // Writes all of `from`, as long as it takes.
  virtual Outcome write(std::span<const std::byte> from) = 0;
  // Sends close_notify, and reads the peer's if it has come; else says kWaiting.
  virtual Outcome shutdown() = 0;

  // Null if the stack keeps its SSL object to itself: scenarios that need it are skipped then.
  virtual SSL* native_handle() noexcept { return nullptr; }
};

struct Endpoint {
  Role role;
  int descriptor;              // A connected stream socket, non-blocking. Close it in the end.
  std::string_view chain_pem;  // Servers: what to present, leaf first.
  std::string_view key_pem;
  std::string_view trusted_pem;  // Clients: the one certificate to trust; empty: none.
  std::string_view server_name;  // Clients: whom to expect.
};

class HEDDLE_API Stack {
 public:
  Stack() = default;
  Stack(const Stack&) = delete;
  Stack& operator=(const Stack&) = delete;
  virtual ~Stack() = default;

  virtual std::string_view name() const = 0;

  // What the stack does about stale entries, and so what to expect of it. A stack that claims
  // kIsolated must be right in every scenario.
  virtual Isolation claims() const { return Isolation::kIsolated; }

  // Runs `entry` in a fiber (task, coroutine) until it and all that it spawns have returned.
  virtual void run(std::function<void()> entry) = 0;
  // Starts another fiber. Called from a fiber.
  virtual void spawn(const std::string& name, std::function<void()> entry) = 0;
  // Lets every other ready fiber run, and looks for events. Called from a fiber.
  virtual void yield() = 0;

  // Whether yield() may be called while OpenSSL is on the stack, in callbacks.
  virtual bool switches_inside() const { return false; }

  virtual std::unique_ptr<StackConnection> connect(const Endpoint& endpoint) = 0;
};

// This library's own streams and fibers under one policy.
HEDDLE_API std::unique_ptr<Stack> make_heddle_stack(Isolation isolation);

// Plain OpenSSL calls as in many programs: nothing is cleared, SSL_get_error() is believed.
HEDDLE_API std::unique_ptr<Stack> make_careless_stack();

// --- Scenarios ----------------------------------------------------------------------------------

struct HEDDLE_API Scenario {
  std::string leaker;        // Such as "pem-junk".
  std::string victim;        // Such as "read".
  std::string switch_point;  // Such as "bio-read".

  // Such as "pem-junk/read@bio-read".
  std::string id() const;
};

// A part of scenarios, for people.
struct Part {
  std::string name;
  std::string description;
};

HEDDLE_API std::vector<Part> leakers();
HEDDLE_API std::vector<Part> victims();
HEDDLE_API std::vector<Part> switch_points();

// All of them, or those whose id matches the fnmatch(3) pattern.
HEDDLE_API std::vector<Scenario> scenarios(const std::string& pattern = "*");

// --- Running them -------------------------------------------------------------------------------

enum class Verdict : std::uint8_t {
  kHealthy,   // Right: what was healthy went on, what had failed was reported as itself.
  kSpurious,  // A healthy connection was declared dead.
  kLost,      // A true error was reported as another, or not at all.
  kSkipped,   // Cannot be played with this stack: `saw` says why.
  kBroken,    // The scene itself failed, so that nothing can be said: `saw` says how.
};

HEDDLE_API std::string_view name_of(Verdict verdict);

// Who left the entry.
struct Origin {
  std::string fiber;
  std::string operation;  // Such as "PEM_read_bio_X509".
  std::string file;       // Where it was called.
  int line = 0;
};

// Cell is what became of one scenario with one stack.
struct HEDDLE_API Cell {
  Scenario scenario;
  std::string stack;
  Isolation claims = Isolation::kIsolated;
  Verdict verdict = Verdict::kBroken;
  Verdict expected = Verdict::kHealthy;  // With this OpenSSL, from the stack's claims.
  std::string saw;                       // What the victim saw.
  std::optional<ErrorEntry> entry;       // The oldest that was left.
  std::optional<Origin> left_by;         // Who left it; none: nothing was left by anyone.

  bool right() const { return verdict == Verdict::kHealthy || verdict == Verdict::kSkipped; }
  bool as_expected() const { return verdict == expected || verdict == Verdict::kSkipped; }

  // All of it in one line.
  std::string explain() const;
};

// Plays one scenario. The same seed gives the same scene: sizes, order, protocol version.
HEDDLE_API Cell run(Stack& stack, const Scenario& scenario, std::uint64_t seed = 1);

struct HEDDLE_API Report {
  std::string openssl;  // The version at run time, such as "OpenSSL 3.0.19 27 Jan 2026".
  std::uint64_t seed = 1;
  std::vector<Cell> cells;

  // Every cell that claims kIsolated is right, and every one that claims kShared shows the bug
  // where this OpenSSL has it. Nothing is required of kClear, which is there for comparison.
  bool as_expected() const;
};

HEDDLE_API Report run(Stack& stack, std::span<const Scenario> scenarios, std::uint64_t seed = 1);

// The version of the OpenSSL in use, such as "OpenSSL 3.0.19 27 Jan 2026".
HEDDLE_API std::string openssl_version();

// Facts about the OpenSSL in use.
struct OpensslFacts {
  std::string running;     // openssl_version()
  std::string built_with;  // The version whose headers this library was compiled with.
  // Whether SSL_get_error() believes the queue before it looks at the connection. Found by a trial.
  bool queue_first = false;
};

HEDDLE_API OpensslFacts openssl_facts();

// --- Reports ------------------------------------------------------------------------------------

// Whether the report is as expected, and why, in a sentence or two without a line break.
HEDDLE_API std::string conclusion(const Report& report);

// How many of the failures a table explains: a few that differ, or all.
enum class Examples : bool { kFew, kAll };

// These end in a line break.
HEDDLE_API std::string as_table(const Report& report, bool colour,
                                Examples examples = Examples::kFew);
HEDDLE_API std::string as_json(const Report& report);
HEDDLE_API std::string as_junit(const Report& report);  // XML, as CI systems read it.
HEDDLE_API std::string as_html(const Report& report);   // One self-contained page.

// For INSTANTIATE_TEST_SUITE_P: "pem_junk__read__bio_read".
template <typename ParamInfo>
std::string test_name(const ParamInfo& info) {
  std::string name = info.param.leaker + "__" + info.param.victim + "__" + info.param.switch_point;
  for (char& character : name) {
    if (character == '-') character = '_';
  }
  return name;
}

}  // namespace heddle::stale
