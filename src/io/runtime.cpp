// A reactor and a scheduler make a runtime.
#include "heddle/runtime.h"

#include <sys/socket.h>

#include <optional>
#include <utility>

#include "heddle/address.h"

#include "base/die.h"
#include "fiber/scheduler.h"
#include "io/reactor.h"
#include "io/resolver.h"

namespace heddle {
namespace {

thread_local Runtime* t_running = nullptr;

// Also ends when work that was posted throws out of run().
class RunningScope {
 public:
  explicit RunningScope(Runtime* runtime) noexcept : outer_(std::exchange(t_running, runtime)) {}
  RunningScope(const RunningScope&) = delete;
  RunningScope& operator=(const RunningScope&) = delete;
  ~RunningScope() { t_running = outer_; }

 private:
  Runtime* outer_;
};

// The peer's address, or a listener's own. Empty for what is no socket, or has neither.
std::optional<Address> address_of(int descriptor) {
  for (const auto ask : {::getpeername, ::getsockname}) {
    sockaddr_storage storage{};
    socklen_t size = sizeof(storage);
    auto* const generic = reinterpret_cast<sockaddr*>(&storage);
    if (ask(descriptor, generic, &size) == 0) return Address::from_sockaddr(generic, size);
  }
  return std::nullopt;
}

}  // namespace

class Runtime::State {
 public:
  State(std::unique_ptr<io::Reactor> events, const RuntimeOptions& options)
      : reactor(std::move(events)),
        scheduler(*reactor, {.isolation = options.isolation,
                             .stack_bytes = options.stack_bytes,
                             .report_stack_overflow = options.report_stack_overflow}) {}

  std::unique_ptr<io::Reactor> reactor;
  std::unique_ptr<io::Resolver> resolver;  // Made on first use: reads configuration files.
  fiber::Scheduler scheduler;
};

Result<std::unique_ptr<Runtime>> Runtime::create(RuntimeOptions options) {
  auto reactor = io::Reactor::create();
  if (!reactor) return reactor.error();
  return std::unique_ptr<Runtime>(
      new Runtime(std::make_unique<State>(*std::move(reactor), options)));
}

Runtime::Runtime(std::unique_ptr<State> state) : state_(std::move(state)) {}
Runtime::~Runtime() = default;

Result<void> Runtime::start(const SpawnOptions& options,
                            const std::shared_ptr<detail::TaskState>& task) {
  return state_->scheduler.spawn(options, task, /*scope=*/nullptr);
}

void Runtime::run() {
  const RunningScope running(this);
  state_->scheduler.run();
}

void Runtime::post(std::function<void()> work) {
  state_->reactor->post(fiber::posted(std::move(work)));
}

void Runtime::stop() {
  post([this] { state_->scheduler.cancel_all(); });
}

TimePoint Runtime::now() const noexcept {
  // Between runs nobody looks at the clock.
  const bool runs = fiber::Scheduler::current_or_null() == &state_->scheduler;
  return runs ? state_->reactor->now() : state_->reactor->look_at_clock();
}

Deadline Runtime::after(Duration delay) const noexcept {
  return state_->scheduler.after(delay);
}

Isolation Runtime::isolation() const noexcept {
  return state_->scheduler.isolation();
}

RuntimeStats Runtime::stats() const noexcept {
  return {.fibers = state_->scheduler.fibers(),
          .switches = state_->scheduler.switches(),
          .polls = state_->reactor->polls(),
          .exchanges = state_->scheduler.exchanges(),
          .stacks_pooled = state_->scheduler.stacks_pooled()};
}

std::vector<FiberInfo> Runtime::fibers() const {
  std::vector<FiberInfo> all = state_->scheduler.describe_fibers();
  for (FiberInfo& fiber : all) {
    if (!fiber.descriptor) continue;
    if (const auto address = address_of(*fiber.descriptor)) {
      fiber.purpose.append(" (").append(address->to_string()).append(")");
    }
  }
  return all;
}

io::Reactor& Runtime::reactor() noexcept {
  return *state_->reactor;
}

Runtime& this_fiber::runtime() noexcept {
  if (t_running == nullptr) die("this_fiber::runtime() on a thread on which no runtime runs");
  return *t_running;
}

Result<io::Resolver*> Runtime::resolver() {
  if (!state_->resolver) {
    auto made = io::Resolver::create(*state_->reactor);
    if (!made) return made.error();
    state_->resolver = *std::move(made);
  }
  return state_->resolver.get();
}

}  // namespace heddle
