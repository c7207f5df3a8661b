// Files and servers that certificates come from: see cert_input.h.
#include "cli/cert_input.h"

#include <sys/stat.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <memory>
#include <system_error>
#include <utility>

#include <fcntl.h>
#include <fmt/core.h>
#include <unistd.h>

#include "heddle/fiber.h"
#include "heddle/runtime.h"
#include "heddle/socket.h"
#include "heddle/tls/certificate_details.h"
#include "heddle/tls/context.h"
#include "heddle/tls/stream.h"

#include "base/unique_fd.h"
#include "cli/peer_report.h"
#include "cli/process.h"

namespace heddle::cli {
namespace {

constexpr std::size_t kBytesMax = std::size_t{4} << 20;

// NOLINTNEXTLINE(misc-unused-using-decls): clang-tidy does not see literals that use it.
using std::string_view_literals::operator""sv;

InputProblem unusable(std::string text) {
  return {.text = std::move(text), .status = kExitUsage};
}

bool holds(std::string_view text, std::string_view what) {
  return text.find(what) != std::string_view::npos;
}

// --- Files ---------------------------------------------------------------------------------------

// Standard input is not ours to close.
struct OpenFile {
  UniqueFd owned;
  int fd = -1;
};

// Does not wait for the writer of a FIFO: then it is empty.
std::optional<OpenFile> open_file(const std::string& path, std::optional<InputProblem>& problem) {
  const auto refuse = [&](const std::string& why) {
    problem = unusable(fmt::format("cannot read {}: {}", path, why));
    return std::nullopt;
  };
  OpenFile file;
  if (path == "-") {
    file.fd = STDIN_FILENO;
    return file;
  }
  if (holds(path, "\0"sv)) return refuse("no name of a file");
  file.owned.reset(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  file.fd = file.owned.get();
  if (!file.owned) return refuse(std::generic_category().message(errno));
  struct stat status {};
  if (::fstat(file.fd, &status) != 0) return refuse(std::generic_category().message(errno));
  if (S_ISDIR(status.st_mode)) return refuse("it is a folder; name a file in it");
  (void)::fcntl(file.fd, F_SETFL, 0);  // Waits from here on, for the writer of a pipe.
  return file;
}

// --- What a file holds ---------------------------------------------------------------------------

// The content type in a DER sequence: id-data and id-signedData of PKCS#7 (RFC 2315).
constexpr auto kPkcs7Data = "\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x01"sv;
constexpr auto kPkcs7SignedData = "\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02"sv;
constexpr auto kVersion3 = "\x02\x01\x03"sv;

// A sequence of PKCS#12 (RFC 7292, section 4) has version 3 first, then the content.
bool is_pkcs12(std::string_view der) {
  const std::string_view head = der.substr(0, 64);
  const std::size_t version = head.find(kVersion3);
  return version != std::string_view::npos && version <= 6 && holds(head, kPkcs7Data);
}

std::string advice_on_der(const std::string& path, std::string_view der) {
  if (is_pkcs12(der)) {
    return fmt::format(
        "{0} is PKCS#12, which may hold keys and is mostly encrypted: take the certificates out "
        "with openssl pkcs12 -in {0} -nokeys -out chain.pem",
        path);
  }
  if (holds(der.substr(0, 32), kPkcs7SignedData)) {
    return fmt::format(
        "{0} is PKCS#7: take the certificates out with openssl pkcs7 -inform DER -in {0} "
        "-print_certs -out chain.pem",
        path);
  }
  return fmt::format("{} holds no certificate: it is neither PEM nor a certificate in DER", path);
}

std::string advice_on_pem(const std::string& path, std::string_view pem) {
  if (holds(pem, "-----BEGIN PKCS7-----")) {
    return fmt::format(
        "{0} is PKCS#7: take the certificates out with openssl pkcs7 -in {0} -print_certs -out "
        "chain.pem",
        path);
  }
  if (holds(pem, "CERTIFICATE REQUEST-----")) {
    return path + " is a request for a certificate, and no certificate yet";
  }
  if (holds(pem, "PRIVATE KEY-----")) return path + " holds a private key and no certificate";
  if (holds(pem, "-----BEGIN X509 CRL-----")) {
    return path + " is a list of revoked certificates, and no certificate";
  }
  return path + " is PEM, but holds no certificate";
}

// --- Servers -------------------------------------------------------------------------------------

CertificateInput failed(const std::string& target, const Error& error, std::string message,
                        std::string_view advice) {
  CertificateInput result;
  result.problem = InputProblem{
      .text = fmt::format("{}: {}{}{}", target, message, advice.empty() ? "" : "; ", advice),
      .status = error.code == Errc::kInvalid ? kExitUsage : kExitFailure};
  return result;
}

// Takes the certificates even of a server that refuses us afterwards, for lack of one of ours, say.
CertificateInput ask_server(Runtime& runtime, const Context& context, const Endpoint& endpoint,
                            const TargetOptions& options) {
  constexpr auto kGoodbye = std::chrono::milliseconds(200);
  const std::chrono::duration<double> timeout(options.timeout_seconds);
  const Deadline deadline = this_fiber::after(std::chrono::duration_cast<Duration>(timeout));
  Result<Socket> socket = connect(runtime, endpoint.host, endpoint.port, deadline);
  if (!socket) {
    const Error& error = socket.error();
    return failed(options.target, error, error.message(), advice_on_connecting(error));
  }
  const std::string name = options.server_name.empty() ? endpoint.host : options.server_name;
  Result<Stream> stream =
      Stream::create(context, std::make_unique<Socket>(*std::move(socket)), {.server_name = name});
  if (!stream) return failed(options.target, stream.error(), stream.error().message(), "");
  const Result<void> shaken = stream->handshake(deadline);
  CertificateInput result;
  result.host = name;
  result.certificates = stream->peer_certificates();
  if (shaken) result.negotiated = stream->connection_state().version;
  if (result.certificates.empty()) {
    if (!shaken) {
      const Error& error = shaken.error();
      result = failed(options.target, error, stream->explain(error),
                      advice_on_handshake(error, Peer::kServer));
    } else {
      result.problem =
          InputProblem{.text = options.target + " shows no certificate", .status = kExitFailure};
    }
  }
  (void)stream->close(this_fiber::after(kGoodbye));
  return result;
}

CertificateInput read_server(const Endpoint& endpoint, const TargetOptions& options) {
  Result<Context> context = Context::create(Role::kClient, Trust::kNothing);
  if (!context) return failed("TLS", context.error(), context.error().message(), "");
  // To look at a certificate is to look at bad ones, too.
  context->set_verify_mode(VerifyMode::kNone);
  context->set_check_hostname(false);
  Result<Runtime> runtime = Runtime::create();
  if (!runtime) return failed("runtime", runtime.error(), runtime.error().message(), "");
  CertificateInput result;
  const auto started =
      runtime->spawn("ask", [&] { result = ask_server(*runtime, *context, endpoint, options); });
  if (!started) return failed("fiber", started.error(), started.error().message(), "");
  runtime->run();
  return result;
}

bool is_there(const std::string& path) {
  struct stat status {};
  return ::stat(path.c_str(), &status) == 0;
}

}  // namespace

std::optional<std::string> read_text(const std::string& path,
                                     std::optional<InputProblem>& problem) {
  const std::optional<OpenFile> file = open_file(path, problem);
  if (!file) return std::nullopt;
  std::string content;
  std::array<char, 65536> buffer{};
  for (;;) {
    const ssize_t count = ::read(file->fd, buffer.data(), buffer.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) {
      problem =
          unusable(fmt::format("cannot read {}: {}", path, std::generic_category().message(errno)));
      return std::nullopt;
    }
    if (count == 0) break;
    content.append(buffer.data(), static_cast<std::size_t>(count));
    if (content.size() > kBytesMax) {
      problem = unusable(path + " has more than 4 MiB: no file of certificates has");
      return std::nullopt;
    }
  }
  if (content.empty()) {
    problem = unusable(path + " is empty");
    return std::nullopt;
  }
  return content;
}

CertificateInput parse_content(const std::string& path, const std::string& content) {
  CertificateInput result;
  const bool is_pem = holds(content, "-----BEGIN ");
  const bool names_one = holds(content, "-----BEGIN CERTIFICATE-----") ||
                         holds(content, "-----BEGIN X509 CERTIFICATE-----") ||
                         holds(content, "-----BEGIN TRUSTED CERTIFICATE-----");
  if (names_one) {
    Result<std::vector<Certificate>> parsed = parse_certificates(content);
    if (parsed) {
      result.certificates = *std::move(parsed);
    } else {
      result.problem = unusable(
          fmt::format("{} holds a damaged certificate: {}", path, parsed.error().message()));
    }
    return result;
  }
  if (is_pem) {
    result.problem = unusable(advice_on_pem(path, content));
    return result;
  }
  const Result<Certificate> parsed = parse_certificate_der(content);
  if (parsed) {
    result.certificates.push_back(*parsed);
  } else {
    result.problem = unusable(advice_on_der(path, content));
  }
  return result;
}

CertificateInput read_certificates(const TargetOptions& options) {
  const std::optional<Endpoint> endpoint = parse_endpoint(options.target);
  if (endpoint && !endpoint->host.empty() && !is_there(options.target)) {
    return read_server(*endpoint, options);
  }
  CertificateInput result;
  const std::optional<std::string> content = read_text(options.target, result.problem);
  if (!content) return result;
  return parse_content(options.target, *content);
}

}  // namespace heddle::cli
