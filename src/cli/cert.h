// `heddle cert`: its subcommands' options and what runs them. cert.cpp is the command line.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "heddle/tls/certificate.h"
#include "heddle/tls/certificate_details.h"
#include "heddle/tls/check_chain.h"

#include "cli/cert_input.h"

namespace heddle::cli {

struct CertMakeOptions {
  std::vector<std::string> names;
  std::string folder = ".";
  std::string broken;  // A word of kBrokenKinds, or "".
  unsigned days = 0;   // 0: what is usual.
  KeyType key_type = KeyType::kEcdsaP256;
  bool authority_only = false;
  bool client = false;
  bool expired = false;
  bool force = false;
};

struct CertShowOptions {
  TargetOptions target;
  bool json = false;
};

struct CertCheckOptions {
  TargetOptions target;
  std::string key;
  std::string password_file;
  std::string ca_file;
  std::vector<std::string> names;
  std::string days;  // Digits, or "" for what suits the certificate.
  bool client = false;
};

// What `heddle cert make --broken` takes.
const std::vector<std::string>& broken_kinds();

// Each returns an exit status, and has told what went wrong.
int run_cert_make(const CertMakeOptions& options);
int run_cert_show(const CertShowOptions& options);
int run_cert_check(const CertCheckOptions& options);

// The time of now, and what is left of a certificate, in words: "364 days left", "expired 3 days
// ago".
std::int64_t unix_now();
std::string time_left(const CertificateDetails& details, std::int64_t now);

// "4 minutes", "1 day", "3 days": at most two digits wrong, never zero.
std::string duration_text(std::int64_t seconds);

// "localhost, 127.0.0.1, email:who@where.example".
std::string names_text(const CertificateDetails& details);

}  // namespace heddle::cli
