// What a Context may negotiate, and what this OpenSSL could.
#include <algorithm>
#include <array>
#include <cstdio>
#include <new>
#include <string>
#include <string_view>
#include <vector>

#include <openssl/core_names.h>
#include <openssl/params.h>
#include <openssl/provider.h>
#include <openssl/ssl.h>

#include "heddle/error_queue.h"
#include "heddle/tls/context.h"

#include "openssl/handles.h"
#include "tls/wire/reader.h"

namespace heddle {
namespace {

using tls::Reader;

struct Name {
  std::uint16_t id;
  const char* name;
};

// https://www.iana.org/assignments/tls-parameters, "TLS SignatureScheme". OpenSSL has these names
// for itself.
constexpr std::array kSignatures = {
    Name{0x0403, "ecdsa_secp256r1_sha256"},
    Name{0x0503, "ecdsa_secp384r1_sha384"},
    Name{0x0603, "ecdsa_secp521r1_sha512"},
    Name{0x0807, "ed25519"},
    Name{0x0808, "ed448"},
    Name{0x081a, "ecdsa_brainpoolP256r1tls13_sha256"},
    Name{0x081b, "ecdsa_brainpoolP384r1tls13_sha384"},
    Name{0x081c, "ecdsa_brainpoolP512r1tls13_sha512"},
    Name{0x0809, "rsa_pss_pss_sha256"},
    Name{0x080a, "rsa_pss_pss_sha384"},
    Name{0x080b, "rsa_pss_pss_sha512"},
    Name{0x0804, "rsa_pss_rsae_sha256"},
    Name{0x0805, "rsa_pss_rsae_sha384"},
    Name{0x0806, "rsa_pss_rsae_sha512"},
    Name{0x0401, "rsa_pkcs1_sha256"},
    Name{0x0501, "rsa_pkcs1_sha384"},
    Name{0x0601, "rsa_pkcs1_sha512"},
    Name{0x0904, "mldsa44"},
    Name{0x0905, "mldsa65"},
    Name{0x0906, "mldsa87"},
    Name{0x0203, "ecdsa_sha1"},
    Name{0x0201, "rsa_pkcs1_sha1"},
};

std::string hexadecimal(std::uint16_t id) {
  std::array<char, 8> text{};
  (void)std::snprintf(text.data(), text.size(), "0x%04x", static_cast<unsigned>(id));
  return text.data();
}

// Called by a provider for each group; the same one may come under several names.
int add_group(const OSSL_PARAM* params, void* all) {
  const OSSL_PARAM* const named = OSSL_PARAM_locate_const(params, OSSL_CAPABILITY_TLS_GROUP_NAME);
  const OSSL_PARAM* const numbered = OSSL_PARAM_locate_const(params, OSSL_CAPABILITY_TLS_GROUP_ID);
  const char* name = nullptr;
  unsigned id = 0;
  if (named == nullptr || numbered == nullptr ||
      OSSL_PARAM_get_utf8_string_ptr(named, &name) != 1 ||
      OSSL_PARAM_get_uint(numbered, &id) != 1) {
    return 1;
  }
  auto& groups = *static_cast<std::vector<GroupInfo>*>(all);
  const bool is_there = std::any_of(groups.begin(), groups.end(),
                                    [id](const GroupInfo& each) { return each.id == id; });
  if (is_there) return 1;
  try {
    groups.push_back({.name = name, .id = static_cast<std::uint16_t>(id)});
  } catch (const std::bad_alloc&) {
    return 0;
  }
  return 1;
}

int add_groups(OSSL_PROVIDER* provider, void* all) {
  (void)OSSL_PROVIDER_get_capabilities(provider, "TLS-GROUP", add_group, all);
  return 1;  // Some have none.
}

void ignore_events(const SSL* /*ssl*/, int /*where*/, int /*value*/) {}

// The first record of a client with the settings of `ctx`: OpenSSL 3.0 tells nowhere else what it
// would offer. Nobody hears of the connection. Empty if there is nothing to offer.
std::string first_record(SSL_CTX* ctx) {
  const openssl::SslPtr ssl(SSL_new(ctx));
  if (!ssl || SSL_set_ssl_method(ssl.get(), TLS_client_method()) != 1) return {};
  openssl::BioPtr in(BIO_new(BIO_s_mem()));
  openssl::BioPtr out(BIO_new(BIO_s_mem()));
  if (!in || !out) return {};
  BIO* const written = out.get();
  SSL_set_bio(ssl.get(), in.release(), out.release());
  SSL_set_info_callback(ssl.get(), ignore_events);
  SSL_set_msg_callback(ssl.get(), nullptr);
  SSL_set_psk_client_callback(ssl.get(), nullptr);
  SSL_set_psk_use_session_callback(ssl.get(), nullptr);
  SSL_set_connect_state(ssl.get());
  (void)SSL_do_handshake(ssl.get());  // It writes, and wants to read.
  char* bytes = nullptr;
  const long size = BIO_get_mem_data(written, &bytes);
  return {bytes, size > 0 ? static_cast<std::size_t>(size) : 0};
}

// The list of numbers in an extension of that hello (RFC 8446, section 4.1.2).
std::vector<std::uint16_t> offered(SSL_CTX* ctx, unsigned extension) {
  const ErrorQueueScope scope(Leftovers::kDrop);
  const std::string record = first_record(ctx);
  Reader hello(record);
  (void)hello.number(3);                              // The record's type and version;
  (void)hello.number(2);                              // its length.
  (void)hello.number(4);                              // The message's type and length.
  (void)hello.number(2);                              // The version.
  for (int i = 0; i < 8; ++i) (void)hello.number(4);  // The random number.
  (void)hello.counted(1);                             // The session ID.
  (void)hello.counted(2);                             // The ciphers.
  (void)hello.counted(1);                             // The compression methods.
  Reader extensions(hello.counted(2));
  while (!extensions.empty()) {
    const unsigned type = extensions.number(2);
    const std::string_view content = extensions.counted(2);
    if (type == extension) return Reader(Reader(content).counted(2)).numbers();
  }
  return {};
}

}  // namespace

std::vector<GroupInfo> supported_groups() {
  const ErrorQueueScope scope(Leftovers::kDrop);
  std::vector<GroupInfo> all;
  if (OSSL_PROVIDER_do_all(nullptr, add_groups, &all) != 1) all.clear();
  return all;
}

std::vector<SignatureInfo> supported_signature_algorithms() {
  const ErrorQueueScope scope(Leftovers::kDrop);
  std::vector<SignatureInfo> all;
  const openssl::SslCtxPtr scratch(SSL_CTX_new(TLS_method()));
  if (!scratch) return all;
  for (const auto& [id, name] : kSignatures) {
    if (SSL_CTX_set1_sigalgs_list(scratch.get(), name) == 1) {
      all.push_back({.name = name, .id = id});
    }
  }
  return all;
}

std::vector<GroupInfo> Context::groups() const {
  const std::vector<GroupInfo> known = supported_groups();
  std::vector<GroupInfo> all;
  for (const std::uint16_t id : offered(native_handle(), TLSEXT_TYPE_supported_groups)) {
    const auto same = std::find_if(known.begin(), known.end(),
                                   [id](const GroupInfo& each) { return each.id == id; });
    all.push_back({.name = same != known.end() ? same->name : hexadecimal(id), .id = id});
  }
  return all;
}

std::vector<SignatureInfo> Context::signature_algorithms() const {
  std::vector<SignatureInfo> all;
  for (const std::uint16_t id : offered(native_handle(), TLSEXT_TYPE_signature_algorithms)) {
    const auto* const same = std::find_if(kSignatures.begin(), kSignatures.end(),
                                          [id](const Name& each) { return each.id == id; });
    all.push_back({.name = same != kSignatures.end() ? same->name : hexadecimal(id), .id = id});
  }
  return all;
}

}  // namespace heddle
