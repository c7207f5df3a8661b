// Signals: what the process has caught, and a descriptor to wait for.
#include "heddle/signals.h"

#include <utility>

#include "base/handle.h"
#include "base/hidden.h"
#include "base/interruption.h"
#include "fiber/scheduler.h"
#include "io/caught_signals.h"
#include "io/signals.h"

namespace heddle {

class HEDDLE_HIDDEN Signals::State {
 public:
  State(std::unique_ptr<io::CaughtSignals> caught, std::unique_ptr<io::Pollable> pollable) noexcept
      : caught_(std::move(caught)), pollable_(std::move(pollable)) {}
  State(const State&) = delete;
  State& operator=(const State&) = delete;
  ~State() { pollable_->unregister(); }  // The eventfd lives on.

  Result<int> wait(Deadline deadline) {
    constexpr const char* kOperation = "wait for a signal";
    if (const Wake wake = fiber::Scheduler::current().breathe(); wake != Wake::kReady) {
      return interruption(wake, kOperation);
    }
    for (;;) {
      // First: what comes after this look is an edge of its own.
      pollable_->readable = false;
      if (const int signal = caught_->take(); signal != 0) return signal;
      const Wake wake = pollable_->wait(Interest::kRead, deadline);
      if (wake != Wake::kReady) return interruption(wake, kOperation);
    }
  }

 private:
  std::unique_ptr<io::CaughtSignals> caught_;
  std::unique_ptr<io::Pollable> pollable_;
};

Result<Signals> io::SignalsFactory::make(Reactor& reactor, std::initializer_list<int> signals) {
  auto caught = CaughtSignals::create(signals);
  if (!caught) return caught.error();
  auto event = (*caught)->duplicate_event();
  if (!event) return event.error();
  auto pollable = Pollable::create(reactor, *std::move(event));
  if (!pollable) return pollable.error();
  return Signals(std::make_unique<Signals::State>(*std::move(caught), *std::move(pollable)));
}

Signals::Signals(std::unique_ptr<State> state) : state_(std::move(state)) {}

Signals::Signals(Signals&& other) noexcept = default;
Signals& Signals::operator=(Signals&& other) noexcept = default;
Signals::~Signals() = default;

Result<int> Signals::wait(Deadline deadline) {
  return behind(state_, "Signals", "wait").wait(deadline);
}

}  // namespace heddle
