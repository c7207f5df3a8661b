// CertificateDetails: everything that is in a certificate, as data; and certificates in DER and
// PEM.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "heddle/export.h"
#include "heddle/result.h"
#include "heddle/tls/certificate.h"

namespace heddle {

// An object identifier. Both are empty if its encoding is malformed or longer than 128 bytes.
struct ObjectId {
  std::string oid;   // Dotted decimal: "2.5.4.3".
  std::string name;  // OpenSSL's long name: "commonName". The dotted form if it has none.
};

// One attribute of a name, such as commonName=example.org.
struct NameAttribute {
  ObjectId type;
  // UTF-8, NUL bytes included. If `is_text` is false, the bytes as they are in the certificate: the
  // type is not a text type, or the bytes are not text of that type.
  std::string value;
  bool is_text = true;
};

// A name as X.501 defines it: a sequence of sets of attributes. Most sets have one.
using RelativeName = std::vector<NameAttribute>;
using DistinguishedName = std::vector<RelativeName>;

enum class AlternativeNameKind : std::uint8_t {
  kDns,
  kIp,
  kEmail,
  kUri,  // Also of workloads: "spiffe://trust.domain/workload".
  kDirectory,
  kRegisteredId,
  kOther,
  kX400,
  kEdiParty,
};

// One entry of the extension subjectAltName (RFC 5280, 4.2.1.6).
struct AlternativeName {
  AlternativeNameKind kind = AlternativeNameKind::kDns;
  // kDns, kEmail, kUri: the bytes, NUL and 8-bit ones included. Compare these. kIp: the octets, 4
  // or 16 unless it is malformed. kOther: the value, DER. kX400, kEdiParty: the whole name, DER.
  // Else empty.
  std::string value;
  // Safe to log, as texts in Certificate are: "example.org", "2001:db8::1", "1.2.3.4" for a
  // registered ID, RFC 2253 for a directory name. kOther: the text, if it is one. Empty if there
  // is no text for it, and for an address that has neither 4 nor 16 octets.
  std::string text;
  ObjectId type;                // kRegisteredId, kOther.
  DistinguishedName directory;  // kDirectory.
};

struct KeyDescription {
  std::string type;  // "RSA", "RSA-PSS", "EC", "ED25519" and so on; "" if OpenSSL cannot read it.
  int bits = 0;      // Of the modulus, or of the order of the curve.
  int security_bits = 0;  // NIST SP 800-57: 112 for RSA of 2048 bits, 128 for P-256.
  std::string curve;      // For EC: "prime256v1"; "" for parameters that have no name.
};

// The bits of the extension keyUsage (RFC 5280, 4.2.1.3).
enum class KeyUse : std::uint8_t {
  kDigitalSignature,
  kNonRepudiation,
  kKeyEncipherment,
  kDataEncipherment,
  kKeyAgreement,
  kKeyCertSign,
  kCrlSign,
  kEncipherOnly,
  kDecipherOnly,
};

struct BasicConstraints {
  bool is_ca = false;
  std::optional<std::int64_t> path_length;  // Clamped to what fits.
};

struct CertificateExtension {
  ObjectId id;
  bool critical = false;
  std::string der;  // The content of its octet string.
};

// An optional field is empty if the certificate does not have it, or if it is malformed;
// `malformed` then names it. So are lists. An extension that occurs twice is malformed.
struct CertificateDetails {
  int version = 0;     // 3 for X.509 v3; the number is what the certificate says.
  std::string serial;  // Hexadecimal, as Certificate::serial.
  DistinguishedName subject;
  DistinguishedName issuer;
  std::optional<std::chrono::sys_seconds> not_before;
  std::optional<std::chrono::sys_seconds> not_after;
  KeyDescription key;
  ObjectId signature_algorithm;
  std::string sha256;       // As Certificate::sha256.
  std::string spki_sha256;  // The same over subjectPublicKeyInfo: survives a renewal with that key.

  std::vector<AlternativeName> subject_alt_names;
  std::optional<BasicConstraints> basic_constraints;
  std::optional<std::vector<KeyUse>> key_usage;
  std::optional<std::vector<ObjectId>> extended_key_usage;
  std::string subject_key_id;    // The bytes.
  std::string authority_key_id;  // The same: of its key identifier, if it has one.
  std::vector<std::string> ocsp_urls;
  std::vector<std::string> ca_issuer_urls;
  std::vector<std::string> crl_urls;
  std::vector<CertificateExtension> extensions;  // All, in order.

  // What could not be read: names of fields here ("not_before", "subject", "key") and of extensions
  // ("subjectAltName").
  std::vector<std::string> malformed;
};

// Reads all of a certificate, for example of Certificate::der. The summary in Certificate costs a
// handshake little; this costs several times as much, and so is a separate call. Time and memory
// are proportional to the size of `der`. Fails with kInvalid, also for more than 1 MiB.
HEDDLE_API Result<CertificateDetails> certificate_details(std::string_view der);

// Describes one certificate in DER, nothing before or after it. Fails with kInvalid.
HEDDLE_API Result<Certificate> parse_certificate_der(std::string_view der);

// Describes every certificate in `pem`, in order; other text and keys between them are skipped.
// Fails with kInvalid if there is none, one is malformed, or `pem` has more than 4 MiB.
HEDDLE_API Result<std::vector<Certificate>> parse_certificates(std::string_view pem);

// Returns `der` as PEM, "-----BEGIN CERTIFICATE-----". Does not check its content. For the reverse
// use parse_certificate(pem)->der.
HEDDLE_API std::string certificate_pem(std::string_view der);

// Describes the private key in `key`, PEM or DER. An encrypted key needs `password`; it is never
// asked for at the terminal. Fails with kInvalid.
HEDDLE_API Result<KeyDescription> describe_private_key(std::string_view key,
                                                       std::string_view password = {});

}  // namespace heddle
