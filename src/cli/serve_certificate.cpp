// Loading, making, checking and writing certificates: see serve_certificate.h.
#include "cli/serve_certificate.h"

#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <ctime>
#include <fstream>
#include <iterator>
#include <optional>
#include <system_error>

#include <fcntl.h>
#include <fmt/core.h>
#include <unistd.h>

#include "base/unique_fd.h"
#include "cli/process.h"

namespace heddle::cli {
namespace {

// What others may do with a key that its owner's group may only read.
constexpr mode_t kLooseModes = S_IWGRP | S_IRWXO;

// "127.0.0.1" of "127.0.0.1:443", "::1" of "[::1]:443".
std::string ip_of(const Address& address) {
  std::string text = address.to_string();
  text.erase(text.rfind(':'));
  if (text.starts_with('[')) text = text.substr(1, text.size() - 2);
  return text;
}

bool is_wildcard(std::string_view ip) {
  return ip == "0.0.0.0" || ip == "::";
}

void add_once(std::vector<std::string>& names, const std::string& name) {
  if (std::ranges::find(names, name) == names.end()) names.push_back(name);
}

std::optional<Identity> make_identity(const ServeCertificate& options, const Address& address) {
  std::vector<std::string> names;
  for (const std::string& name : options.names) add_once(names, name);
  for (const char* name : {"localhost", "127.0.0.1", "::1"}) add_once(names, name);
  const std::string ip = ip_of(address);
  if (!is_wildcard(ip)) add_once(names, ip);
  Result<Identity> made = make_self_signed(names, options.key_type);
  if (!made) {
    print_error("serve", fmt::format("cannot make a certificate: {}; give one with --cert",
                                     made.error().message()));
    return std::nullopt;
  }
  return std::move(*made);
}

// Returns 0 or an errno. Does not wait for a FIFO's reader, nor for a full one's.
int write_file(const std::filesystem::path& path, std::string_view text) {
  constexpr int kFlags = O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;
  const UniqueFd file(::open(path.c_str(), kFlags, 0644));
  if (!file) return errno;
  while (!text.empty()) {
    const ssize_t written = ::write(file.get(), text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return errno;
    text.remove_prefix(static_cast<std::size_t>(written));
  }
  return 0;
}

std::string time_text(std::time_t time) {
  std::tm fields{};
  (void)::gmtime_r(&time, &fields);
  std::array<char, 32> text{};
  const std::size_t size = std::strftime(text.data(), text.size(), "%Y-%m-%d %H:%M:%SZ", &fields);
  return {text.data(), size};
}

void warn(const std::string& what) {
  print_error("serve", "warning: " + what);
}

// What clients will object to, in one certificate.
void warn_about_names(const std::string& cert, const std::vector<std::string>& names) {
  std::ifstream file(cert, std::ios::binary);
  const std::string pem((std::istreambuf_iterator<char>(file)), {});
  const Result<Certificate> leaf = parse_certificate(pem);
  if (!leaf) return;  // Changed since it was loaded.
  for (const std::string& doubt : doubts_about(*leaf, time_text(std::time(nullptr)), names)) {
    warn(fmt::format("--cert {} {}", cert, doubt));
  }
}

// Loads the user's certificates. Returns an exit status.
int load_certificates(const ServeCertificate& options, std::optional<CertificateWatcher>& watcher) {
  if (!options.keys.empty() && options.keys.size() != options.certs.size()) {
    print_error("serve", fmt::format("{} --cert, but {} --key; give one for each, in the same "
                                     "order, or none if the keys are in the --cert files",
                                     options.certs.size(), options.keys.size()));
    return kExitUsage;
  }
  std::vector<CertificateFiles> files;
  for (std::size_t i = 0; i < options.certs.size(); ++i) {
    files.push_back({.chain = options.certs[i],
                     .key = options.keys.empty() ? "" : options.keys[i],
                     .password = {}});
  }
  Result<CertificateWatcher> loaded = CertificateWatcher::create(std::move(files));
  if (!loaded) {
    // The error's context is the file that is at fault; several files may not go together.
    const bool is_together = loaded.error().context().empty() && options.certs.size() > 1;
    print_error("serve",
                fmt::format("cannot use --cert with --key: {}; {}", loaded.error().message(),
                            is_together ? "each --cert must be for another type of key"
                                        : "both must be PEM files that belong together"));
    return kExitUsage;
  }
  watcher.emplace(*std::move(loaded));
  for (const std::string& cert : options.certs) warn_about_names(cert, options.names);
  return kExitOk;
}

void warn_about_key(const std::filesystem::path& key, const std::filesystem::path& folder) {
  struct stat status {};
  if (::stat(key.c_str(), &status) != 0) return;
  if (S_ISREG(status.st_mode) && (status.st_mode & kLooseModes) != 0) {
    warn(fmt::format("the key {} is open to others (mode {:04o}); chmod 600 it", key.string(),
                     status.st_mode & 07777U));
  }
  std::error_code failure;
  const std::filesystem::path inside =
      std::filesystem::relative(std::filesystem::canonical(key, failure),
                                std::filesystem::canonical(folder, failure), failure);
  if (!failure && !inside.empty() && *inside.begin() != "..") {
    warn(
        fmt::format("the key {} is in the folder that is served; it is not given away, but keep "
                    "it elsewhere",
                    key.string()));
  }
}

bool same_ignoring_case(std::string_view one, std::string_view other) {
  const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; };
  return std::ranges::equal(one, other, {}, lower, lower);
}

// Whether a subject alternative name, such as "DNS:*.example.org", is for `name`.
bool is_for(std::string_view alternative, std::string_view name) {
  if (alternative.starts_with("IP:")) return same_ignoring_case(alternative.substr(3), name);
  if (!alternative.starts_with("DNS:")) return false;
  alternative.remove_prefix(4);
  if (same_ignoring_case(alternative, name)) return true;
  const std::size_t dot = name.find('.');
  if (!alternative.starts_with("*.") || dot == std::string_view::npos || dot == 0) return false;
  return same_ignoring_case(alternative.substr(1), name.substr(dot));
}

}  // namespace

std::vector<std::string> doubts_about(const Certificate& certificate, std::string_view now,
                                      const std::vector<std::string>& names) {
  std::vector<std::string> doubts;
  const std::string& from = certificate.not_before;
  const std::string& until = certificate.not_after;
  if (!until.empty() && until < now) doubts.push_back("has expired: it was valid until " + until);
  if (!from.empty() && from > now) doubts.push_back("is not valid before " + from);
  const std::vector<std::string>& alternatives = certificate.subject_alt_names;
  if (alternatives.empty()) doubts.emplace_back("names no host: clients will refuse it");
  for (const std::string& name : names) {
    const bool named = std::ranges::any_of(
        alternatives, [&name](const std::string& each) { return is_for(each, name); });
    if (!named && !alternatives.empty()) {
      doubts.push_back(fmt::format("is not for {}, which --name says", name));
    }
  }
  return doubts;
}

std::string describe(const WatcherEvent& event) {
  const std::string end = time_text(std::chrono::system_clock::to_time_t(event.not_after));
  switch (event.kind) {
    case WatcherEvent::Kind::kReplaced:
      return fmt::format("the certificate was read anew: it is valid until {}", end);
    case WatcherEvent::Kind::kRefused:
      return fmt::format("cannot use the new certificate, goes on with the old one: {}",
                         event.error.message());
    case WatcherEvent::Kind::kExpiring:
      break;
  }
  return fmt::format("the certificate is valid until {} only; renew it", end);
}

Result<void> ServedCertificate::show(Context& context) const {
  if (made) return context.use_cert_chain(made->certificate_pem, made->key_pem);
  context.on_certificate(watcher->callback());
  return {};
}

int get_certificate(const ServeCertificate& options, const Address& address,
                    ServedCertificate& served) {
  if (!options.certs.empty()) return load_certificates(options, served.watcher);
  served.made = make_identity(options, address);
  if (!served.made) return kExitFailure;
  if (options.write_cert.empty()) return kExitOk;
  const int failure = write_file(options.write_cert, served.made->certificate_pem);
  if (failure == 0) return kExitOk;
  // What open(2) says of a FIFO that nobody reads.
  const std::string why =
      failure == ENXIO ? "a pipe that nobody reads" : std::generic_category().message(failure);
  print_error("serve", fmt::format("cannot write {}: {}; give --write-cert a file in a folder that "
                                   "you may write to",
                                   options.write_cert.string(), why));
  return kExitUsage;
}

void warn_about_files(const ServeCertificate& options, const std::filesystem::path& folder) {
  for (const std::string& key : options.key_files()) warn_about_key(key, folder);
}

std::vector<std::filesystem::path> private_files(const ServeCertificate& options) {
  return {options.key_files().begin(), options.key_files().end()};
}

}  // namespace heddle::cli
