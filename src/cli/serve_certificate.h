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
  std::filesystem::path cert;  // Empty: make one.
  std::filesystem::path key;   // Empty: in `cert`.
  std::filesystem::path write_cert;
  std::vector<std::string> names;
  KeyType key_type = KeyType::kEcdsaP256;

  const std::filesystem::path& key_file() const noexcept { return key.empty() ? cert : key; }
};

// What a server shows. One of the two is there.
struct ServedCertificate {
  std::string fingerprint;                    // Of one that was made.
  std::optional<CertificateWatcher> watcher;  // Of the user's, which may be renewed.
};

// Loads or makes it, and gives it to `context`. Says on standard error what is wrong, and what will
// be: a certificate that has expired, or is for other names. Returns an exit status.
int use_certificate(Context& context, const ServeCertificate& options, const Address& address,
                    ServedCertificate& served);

// A line for the log: what has become of the user's certificate.
std::string describe(const WatcherEvent& event);

// Says so if the key's file can be read or written by others, or lies in `folder`.
void warn_about_files(const ServeCertificate& options, const std::filesystem::path& folder);

// The files that must not be served: the key.
std::vector<std::filesystem::path> private_files(const ServeCertificate& options);

// What to tell about a certificate that is used at `now`, such as "2026-01-31 12:00:00Z", for
// `names`: one text for each reason why clients will refuse it.
std::vector<std::string> doubts_about(const Certificate& certificate, std::string_view now,
                                      const std::vector<std::string>& names);

}  // namespace heddle::cli
