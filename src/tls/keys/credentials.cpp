// Parsing credentials.
#include "tls/keys/credentials.h"

#include <algorithm>
#include <chrono>
#include <climits>
#include <cstdint>
#include <ctime>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include <openssl/err.h>
#include <openssl/pkcs12.h>
#include <openssl/store.h>
#include <openssl/ui.h>
#include <openssl/x509.h>

#include "heddle/error_queue.h"

#include "base/die.h"
#include "fiber/user_code.h"
#include "openssl/error.h"
#include "tls/keys/signer_key.h"
#include "tls/x509/pem.h"

namespace heddle {

using openssl::error_from_queue;

namespace {

constexpr const char* kParseChain = "parse a certificate chain";
constexpr const char* kParseKey = "parse a private key";
constexpr const char* kPkcs12 = "read PKCS#12 data";
constexpr const char* kOpenKey = "open a private key";

using Pkcs12Ptr = openssl::Handle<PKCS12, PKCS12_free>;
using StoreContextPtr = openssl::Handle<OSSL_STORE_CTX, OSSL_STORE_close>;
using StoreInfoPtr = openssl::Handle<OSSL_STORE_INFO, OSSL_STORE_INFO_free>;
using UiMethodPtr = openssl::Handle<UI_METHOD, UI_destroy_method>;

// Where the texts come from, for the context of errors: file names, or nothing.
struct Origin {
  std::string_view chain{};
  std::string_view key{};
};

Result<std::shared_ptr<tls::CredentialsData>> put_together(openssl::X509Ptr leaf,
                                                           openssl::KeyPtr key,
                                                           openssl::X509StackPtr rest) {
  if (X509_check_private_key(leaf.get(), key.get()) != 1) {
    return error_from_queue(Errc::kInvalid, "match a private key with its certificate");
  }
  auto chain = std::make_shared<tls::CredentialChain>();
  chain->leaf = std::move(leaf);
  chain->key = std::move(key);
  chain->rest = std::move(rest);
  auto data = std::make_shared<tls::CredentialsData>();
  data->chains.push_back(std::move(chain));
  return data;
}

// Takes the chain apart.
Result<std::shared_ptr<tls::CredentialsData>> put_together(std::vector<openssl::X509Ptr> chain,
                                                           openssl::KeyPtr key) {
  openssl::X509StackPtr rest(sk_X509_new_null());
  if (!rest) return error_from_queue(Errc::kExhausted, tls::kUseChain);
  for (std::size_t i = 1; i < chain.size(); ++i) {
    if (sk_X509_push(rest.get(), chain[i].get()) == 0) {
      return error_from_queue(Errc::kExhausted, tls::kUseChain);
    }
    (void)chain[i].release();  // The stack owns it now.
  }
  return put_together(std::move(chain.front()), std::move(key), std::move(rest));
}

// Not the private key's: one that a Signer or a token has need not say.
int key_type(const X509* leaf) {
  return EVP_PKEY_get_base_id(X509_get0_pubkey(leaf));
}

// Certificates without an end say "99991231235959Z" (RFC 5280, section 4.1.2.5), which is more than
// the clock's nanoseconds can count.
std::chrono::system_clock::time_point time_point_of(std::time_t time) {
  using std::chrono::system_clock;
  constexpr auto kLast = std::chrono::floor<std::chrono::seconds>(system_clock::time_point::max());
  constexpr auto kFirst = std::chrono::ceil<std::chrono::seconds>(system_clock::time_point::min());
  return std::chrono::sys_seconds(std::chrono::seconds(std::clamp<std::int64_t>(
      time, kFirst.time_since_epoch().count(), kLast.time_since_epoch().count())));
}

bool has_key_of_type(const tls::CredentialsData& data, int type) {
  return std::any_of(data.chains.begin(), data.chains.end(),
                     [type](const auto& chain) { return key_type(chain->leaf.get()) == type; });
}

std::time_t seconds_of(const ASN1_TIME* time) {
  std::tm parts{};
  return ASN1_TIME_to_tm(time, &parts) == 1 ? ::timegm(&parts) : 0;
}

// Calls `visit(certificate)` for all of them.
template <typename Visit>
void each_certificate(const tls::CredentialsData& data, Visit&& visit) {
  for (const auto& chain : data.chains) {
    visit(chain->leaf.get());
    for (int i = 0; i < sk_X509_num(chain->rest.get()); ++i) {
      visit(sk_X509_value(chain->rest.get(), i));
    }
  }
}

tls::AskPassword fixed(std::string_view password) {
  return [password]() -> Result<std::string> { return std::string(password); };
}

Result<std::shared_ptr<tls::CredentialsData>> parse_both(std::string_view chain,
                                                         std::string_view key,
                                                         const PasswordCallback& password,
                                                         const Origin& origin) {
  const ErrorQueueScope scope(Leftovers::kDrop);
  auto certificates = tls::parse_chain_or_der(chain, kParseChain);
  if (!certificates) return certificates.error().with(origin.chain);
  tls::AskPassword ask;
  if (password) ask = [&] { return fiber::call_user(password); };
  auto parsed = tls::parse_key(key, ask, kParseKey);
  if (!parsed) return parsed.error().with(origin.key);
  auto data = put_together(*std::move(certificates), *std::move(parsed));
  if (!data) return data.error().with(origin.key);
  return data;
}

// OSSL_STORE_open() asks at the terminal if it has no way of ours.
int give_pin(char* into, int size, int /*for_writing*/, void* data) {
  const auto& password = *static_cast<const std::string*>(data);
  if (password.empty() || password.size() > static_cast<std::size_t>(size)) return -1;
  std::copy(password.begin(), password.end(), into);
  return static_cast<int>(password.size());
}

Result<openssl::KeyPtr> load_key(const std::string& uri, std::string password) {
  const UiMethodPtr ask(UI_UTIL_wrap_read_pem_callback(give_pin, 0));
  if (!ask) return error_from_queue(Errc::kExhausted, kOpenKey);
  const StoreContextPtr keys(OSSL_STORE_open(uri.c_str(), ask.get(), &password, nullptr, nullptr));
  if (!keys) return error_from_queue(Errc::kInvalid, kOpenKey);
  while (OSSL_STORE_eof(keys.get()) == 0) {
    const StoreInfoPtr info(OSSL_STORE_load(keys.get()));
    if (!info && OSSL_STORE_error(keys.get()) != 0) break;
    if (!info || OSSL_STORE_INFO_get_type(info.get()) != OSSL_STORE_INFO_PKEY) continue;
    return openssl::KeyPtr(OSSL_STORE_INFO_get1_PKEY(info.get()));
  }
  if (ERR_peek_error() != 0) return error_from_queue(Errc::kInvalid, kOpenKey);
  return Error{.code = Errc::kInvalid, .operation = kOpenKey, .detail = "there is none"};
}

}  // namespace

Result<Credentials> Credentials::parse(std::string_view chain, std::string_view key,
                                       std::string_view password) {
  return parse(chain, key, fixed(password));
}

Result<Credentials> Credentials::parse(std::string_view chain, std::string_view key,
                                       const PasswordCallback& password) {
  auto data = parse_both(chain, key, password, {});
  if (!data) return data.error();
  return Credentials(*std::move(data));
}

Result<Credentials> Credentials::load(const std::filesystem::path& chain,
                                      const std::filesystem::path& key, std::string_view password) {
  auto chain_text = tls::read_file(chain, "read a certificate chain");
  if (!chain_text) return chain_text.error();
  auto key_text = tls::read_file(key, "read a private key");
  if (!key_text) return key_text.error();
  auto data = parse_both(chain_text->text(), key_text->text(), fixed(password),
                         {.chain = chain.native(), .key = key.native()});
  if (!data) return data.error();
  return Credentials(*std::move(data));
}

Result<Credentials> Credentials::parse_pkcs12(std::span<const std::byte> der,
                                              std::string_view password) {
  const ErrorQueueScope scope(Leftovers::kDrop);
  const auto* at = reinterpret_cast<const unsigned char*>(der.data());
  if (der.size() > INT_MAX) return Error{.code = Errc::kInvalid, .operation = kPkcs12};
  const Pkcs12Ptr parsed(d2i_PKCS12(nullptr, &at, static_cast<long>(der.size())));
  if (!parsed) return error_from_queue(Errc::kInvalid, kPkcs12);
  EVP_PKEY* key = nullptr;
  X509* leaf = nullptr;
  STACK_OF(X509)* others = nullptr;
  std::string text(password);
  const int done = PKCS12_parse(parsed.get(), text.c_str(), &key, &leaf, &others);
  OPENSSL_cleanse(text.data(), text.size());
  openssl::KeyPtr owned_key(key);
  openssl::X509Ptr owned_leaf(leaf);
  openssl::X509StackPtr rest(others != nullptr ? others : sk_X509_new_null());
  if (done != 1) return error_from_queue(Errc::kInvalid, kPkcs12);
  if (!owned_key || !owned_leaf) {
    return Error{.code = Errc::kInvalid,
                 .operation = kPkcs12,
                 .detail = "it lacks a key, or the key's certificate"};
  }
  if (!rest) return error_from_queue(Errc::kExhausted, kPkcs12);
  auto data = put_together(std::move(owned_leaf), std::move(owned_key), std::move(rest));
  if (!data) return data.error();
  return Credentials(*std::move(data));
}

Result<Credentials> Credentials::open(std::string_view chain, const std::string& key_uri,
                                      std::string_view password) {
  const ErrorQueueScope scope(Leftovers::kDrop);
  auto certificates = tls::parse_chain_or_der(chain, kParseChain);
  if (!certificates) return certificates.error();
  auto key = load_key(key_uri, std::string(password));
  if (!key) return key.error().with(key_uri);
  auto data = put_together(*std::move(certificates), *std::move(key));
  if (!data) return data.error();
  return Credentials(*std::move(data));
}

Result<Credentials> Credentials::combine(std::span<const Credentials> several) {
  if (several.empty()) die("Credentials::combine() of none: there is nothing to show");
  auto all = std::make_shared<tls::CredentialsData>();
  for (const Credentials& each : several) {
    const auto& chains = each.data_->chains;
    const bool are_new = std::none_of(chains.begin(), chains.end(), [&](const auto& chain) {
      return has_key_of_type(*all, key_type(chain->leaf.get()));
    });
    if (!are_new) {
      return Error{.code = Errc::kInvalid,
                   .operation = "combine credentials",
                   .detail = "two have keys of the same type"};
    }
    all->chains.insert(all->chains.end(), chains.begin(), chains.end());
  }
  return Credentials(std::move(all));
}

std::chrono::system_clock::time_point Credentials::not_after() const {
  std::time_t first = std::numeric_limits<std::time_t>::max();
  each_certificate(*data_, [&](const X509* certificate) {
    first = std::min(first, seconds_of(X509_get0_notAfter(certificate)));
  });
  return time_point_of(first);
}

std::chrono::system_clock::time_point Credentials::not_before() const {
  std::time_t last = 0;
  each_certificate(*data_, [&](const X509* certificate) {
    last = std::max(last, seconds_of(X509_get0_notBefore(certificate)));
  });
  return time_point_of(last);
}

Result<Credentials> Credentials::with_signer(std::string_view chain_pem,
                                             std::shared_ptr<Signer> signer) {
  if (signer == nullptr)
    die("Credentials::with_signer() with a null signer: there is nobody to sign");
  const ErrorQueueScope scope(Leftovers::kDrop);
  auto chain = tls::parse_chain_or_der(chain_pem, kParseChain);
  if (!chain) return chain.error();
  auto key = tls::make_signer_key(X509_get0_pubkey(chain->front().get()), std::move(signer));
  if (!key) return key.error();
  auto data = put_together(*std::move(chain), *std::move(key));
  if (!data) return data.error();
  return Credentials(*std::move(data));
}

bool tls::show(SSL* ssl, const CredentialsData& data) {
  return std::all_of(data.chains.begin(), data.chains.end(), [ssl](const auto& chain) {
    return SSL_use_cert_and_key(ssl, chain->leaf.get(), chain->key.get(), chain->rest.get(), 1) ==
           1;
  });
}

}  // namespace heddle
