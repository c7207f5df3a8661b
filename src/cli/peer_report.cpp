// Prints sessions and certificates, and advises on failures.
#include "cli/peer_report.h"

#include <cstddef>
#include <string>
#include <vector>

#include <fmt/core.h>

#include "cli/process.h"

namespace heddle::cli {
namespace {

// X509_V_ERR_*, as openssl-verification-options(1) numbers them.
enum VerifyCode : std::int16_t {
  kNoIssuer = 2,
  kNotYetValid = 9,
  kExpired = 10,
  kSelfSigned = 18,
  kSelfSignedInChain = 19,
  kNoIssuerLocally = 20,
  kNoLeafSignature = 21,
  kHostNameMismatch = 62,
  kIpAddressMismatch = 64,
  // What only X509_V_FLAG_X509_STRICT objects to, but for kInvalidCa in between.
  kSignatureAlgorithmInconsistency = 78,
  kInvalidCa = 79,
  kPathlenInvalidForNonCa = 80,
  kEcKeyExplicitParams = 94,
};

bool breaks_rfc5280(int verify_code) {
  return verify_code >= kSignatureAlgorithmInconsistency && verify_code <= kEcKeyExplicitParams &&
         verify_code != kInvalidCa;
}

std::string_view advice_on_trust(int verify_code, Peer peer) {
  const bool is_proxy = peer == Peer::kProxy;
  switch (verify_code) {
    case kNoIssuer:
    case kSelfSigned:
    case kSelfSignedInChain:
    case kNoIssuerLocally:
    case kNoLeafSignature:
      return is_proxy ? "pass --proxy-cafile with its CA's certificate"
                      : "pass --cafile with its CA's certificate";
    case kHostNameMismatch:
    case kIpAddressMismatch:
      return is_proxy ? "give in --proxy a name that the certificate is for"
                      : "pass --servername with a name that the certificate is for";
    case kNotYetValid:
    case kExpired:
      return "check this machine's clock, or have the certificate renewed";
    default:
      break;
  }
  if (breaks_rfc5280(verify_code)) {
    return "the certificate breaks RFC 5280: have it issued anew, or pass --no-strict";
  }
  return "";
}

std::string listed(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) {
    if (!text.empty()) text += ", ";
    text += name;
  }
  return text;
}

std::string describe(std::size_t depth, const Certificate& certificate) {
  std::string text = fmt::format("certificate {}\n", depth);
  const auto add = [&text](std::string_view label, const std::string& value) {
    if (!value.empty()) text += fmt::format("  {:<8} {}\n", label, value);
  };
  add("subject", certificate.subject);
  add("issuer", certificate.issuer);
  add("valid", fmt::format("{} to {}", certificate.not_before, certificate.not_after));
  add("names", listed(certificate.subject_alt_names));
  add("key", certificate.key);
  add("SHA-256", certificate.sha256);
  return text;
}

std::string_view or_none(std::string_view text) {
  return text.empty() ? "none" : text;
}

}  // namespace

void print_session(const Stream& stream, std::string_view where, Verified verified) {
  const ConnectionState state = stream.connection_state();
  std::string text = fmt::format("connected to {}\n{}, {}, group {}, ALPN {}, {} session\n", where,
                                 state.version, state.cipher, or_none(state.group),
                                 or_none(state.alpn), state.resumed ? "resumed" : "new");
  const std::vector<Certificate> chain = stream.peer_certificates();
  for (std::size_t depth = 0; depth < chain.size(); ++depth) text += describe(depth, chain[depth]);
  if (verified == Verified::kNo) {
    text += "NOT verified (--insecure): anybody can be in the middle\n";
  }
  say(text);
}

void print_refused(const std::vector<Certificate>& chain, std::string_view where) {
  if (chain.empty()) return;
  std::string text = fmt::format("NOT connected to {}, which sent\n", where);
  for (std::size_t depth = 0; depth < chain.size(); ++depth) text += describe(depth, chain[depth]);
  say(text);
}

std::string_view advice_on_connecting(const Error& error) {
  switch (error.code) {
    case Errc::kUnreachable:
      if (error.sys_errno == 0) return "check the name, and this machine's name servers";
      return "check the address, and that a server listens there";
    case Errc::kTimedOut:
      return "check the address, or wait longer with --timeout";
    default:
      return "";
  }
}

std::string_view advice_on_handshake(const Error& error, Peer peer) {
  switch (error.code) {
    case Errc::kTimedOut:
      return "check that the port speaks TLS, or wait longer with --timeout";
    case Errc::kProtocol:
    case Errc::kTruncated:
    case Errc::kDisconnected:
      return peer == Peer::kProxy ? ""
                                  : "check that the port speaks TLS and what the server asks for";
    case Errc::kUntrusted:
      return advice_on_trust(error.verify_code, peer);
    default:
      return "";
  }
}

}  // namespace heddle::cli
