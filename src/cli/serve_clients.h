// The clients' certificates of `heddle serve`: whom it trusts to sign them, which are revoked.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "heddle/result.h"
#include "heddle/tls/callbacks.h"
#include "heddle/tls/context.h"

namespace heddle::cli {

// As the command line says.
struct ServeClients {
  std::filesystem::path ca;       // Empty: clients are not asked for a certificate.
  std::vector<std::string> crls;  // Files.
  VerifyMode mode = VerifyMode::kRequired;
};

// Makes `context` ask clients for a certificate, verify it, and tell them whose it takes. With CRLs
// each certificate of a chain must be good by its issuer's (CrlCheck::kChain, as nginx's ssl_crl).
// The Error names the file at fault.
Result<void> verify_clients(Context& context, const ServeClients& options);

// ClientTrust reads the files of ServeClients anew while the server runs. Connections that begin
// afterwards are judged by the new ones; a session is not resumed if they say otherwise than those
// with which it was made (heddle/tls/session.h).
//
// A Context must not change while connections use it, so each reading makes another one, to which
// the first, that of the listener, sends its connections.
//
// Threads: callback()'s function may be called by any; the rest belongs to one.
class ClientTrust {
 public:
  // `make` returns a Context like the listener's, but for the clients' files.
  using Make = std::function<Result<Context>()>;
  ClientTrust(ServeClients options, Make make);

  // For the listener's Context::on_client_hello(). May outlive this object.
  ClientHelloCallback callback() const;

  // Reads the files now. If they cannot be used, what is in use stays. Blocks the thread.
  Result<void> reload();

  // Reads them when they have changed, and tells the outcome. Looks once a second, and waits until
  // a second has passed without a change: somebody may still be writing. Ends when the fiber is
  // cancelled. Parks.
  void run(const std::function<void(const Result<void>&)>& tell);

 private:
  // What is another when a file is.
  struct Stamp {
    std::uint64_t device = 0;
    std::uint64_t inode = 0;
    std::int64_t size = -1;  // There is none.
    std::int64_t changed_s = 0;
    std::int64_t changed_ns = 0;

    bool operator==(const Stamp&) const = default;
  };

  // What is in use; null as long as that is the listener's own.
  struct Slot {
    std::mutex mutex;
    std::shared_ptr<const Context> context;
  };

  static Stamp stamp_of(const std::filesystem::path& file);
  std::vector<Stamp> look() const;

  const ServeClients options_;
  const Make make_;
  const std::shared_ptr<Slot> slot_ = std::make_shared<Slot>();
  std::vector<Stamp> read_;  // Of what was read last.
};

}  // namespace heddle::cli
