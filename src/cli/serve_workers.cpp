// The threads of `heddle serve`. The first is the process's own, and waits for signals, too.
#include "cli/serve_workers.h"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <new>
#include <optional>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <utility>
#include <vector>

#include <fmt/core.h>
#include <malloc.h>
#include <unistd.h>

#include "heddle/listener.h"
#include "heddle/runtime.h"
#include "heddle/signals.h"
#include "heddle/threads.h"
#include "heddle/tls/ktls.h"

#include "cli/log_writer.h"
#include "cli/process.h"
#include "cli/serve_certificate.h"
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
class Worker {
 public:
  // `address` need not be that of the options: its port may be known by now.
  // `log` and `stats` must outlive it.
  static Result<std::unique_ptr<Worker>> create(Runtime& runtime, const WorkerOptions& options,
                                                LogWriter& log, const Address& address,
                                                http::ServerStats& stats);

  // Serves until its fiber is cancelled. Parks.
  Result<void> run();
  // Logs what each fiber does. Without memory it says so instead.
  void dump_fibers();

  const Address& address() const noexcept { return address_; }

 private:
  Worker(Runtime& runtime, Listener listener, const WorkerOptions& options, LogWriter& log,
         http::ServerStats& stats)
      : runtime_(runtime),
        address_(listener.address()),
        site_(options.site),
        log_(log),
        stats_(stats),
        server_(std::move(listener), options.context, options.site, server_options(options, log)) {}

  Result<void> serve();
  void keep_house();

  Runtime& runtime_;
  Address address_;
  const http::Site& site_;
  LogWriter& log_;
  http::ServerStats& stats_;  // Written at the end.
  http::Server server_;
};

// What `function()` returns; that there is no memory, if it throws that.
template <typename Function>
std::invoke_result_t<Function> or_exhausted(Function function) {
  try {
    return function();
  } catch (const std::bad_alloc&) {
    return Error{.code = Errc::kExhausted, .sys_errno = ENOMEM, .operation = "serve on a thread"};
  }
}

Result<void> Worker::run() {
  Result<void> served = or_exhausted([this] { return serve(); });
  stats_ = server_.stats();
  return served;
}

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

void Worker::dump_fibers() {
  try {
    log_fibers(log_, runtime_.fibers());
  } catch (const std::bad_alloc&) {
    log_.add("heddle serve: no memory to list fibers\n");
  }
}

Result<std::unique_ptr<Worker>> Worker::create(Runtime& runtime, const WorkerOptions& options,
                                               LogWriter& log, const Address& address,
                                               http::ServerStats& stats) {
  Result<Listener> listener =
      Listener::create(runtime, address, {.reuse_port = options.threads > 1});
  if (!listener) return listener.error();
  return std::unique_ptr<Worker>(new Worker(runtime, std::move(*listener), options, log, stats));
}

int report_start_failure(const WorkerOptions& options, const Error& error) {
  if (error.code == Errc::kExhausted) {
    print_error("serve", "cannot start: " + error.message());
    return kExitFailure;
  }
  Error without_address = error;
  without_address.contexts = {};
  const std::string why = error.sys_errno != 0 ? std::generic_category().message(error.sys_errno)
                                               : without_address.message();
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

// Service is all threads together, and what they have in common.
class Service {
 public:
  Service(const WorkerOptions& options, LogWriter& log)
      : options_(options), log_(log), address_(options.address), stats_(options.threads) {}

  int run();

 private:
  Result<std::unique_ptr<Worker>> make(Runtime& runtime, std::size_t index);
  Result<void> supervise(Crew<Worker>& workers);
  void obey(Signals& signals, Crew<Worker>& workers);
  void watch_certificate();
  void watch_clients();
  void reload_certificate();
  void tell_of_clients(const Result<void>& reloaded);
  void announce() const;
  void dump_fibers(Crew<Worker>& workers);
  void summarise() const;

  const WorkerOptions& options_;
  LogWriter& log_;
  Address address_;  // Of the first thread, once that listens.
  std::vector<http::ServerStats> stats_;
  bool started_ = false;
};

Result<std::unique_ptr<Worker>> Service::make(Runtime& runtime, std::size_t index) {
  return or_exhausted([&]() -> Result<std::unique_ptr<Worker>> {
    auto worker = Worker::create(runtime, options_, log_, address_, stats_.at(index));
    if (worker) address_ = (*worker)->address();
    return worker;
  });
}

void Service::announce() const {
  fmt::print("listening on https://{}\n", address_.to_string());
  if (!options_.fingerprint.empty()) {
    fmt::print("self-made certificate, SHA-256 {}\n", options_.fingerprint);
  }
  const KernelTlsState kernel = kernel_tls_support().state;
  if (options_.context.kernel_tls() != KernelTls::kOff && kernel != KernelTlsState::kActive) {
    fmt::print("{}\n", describe(kernel));
  }
  static_cast<void>(std::fflush(stdout));
}

// Until all threads have ended.
Result<void> Service::supervise(Crew<Worker>& workers) {
  started_ = true;
  auto signals = Signals::create(this_fiber::runtime(), {SIGINT, SIGTERM, SIGUSR1, SIGHUP});
  if (!signals) return signals.error();
  announce();
  return scope([&](Scope& fibers) -> Result<void> {
    const auto watching = fibers.spawn("certificate", [this] { watch_certificate(); });
    if (!watching) return watching.error();
    const auto looking = fibers.spawn("client certificates", [this] { watch_clients(); });
    if (!looking) return looking.error();
    obey(*signals, workers);
    fibers.cancel();
    return {};
  });
}

void Service::watch_certificate() {
  if (options_.watcher == nullptr) return;
  (void)options_.watcher->run([this](const WatcherEvent& event) {
    log_.add(fmt::format("heddle serve: {}\n", describe(event)));
  });
}

void Service::reload_certificate() {
  if (options_.watcher == nullptr) return;
  const Result<void> reloaded = options_.watcher->reload();
  WatcherEvent event;
  if (!reloaded) event = {.kind = WatcherEvent::Kind::kRefused, .error = reloaded.error()};
  event.not_after = options_.watcher->current().not_after();
  log_.add(fmt::format("heddle serve: {}\n", describe(event)));
}

void Service::watch_clients() {
  if (options_.clients == nullptr) return;
  options_.clients->run([this](const Result<void>& reloaded) { tell_of_clients(reloaded); });
}

void Service::tell_of_clients(const Result<void>& reloaded) {
  log_.add(reloaded ? "heddle serve: --client-ca and --crl were read anew\n"
                    : fmt::format("heddle serve: cannot use the new --client-ca or --crl, goes on "
                                  "with the old ones: {}\n",
                                  reloaded.error().message()));
}

void Service::obey(Signals& signals, Crew<Worker>& workers) {
  bool stopping = false;
  while (const Result<int> signal = signals.wait(Deadline::never())) {
    if (*signal == SIGUSR1) {
      dump_fibers(workers);
    } else if (*signal == SIGHUP) {
      reload_certificate();
      if (options_.clients != nullptr) tell_of_clients(options_.clients->reload());
    } else if (stopping) {
      std::_Exit(128 + *signal);
    } else {
      stopping = true;
      workers.stop();
    }
  }
}

// Without memory to tell the threads, whoever asked asks again.
void Service::dump_fibers(Crew<Worker>& workers) {
  try {
    workers.post([](Worker& worker) { worker.dump_fibers(); });
  } catch (const std::bad_alloc&) {
    log_.add("heddle serve: no memory to list fibers\n");
  }
}

void Service::summarise() const {
  http::ServerStats total;
  for (const http::ServerStats& stats : stats_) {
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

int Service::run() {
  const Result<void> served = run_on_threads<Worker>(
      {.threads = options_.threads, .runtime = {.isolation = options_.isolation}},
      [this](Runtime& runtime, std::size_t index) { return make(runtime, index); },
      [this](Crew<Worker>& workers) { return supervise(workers); });
  if (!served && !started_) return report_start_failure(options_, served.error());
  if (!served) {
    print_error("serve", "stopped: " + served.error().message());
    return kExitFailure;
  }
  summarise();
  return kExitOk;
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
  return Service(options, log).run();
}

}  // namespace heddle::cli
