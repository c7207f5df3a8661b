// Keys and certificates of the scenarios, made at run time so that none expires.
#include "stale/materials.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <array>
#include <cstddef>
#include <string_view>

#include <fcntl.h>
#include <openssl/pem.h>
#include <openssl/pkcs12.h>
#include <openssl/rsa.h>

#include "heddle/error_queue.h"

namespace heddle::stale {
namespace {

using Pkcs12Ptr = openssl::Handle<PKCS12, PKCS12_free>;
using KeyContextPtr = openssl::Handle<EVP_PKEY_CTX, EVP_PKEY_CTX_free>;
using OctetsPtr = openssl::Handle<ASN1_OCTET_STRING, ASN1_OCTET_STRING_free>;

Identity make_identity(KeyType type) {
  return make_self_signed({kServerName}, type).value();
}

openssl::BioPtr bio_of(std::string_view text) {
  return openssl::BioPtr(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
}

std::string text_of(BIO* bio) {
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio, &data);
  return {data, static_cast<std::size_t>(size)};
}

openssl::X509Ptr certificate_of(const Identity& identity) {
  openssl::X509Ptr made(
      PEM_read_bio_X509(bio_of(identity.certificate_pem).get(), nullptr, nullptr, nullptr));
  require(made != nullptr, "cannot parse a certificate that was just made");
  return made;
}

openssl::KeyPtr key_of(const Identity& identity) {
  openssl::KeyPtr made(
      PEM_read_bio_PrivateKey(bio_of(identity.key_pem).get(), nullptr, nullptr, nullptr));
  require(made != nullptr, "cannot parse a key that was just made");
  return made;
}

// Verifies as well as any other: nobody looks into the extension until asked to.
Identity make_malformed() {
  const Identity sound = make_identity(KeyType::kEd25519);
  const openssl::X509Ptr certificate = certificate_of(sound);
  static constexpr std::array<unsigned char, 8> kJunk = {0x30, 0x30, 'n', 'o', 't', 'D', 'E', 'R'};
  const OctetsPtr value(ASN1_OCTET_STRING_new());
  require(value && ASN1_OCTET_STRING_set(value.get(), kJunk.data(), kJunk.size()) == 1,
          "cannot make an extension");
  const openssl::X509ExtensionPtr extension(
      X509_EXTENSION_create_by_NID(nullptr, NID_info_access, 0, value.get()));
  const openssl::BioPtr pem(BIO_new(BIO_s_mem()));
  require(extension && pem && X509_add_ext(certificate.get(), extension.get(), -1) == 1 &&
              X509_sign(certificate.get(), key_of(sound).get(), nullptr) != 0 &&
              PEM_write_bio_X509(pem.get(), certificate.get()) == 1,
          "cannot make a certificate with a malformed extension");
  return {text_of(pem.get()), sound.key_pem, ""};
}

std::string encrypt_key(const Identity& identity) {
  const openssl::BioPtr pem(BIO_new(BIO_s_mem()));
  static constexpr std::string_view kPassword = "right";
  require(
      pem && PEM_write_bio_PrivateKey(pem.get(), key_of(identity).get(), EVP_aes_128_cbc(),
                                      reinterpret_cast<const unsigned char*>(kPassword.data()),
                                      static_cast<int>(kPassword.size()), nullptr, nullptr) == 1,
      "cannot encrypt a key");
  return text_of(pem.get());
}

std::vector<unsigned char> make_pkcs12(const Identity& identity) {
  const Pkcs12Ptr made(PKCS12_create("right", "heddle", key_of(identity).get(),
                                     certificate_of(identity).get(), nullptr, 0, 0, 0, 0, 0));
  unsigned char* der = nullptr;
  const int size = made ? i2d_PKCS12(made.get(), &der) : -1;
  require(size > 0, "cannot make a PKCS12 file");
  std::vector<unsigned char> bytes(der, der + size);
  OPENSSL_free(der);
  return bytes;
}

std::vector<unsigned char> encrypt_oaep(const Identity& identity) {
  const openssl::KeyPtr key = key_of(identity);
  const KeyContextPtr context(EVP_PKEY_CTX_new(key.get(), nullptr));
  static constexpr std::array<unsigned char, 16> kSecret{};
  std::vector<unsigned char> bytes(static_cast<std::size_t>(EVP_PKEY_get_size(key.get())));
  std::size_t size = bytes.size();
  require(
      context && EVP_PKEY_encrypt_init(context.get()) == 1 &&
          EVP_PKEY_CTX_set_rsa_padding(context.get(), RSA_PKCS1_OAEP_PADDING) == 1 &&
          EVP_PKEY_encrypt(context.get(), bytes.data(), &size, kSecret.data(), kSecret.size()) == 1,
      "cannot encrypt with RSA");
  bytes.resize(size);
  return bytes;
}

openssl::SslCtxPtr make_server_ctx(const Identity& identity) {
  openssl::SslCtxPtr ctx(SSL_CTX_new(TLS_server_method()));
  require(ctx && SSL_CTX_use_certificate(ctx.get(), certificate_of(identity).get()) == 1 &&
              SSL_CTX_use_PrivateKey(ctx.get(), key_of(identity).get()) == 1,
          "cannot make a server context");
  return ctx;
}

openssl::SslCtxPtr make_client_ctx(const std::vector<Identity>& trusted) {
  openssl::SslCtxPtr ctx(SSL_CTX_new(TLS_client_method()));
  require(ctx != nullptr, "cannot make a client context");
  SSL_CTX_set_verify(ctx.get(), SSL_VERIFY_PEER, nullptr);
  for (const Identity& identity : trusted) {
    X509_STORE_add_cert(SSL_CTX_get_cert_store(ctx.get()), certificate_of(identity).get());
  }
  return ctx;
}

Materials make_materials() {
  const ErrorQueueScope scope(Leftovers::kDrop);
  Materials made;
  made.server = make_identity(KeyType::kEd25519);
  made.chain_pem = made.server.certificate_pem + make_identity(KeyType::kEd25519).certificate_pem;
  made.malformed = make_malformed();
  made.rsa = make_identity(KeyType::kRsa2048);
  made.encrypted_key_pem = encrypt_key(made.server);
  made.pkcs12 = make_pkcs12(made.rsa);
  made.ciphertext = encrypt_oaep(made.rsa);
  made.server_ctx = make_server_ctx(made.server);
  made.malformed_server_ctx = make_server_ctx(made.malformed);
  made.client_ctx = make_client_ctx({made.server, made.malformed});
  made.suspicious_ctx = make_client_ctx({});
  return made;
}

}  // namespace

const Materials& materials() {
  static const Materials made = make_materials();
  return made;
}

std::pair<UniqueFd, UniqueFd> make_socket_pair() {
  std::array<int, 2> ends{};
  require(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends.data()) == 0,
          "no socket pair: out of descriptors?");
  return {UniqueFd(ends[0]), UniqueFd(ends[1])};
}

std::pair<UniqueFd, UniqueFd> make_tcp_pair() {
  const UniqueFd listener(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  UniqueFd client(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  auto* const generic = reinterpret_cast<sockaddr*>(&address);
  require(bind(listener.get(), generic, size) == 0 && listen(listener.get(), 1) == 0 &&
              getsockname(listener.get(), generic, &size) == 0 &&
              connect(client.get(), generic, size) == 0,
          "no TCP connection over the loopback interface");
  UniqueFd server(accept4(listener.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
  require(server.get() >= 0 && fcntl(client.get(), F_SETFL, O_NONBLOCK) == 0,
          "no TCP connection over the loopback interface");
  return {std::move(client), std::move(server)};
}

}  // namespace heddle::stale
