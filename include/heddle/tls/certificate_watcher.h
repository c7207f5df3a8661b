// CertificateWatcher: certificates that are replaced on disk, and so in a server that goes on.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "heddle/deadline.h"
#include "heddle/error.h"
#include "heddle/export.h"
#include "heddle/result.h"
#include "heddle/tls/callbacks.h"
#include "heddle/tls/certificate.h"

namespace heddle {

// One certificate chain and its key, as Credentials::load() takes them.
struct CertificateFiles {
  std::filesystem::path chain;
  std::filesystem::path key;  // Empty: in `chain`.
  std::string password;       // Of the key, if it is encrypted.
};

struct WatcherOptions {
  // Files are read when nobody has changed them for so long: chain and key are two files.
  Duration settle = std::chrono::milliseconds(100);
  // Files are looked at this often even if the kernel tells of no change: those of a network's file
  // system change without a word.
  Duration look = std::chrono::seconds(60);
  // A certificate is said to be expiring from so long before its end on, once a day.
  std::chrono::hours expiring = std::chrono::hours(14 * 24);
};

// What CertificateWatcher::run() tells.
struct WatcherEvent {
  enum class Kind : std::uint8_t {
    kReplaced,  // New credentials are in use.
    kRefused,   // The files have changed, and cannot be used: the old credentials stay in use.
    kExpiring,  // The credentials in use are near their end, or past it.
  };

  Kind kind = Kind::kReplaced;
  // Why, when kRefused.
  Error error{};
  // Of the credentials in use.
  std::chrono::system_clock::time_point not_after{};
};

// CertificateWatcher keeps the credentials that some files hold, and exchanges them as a whole when
// the files change: renewed by certbot, exchanged by Kubernetes (which renames a symbolic link),
// copied by hand. Files that cannot be used leave what is in use: half a file, a key of another
// certificate, a certificate that has expired or is not valid yet.
//
//   auto watcher = CertificateWatcher::create({{.chain = "cert.pem", .key = "key.pem"}}).value();
//   context.on_certificate(watcher.callback());
//   runtime.spawn("certificates", [&] { (void)watcher.run(log_event); }).value();
//
// Connections that are shaking hands go on with what they began with. Sessions are resumed across
// an exchange.
//
// Threads:  current(), callback(), what callback() returns, and reload() may be used by any, at the
//   same time. run() is for one fiber.
// Moving:   as Runtime.
// Lifetime: what callback() returns may outlive it.
class HEDDLE_API CertificateWatcher {
 public:
  // Reads the files; the certificates may have any dates here. Several are combined
  // (Credentials::combine()). Fails as Credentials::load() and combine() do. Precondition: `files`
  // is not empty.
  static Result<CertificateWatcher> create(std::vector<CertificateFiles> files,
                                           const WatcherOptions& options = {});

  CertificateWatcher(const CertificateWatcher&) = delete;
  CertificateWatcher& operator=(const CertificateWatcher&) = delete;
  CertificateWatcher(CertificateWatcher&& other) noexcept;
  CertificateWatcher& operator=(CertificateWatcher&& other) noexcept;
  ~CertificateWatcher();

  // What is in use.
  Credentials current() const;

  // For Context::on_certificate(): gives each connection what is in use then.
  CertificateCallback callback() const;

  // Reads the files now, whether they have changed or not: for SIGHUP. What cannot be used is
  // refused as above, and why is the Error. Reads from disk, which blocks the thread.
  Result<void> reload();

  // Watches the files (inotify(7)) until the fiber is cancelled, and tells `tell`, which may park,
  // what has come of it. If the kernel watches nothing for us (fs.inotify.max_user_instances),
  // looks at the files once a second. Fails with kCancelled. Parks.
  Result<void> run(const std::function<void(const WatcherEvent&)>& tell);

 private:
  class Impl;
  explicit CertificateWatcher(std::unique_ptr<Impl> impl);
  Impl& impl(const char* call = __builtin_FUNCTION()) const noexcept;

  std::unique_ptr<Impl> impl_;
};

}  // namespace heddle
