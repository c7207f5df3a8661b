// The threads of a load, and who watches them.
#include "cli/load_run.h"

#include <algorithm>
#include <csignal>
#include <memory>
#include <optional>
#include <vector>

#include <fmt/core.h>

#include "heddle/signals.h"
#include "heddle/threads.h"

#include "cli/demo_report.h"
#include "cli/load_worker.h"

namespace heddle::cli {
namespace {

constexpr auto kRedraw = std::chrono::milliseconds(200);

class LoadRun {
 public:
  LoadRun(const LoadPlan& plan, Progress* progress)
      : plan_(plan), progress_(progress), tallies_(plan.threads), live_(plan.threads) {}

  Result<LoadTally> run();

 private:
  Result<void> supervise(Crew<LoadWorker>& workers);
  void draw();
  void draw_opening();

  const LoadPlan& plan_;
  Progress* const progress_;
  std::vector<LoadTally> tallies_;
  std::vector<LoadLive> live_;
  LoadCrew crew_;
  std::optional<TimePoint> start_;  // Of the first requests.
  std::uint64_t answers_ = 0;       // When it was drawn last.
};

// Until all threads have ended, or a signal comes.
Result<void> LoadRun::supervise(Crew<LoadWorker>& workers) {
  auto signals = Signals::create(this_fiber::runtime(), {SIGINT, SIGTERM});
  if (!signals) return signals.error();
  while (true) {
    const Result<int> signal = signals->wait(this_fiber::after(kRedraw));
    if (signal) break;
    if (signal.error().code != Errc::kTimedOut) return {};
    if (progress_ != nullptr) draw();
  }
  workers.stop();
  return {};
}

void LoadRun::draw_opening() {
  std::uint64_t opened = 0;
  for (const LoadLive& live : live_) opened += live.opened.load(std::memory_order_relaxed);
  const std::size_t all = plan_.connections + plan_.idle;
  progress_->update(static_cast<double>(opened) / static_cast<double>(all), "");
}

void LoadRun::draw() {
  if (!start_) return draw_opening();
  std::uint64_t answers = 0;
  std::uint64_t failures = 0;
  for (const LoadLive& live : live_) {
    answers += live.answers.load(std::memory_order_relaxed);
    failures += live.failures.load(std::memory_order_relaxed);
  }
  const double share = plan_.requests != 0
                           ? static_cast<double>(answers) / static_cast<double>(plan_.requests)
                           : std::chrono::duration<double>(this_fiber::now() - *start_) /
                                 std::chrono::duration<double>(plan_.duration);
  const double rate = static_cast<double>(answers - std::exchange(answers_, answers)) /
                      std::chrono::duration<double>(kRedraw).count();
  progress_->update(share,
                    fmt::format("{} answers, {} per second, {} failures", grouped(answers),
                                grouped(static_cast<std::uint64_t>(rate)), grouped(failures)));
}

Result<LoadTally> LoadRun::run() {
  if (progress_ != nullptr) {
    // Not drawn but told where there is no terminal: whoever measures the server waits for it.
    progress_->begin("opening connections");
    crew_.begin = [this] {
      start_ = this_fiber::now();
      progress_->begin("sending requests");
    };
    crew_.end = [this] { progress_->begin("closing connections"); };
  }
  const Result<void> ran = run_on_threads<LoadWorker>(
      {.threads = plan_.threads, .runtime = {}},
      [this](Runtime& runtime, std::size_t index) -> Result<std::unique_ptr<LoadWorker>> {
        return std::make_unique<LoadWorker>(runtime, plan_, index, tallies_.at(index),
                                            live_.at(index), crew_);
      },
      [this](Crew<LoadWorker>& workers) { return supervise(workers); });
  if (progress_ != nullptr) progress_->finish();
  if (!ran) return ran.error();
  LoadTally total;
  for (const LoadTally& tally : tallies_) total.add(tally);
  return total;
}

}  // namespace

Result<LoadTally> run_load(const LoadPlan& plan, Progress* progress) {
  return LoadRun(plan, progress).run();
}

}  // namespace heddle::cli
