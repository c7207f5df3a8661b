// The certificate of `heddle serve`: the user's, or one made on the spot; and what is told about
// it.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "heddle/address.h"
#include "heddle/tls/certificate.h"
#include "heddle/tls/certificate_watcher.h"
#include "heddle/tls/context.h"

namespace heddle::cli {

// As the command line says.
struct ServeCertificate {
  std::vector<std::string> certs;  // Files, each for another type of key. None: make one.
  std::vector<std::string> keys;   // Files, one for each of those. None: in `certs`.
  std::filesystem::path write_cert;
  std::vector<std::string> names;
  KeyType key_type = KeyType::kEcdsaP256;

  const std::vector<std::string>& key_files() const noexcept { return keys.empty() ? certs : keys; }
};

// What a server shows. One of the two is there.
struct ServedCertificate {
  std::optional<Identity> made;
  std::optional<CertificateWatcher> watcher;  // Of the user's, which may be renewed.

  // Has `context` show it.
  Result<void> show(Context& context) const;
};

// Loads or makes it. Says on standard error what is wrong, and what will be: a certificate that has
// expired, or is for other names. Returns an exit status.
int get_certificate(const ServeCertificate& options, const Address& address,
                    ServedCertificate& served);

// A line for the log: what has become of the user's certificate.
std::string describe(const WatcherEvent& event);

// Says so if a key's file can be read or written by others, or lies in `folder`.
void warn_about_files(const ServeCertificate& options, const std::filesystem::path& folder);

// The files that must not be served: the keys.
std::vector<std::filesystem::path> private_files(const ServeCertificate& options);

// What to tell about a certificate that is used at `now`, such as "2026-01-31 12:00:00Z", for
// `names`: one text for each reason why clients will refuse it.
std::vector<std::string> doubts_about(const Certificate& certificate, std::string_view now,
                                      const std::vector<std::string>& names);

}  // namespace heddle::cli
