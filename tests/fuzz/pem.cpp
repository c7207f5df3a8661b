// Chains and keys in PEM, with and without a password, and keys and CRLs in DER. The first byte
// says which text it is about: the rest of the input, or a chain with its key that is made now
// (none are kept), in which the rest changes characters: where, and to what.
#include <array>
#include <span>
#include <string>

#include <openssl/err.h>
#include <openssl/pem.h>

#include "heddle/tls/certificate.h"
#include "heddle/tls/context.h"

#include "fuzz/fuzz.h"
#include "openssl/handles.h"

namespace {

constexpr const char* kPassword = "password";

std::string encrypted(const std::string& key_pem) {
  const heddle::openssl::BioPtr from(
      BIO_new_mem_buf(key_pem.data(), static_cast<int>(key_pem.size())));
  const heddle::openssl::KeyPtr key(PEM_read_bio_PrivateKey(from.get(), nullptr, nullptr, nullptr));
  const heddle::openssl::BioPtr to(BIO_new(BIO_s_mem()));
  heddle::fuzz::require(PEM_write_bio_PKCS8PrivateKey(to.get(), key.get(), EVP_aes_128_cbc(),
                                                      kPassword, 8, nullptr, nullptr) == 1,
                        "a key can be encrypted");
  const char* text = nullptr;
  const long size = BIO_get_mem_data(to.get(), &text);
  return {text, static_cast<std::size_t>(size)};
}

std::string der_of(const std::string& key_pem) {
  const heddle::openssl::BioPtr from(
      BIO_new_mem_buf(key_pem.data(), static_cast<int>(key_pem.size())));
  const heddle::openssl::KeyPtr key(PEM_read_bio_PrivateKey(from.get(), nullptr, nullptr, nullptr));
  const heddle::openssl::BioPtr to(BIO_new(BIO_s_mem()));
  heddle::fuzz::require(
      i2d_PKCS8PrivateKey_bio(to.get(), key.get(), nullptr, nullptr, 0, nullptr, nullptr) == 1,
      "a key can be written as DER");
  const char* bytes = nullptr;
  const long size = BIO_get_mem_data(to.get(), &bytes);
  return {bytes, static_cast<std::size_t>(size)};
}

std::array<std::string, 5> make_texts() {
  const auto ec = heddle::make_self_signed({"a.test"}, heddle::KeyType::kEcdsaP256).value();
  const auto ed = heddle::make_self_signed({"a.test"}, heddle::KeyType::kEd25519).value();
  return {ec.key_pem + ec.certificate_pem, ed.certificate_pem + ed.key_pem,
          ed.certificate_pem + encrypted(ed.key_pem),
          ec.certificate_pem + ed.certificate_pem + ec.key_pem, der_of(ec.key_pem)};
}

std::string text_for(std::string_view input) {
  static const std::array<std::string, 5> texts = make_texts();
  if (input.empty()) return {};
  const std::size_t kind = static_cast<unsigned char>(input.front());
  input.remove_prefix(1);
  if (kind >= texts.size()) return std::string(input);
  return heddle::fuzz::edited(texts.at(kind), input);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string text = text_for(heddle::fuzz::text_of(data, size));
  (void)heddle::Credentials::parse(text, text);
  (void)heddle::Credentials::parse(text, text, kPassword);
  static const heddle::Identity identity = heddle::make_self_signed({"a.test"}).value();
  // Without a password: with one, a key in DER may ask for any number of rounds.
  (void)heddle::Credentials::parse(identity.certificate_pem, text);
  static heddle::Context context =
      heddle::Context::create(heddle::Role::kClient, heddle::Trust::kNothing).value();
  (void)context.add_crls(std::as_bytes(std::span(text)));
  heddle::fuzz::require(ERR_peek_error() == 0, "nothing is left in the error queue");
  return 0;
}
