// The demo's server: answers messages, and reports failures to the ledger.
#pragma once

#include "heddle/fiber.h"
#include "heddle/listener.h"
#include "heddle/runtime.h"
#include "heddle/socket.h"
#include "heddle/tls/context.h"

#include "cli/demo_ledger.h"

namespace heddle::cli {

// DemoServer serves each connection on a fiber of its own.
//
// Lifetime: what it is given must outlive the scope in which it runs.
class DemoServer {
 public:
  DemoServer(const Context& context, Ledger& ledger) : context_(context), ledger_(ledger) {}

  // Accepts until cancelled; connections are served in `fibers`.
  void run(Scope& fibers, Listener& listener);

 private:
  void serve(Socket socket);

  const Context& context_;
  Ledger& ledger_;
};

}  // namespace heddle::cli
