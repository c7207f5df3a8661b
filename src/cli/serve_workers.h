// The threads of `heddle serve`: one runtime, listener and server each.
#pragma once

#include <cstddef>
#include <string>

#include "heddle/address.h"
#include "heddle/isolation.h"
#include "heddle/tls/certificate_watcher.h"
#include "heddle/tls/context.h"

#include "cli/serve_clients.h"
#include "http/connection.h"
#include "http/site.h"

namespace heddle::cli {

struct WorkerOptions {
  Address address;  // Where to listen.
  const Context& context;
  const http::Site& site;
  std::string fingerprint;                // To print, unless empty.
  CertificateWatcher* watcher = nullptr;  // To run, if there is one.
  ClientTrust* clients = nullptr;         // The same.
  Isolation isolation;
  unsigned threads;
  std::size_t connections_max;  // Of each thread.
  http::Timeouts timeouts;
  Duration grace;  // For requests that are being answered when a signal comes.
  bool access_log;
  bool handshake_log;
};

// Prints where it listens and serves until SIGINT or SIGTERM. Returns the exit status.
int run_workers(const WorkerOptions& options);

}  // namespace heddle::cli
