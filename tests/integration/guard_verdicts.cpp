// A program in which SSL_get_error() is misled, or seems to be: guard_verdicts SCENARIO. Exits with
// 0 if it says what is true, else with 3.
#define OPENSSL_SUPPRESS_DEPRECATED  // ERR_get_state(), to exchange the queue.

#include <sys/wait.h>

#include <array>
#include <string_view>
#include <utility>

#include <unistd.h>

#include "guard_hosts.h"

namespace {

using namespace guard_hosts;

constexpr int kTruth = 0;
constexpr int kMisled = 3;

int verdict(bool truth) {
  return truth ? kTruth : kMisled;
}

constexpr std::string_view kJunk = "this is no TLS record at all";

void send_junk(SSL* ssl) {
  (void)BIO_write(SSL_get_wbio(ssl), kJunk.data(), static_cast<int>(kJunk.size()));
}

void write_byte(const Pair& pair) {
  char byte = 'x';
  require(SSL_write(pair.client(), &byte, 1) == 1, "could not write");
}

void write_byte_ex(const Pair& pair) {
  char byte = 'x';
  std::size_t done = 0;
  require(SSL_write_ex(pair.client(), &byte, 1, &done) == 1, "could not write");
}

// --- Entries that come during a call -------------------------------------------------------------

// As what another fiber does while this one waits in a callback.
long be_careless_on_read(BIO*, int operation, const char*, size_t, int, long, int result, size_t*) {
  if (operation == BIO_CB_READ) parse_junk();
  return result;
}

int run_during() {
  const Pair pair;
  BIO_set_callback_ex(SSL_get_rbio(pair.client()), be_careless_on_read);
  bool truth = true;
  for (int i = 0; i < 10; ++i) truth = is_told_the_truth(pair.client()) && truth;
  BIO_set_callback_ex(SSL_get_rbio(pair.client()), nullptr);
  return verdict(truth);
}

// Of a handshake, which has emptied the queue before. It is asked about twice.
int run_during_handshake() {
  const SslContext context(SSL_CTX_new(TLS_method()));
  const Ssl server(SSL_new(context.get()));
  SSL_set_bio(server.get(), BIO_new(BIO_s_mem()), BIO_new(BIO_s_null()));
  BIO_set_callback_ex(SSL_get_rbio(server.get()), be_careless_on_read);
  const int accepted = SSL_accept(server.get());
  const int first = SSL_get_error(server.get(), accepted);
  const int second = SSL_get_error(server.get(), accepted);
  return verdict(first == SSL_ERROR_WANT_READ && second == first);
}

// The entry comes after the call, and before the program asks about it.
int run_between() {
  const Pair pair;
  char byte = 0;
  const int result = SSL_read(pair.client(), &byte, 1);
  parse_junk();
  return verdict(SSL_get_error(pair.client(), result) == SSL_ERROR_WANT_READ);
}

// The connection fails as well. Prints how many reasons the program finds.
int run_failure_during() {
  const Pair pair;
  send_junk(pair.server());
  BIO_set_callback_ex(SSL_get_rbio(pair.client()), be_careless_on_read);
  require(read_nothing(pair.client()) == SSL_ERROR_SSL, "junk was read");
  int count = 0;
  while (ERR_get_error() != 0) ++count;
  std::printf("%d\n", count);
  return kTruth;
}

// The peer ends TLS in good order. Three reads: an entry comes before, after, and before the write
// that comes first.
int run_ended() {
  const Pair pair;
  (void)SSL_shutdown(pair.server());
  parse_junk();
  bool truth = read_nothing(pair.client()) == SSL_ERROR_ZERO_RETURN;
  ERR_clear_error();
  char byte = 'x';
  const int result = SSL_read(pair.client(), &byte, 1);
  parse_junk();
  truth = SSL_get_error(pair.client(), result) == SSL_ERROR_ZERO_RETURN && truth;
  ERR_clear_error();
  parse_junk();
  write_byte(pair);
  truth = read_nothing(pair.client()) == SSL_ERROR_ZERO_RETURN && truth;
  ERR_clear_error();
  return verdict(truth);
}

// The peer has ended TLS, and then a write fails: the entry is the program's own.
int run_ended_unwritable() {
  const Pair pair;
  (void)SSL_shutdown(pair.server());
  require(read_nothing(pair.client()) == SSL_ERROR_ZERO_RETURN, "there is no end");
  SSL_set0_wbio(pair.client(), BIO_new_mem_buf("read-only", -1));
  char byte = 'x';
  std::size_t done = 0;
  const int result = SSL_write_ex(pair.client(), &byte, 1, &done);
  return verdict(SSL_get_error(pair.client(), result) == SSL_ERROR_SSL);
}

// --- Failures that look as if the connection were healthy ----------------------------------------

bool is_refused(SSL* ssl, int result, int reason) {
  const bool told = SSL_get_error(ssl, result) == SSL_ERROR_SSL &&
                    ERR_GET_REASON(ERR_peek_last_error()) == reason;
  return told && SSL_want(ssl) != SSL_NOTHING;
}

// SSL_want() still tells what the call before wanted.
int run_refused() {
  const Pair pair;
  char byte = 'x';
  require(read_nothing(pair.client()) == SSL_ERROR_WANT_READ, "there was something to read");
  bool truth = true;
  for (int i = 0; i < 2; ++i) {  // The second time beside the entry of the first.
    truth =
        is_refused(pair.client(), SSL_write(pair.client(), &byte, -1), SSL_R_BAD_LENGTH) && truth;
  }
  ERR_clear_error();
  const SslContext context(SSL_CTX_new(TLS_method()));
  const Ssl client(SSL_new(context.get()));
  SSL_set_bio(client.get(), BIO_new(BIO_s_mem()), BIO_new(BIO_s_null()));
  const int connected = SSL_connect(client.get());
  require(SSL_get_error(client.get(), connected) == SSL_ERROR_WANT_READ, "nobody was there");
  return verdict(
      truth && is_refused(client.get(), SSL_shutdown(client.get()), SSL_R_SHUTDOWN_WHILE_IN_INIT));
}

// The same beside somebody else's entry.
int run_refused_dirty() {
  const Pair pair;
  char byte = 'x';
  require(read_nothing(pair.client()) == SSL_ERROR_WANT_READ, "there was something to read");
  parse_junk();
  return verdict(is_refused(pair.client(), SSL_write(pair.client(), &byte, -1), SSL_R_BAD_LENGTH));
}

// The connection is dead, and OpenSSL wants to write why to its peer.
int run_blocked_alert() {
  const Pair pair;
  BIO* full = nullptr;
  BIO* other = nullptr;
  require(BIO_new_bio_pair(&full, 1, &other, 1) == 1 && BIO_write(full, "x", 1) == 1,
          "no BIO pair");
  send_junk(pair.server());
  SSL_set0_wbio(pair.client(), full);
  const bool truth = read_nothing(pair.client()) == SSL_ERROR_SSL && ERR_peek_error() != 0;
  require(SSL_want(pair.client()) == SSL_WRITING, "the alert was sent");
  (void)SSL_shutdown(pair.client());  // It is the program's own reason for this call, too.
  const bool kept = ERR_peek_error() != 0;
  BIO_free(other);
  return verdict(truth && kept);
}

// --- Entries that one call meets and the next verdict suffers from
// ---------------------------------

// Asks twice each time: without a cure the program would have looked at the queue in between.
int run_later() {
  const Pair pair;
  bool truth = true;
  for (int i = 0; i < 10; ++i) {
    parse_junk();
    write_byte(pair);
    truth = read_nothing(pair.client()) == SSL_ERROR_WANT_READ && truth;
    truth = is_told_the_truth(pair.client()) && truth;
  }
  return verdict(truth);
}

// Somebody has emptied the queue before the verdict.
int run_later_emptied() {
  const Pair pair;
  parse_junk();
  write_byte(pair);
  ERR_clear_error();
  return verdict(is_told_the_truth(pair.client()));
}

// Or taken out what was there.
int run_later_taken() {
  const Pair pair;
  parse_junk();
  write_byte(pair);
  parse_junk();
  while (ERR_get_error() != 0) {
  }
  return verdict(is_told_the_truth(pair.client()));
}

// Somebody has emptied the queue, and it is another entry that comes to the verdict.
int run_later_anew() {
  const Pair pair;
  parse_junk();
  write_byte(pair);
  ERR_clear_error();
  parse_junk();
  write_byte_ex(pair);
  return verdict(is_told_the_truth(pair.client()));
}

// Two calls meet entries before the verdict: it goes by the first.
int run_later_first() {
  const Pair pair;
  parse_junk();
  write_byte(pair);
  parse_junk();
  write_byte_ex(pair);
  return verdict(is_told_the_truth(pair.client()));
}

// The verdict is a child's.
int run_later_child() {
  const Pair pair;
  parse_junk();
  write_byte(pair);
  const pid_t child = fork();
  if (child == 0) _exit(verdict(is_told_the_truth(pair.client())));
  int status = 0;
  require(waitpid(child, &status, 0) == child && WIFEXITED(status), "no child");
  ERR_clear_error();
  return WEXITSTATUS(status);
}

// A fiber's entry, whose queue was exchanged for another's, which has one in the same place.
int run_exchanged() {
#if OPENSSL_VERSION_MAJOR == 3
  const Pair pair;
  ERR_STATE& queue = *ERR_get_state();
  ERR_clear_error();
  parse_junk();
  ERR_STATE other{};
  std::swap(queue, other);
  queue.top = (other.top + ERR_NUM_ERRORS - 1) % ERR_NUM_ERRORS;
  queue.bottom = queue.top;
  OBJ_txt2obj("no object", 1);
  require(queue.top == other.top, "the entries are in different places");
  ERR_clear_error();
  std::swap(queue, other);
  return verdict(is_told_the_truth(pair.client()));
#else
  return kMisled;
#endif
}

struct Scenario {
  std::string_view name;
  int (*run)();
};

constexpr std::array kScenarios = {
    Scenario{"during", run_during},
    Scenario{"during-handshake", run_during_handshake},
    Scenario{"between", run_between},
    Scenario{"failure-during", run_failure_during},
    Scenario{"ended", run_ended},
    Scenario{"ended-unwritable", run_ended_unwritable},
    Scenario{"refused", run_refused},
    Scenario{"refused-dirty", run_refused_dirty},
    Scenario{"blocked-alert", run_blocked_alert},
    Scenario{"exchanged", run_exchanged},
    Scenario{"later", run_later},
    Scenario{"later-emptied", run_later_emptied},
    Scenario{"later-taken", run_later_taken},
    Scenario{"later-anew", run_later_anew},
    Scenario{"later-first", run_later_first},
    Scenario{"later-child", run_later_child},
};

}  // namespace

int main(int argc, char** argv) {
  const std::string_view name = argc > 1 ? argv[1] : "";
  for (const Scenario& scenario : kScenarios) {
    if (scenario.name == name) return scenario.run();
  }
  std::fprintf(stderr, "guard_verdicts: unknown scenario\n");
  return 2;
}
