// heddle cert make: an authority of one's own, and what it signs.
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <filesystem>
#include <optional>
#include <system_error>

#include <fcntl.h>
#include <fmt/core.h>
#include <unistd.h>

#include "heddle/tls/make_certificate.h"

#include "base/unique_fd.h"
#include "cli/cert.h"
#include "cli/process.h"

namespace heddle::cli {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kCommand = "cert make";
constexpr const char* kAuthorityFile = "ca.pem";
constexpr const char* kAuthorityKeyFile = "ca.key";
constexpr mode_t kPrivate = 0600;
constexpr mode_t kPublic = 0644;

int refuse(const std::string& text, int status = kExitUsage) {
  print_error(kCommand, text);
  return status;
}

// Without "./" in front of what is in the current one.
fs::path folder_of(const CertMakeOptions& options) {
  const fs::path folder = fs::path(options.folder).lexically_normal();
  return folder == "." ? fs::path() : folder;
}

// --- Files ---------------------------------------------------------------------------------------

bool is_there(const fs::path& path) {
  struct stat status {};
  return ::lstat(path.c_str(), &status) == 0;  // A link to nowhere would be written through.
}

int write_all(int fd, std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = ::write(fd, text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return errno;
    text.remove_prefix(static_cast<std::size_t>(written));
  }
  return ::fsync(fd) == 0 || errno == EINVAL ? 0 : errno;
}

// Makes a file that was not there, which nobody else can read before its mode is set. Returns 0 or
// an errno, and then there is no file.
int write_new(const fs::path& path, const std::string& text, mode_t mode) {
  constexpr int kFlags = O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW;
  const UniqueFd file(::open(path.c_str(), kFlags, mode));
  if (!file) return errno;
  const int failure = write_all(file.get(), text);
  if (failure != 0) (void)::unlink(path.c_str());
  return failure;
}

struct Output {
  fs::path path;
  const std::string& text;
  mode_t mode;
};

// Writes both or, if one cannot be written, none. What is to be replaced stays until both are
// there. Returns an exit status.
int write_pair(const Output& certificate, const Output& key, bool replace) {
  const auto staged = [replace](const Output& output) {
    return replace ? fs::path(output.path.string() + ".new") : output.path;
  };
  const auto failed = [](const Output& output, int failure) {
    return refuse(fmt::format("cannot write {}: {}", output.path.string(),
                              std::generic_category().message(failure)));
  };
  for (const Output* output : {&key, &certificate}) {
    if (replace) (void)::unlink(staged(*output).c_str());  // Of one that was killed.
    const int failure = write_new(staged(*output), output->text, output->mode);
    if (failure == 0) continue;
    if (output == &certificate) (void)::unlink(staged(key).c_str());
    return failed(*output, failure);
  }
  if (!replace) return kExitOk;
  for (const Output* output : {&key, &certificate}) {
    if (::rename(staged(*output).c_str(), output->path.c_str()) == 0) continue;
    const int failure = errno;
    (void)::unlink(staged(*output).c_str());
    return failed(*output, failure);
  }
  return kExitOk;
}

// --- Names ---------------------------------------------------------------------------------------

// What a file may be called: "_wildcard.example.org" for "*.example.org".
std::string file_name(const std::string& name) {
  constexpr std::size_t kBytesMax = 100;
  std::string result = name.starts_with('*') ? fmt::format("_wildcard{}", name.substr(1)) : name;
  for (char& each : result) {
    const bool is_plain = (each >= 'a' && each <= 'z') || (each >= 'A' && each <= 'Z') ||
                          (each >= '0' && each <= '9') || each == '.' || each == '-' || each == '@';
    if (!is_plain) each = '_';
  }
  if (result.starts_with('.') || result.starts_with('-')) result.front() = '_';
  return result.substr(0, kBytesMax);
}

std::string joined(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text.append(text.empty() ? "" : ", ").append(name);
  return text;
}

// As a word of a shell's, for what is to be copied.
std::string word(const std::string& text) {
  constexpr std::string_view kPlain =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_/@:";
  if (!text.empty() && text.find_first_not_of(kPlain) == std::string::npos) return text;
  std::string quoted = "'";
  for (const char each : text) {
    if (each == '\'') {
      quoted += "'\\''";
    } else {
      quoted += each;
    }
  }
  return quoted + "'";
}

// --- The authority -------------------------------------------------------------------------------

struct Authority {
  Identity identity;
  std::int64_t valid_until = 0;
  bool is_new = false;
};

std::string host_name() {
  std::string name(256, '\0');
  if (::gethostname(name.data(), name.size() - 1) != 0) return {};
  name.resize(name.find('\0'));
  return name;
}

// At least one of them is there.
std::optional<Authority> load_authority(const fs::path& folder) {
  std::optional<InputProblem> problem;
  const fs::path certificate = folder / kAuthorityFile;
  const fs::path key = folder / kAuthorityKeyFile;
  const std::optional<std::string> certificate_pem = read_text(certificate, problem);
  std::optional<std::string> key_pem;
  if (!problem) key_pem = read_text(key, problem);
  CertificateInput parsed;
  if (!problem) {
    parsed = parse_content(certificate, *certificate_pem);
    problem = parsed.problem;
  }
  if (problem) {
    (void)refuse(problem->text + "; --ca --force makes a new authority");
    return std::nullopt;
  }
  const Result<CertificateDetails> details = certificate_details(parsed.certificates.front().der);
  if (!details || !details->not_after || !details->basic_constraints ||
      !details->basic_constraints->is_ca) {
    (void)refuse(certificate.string() + " is no authority's certificate");
    return std::nullopt;
  }
  if (!Credentials::parse(*certificate_pem, *key_pem)) {
    (void)refuse(
        fmt::format("{} is not the key of {}, or is encrypted; --ca --force makes a new "
                    "authority",
                    key.string(), certificate.string()));
    return std::nullopt;
  }
  const std::int64_t until = details->not_after->time_since_epoch().count();
  if (until <= unix_now()) {
    (void)refuse(fmt::format("the authority {} has expired; --ca --force makes a new one",
                             certificate.string()));
    return std::nullopt;
  }
  return Authority{.identity = {*certificate_pem, *key_pem, details->sha256}, .valid_until = until};
}

std::optional<Authority> make_authority(const CertMakeOptions& options, const std::string& name) {
  constexpr unsigned kYears10 = 3650;
  const bool has_days = options.authority_only && options.days != 0;
  const std::chrono::seconds life = std::chrono::hours(24) * (has_days ? options.days : kYears10);
  Result<Identity> made = make_certificate({.common_name = name,
                                            .purpose = CertificatePurpose::kAuthority,
                                            .key_type = options.key_type,
                                            .ends = life});
  if (!made) {
    (void)refuse("cannot make an authority: " + made.error().message(), kExitFailure);
    return std::nullopt;
  }
  return Authority{
      .identity = *std::move(made), .valid_until = unix_now() + life.count(), .is_new = true};
}

// Loads the authority, or makes and writes it.
std::optional<Authority> get_authority(const CertMakeOptions& options, const fs::path& folder) {
  const fs::path certificate = folder / kAuthorityFile;
  const fs::path key = folder / kAuthorityKeyFile;
  const bool exists = is_there(certificate) || is_there(key);
  const bool renew = options.authority_only && options.force;
  if (exists && !renew) return load_authority(folder);
  // The name says on a list of trusted ones where it comes from.
  const std::string host = host_name();
  std::optional<Authority> made = make_authority(
      options, fmt::format("Heddle development CA{}{}", host.empty() ? "" : " of ", host));
  if (!made) return std::nullopt;
  const int written =
      write_pair({.path = certificate, .text = made->identity.certificate_pem, .mode = kPublic},
                 {.path = key, .text = made->identity.key_pem, .mode = kPrivate}, renew);
  if (written != kExitOk) return std::nullopt;
  return made;
}

// --- The certificate -----------------------------------------------------------------------------

constexpr auto kDay = std::chrono::hours(24);

// Sets what is to be wrong, and who signs: null for itself.
void break_it(CertificateOptions& wanted, const std::string& kind, const Identity& stranger,
              const Identity*& signer) {
  if (kind == "expired") {
    wanted.begins = -wanted.ends - kDay;
    wanted.ends = -kDay;
  } else if (kind == "not-yet-valid") {
    wanted.begins = kDay;
    wanted.ends += kDay;
  } else if (kind == "wrong-name") {
    wanted.names = {"wrong.invalid"};
  } else if (kind == "self-signed") {
    signer = nullptr;
  } else if (kind == "unknown-ca") {
    signer = &stranger;
  } else if (kind == "wrong-usage") {
    wanted.flaw = CertificateFlaw::kWrongUsage;
  } else if (kind == "no-aki") {
    wanted.flaw = CertificateFlaw::kNoAuthorityKeyId;
  } else if (kind == "no-san") {
    wanted.flaw = CertificateFlaw::kNoAlternativeNames;
  } else if (kind == "bad-signature") {
    wanted.flaw = CertificateFlaw::kBadSignature;
  }
}

std::optional<Identity> make_leaf(const CertMakeOptions& options, const std::string& kind,
                                  const Authority& authority) {
  constexpr unsigned kDefaultDays = 365;
  CertificateOptions wanted;
  wanted.names = options.names;
  wanted.purpose = options.client ? CertificatePurpose::kClient : CertificatePurpose::kServer;
  wanted.key_type = options.key_type;
  const std::chrono::seconds left(authority.valid_until - unix_now());
  wanted.ends = std::min<std::chrono::seconds>(
      kDay * (options.days != 0 ? options.days : kDefaultDays), left);
  const Identity* signer = &authority.identity;
  Identity stranger;
  if (kind == "unknown-ca") {
    const auto other = make_authority(options, "Heddle authority that nobody trusts");
    if (!other) return std::nullopt;
    stranger = other->identity;
  }
  break_it(wanted, kind, stranger, signer);
  Result<Identity> made = make_certificate(wanted, signer);
  if (made) return *std::move(made);
  (void)refuse(fmt::format("cannot make a certificate for {}: {}", joined(options.names),
                           made.error().message()));
  return std::nullopt;
}

// --- What is said --------------------------------------------------------------------------------

std::string about_authority(const Authority& authority, const fs::path& folder) {
  const std::string certificate = (folder / kAuthorityFile).string();
  if (!authority.is_new) return "";
  return fmt::format(
      "made the authority {} and its key {}\n"
      "  Who has that key can be any server for those who trust the authority: keep it to "
      "yourself.\n"
      "  To trust it on this machine, on Debian and Ubuntu:\n"
      "    sudo cp {} /usr/local/share/ca-certificates/heddle-development.crt\n"
      "    sudo update-ca-certificates\n",
      certificate, (folder / kAuthorityKeyFile).string(), word(certificate));
}

// Where the certificate and its key go.
struct Places {
  fs::path chain;
  fs::path key;
};

Places places_of(const CertMakeOptions& options, const std::string& kind) {
  std::string base = file_name(options.names.front());
  if (options.client) base += "-client";
  if (!kind.empty()) base.append("-").append(kind);
  const fs::path folder = folder_of(options);
  return {.chain = folder / (base + ".pem"), .key = folder / (base + ".key")};
}

std::string next_steps(const CertMakeOptions& options, const Places& places,
                       const fs::path& folder) {
  const std::string authority = word((folder / kAuthorityFile).string());
  const std::string files =
      fmt::format("--cert {} --key {}", word(places.chain.string()), word(places.key.string()));
  if (options.client) {
    return fmt::format("next:\n  heddle connect HOST:PORT --cafile {} {}\n", authority, files);
  }
  std::string name = options.names.front();
  if (name.starts_with('*')) name = fmt::format("www{}", name.substr(1));
  if (name.find(':') != std::string::npos) name = fmt::format("[{}]", name);
  return fmt::format(
      "next:\n"
      "  heddle serve . {0}\n"
      "  heddle connect {1}:8443 --cafile {2}\n"
      "  curl --cacert {2} https://{1}:8443/\n"
      "  heddle cert check {3} --key {4} --cafile {2}\n",
      files, name, authority, word(places.chain.string()), word(places.key.string()));
}

// Before anything is written. Returns an exit status.
int check_wishes(const CertMakeOptions& options, const Places& places) {
  const Result<Identity> tried =
      make_certificate({.names = options.names, .key_type = KeyType::kEd25519});
  if (!tried) {
    return refuse(fmt::format("cannot make a certificate for {}: {}", joined(options.names),
                              tried.error().message()));
  }
  for (const fs::path& path : {places.chain, places.key}) {
    if (is_there(path) && !options.force) {
      return refuse(path.string() + " is there already; --force overwrites it");
    }
  }
  return kExitOk;
}

int make_and_tell(const CertMakeOptions& options, const std::string& kind, const Places& places,
                  const Authority& authority) {
  const std::optional<Identity> made = make_leaf(options, kind, authority);
  if (!made) return kExitFailure;
  const bool stands_alone = kind == "self-signed" || kind == "unknown-ca";
  const std::string pem =
      made->certificate_pem + (stands_alone ? "" : authority.identity.certificate_pem);
  const int written =
      write_pair({.path = places.chain, .text = pem, .mode = kPublic},
                 {.path = places.key, .text = made->key_pem, .mode = kPrivate}, options.force);
  if (written != kExitOk) return written;
  const Result<Certificate> shown = parse_certificate(made->certificate_pem);
  const fs::path folder = folder_of(options);
  std::string text = about_authority(authority, folder);
  text += fmt::format("made {} and its key {}\n  for    {}\n  valid  {} to {}\n",
                      places.chain.string(), places.key.string(), joined(options.names),
                      shown ? shown->not_before : "", shown ? shown->not_after : "");
  if (!kind.empty()) text += fmt::format("  broken {}\n", kind);
  return print_out(kCommand, text + next_steps(options, places, folder));
}

}  // namespace

const std::vector<std::string>& broken_kinds() {
  static const std::vector<std::string> kinds = {"expired",     "not-yet-valid", "wrong-name",
                                                 "self-signed", "unknown-ca",    "wrong-usage",
                                                 "no-aki",      "no-san",        "bad-signature"};
  return kinds;
}

int run_cert_make(const CertMakeOptions& given) {
  CertMakeOptions options = given;
  constexpr unsigned kDaysMax = 36500;
  if (options.days > kDaysMax) return refuse("--days: give a number of days from 1 to 36500");
  const std::string kind = options.expired ? "expired" : options.broken;
  if (options.authority_only && (!options.names.empty() || !kind.empty())) {
    return refuse("--ca makes the authority only: give no names and nothing to break");
  }
  if (options.names.empty()) {
    if (options.client) return refuse("--client: give a name, such as an address or alice@home");
    options.names = {"localhost", "127.0.0.1", "::1"};
  }
  const fs::path folder = folder_of(options);
  std::error_code failed;
  fs::create_directories(options.folder, failed);
  if (failed || !fs::is_directory(options.folder, failed)) {
    return refuse(fmt::format("cannot make the folder {}: {}", options.folder,
                              failed ? failed.message() : "a file is called so"));
  }
  const Places places = places_of(options, kind);
  if (!options.authority_only) {
    if (const int status = check_wishes(options, places); status != kExitOk) return status;
  }
  const bool had_authority = is_there(folder / kAuthorityFile);
  const std::optional<Authority> authority = get_authority(options, folder);
  if (!authority) return kExitUsage;
  if (!options.authority_only) return make_and_tell(options, kind, places, *authority);
  if (had_authority && !authority->is_new) {
    return refuse(fmt::format("{} is there already; --force makes a new authority",
                              (folder / kAuthorityFile).string()));
  }
  return print_out(kCommand, about_authority(*authority, folder));
}

}  // namespace heddle::cli
