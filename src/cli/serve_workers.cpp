// The threads of `heddle serve`. The first is the process's own: it waits for signals,
// tells the others to stop, and ends last.
#include "cli/serve_workers.h"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <functional>
#include <future>
#include <list>
#include <memory>
#include <new>
#include <optional>
#include <string_view>
#include <system_error>
#include <thread>
#include <type_traits>
#include <utility>

#include <fmt/core.h>
#include <malloc.h>
#include <unistd.h>

#include "heddle/listener.h"
#include "heddle/runtime.h"
#include "heddle/signals.h"
#include "heddle/sync.h"
#include "heddle/tls/ktls.h"

#include "cli/log_writer.h"
#include "cli/process.h"
#include "cli/serve_log.h"
#include "http/server.h"

namespace heddle::cli {
namespace {

http::ServerOptions server_options(const WorkerOptions& options, LogWriter& log) {
  http::ServerOptions server;
  server.max_connections = options.connections_max;
  server.timeouts = options.timeouts;
  server.grace = options.grace;
  server.on_exhausted = [&log, limit = options.connections_max](const Error& error) {
    say_exhausted(log, error, limit);
  };
  if (options.access_log) {
    server.on_request = [&log](const http::AccessRecord& record) { log_request(log, record); };
  }
  if (options.handshake_log) {
    server.on_handshake_failed = [&log](std::string_view peer, const Error& error) {
      log_handshake(log, peer, error);
    };
  }
  return server;
}

// Worker is one thread's part.
//
// Threads:  made, run and destroyed on its thread; stop() from any, while it lives.
class Worker {
 public:
  // `address` need not be that of the options: its port may be known by now.
  // `log` must outlive it.
  static Result<std::unique_ptr<Worker>> create(const WorkerOptions& options, LogWriter& log,
                                                const Address& address);

  // Serves until stop(). Parks.
  Result<void> serve();
  void stop() {
    runtime_.post([this] { server_.stop(); });
  }
  // Logs what each fiber does, soon. As stop(). Without memory it says so instead.
  void dump_fibers() {
    runtime_.post([this] { try_dump_fibers(); });
  }

  Runtime& runtime() noexcept { return runtime_; }
  const Address& address() const noexcept { return address_; }
  http::ServerStats stats() const noexcept { return server_.stats(); }

 private:
  Worker(Runtime runtime, Listener listener, const WorkerOptions& options, LogWriter& log)
      : runtime_(std::move(runtime)),
        address_(listener.address()),
        site_(options.site),
        log_(log),
        server_(std::move(listener), options.context, options.site, server_options(options, log)) {}

  void keep_house();
  void try_dump_fibers();

  Runtime runtime_;
  Address address_;
  const http::Site& site_;
  LogWriter& log_;
  http::Server server_;
};

Result<void> Worker::serve() {
  return scope([this](Scope& fibers) -> Result<void> {
    const auto keeper = fibers.spawn("keeper", [this] { keep_house(); });
    if (!keeper) return keeper.error();
    Result<void> served = server_.run();
    fibers.cancel();
    return served;
  });
}

// Closes files that nobody asks for any more, and gives memory back.
//
// After a flood of connections the allocator keeps what they had: the few that are
// left lie between. It gives whole free pages back only when asked.
void Worker::keep_house() {
  constexpr std::size_t kWorthwhile = 1'000;  // Connections: some ten mebibytes.
  std::size_t peak = 0;
  while (this_fiber::sleep_until(this_fiber::after(std::chrono::seconds(1)))) {
    site_.close_idle_files(http::DateCache::seconds());
    const std::size_t open = server_.open_connections();
    peak = std::max(peak, open);
    if (open > peak / 2 || peak - open < kWorthwhile) continue;
    ::malloc_trim(0);
    peak = open;
  }
}

void Worker::try_dump_fibers() {
  try {
    log_fibers(log_, runtime_.fibers());
  } catch (const std::bad_alloc&) {
    log_.add("heddle serve: no memory to list fibers\n");
  }
}

Result<std::unique_ptr<Worker>> Worker::create(const WorkerOptions& options, LogWriter& log,
                                               const Address& address) {
  Result<Runtime> runtime = Runtime::create({.isolation = options.isolation});
  if (!runtime) return runtime.error();
  Result<Listener> listener =
      Listener::create(*runtime, address, {.reuse_port = options.threads > 1});
  if (!listener) return listener.error();
  return std::unique_ptr<Worker>(
      new Worker(std::move(*runtime), std::move(*listener), options, log));
}

int report_start_failure(const WorkerOptions& options, const Error& error) {
  if (error.code == Errc::kExhausted) {
    print_error("serve", "cannot start: " + error.message());
    return kExitFailure;
  }
  const std::string why =
      error.sys_errno != 0 ? std::generic_category().message(error.sys_errno) : error.message();
  const std::string_view remedy = error.sys_errno == EADDRINUSE
                                      ? "choose another port with --listen, or 0 for any"
                                      : "choose another address with --listen";
  print_error("serve",
              fmt::format("cannot listen on {}: {}; {}", options.address.to_string(), why, remedy));
  return error.code == Errc::kInvalid ? kExitUsage : kExitFailure;
}

// With SO_REUSEPORT another server of the same user's would get half of the connections.
Result<void> check_nobody_listens(const WorkerOptions& options) {
  if (options.threads == 1 || options.address.port() == 0) return {};
  Result<Runtime> runtime = Runtime::create({.isolation = options.isolation});
  if (!runtime) return runtime.error();
  Result<Listener> listener = Listener::create(*runtime, options.address);
  if (!listener) return listener.error();
  return {};
}

// What `function()` returns; that there is no memory, if it throws that.
template <typename Function>
std::invoke_result_t<Function> or_exhausted(Function function) {
  try {
    return function();
  } catch (const std::bad_alloc&) {
    return Error{.code = Errc::kExhausted, .sys_errno = ENOMEM, .operation = "serve on a thread"};
  }
}

// Serves until the worker is told to stop, on a thread that does nothing else.
Result<void> run_alone(Worker& worker) {
  Result<void> served;
  const auto fiber = worker.runtime().spawn("serve", [&] { served = worker.serve(); });
  if (!fiber) return fiber.error();
  worker.runtime().run();
  return served;
}

// A further thread, and what the first one knows of it.
class WorkerThread {
 public:
  // Starts the thread, and waits until it is able to serve. `ended` is called there
  // when it has stopped serving.
  Result<void> start(const WorkerOptions& options, LogWriter& log, const Address& address,
                     std::function<void(const Result<void>&)> ended);

  // Precondition of both: start() succeeded.
  void stop() { worker_->stop(); }
  void dump_fibers() { worker_->dump_fibers(); }
  // What it has done. Precondition: `ended` has been called.
  http::ServerStats stats() const noexcept { return worker_->stats(); }

 private:
  Worker* worker_ = nullptr;  // On the thread's stack, until released_.
  std::promise<void> released_;
  std::jthread thread_;

 public:
  WorkerThread() = default;
  WorkerThread(const WorkerThread&) = delete;
  WorkerThread& operator=(const WorkerThread&) = delete;
  ~WorkerThread() { released_.set_value(); }  // Then the thread is joined.
};

Result<void> WorkerThread::start(const WorkerOptions& options, LogWriter& log,
                                 const Address& address,
                                 std::function<void(const Result<void>&)> ended) {
  std::promise<Result<Worker*>> started;
  std::future<Result<Worker*>> outcome = started.get_future();
  auto live = [&options, &log, &address, ended = std::move(ended), started = std::move(started),
               released = released_.get_future()]() mutable {
    Result<std::unique_ptr<Worker>> worker =
        or_exhausted([&] { return Worker::create(options, log, address); });
    if (!worker) return started.set_value(worker.error());
    started.set_value(worker->get());
    ended(or_exhausted([&] { return run_alone(**worker); }));
    released.wait();  // Until then, stop() may be called.
  };
  try {
    thread_ = std::jthread(std::move(live));
  } catch (const std::system_error& failed) {
    return Error{.code = Errc::kExhausted,
                 .sys_errno = failed.code().value(),
                 .operation = "start a thread"};
  }
  const Result<Worker*> worker = outcome.get();
  if (!worker) return worker.error();
  worker_ = *worker;
  return {};
}

// Who encrypted, and why the kernel did not do the rest.
void summarise_kernel_tls() {
  const KernelTlsStats stats = kernel_tls_stats();
  constexpr auto kActive = static_cast<std::size_t>(KernelTlsState::kActive);
  fmt::print(
      "kernel TLS: {} of {} connections sent by it, {} received by it; of files {} bytes by "
      "sendfile, {} copied; {} connections ended for a KeyUpdate\n",
      stats.send.at(kActive), stats.connections, stats.receive.at(kActive),
      stats.sendfile_kernel_bytes, stats.sendfile_copied_bytes, stats.key_updates_refused);
  const auto say_why = [](const char* way, const auto& counts) {
    for (std::size_t i = 0; i < counts.size(); ++i) {
      if (i == kActive || counts.at(i) == 0) continue;
      fmt::print("  {} not {}: {}\n", counts.at(i), way, describe(static_cast<KernelTlsState>(i)));
    }
  };
  say_why("sent", stats.send);
  say_why("received", stats.receive);
}

// Crew is all threads together.
class Crew {
 public:
  Crew(const WorkerOptions& options, LogWriter& log, std::unique_ptr<Worker> first, Signals signals)
      : options_(options), log_(log), first_(std::move(first)), signals_(std::move(signals)) {}

  Result<void> start_others();
  int run();

 private:
  Result<void> start_other();
  void other_ended(const Result<void>& served);
  void announce() const;
  void serve(Scope& fibers);
  void watch_signals();
  void dump_fibers();
  void stop_all();
  bool try_stop_all();
  void summarise() const;

  const WorkerOptions& options_;
  LogWriter& log_;
  std::unique_ptr<Worker> first_;  // Outlives what posts to its runtime,
  Signals signals_;                // and what is registered there.
  WaitGroup others_running_;
  std::optional<Error> failure_;
  std::list<WorkerThread> others_;
};

Result<void> Crew::start_others() {
  for (unsigned i = 1; i < options_.threads; ++i) {
    if (Result<void> started = start_other(); !started) {
      for (WorkerThread& running : others_) running.stop();
      return started;
    }
  }
  return {};
}

Result<void> Crew::start_other() {
  const auto in_post = [this](const Result<void>& served) {
    first_->runtime().post([this, served] { other_ended(served); });
  };
  WorkerThread& other = others_.emplace_back();
  Result<void> started = other.start(options_, log_, first_->address(), in_post);
  if (started) {
    others_running_.add();
  } else {
    others_.pop_back();
  }
  return started;
}

void Crew::other_ended(const Result<void>& served) {
  others_running_.done();
  if (served) return;
  failure_ = served.error();
  stop_all();
}

void Crew::announce() const {
  fmt::print("listening on https://{}\n", first_->address().to_string());
  if (!options_.fingerprint.empty()) {
    fmt::print("self-made certificate, SHA-256 {}\n", options_.fingerprint);
  }
  const KernelTlsState kernel = kernel_tls_support().state;
  if (options_.context.kernel_tls() != KernelTls::kOff && kernel != KernelTlsState::kActive) {
    fmt::print("{}\n", describe(kernel));
  }
  static_cast<void>(std::fflush(stdout));
}

int Crew::run() {
  announce();
  const auto main_fiber =
      first_->runtime().spawn("main", [this] { scope([this](Scope& fibers) { serve(fibers); }); });
  if (!main_fiber) failure_ = main_fiber.error();
  if (failure_) stop_all();
  try {
    first_->runtime().run();
  } catch (const std::exception&) {
    for (WorkerThread& other : others_) other.stop();  // They are joined, and would run for ever.
    throw;
  }
  if (failure_) {
    print_error("serve", "stopped: " + failure_->message());
    return kExitFailure;
  }
  summarise();
  return kExitOk;
}

void Crew::serve(Scope& fibers) {
  auto signals = fibers.spawn("signals", [this] { watch_signals(); });
  const Result<void> served = signals ? first_->serve() : signals.error();
  if (!served) {
    failure_ = served.error();
    stop_all();
  }
  // Nobody cancels this fiber, so this returns when they have all ended.
  static_cast<void>(others_running_.wait());
  if (signals) signals->cancel();
}

void Crew::watch_signals() {
  for (;;) {
    const Result<int> signal = signals_.wait(Deadline::never());
    if (!signal) return;
    if (*signal != SIGUSR1) break;
    dump_fibers();
  }
  while (!try_stop_all()) {
    // Connections end meanwhile, and free memory.
    if (!this_fiber::sleep_until(this_fiber::after(std::chrono::milliseconds(100)))) return;
  }
  while (const Result<int> next = signals_.wait(Deadline::never())) {
    if (*next != SIGUSR1) std::_Exit(128 + *next);
    dump_fibers();
  }
}

// Without memory to tell the threads, whoever asked asks again.
void Crew::dump_fibers() {
  try {
    first_->dump_fibers();
    for (WorkerThread& other : others_) other.dump_fibers();
  } catch (const std::bad_alloc&) {
    log_.add("heddle serve: no memory to list fibers\n");
  }
}

void Crew::stop_all() {
  first_->stop();
  for (WorkerThread& other : others_) other.stop();
}

// False without memory to tell the threads.
bool Crew::try_stop_all() {
  try {
    stop_all();
    return true;
  } catch (const std::bad_alloc&) {
    return false;
  }
}

void Crew::summarise() const {
  http::ServerStats total = first_->stats();
  for (const WorkerThread& other : others_) {
    const http::ServerStats stats = other.stats();
    total.connections += stats.connections;
    total.requests += stats.requests;
    for (std::size_t i = 0; i < total.handshakes_failed.size(); ++i) {
      total.handshakes_failed.at(i) += stats.handshakes_failed.at(i);
    }
  }
  std::uint64_t failed = 0;
  for (const std::uint64_t count : total.handshakes_failed) failed += count;
  fmt::print("served {} requests on {} connections; {} handshakes failed\n", total.requests,
             total.connections, failed);
  if (options_.context.kernel_tls() != KernelTls::kOff) summarise_kernel_tls();
}

}  // namespace

int run_workers(const WorkerOptions& options) {
  // A terminal that is closed is no reason to end; there is nothing to be read again either.
  (void)std::signal(SIGHUP, SIG_IGN);
  std::optional<LogWriter> writer;
  try {
    writer.emplace(STDERR_FILENO);
  } catch (const std::system_error& failed) {
    return report_start_failure(options, {.code = Errc::kExhausted,
                                          .sys_errno = failed.code().value(),
                                          .operation = "set up the log"});
  }
  LogWriter& log = *writer;
  if (const Result<void> alone = check_nobody_listens(options); !alone) {
    return report_start_failure(options, alone.error());
  }
  Result<std::unique_ptr<Worker>> first = Worker::create(options, log, options.address);
  if (!first) return report_start_failure(options, first.error());
  // Before the other threads start: they inherit the mask.
  Result<Signals> signals = Signals::create((*first)->runtime(), {SIGINT, SIGTERM, SIGUSR1});
  if (!signals) {
    print_error("serve", "cannot wait for signals: " + signals.error().message());
    return kExitFailure;
  }
  Crew crew(options, log, std::move(*first), std::move(*signals));
  const Result<void> started = crew.start_others();
  if (!started) return report_start_failure(options, started.error());
  return crew.run();
}

}  // namespace heddle::cli
