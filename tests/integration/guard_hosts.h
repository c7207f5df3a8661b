// What the programs that guard_test.py runs have in common: two ends of TLS in memory, and careless
// code. Plain OpenSSL, linked dynamically: nothing of ours, as in the programs that the guard is
// for.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <initializer_list>
#include <memory>

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

namespace guard_hosts {

inline void require(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "guard host: %s\n", what);
  ERR_print_errors_fp(stderr);
  std::exit(99);
}

template <auto kFree>
struct Free {
  template <typename T>
  void operator()(T* object) const {
    kFree(object);
  }
};
using Ssl = std::unique_ptr<SSL, Free<SSL_free>>;
using SslContext = std::unique_ptr<SSL_CTX, Free<SSL_CTX_free>>;
using Key = std::unique_ptr<EVP_PKEY, Free<EVP_PKEY_free>>;

inline void use_new_certificate(SSL_CTX* context) {
  const Key key(EVP_EC_gen("P-256"));
  const std::unique_ptr<X509, Free<X509_free>> certificate(X509_new());
  X509_set_pubkey(certificate.get(), key.get());
  X509_gmtime_adj(X509_getm_notBefore(certificate.get()), 0);
  X509_gmtime_adj(X509_getm_notAfter(certificate.get()), 3600);
  require(X509_sign(certificate.get(), key.get(), EVP_sha256()) > 0, "no certificate");
  require(SSL_CTX_use_certificate(context, certificate.get()) == 1, "no certificate");
  require(SSL_CTX_use_PrivateKey(context, key.get()) == 1, "no key");
}

// A client and a server, connected, with nothing left to read.
class Pair {
 public:
  Pair() : context_(SSL_CTX_new(TLS_method())) {
    use_new_certificate(context_.get());
    client_.reset(SSL_new(context_.get()));
    server_.reset(SSL_new(context_.get()));
    BIO* left = nullptr;
    BIO* right = nullptr;
    require(BIO_new_bio_pair(&left, 0, &right, 0) == 1, "no BIO pair");
    SSL_set_bio(client_.get(), left, left);
    SSL_set_bio(server_.get(), right, right);
    SSL_set_connect_state(client_.get());
    SSL_set_accept_state(server_.get());
    for (int i = 0; i < 4; ++i) {
      for (SSL* end : {client_.get(), server_.get()}) (void)SSL_do_handshake(end);
    }
    // The tickets come with the first data, and reading them empties the queue.
    say(server_.get(), client_.get());
    say(client_.get(), server_.get());
    require(SSL_is_init_finished(client_.get()) && SSL_is_init_finished(server_.get()),
            "the handshake failed");
  }

  [[nodiscard]] SSL* client() const { return client_.get(); }
  [[nodiscard]] SSL* server() const { return server_.get(); }

 private:
  static void say(SSL* from, SSL* to) {
    char byte = 'x';
    require(SSL_write(from, &byte, 1) == 1, "could not write");
    require(SSL_read(to, &byte, 1) == 1, "could not read");
  }

  SslContext context_;
  Ssl client_;
  Ssl server_;
};

// Fails at something that has nothing to do with any connection, and does not look at the error.
inline void parse_junk() {
  const std::unique_ptr<BIO, Free<BIO_free>> junk(BIO_new_mem_buf("not PEM", -1));
  require(PEM_read_bio_X509(junk.get(), nullptr, nullptr, nullptr) == nullptr, "junk was parsed");
}

// Reads where there is nothing to read. Returns what the program is told; SSL_ERROR_WANT_READ is
// right.
[[gnu::noinline]] inline int read_nothing(SSL* ssl) {
  char byte = 0;
  const int result = SSL_read(ssl, &byte, 1);
  return SSL_get_error(ssl, result);
}

// The same, by a careful program: the next call finds an empty queue.
inline bool is_told_the_truth(SSL* ssl) {
  const int error = read_nothing(ssl);
  ERR_clear_error();
  return error == SSL_ERROR_WANT_READ;
}

}  // namespace guard_hosts
