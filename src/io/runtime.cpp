// A reactor and a scheduler make a runtime.
#include "heddle/runtime.h"

#include <sys/socket.h>

#include <utility>

#include "heddle/address.h"

#include "base/die.h"
#include "base/handle.h"
#include "base/hidden.h"
#include "fiber/scheduler.h"
#include "io/reactor.h"
#include "io/resolver.h"
#include "io/runtime_access.h"
#include "io/sockets.h"

namespace heddle {
namespace {

// The handle of the runtime that runs, where its State keeps it.
thread_local Runtime* const* t_running = nullptr;

// Also ends when work that was posted throws out of run().
class RunningScope {
 public:
  explicit RunningScope(Runtime* const& handle) noexcept
      : outer_(std::exchange(t_running, &handle)) {}
  RunningScope(const RunningScope&) = delete;
  RunningScope& operator=(const RunningScope&) = delete;
  ~RunningScope() { t_running = outer_; }

 private:
  Runtime* const* outer_;
};

// The peer's address, or a listener's own. Fails for what has neither.
Result<Address> address_of(int descriptor) {
  auto peer = io::ask_address(descriptor, ::getpeername, "getpeername");
  return peer ? peer : io::ask_address(descriptor, ::getsockname, "getsockname");
}

}  // namespace

class HEDDLE_HIDDEN Runtime::State {
 public:
  State(std::unique_ptr<io::Reactor> events, const RuntimeOptions& options)
      : reactor(std::move(events)),
        scheduler(*reactor, {.isolation = options.isolation,
                             .stack_bytes = options.stack_bytes,
                             .report_stack_overflow = options.report_stack_overflow}) {}

  std::unique_ptr<io::Reactor> reactor;
  std::unique_ptr<io::Resolver> resolver;  // Made on first use: reads configuration files.
  fiber::Scheduler scheduler;
  Runtime* handle = nullptr;  // Whose State this is.
};

Result<Runtime> Runtime::create(RuntimeOptions options) {
  auto reactor = io::Reactor::create();
  if (!reactor) return reactor.error();
  return Runtime(std::make_unique<State>(*std::move(reactor), options));
}

// Only create() has it, and moves it: that is when the state gets to know its handle.
Runtime::Runtime(std::unique_ptr<State> state) : state_(std::move(state)) {}

Runtime::Runtime(Runtime&& other) noexcept : state_(std::move(other.state_)) {
  if (state_) state_->handle = this;
}

Runtime& Runtime::operator=(Runtime&& other) noexcept {
  state_ = std::move(other.state_);
  if (state_) state_->handle = this;
  return *this;
}

Runtime::~Runtime() = default;

Runtime::State& Runtime::state(const char* call) const noexcept {
  return behind(state_, "Runtime", call);
}

Result<void> Runtime::start(const SpawnOptions& options,
                            const std::shared_ptr<detail::TaskState>& task) {
  return state("spawn").scheduler.spawn(options, task, /*scope=*/nullptr);
}

void Runtime::run() {
  State& state = this->state();
  const RunningScope running(state.handle);
  state.scheduler.run();
}

void Runtime::post_work(std::unique_ptr<detail::Work> work) {
  fiber::Posted one;
  one.push_back(std::move(work));
  state("post").reactor->post(std::move(one));
}

void Runtime::stop() {
  State& state = this->state();
  state.reactor->post(fiber::posted([&state] { state.scheduler.cancel_all(); }));
}

TimePoint Runtime::now() const noexcept {
  // Between runs nobody looks at the clock.
  const State& state = this->state();
  const bool runs = fiber::Scheduler::current_or_null() == &state.scheduler;
  return runs ? state.reactor->now() : state.reactor->look_at_clock();
}

Deadline Runtime::after(Duration delay) const noexcept {
  return state().scheduler.after(delay);
}

Isolation Runtime::isolation() const noexcept {
  return state().scheduler.isolation();
}

RuntimeStats Runtime::stats() const noexcept {
  const State& state = this->state();
  return {.fibers = state.scheduler.fibers(),
          .switches = state.scheduler.switches(),
          .polls = state.reactor->polls(),
          .exchanges = state.scheduler.exchanges(),
          .stacks_pooled = state.scheduler.stacks_pooled()};
}

std::vector<FiberInfo> Runtime::fibers() const {
  std::vector<FiberInfo> all = state().scheduler.describe_fibers();
  for (FiberInfo& fiber : all) {
    if (!fiber.descriptor) continue;
    if (const auto address = address_of(*fiber.descriptor)) {
      fiber.purpose.append(" (").append(address->to_string()).append(")");
    }
  }
  return all;
}

io::Reactor& io::RuntimeAccess::reactor(Runtime& runtime) noexcept {
  return *runtime.state("reactor").reactor;
}

Runtime& this_fiber::runtime() noexcept {
  if (t_running == nullptr) die("this_fiber::runtime() on a thread on which no runtime runs");
  return **t_running;
}

Result<io::Resolver*> io::RuntimeAccess::resolver(Runtime& runtime) {
  Runtime::State& state = runtime.state("connect");
  if (!state.resolver) {
    auto made = io::Resolver::create(*state.reactor);
    if (!made) return made.error();
    state.resolver = *std::move(made);
  }
  return state.resolver.get();
}

}  // namespace heddle
