// CertificateWatcher: replaces the certificates of a running server when their files change.
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
  // Files are read once they have not changed for this long: chain and key are two files.
  Duration settle = std::chrono::milliseconds(100);
  // Files are checked this often even if the kernel reports no change: for network file systems it
  // does not report them.
  Duration look = std::chrono::seconds(60);
  // A certificate is reported as expiring once a day, from this long before its end on.
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

// CertificateWatcher keeps the credentials from some files, and replaces them as a whole when the
// files change: renewed by certbot, replaced by Kubernetes (which renames a symbolic link), copied
// by hand. If the files cannot be used, the old credentials stay in use: half a file, a key of
// another certificate, a certificate that has expired or is not valid yet.
//
//   auto watcher = CertificateWatcher::create({{.chain = "cert.pem", .key = "key.pem"}}).value();
//   context.on_certificate(watcher.callback());
//   runtime.spawn("certificates", [&] { (void)watcher.run(log_event); }).value();
//
// A handshake in progress goes on with the credentials with which it began. Sessions are resumed
// across a replacement.
//
// Threads:  current(), callback(), what callback() returns, and reload() may be used by any, at the
//   same time. run() is for one fiber.
// Moving:   as Runtime.
// Lifetime: what callback() returns may outlive it.
class HEDDLE_API CertificateWatcher {
 public:
  // Reads the files; here the certificates may have any dates. Several are combined
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

  // For Context::on_certificate(): gives each connection the credentials that are in use at the
  // time.
  CertificateCallback callback() const;

  // Reads the files now, whether they have changed or not: for SIGHUP. Files that cannot be used
  // are refused as above, and the Error says why. Reads from disk, which blocks the thread.
  Result<void> reload();

  // Watches the files (inotify(7)) until the fiber is cancelled, and calls `tell`, which may park,
  // with each event. If inotify is not available (fs.inotify.max_user_instances), checks the files
  // once a second. Fails with kCancelled. Parks.
  Result<void> run(const std::function<void(const WatcherEvent&)>& tell);

 private:
  class Impl;
  explicit CertificateWatcher(std::unique_ptr<Impl> impl);
  Impl& impl(const char* call = __builtin_FUNCTION()) const noexcept;

  std::unique_ptr<Impl> impl_;
};

}  // namespace heddle
