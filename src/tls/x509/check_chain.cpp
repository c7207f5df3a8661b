// Verifying a chain without a connection.
#include "heddle/tls/check_chain.h"

#include <algorithm>
#include <cstddef>
#include <utility>

#include <openssl/x509_vfy.h>
#include <openssl/x509v3.h>

#include "heddle/error_queue.h"

#include "base/host_name.h"
#include "openssl/error.h"
#include "tls/x509/pem.h"
#include "tls/x509/verify_as_default.h"

namespace heddle {
namespace {

using openssl::error_from_queue;

constexpr const char* kOperation = "check a certificate chain";
constexpr std::size_t kChainMax = 100;

using StorePtr = openssl::Handle<X509_STORE, X509_STORE_free>;
using StoreContextPtr = openssl::Handle<X509_STORE_CTX, X509_STORE_CTX_free>;
using Chain = std::vector<openssl::X509Ptr>;

Error invalid(const char* operation, const char* detail = "") {
  return {.code = Errc::kInvalid, .operation = operation, .detail = detail};
}

Result<StorePtr> make_store(const ChainCheckOptions& options) {
  StorePtr trusted(X509_STORE_new());
  if (!trusted) return error_from_queue(Errc::kExhausted, kOperation);
  if (!options.roots_pem) {
    if (X509_STORE_set_default_paths(trusted.get()) == 1) return trusted;
    return error_from_queue(Errc::kInvalid, "load the system's trusted certificates");
  }
  const auto roots = tls::parse_chain(*options.roots_pem, "parse trusted certificates");
  if (!roots) return roots.error();
  for (const openssl::X509Ptr& root : *roots) {
    if (X509_STORE_add_cert(trusted.get(), root.get()) != 1) {
      return error_from_queue(Errc::kExhausted, kOperation);
    }
  }
  return trusted;
}

Result<void> set_param(X509_VERIFY_PARAM* param, const ChainCheckOptions& options) {
  const bool is_server = options.purpose == CertificatePurpose::kServer;
  X509_VERIFY_PARAM_set_flags(param, tls::kVerifyFlags);
  X509_VERIFY_PARAM_set_purpose(param,
                                is_server ? X509_PURPOSE_SSL_SERVER : X509_PURPOSE_SSL_CLIENT);
  X509_VERIFY_PARAM_set_auth_level(param, tls::kSecurityLevel);
  if (options.host.empty()) return {};
  const Result<Host> host = Host::parse(options.host);
  if (!host) return host.error();
  if (!tls::verify_host(param, *host))
    return error_from_queue(Errc::kInvalid, "set the name to verify");
  return {};
}

// X509_STORE_CTX has no room for a pointer of ours before OpenSSL knows an index for it.
int data_index() {
  static const int index = X509_STORE_CTX_get_ex_new_index(0, nullptr, nullptr, nullptr, nullptr);
  return index;
}

// Of names there is no place in the chain.
bool is_about_names(int code) {
  return code == X509_V_ERR_HOSTNAME_MISMATCH || code == X509_V_ERR_IP_ADDRESS_MISMATCH ||
         code == X509_V_ERR_EMAIL_MISMATCH;
}

struct Found {
  std::vector<ChainFault> faults;
  bool is_exhausted = false;  // There was no memory for one.
};

// Notes a fault and has OpenSSL go on, through whose frames nothing may be thrown.
int note_fault(int is_good, X509_STORE_CTX* store) noexcept {
  if (is_good == 1) return 1;
  auto& found = *static_cast<Found*>(X509_STORE_CTX_get_ex_data(store, data_index()));
  auto& faults = found.faults;
  const int code = X509_STORE_CTX_get_error(store);
  const int depth = is_about_names(code) ? 0 : X509_STORE_CTX_get_error_depth(store);
  const bool is_known = std::ranges::any_of(faults, [&](const ChainFault& each) {
    return each.verify_code == code && each.depth == depth;
  });
  if (is_known) return 1;
  try {
    faults.push_back(
        {.verify_code = code, .depth = depth, .text = X509_verify_cert_error_string(code)});
  } catch (const std::bad_alloc&) {
    found.is_exhausted = true;
  }
  return 1;
}

Result<std::vector<ChainFault>> find_faults(const Chain& chain, const ChainCheckOptions& options) {
  const Result<StorePtr> trusted = make_store(options);
  if (!trusted) return trusted.error();
  const openssl::X509StackPtr others(sk_X509_new_null());
  const StoreContextPtr context(X509_STORE_CTX_new());
  Found found;
  if (!others || !context) return error_from_queue(Errc::kExhausted, kOperation);
  for (std::size_t i = 1; i < chain.size(); ++i) {
    X509_up_ref(chain[i].get());
    if (sk_X509_push(others.get(), chain[i].get()) == 0) {
      X509_free(chain[i].get());
      return error_from_queue(Errc::kExhausted, kOperation);
    }
  }
  if (X509_STORE_CTX_init(context.get(), trusted->get(), chain.front().get(), others.get()) != 1 ||
      X509_STORE_CTX_set_ex_data(context.get(), data_index(), &found) != 1) {
    return error_from_queue(Errc::kExhausted, kOperation);
  }
  const Result<void> set = set_param(X509_STORE_CTX_get0_param(context.get()), options);
  if (!set) return set.error();
  X509_STORE_CTX_set_verify_cb(context.get(), note_fault);
  const bool is_good = X509_verify_cert(context.get()) == 1;
  if (found.is_exhausted) return Error{.code = Errc::kExhausted, .operation = kOperation};
  if (!is_good && found.faults.empty()) {
    const int code = X509_STORE_CTX_get_error(context.get());
    found.faults.push_back(
        {.verify_code = code, .depth = -1, .text = X509_verify_cert_error_string(code)});
  }
  return std::move(found.faults);
}

// By names and key identifiers; and by the signature, for two authorities may have both in common.
bool names_issuer(X509* certificate, X509* issuer) {
  return X509_check_issued(issuer, certificate) == X509_V_OK;
}
bool has_signed(X509* issuer, X509* certificate) {
  EVP_PKEY* const key = X509_get0_pubkey(issuer);
  return key != nullptr && X509_verify(certificate, key) == 1;
}

// The usual places first: itself, and the one that follows.
int issuer_of(const Chain& chain, std::size_t at) {
  X509* const certificate = chain[at].get();
  int named = -1;
  for (std::size_t step = 0; step < chain.size(); ++step) {
    const std::size_t other = (at + step) % chain.size();
    if (!names_issuer(certificate, chain[other].get())) continue;
    if (has_signed(chain[other].get(), certificate)) return static_cast<int>(other);
    if (named < 0) named = static_cast<int>(other);
  }
  return named;
}

}  // namespace

Result<ChainReport> check_chain(std::string_view chain_pem, const ChainCheckOptions& options) {
  if (options.purpose == CertificatePurpose::kAuthority) {
    return invalid(kOperation, "for servers and clients, not for an authority");
  }
  const ErrorQueueScope scope(Leftovers::kDrop);
  const Result<Chain> chain = tls::parse_chain(chain_pem, kOperation);
  if (!chain) return chain.error();
  if (chain->size() > kChainMax) return invalid(kOperation, "it has more than 100 certificates");
  Result<std::vector<ChainFault>> faults = find_faults(*chain, options);
  if (!faults) return faults.error();
  ChainReport report{.faults = *std::move(faults), .issuers = {}};
  for (std::size_t i = 0; i < chain->size(); ++i) report.issuers.push_back(issuer_of(*chain, i));
  return report;
}

}  // namespace heddle
