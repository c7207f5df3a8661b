// A program for guard_provoke_test.py: connections that one thread serves. It leaves no entries of
// its own. guard_turns SCENARIO exits with 1 if it was told that a healthy connection is dead.
#include <array>
#include <cstring>
#include <string_view>

#include "guard_hosts.h"

namespace {

using namespace guard_hosts;

constexpr int kRounds = 40;
constexpr int kFine = 0;
constexpr int kCalledDead = 1;

bool is_fine(SSL* ssl, int result) {
  const int error = SSL_get_error(ssl, result);
  return error == SSL_ERROR_NONE || error == SSL_ERROR_WANT_READ;
}

// One end writes, the other reads it, and finds no more.
bool play_round(const Pair& pair, bool careful) {
  const auto prepare = [careful] {
    if (careful) ERR_clear_error();
  };
  char byte = 'x';
  prepare();
  bool fine = is_fine(pair.client(), SSL_write(pair.client(), &byte, 1));
  for (int i = 0; i < 2; ++i) {
    prepare();
    fine = is_fine(pair.server(), SSL_read(pair.server(), &byte, 1)) && fine;
  }
  return fine;
}

int run_in_turns(bool careful) {
  const Pair one;
  const Pair other;
  ERR_clear_error();
  bool fine = true;
  for (int i = 0; i < kRounds; ++i) {
    for (const Pair* pair : {&one, &other}) fine = play_round(*pair, careful) && fine;
    if (!careful) ERR_clear_error();  // One entry is one victim's.
  }
  return fine ? kFine : kCalledDead;
}

int run_careless() {
  return run_in_turns(false);
}

int run_careful() {
  return run_in_turns(true);
}

// The queue is empty from before each call until its verdict, and that of SSL_shutdown() is asked
// for though it has not failed.
int run_verdicts() {
  for (int i = 0; i < kRounds; ++i) {
    const Pair one;
    const Pair other;
    ERR_clear_error();
    if (!play_round(one, true) || !play_round(other, true) || !play_round(one, true)) {
      return kCalledDead;
    }
    ERR_clear_error();
    const int result = SSL_shutdown(one.client());
    require(result == 0, "the peer has answered already");
    if (SSL_get_error(one.client(), result) == SSL_ERROR_SSL) return kCalledDead;
  }
  return kFine;
}

// Two SSLs that take turns, but begin a new connection each time: none is served further.
int run_anew() {
  const SslContext context(SSL_CTX_new(TLS_method()));
  const std::array<Ssl, 2> clients = {Ssl(SSL_new(context.get())), Ssl(SSL_new(context.get()))};
  for (int i = 0; i < kRounds; ++i) {
    for (const Ssl& client : clients) {
      SSL_clear(client.get());
      SSL_set_bio(client.get(), BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
      if (!is_fine(client.get(), SSL_connect(client.get()))) return kCalledDead;
    }
  }
  return kFine;
}

// --- Callbacks -----------------------------------------------------------------------------------

int calls = 0;

int on_name(SSL*, int*, void*) {
  ++calls;
  return SSL_TLSEXT_ERR_OK;
}

int on_alpn(SSL*, const unsigned char** out, unsigned char* out_size, const unsigned char* in,
            unsigned, void*) {
  ++calls;
  *out_size = in[0];
  *out = in + 1;
  return SSL_TLSEXT_ERR_OK;
}

int on_certificate(SSL*, void*) {
  ++calls;
  return 1;
}

void set_name(SSL_CTX* context) {
  SSL_CTX_set_tlsext_servername_callback(context, on_name);
}

void set_alpn(SSL_CTX* context) {
  SSL_CTX_set_alpn_select_cb(context, on_alpn, nullptr);
}

void set_certificate(SSL_CTX* context) {
  SSL_CTX_set_cert_cb(context, on_certificate, nullptr);
}

// A handshake whose server has the callback. Between its calls the queue is emptied. Prints how
// often the callback was called.
bool shake_hands(void (*set)(SSL_CTX*)) {
  const SslContext context(SSL_CTX_new(TLS_method()));
  use_new_certificate(context.get());
  SSL_CTX_set_mode(context.get(), SSL_MODE_NO_AUTO_CHAIN);  // It would empty the queue.
  const Ssl client(SSL_new(context.get()));
  set(context.get());
  const Ssl server(SSL_new(context.get()));
  BIO* left = nullptr;
  BIO* right = nullptr;
  require(BIO_new_bio_pair(&left, 0, &right, 0) == 1, "no BIO pair");
  SSL_set_bio(client.get(), left, left);
  SSL_set_bio(server.get(), right, right);
  SSL_set_tlsext_host_name(client.get(), "localhost");
  constexpr std::array<unsigned char, 3> kProtocols = {2, 'h', '2'};
  SSL_set_alpn_protos(client.get(), kProtocols.data(), kProtocols.size());
  SSL_set_connect_state(client.get());
  SSL_set_accept_state(server.get());
  bool fine = true;
  for (int i = 0; i < 4; ++i) {
    for (SSL* end : {client.get(), server.get()}) {
      ERR_clear_error();
      fine = is_fine(end, SSL_do_handshake(end)) && fine;
    }
  }
  return fine;
}

int run_callback(void (*set)(SSL_CTX*)) {
  // The thread must be one that serves connections in turns.
  const Pair one;
  const Pair other;
  for (const Pair* pair : {&one, &other, &one}) (void)play_round(*pair, true);
  bool fine = true;
  for (int i = 0; i < kRounds; ++i) fine = shake_hands(set) && fine;
  std::printf("%d\n", calls);
  return fine ? kFine : kCalledDead;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string_view name = argc > 1 ? argv[1] : "";
  if (name == "careless") return run_careless();
  if (name == "careful") return run_careful();
  if (name == "verdicts") return run_verdicts();
  if (name == "anew") return run_anew();
  if (name == "name") return run_callback(set_name);
  if (name == "alpn") return run_callback(set_alpn);
  if (name == "certificate") return run_callback(set_certificate);
  std::fprintf(stderr, "guard_turns: unknown scenario\n");
  return 2;
}
