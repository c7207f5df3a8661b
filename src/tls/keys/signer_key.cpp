// A provider of OpenSSL's inside the process, for keys that only know whom to ask.
//
// libssl signs with EVP_DigestSign(). For a key of this provider that ends in digest_sign() below,
// on the stack of the fiber that shakes hands, with no lock of OpenSSL's held: the Signer may park
// there. It replaces whole signatures. The older ways in do not: inside RSA_METHOD's
// rsa_mod_exp or rsa_priv_enc the arithmetic is under way, and RSA blinding is tied to the
// thread's identity, so another fiber's signature in between gives a wrong one; and PSS comes
// there as a raw private operation.
//
// The provider lives in a library context of its own, so that nobody who asks OpenSSL for "RSA" is
// given ours, and the default provider is loaded as if we were not there. How OpenSSL 3.0 to 4.0
// come here from a key of another library context (do_sigver_init() in crypto/evp/m_sigver.c):
// they first look for a signature of that name in the SSL_CTX's own context, and try to
// export the key to its provider. key_export() refuses to part with a private key, and so
// they take the provider that the key came from. provider-keymgmt(7), provider-signature(7).
//
// What is to be known of the key (size, group, digests) the public key of the certificate answers,
// which belongs to whatever provider made it.
#include "tls/keys/signer_key.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <new>
#include <optional>
#include <string>
#include <utility>

#include <openssl/core_dispatch.h>
#include <openssl/core_names.h>
#include <openssl/params.h>
#include <openssl/provider.h>
#include <openssl/rsa.h>

#include "fiber/user_code.h"
#include "openssl/error.h"
#include "tls/keys/signature.h"
#include "tls/machine/engine.h"
#include "tls/state/callback_scope.h"

namespace heddle::tls {
namespace {

constexpr const char* kProviderName = "heddle-signer";
// How make_signer_key() gives key_import() a KeyReference.
constexpr const char* kKeyParam = "heddle-signer-key";

// --- Keys -----------------------------------------------------------------------------------

struct Key {
  openssl::KeyPtr public_key;
  std::shared_ptr<Signer> signer;  // Null in a copy of somebody's public key, made to compare.
};

struct KeyReference {
  const Key* key;
};

struct SignerKeyType {
  Algorithm algorithm;
  const char* names;      // Of the key, as the default provider has them.
  const char* signature;  // What its signature operation is called.
};

constexpr SignerKeyType kRsa = {Algorithm::kRsa, "RSA:rsaEncryption:1.2.840.113549.1.1.1", "RSA"};
constexpr SignerKeyType kEc = {Algorithm::kEcdsa, "EC:id-ecPublicKey:1.2.840.10045.2.1", "ECDSA"};
constexpr SignerKeyType kEd25519 = {Algorithm::kEd25519, "ED25519:1.3.101.112", "ED25519"};
constexpr SignerKeyType kEd448 = {Algorithm::kEd448, "ED448:1.3.101.113", "ED448"};

openssl::KeyPtr share(const openssl::KeyPtr& key) {
  return openssl::KeyPtr(EVP_PKEY_up_ref(key.get()) == 1 ? key.get() : nullptr);
}

void* key_new(void* /*provider*/) {
  return new (std::nothrow) Key;
}

void key_free(void* key) {
  delete static_cast<Key*>(key);
}

int key_has(const void* key, int selection) {
  const auto* const ours = static_cast<const Key*>(key);
  if (ours == nullptr || !ours->public_key) return 0;
  const bool private_too = (selection & OSSL_KEYMGMT_SELECT_PRIVATE_KEY) != 0;
  return !private_too || ours->signer != nullptr ? 1 : 0;
}

int key_match(const void* key, const void* other, int /*selection*/) {
  return EVP_PKEY_eq(static_cast<const Key*>(key)->public_key.get(),
                     static_cast<const Key*>(other)->public_key.get()) == 1
             ? 1
             : 0;
}

// From make_signer_key(), or from a public key of another provider that is to be compared.
template <const SignerKeyType& kType>
int key_import(void* into, int selection, const OSSL_PARAM params[]) {
  auto& key = *static_cast<Key*>(into);
  if (const OSSL_PARAM* const own = OSSL_PARAM_locate_const(params, kKeyParam)) {
    KeyReference from{};
    if (own->data_size != sizeof from) return 0;
    std::memcpy(&from, own->data, sizeof from);
    key.public_key = share(from.key->public_key);
    key.signer = from.key->signer;
    return key.public_key ? 1 : 0;
  }
  const std::string_view names = kType.names;
  const std::string name(names.substr(0, names.find(':')));
  const openssl::KeyContextPtr context(EVP_PKEY_CTX_new_from_name(nullptr, name.c_str(), nullptr));
  EVP_PKEY* made = nullptr;
  if (!context || EVP_PKEY_fromdata_init(context.get()) != 1 ||
      EVP_PKEY_fromdata(context.get(), &made, selection & ~OSSL_KEYMGMT_SELECT_PRIVATE_KEY,
                        const_cast<OSSL_PARAM*>(params)) != 1) {
    return 0;
  }
  key.public_key.reset(made);
  return 1;
}

// The private half is not to be had. It is asked for when somebody wants to sign with another
// provider's code: the refusal sends them here.
int key_export(void* key, int selection, OSSL_CALLBACK* take, void* argument) {
  if ((selection & OSSL_KEYMGMT_SELECT_PRIVATE_KEY) != 0) return 0;
  return EVP_PKEY_export(static_cast<Key*>(key)->public_key.get(), selection, take, argument);
}

// Required, and consulted only by those who would like to know beforehand.
const OSSL_PARAM* key_types(int /*selection*/) {
  static const std::array<OSSL_PARAM, 1> none = {{OSSL_PARAM_END}};
  return none.data();
}

int key_get_params(void* key, OSSL_PARAM params[]) {
  return EVP_PKEY_get_params(static_cast<Key*>(key)->public_key.get(), params);
}

const OSSL_PARAM* key_gettable_params(void* /*provider*/) {
  static const std::array<OSSL_PARAM, 7> known = {
      {OSSL_PARAM_int(OSSL_PKEY_PARAM_BITS, nullptr),
       OSSL_PARAM_int(OSSL_PKEY_PARAM_SECURITY_BITS, nullptr),
       OSSL_PARAM_int(OSSL_PKEY_PARAM_MAX_SIZE, nullptr),
       OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_DEFAULT_DIGEST, nullptr, 0),
       OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_MANDATORY_DIGEST, nullptr, 0),
       OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, nullptr, 0), OSSL_PARAM_END}};
  return known.data();
}

template <const SignerKeyType& kType>
const char* key_operation_name(int operation) {
  return operation == OSSL_OP_SIGNATURE ? kType.signature : nullptr;
}

// --- Signatures -----------------------------------------------------------------------------

// One EVP_DigestSignInit() to EVP_DigestSign().
struct Signing {
  Algorithm algorithm;
  const Key* key = nullptr;  // Kept alive by the EVP_PKEY_CTX.
  std::string digest;
  bool pss = false;
};

template <const SignerKeyType& kType>
void* signing_new(void* /*provider*/, const char* /*properties*/) {
  return new (std::nothrow) Signing{.algorithm = kType.algorithm};
}

void signing_free(void* signing) {
  delete static_cast<Signing*>(signing);
}

void* signing_copy(void* signing) {
  return new (std::nothrow) Signing(*static_cast<Signing*>(signing));
}

// Asked for as what it is: from 3.2 on the wrong question leaves an entry in the queue. libssl
// would take that for the outcome of its own next step, and the connection for dead.
bool is_padding(const OSSL_PARAM& param, int number, const char* name) {
  if (param.data_type == OSSL_PARAM_INTEGER) {
    int given = 0;
    return OSSL_PARAM_get_int(&param, &given) == 1 && given == number;
  }
  const char* text = nullptr;
  return OSSL_PARAM_get_utf8_string_ptr(&param, &text) == 1 && std::strcmp(text, name) == 0;
}

bool set_padding(Signing& signing, const OSSL_PARAM& param) {
  signing.pss = is_padding(param, RSA_PKCS1_PSS_PADDING, OSSL_PKEY_RSA_PAD_MODE_PSS);
  return signing.pss || is_padding(param, RSA_PKCS1_PADDING, OSSL_PKEY_RSA_PAD_MODE_PKCSV15);
}

// TLS has one length of salt, and one digest for both uses. The length may be written as a number.
bool is_tls_salt(const OSSL_PARAM& param) {
  return is_padding(param, RSA_PSS_SALTLEN_DIGEST, OSSL_PKEY_RSA_PSS_SALT_LEN_DIGEST);
}

bool is_digest_of(const Signing& signing, const OSSL_PARAM& param) {
  const char* name = nullptr;
  return OSSL_PARAM_get_utf8_string_ptr(&param, &name) == 1 &&
         find_scheme(signing.algorithm, name, signing.pss) ==
             find_scheme(signing.algorithm, signing.digest.c_str(), signing.pss);
}

// What is refused here, libssl has not asked for: it would be a signature outside of TLS.
int signing_set_params(void* context, const OSSL_PARAM params[]) {
  auto& signing = *static_cast<Signing*>(context);
  if (params == nullptr || signing.algorithm != Algorithm::kRsa) return 1;
  const OSSL_PARAM* param = OSSL_PARAM_locate_const(params, OSSL_SIGNATURE_PARAM_PAD_MODE);
  if (param != nullptr && !set_padding(signing, *param)) return 0;
  param = OSSL_PARAM_locate_const(params, OSSL_SIGNATURE_PARAM_PSS_SALTLEN);
  if (param != nullptr && !is_tls_salt(*param)) return 0;
  param = OSSL_PARAM_locate_const(params, OSSL_SIGNATURE_PARAM_MGF1_DIGEST);
  return param == nullptr || is_digest_of(signing, *param) ? 1 : 0;
}

const OSSL_PARAM* signing_settable_params(void* /*signing*/, void* /*provider*/) {
  static const std::array<OSSL_PARAM, 4> known = {
      {OSSL_PARAM_utf8_string(OSSL_SIGNATURE_PARAM_PAD_MODE, nullptr, 0),
       OSSL_PARAM_utf8_string(OSSL_SIGNATURE_PARAM_PSS_SALTLEN, nullptr, 0),
       OSSL_PARAM_utf8_string(OSSL_SIGNATURE_PARAM_MGF1_DIGEST, nullptr, 0), OSSL_PARAM_END}};
  return known.data();
}

// libssl also calls this to find out which digests the key can be used with.
int digest_sign_init(void* context, const char* digest, void* key, const OSSL_PARAM params[]) {
  auto& signing = *static_cast<Signing*>(context);
  if (key != nullptr) signing.key = static_cast<const Key*>(key);
  if (signing.key == nullptr || !signing.key->signer) return 0;
  signing.digest = digest != nullptr ? digest : "";
  signing.pss = false;
  // The padding comes later, and has no digest that the other kind has not.
  if (!find_scheme(signing.algorithm, signing.digest.c_str(), /*pss=*/false)) return 0;
  return signing_set_params(context, params);
}

// A wrong RSA signature gives the private key away (Boneh, DeMillo, Lipton; in TLS: Weimer,
// "Factoring RSA Keys With TLS Perfect Forward Secrecy"). OpenSSL checks those that it makes;
// a module may not. Cheap, unlike for the other algorithms, of which a wrong one says nothing.
bool is_right_or_harmless(const Signing& signing, const std::vector<std::byte>& signature,
                          std::span<const std::byte> message) {
  if (signing.algorithm != Algorithm::kRsa) return true;
  const openssl::DigestContextPtr context(EVP_MD_CTX_new());
  EVP_PKEY_CTX* parameters = nullptr;
  EVP_PKEY* const key = signing.key->public_key.get();
  if (!context || EVP_DigestVerifyInit_ex(context.get(), &parameters, signing.digest.c_str(),
                                          nullptr, nullptr, key, nullptr) != 1) {
    return false;
  }
  if (signing.pss && (EVP_PKEY_CTX_set_rsa_padding(parameters, RSA_PKCS1_PSS_PADDING) != 1 ||
                      EVP_PKEY_CTX_set_rsa_pss_saltlen(parameters, RSA_PSS_SALTLEN_DIGEST) != 1)) {
    return false;
  }
  return EVP_DigestVerify(context.get(), reinterpret_cast<const unsigned char*>(signature.data()),
                          signature.size(), reinterpret_cast<const unsigned char*>(message.data()),
                          message.size()) == 1;
}

Result<std::vector<std::byte>> checked_signature(const Signing& signing, SignatureScheme scheme,
                                                 std::span<const std::byte> message,
                                                 std::size_t size_max, Deadline deadline) {
  constexpr const char* kSign = "sign with a Signer";
  auto signature = fiber::call_user(&Signer::sign, *signing.key->signer, scheme, message, deadline);
  if (!signature) return signature;
  if (signature->empty() || signature->size() > size_max) {
    return Error{.code = Errc::kInvalid,
                 .operation = kSign,
                 .detail = "not the size of a signature of the certificate's key"};
  }
  if (!is_right_or_harmless(signing, *signature, message)) {
    return Error{.code = Errc::kInvalid,
                 .operation = kSign,
                 .detail = "the signature is not one of the certificate's key"};
  }
  return signature;
}

int digest_sign(void* context, unsigned char* into, std::size_t* size, std::size_t size_max,
                const unsigned char* message, std::size_t message_size) {
  const auto& signing = *static_cast<Signing*>(context);
  const auto key_size =
      static_cast<std::size_t>(std::max(EVP_PKEY_get_size(signing.key->public_key.get()), 0));
  if (into == nullptr) {
    *size = key_size;
    return 1;
  }
  const auto scheme = find_scheme(signing.algorithm, signing.digest.c_str(), signing.pss);
  if (!scheme) return 0;
  // The only one who knows for which connection this is.
  const Engine* const engine = Engine::innermost();
  const auto signature = ask<std::vector<std::byte>>(
      "a private-key operation, in an ASYNC job of OpenSSL",
      engine != nullptr ? engine->ssl() : nullptr, [&] {
        return checked_signature(signing, *scheme,
                                 {reinterpret_cast<const std::byte*>(message), message_size},
                                 std::min(size_max, key_size),
                                 engine != nullptr ? engine->deadline() : Deadline::never());
      });
  if (!signature) return 0;
  std::memcpy(into, signature->data(), signature->size());
  *size = signature->size();
  return 1;
}

// --- The provider ---------------------------------------------------------------------------

template <typename Function>
OSSL_DISPATCH entry(int id, Function* function) {
  return {id, reinterpret_cast<void (*)()>(function)};
}

template <const SignerKeyType& kType>
const OSSL_DISPATCH* key_functions() {
  static const std::array<OSSL_DISPATCH, 13> entries = {
      entry(OSSL_FUNC_KEYMGMT_NEW, key_new),
      entry(OSSL_FUNC_KEYMGMT_FREE, key_free),
      entry(OSSL_FUNC_KEYMGMT_HAS, key_has),
      entry(OSSL_FUNC_KEYMGMT_MATCH, key_match),
      entry(OSSL_FUNC_KEYMGMT_IMPORT, key_import<kType>),
      entry(OSSL_FUNC_KEYMGMT_IMPORT_TYPES, key_types),
      entry(OSSL_FUNC_KEYMGMT_EXPORT, key_export),
      entry(OSSL_FUNC_KEYMGMT_EXPORT_TYPES, key_types),
      entry(OSSL_FUNC_KEYMGMT_GET_PARAMS, key_get_params),
      entry(OSSL_FUNC_KEYMGMT_GETTABLE_PARAMS, key_gettable_params),
      entry(OSSL_FUNC_KEYMGMT_QUERY_OPERATION_NAME, key_operation_name<kType>),
      {0, nullptr}};
  return entries.data();
}

template <const SignerKeyType& kType>
const OSSL_DISPATCH* signature_functions() {
  static const std::array<OSSL_DISPATCH, 8> entries = {
      entry(OSSL_FUNC_SIGNATURE_NEWCTX, signing_new<kType>),
      entry(OSSL_FUNC_SIGNATURE_FREECTX, signing_free),
      entry(OSSL_FUNC_SIGNATURE_DUPCTX, signing_copy),
      entry(OSSL_FUNC_SIGNATURE_DIGEST_SIGN_INIT, digest_sign_init),
      entry(OSSL_FUNC_SIGNATURE_DIGEST_SIGN, digest_sign),
      entry(OSSL_FUNC_SIGNATURE_SET_CTX_PARAMS, signing_set_params),
      entry(OSSL_FUNC_SIGNATURE_SETTABLE_CTX_PARAMS, signing_settable_params),
      {0, nullptr}};
  return entries.data();
}

OSSL_ALGORITHM algorithm(const char* names, const OSSL_DISPATCH* functions) {
  return {names, "provider=heddle-signer", functions, nullptr};
}

const OSSL_ALGORITHM* query(void* /*provider*/, int operation, int* no_cache) {
  *no_cache = 0;
  static const std::array<OSSL_ALGORITHM, 5> keys = {
      algorithm(kRsa.names, key_functions<kRsa>()),
      algorithm(kEc.names, key_functions<kEc>()),
      algorithm(kEd25519.names, key_functions<kEd25519>()),
      algorithm(kEd448.names, key_functions<kEd448>()),
      {nullptr, nullptr, nullptr, nullptr}};
  static const std::array<OSSL_ALGORITHM, 5> signatures = {
      algorithm(kRsa.signature, signature_functions<kRsa>()),
      algorithm(kEc.signature, signature_functions<kEc>()),
      algorithm(kEd25519.signature, signature_functions<kEd25519>()),
      algorithm(kEd448.signature, signature_functions<kEd448>()),
      {nullptr, nullptr, nullptr, nullptr}};
  if (operation == OSSL_OP_KEYMGMT) return keys.data();
  return operation == OSSL_OP_SIGNATURE ? signatures.data() : nullptr;
}

int start_provider(const OSSL_CORE_HANDLE* handle, const OSSL_DISPATCH* /*core*/,
                   const OSSL_DISPATCH** functions, void** provider) {
  static const std::array<OSSL_DISPATCH, 2> entries = {
      entry(OSSL_FUNC_PROVIDER_QUERY_OPERATION, query), {0, nullptr}};
  *functions = entries.data();
  *provider = const_cast<OSSL_CORE_HANDLE*>(handle);  // There is nothing to know; not null.
  return 1;
}

// Null if OpenSSL has no memory for it. Never freed: keys may be destroyed after any static object.
OSSL_LIB_CTX* library_context() {
  static OSSL_LIB_CTX* const made = [] {
    OSSL_LIB_CTX* const context = OSSL_LIB_CTX_new();
    if (context != nullptr &&
        OSSL_PROVIDER_add_builtin(context, kProviderName, start_provider) == 1 &&
        OSSL_PROVIDER_load(context, kProviderName) != nullptr) {
      return context;
    }
    OSSL_LIB_CTX_free(context);
    return static_cast<OSSL_LIB_CTX*>(nullptr);
  }();
  return made;
}

const char* type_name(Algorithm algorithm) {
  switch (algorithm) {
    case Algorithm::kRsa:
      return "RSA";
    case Algorithm::kEcdsa:
      return "EC";
    case Algorithm::kEd25519:
      return "ED25519";
    case Algorithm::kEd448:
      return "ED448";
  }
  return nullptr;
}

}  // namespace

Result<openssl::KeyPtr> make_signer_key(EVP_PKEY* public_key, std::shared_ptr<Signer> signer) {
  constexpr const char* kOperation = "use a Signer";
  const auto algorithm = public_key != nullptr ? algorithm_of(public_key) : std::nullopt;
  if (!algorithm) {
    return Error{.code = Errc::kInvalid,
                 .operation = kOperation,
                 .detail = "not for this type of key in the certificate"};
  }
  if (EVP_PKEY_up_ref(public_key) != 1)
    return Error{.code = Errc::kExhausted, .operation = kOperation};
  const Key from = {openssl::KeyPtr(public_key), std::move(signer)};
  KeyReference reference = {&from};
  const std::array<OSSL_PARAM, 2> params = {
      OSSL_PARAM_construct_octet_string(kKeyParam, &reference, sizeof reference),
      OSSL_PARAM_construct_end()};
  const openssl::KeyContextPtr context(
      EVP_PKEY_CTX_new_from_name(library_context(), type_name(*algorithm), nullptr));
  EVP_PKEY* made = nullptr;
  if (library_context() == nullptr || !context || EVP_PKEY_fromdata_init(context.get()) != 1 ||
      EVP_PKEY_fromdata(context.get(), &made, EVP_PKEY_KEYPAIR,
                        const_cast<OSSL_PARAM*>(params.data())) != 1) {
    return openssl::error_from_queue(Errc::kExhausted, kOperation);
  }
  return openssl::KeyPtr(made);
}

}  // namespace heddle::tls
