// A program with the stale-error bug, in several shapes: guard_host SCENARIO. Exits with 0 if a
// healthy connection was never called dead, else with 3.
#define OPENSSL_SUPPRESS_DEPRECATED  // ERR_get_state(), the only way to see a dead entry.

#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <fstream>
#include <iterator>
#include <string_view>
#include <thread>
#include <vector>

#include <boost/context/fiber.hpp>
#include <fcntl.h>
#include <grp.h>
#include <unistd.h>

#include "guard_hosts.h"

namespace {

using namespace guard_hosts;

constexpr int kTruth = 0;
constexpr int kCalledDead = 3;

int verdict(bool truth) {
  return truth ? kTruth : kCalledDead;
}

// Ten times at one place, and once at another.
int run_often() {
  const Pair pair;
  bool truth = true;
  for (int i = 0; i < 10; ++i) {
    parse_junk();
    truth = is_told_the_truth(pair.client()) && truth;
  }
  parse_junk();
  char byte = 0;
  const int peeked = SSL_peek(pair.server(), &byte, 1);
  return verdict(truth && SSL_get_error(pair.server(), peeked) == SSL_ERROR_WANT_READ);
}

// Their names are looked for.
void leak_once() {
  parse_junk();
}

void leak_often() {
  parse_junk();
}

// One line that reads, and two that leave entries.
int run_two_leakers() {
  const Pair pair;
  int lies = 0;
  for (int i = 0; i < 4; ++i) {
    i == 0 ? leak_once() : leak_often();
    lies += is_told_the_truth(pair.client()) ? 0 : 1;
  }
  return verdict(lies == 0);
}

// Nothing that threads leave entries in may stay mapped.
int run_many_threads() {
  const auto count_mappings = [] {
    std::ifstream maps("/proc/self/maps");
    return std::count(std::istreambuf_iterator<char>(maps), {}, '\n');
  };
  std::thread(parse_junk).join();
  const auto before = count_mappings();
  for (int i = 0; i < 50; ++i) std::thread(parse_junk).join();
  return verdict(count_mappings() < before + 10);
}

// SSL_shutdown() of a connection that is not there yet leaves an entry.
int run_left_by_call() {
  const Pair pair;
  const SslContext context(SSL_CTX_new(TLS_method()));
  const Ssl unborn(SSL_new(context.get()));
  SSL_set_connect_state(unborn.get());
  require(SSL_shutdown(unborn.get()) < 0, "shutdown while in init succeeded");
  return verdict(is_told_the_truth(pair.client()));
}

// A connection that has got junk in place of a handshake.
Ssl misconnected() {
  const SslContext context(SSL_CTX_new(TLS_method()));
  Ssl client(SSL_new(context.get()));
  BIO* junk = BIO_new_mem_buf("this is no TLS record at all", -1);
  SSL_set_bio(client.get(), junk, BIO_new(BIO_s_null()));
  require(SSL_connect(client.get()) < 0, "junk was a handshake");
  return client;
}

// Asks why only after SSL_shutdown(), as many do. Prints how many reasons there are.
int run_own() {
  const Ssl client = misconnected();
  (void)SSL_shutdown(client.get());
  int count = 0;
  while (ERR_get_error() != 0) ++count;
  std::printf("%d\n", count);
  return kTruth;
}

// SSL_connect() is SSL_do_handshake() with something before it. It leaves an entry, and a stranger
// meets that.
int run_nested() {
  const Pair pair;
  const Ssl client = misconnected();
  return verdict(is_told_the_truth(pair.client()));
}

// It finds one as well.
int run_nested_dirty() {
  const Pair pair;
  parse_junk();
  const Ssl client = misconnected();
  return verdict(is_told_the_truth(pair.client()));
}

// A call with a wrong argument leaves an entry, and the connection is healthy.
int run_own_healthy() {
  const Pair pair;
  char byte = 'x';
  require(SSL_write(pair.client(), &byte, -1) < 0, "less than nothing was written");
  return verdict(is_told_the_truth(pair.client()));
}

// The call's own entry is gone, and another of somebody else's is there.
int run_own_gone() {
  const Pair pair;
  char byte = 'x';
  require(SSL_write(pair.client(), &byte, -1) < 0, "less than nothing was written");
  ERR_clear_error();
  parse_junk();
  constexpr std::string_view kJunk = "this is no TLS record at all";
  (void)BIO_write(SSL_get_wbio(pair.server()), kJunk.data(), static_cast<int>(kJunk.size()));
  require(read_nothing(pair.client()) == SSL_ERROR_SSL, "junk was read");
  return kTruth;
}

// The stale entry is there, and the connection fails, too.
int run_true_failure() {
  const Pair pair;
  constexpr std::string_view kJunk = "this is no TLS record at all";
  (void)BIO_write(SSL_get_wbio(pair.server()), kJunk.data(), static_cast<int>(kJunk.size()));
  parse_junk();
  require(read_nothing(pair.client()) == SSL_ERROR_SSL, "junk was read");
  return kTruth;
}

// The connection fails as SSL_want() does not tell: the socket is gone, and OpenSSL wanted to
// write.
int run_vanished_peer() {
  const Pair pair;
  std::array<int, 2> ends{};
  require(socketpair(AF_UNIX, SOCK_STREAM, 0, ends.data()) == 0, "no sockets");
  SSL_set0_wbio(pair.client(), BIO_new_socket(ends[0], BIO_CLOSE));
  close(ends[1]);
  (void)std::signal(SIGPIPE, SIG_IGN);
  parse_junk();
  char byte = 'x';
  require(SSL_write(pair.client(), &byte, 1) < 0, "the vanished peer was written to");
  return kTruth;
}

// A handshake empties the queue itself.
int run_handshake() {
  parse_junk();
  const Pair pair;
  return verdict(is_told_the_truth(pair.client()));
}

// A successful decryption leaves an entry, but a dead one, which SSL_get_error() skips.
void leave_dead_entry() {
  const Key key(EVP_RSA_gen(2048));
  const std::unique_ptr<EVP_PKEY_CTX, Free<EVP_PKEY_CTX_free>> context(
      EVP_PKEY_CTX_new(key.get(), nullptr));
  std::array<unsigned char, 256> secret{};
  std::array<unsigned char, 256> plain{};
  std::size_t size = secret.size();
  const auto set_padding = [&] {
    return EVP_PKEY_CTX_set_rsa_padding(context.get(), RSA_PKCS1_OAEP_PADDING) == 1;
  };
  require(EVP_PKEY_encrypt_init(context.get()) == 1 && set_padding() &&
              EVP_PKEY_encrypt(context.get(), secret.data(), &size, plain.data(), 5) == 1,
          "could not encrypt");
  std::size_t plain_size = plain.size();
  require(EVP_PKEY_decrypt_init(context.get()) == 1 && set_padding() &&
              EVP_PKEY_decrypt(context.get(), plain.data(), &plain_size, secret.data(), size) == 1,
          "could not decrypt");
#if OPENSSL_VERSION_MAJOR == 3
  const ERR_STATE* state = ERR_get_state();
  require(state->top != state->bottom, "there is no dead entry");
#endif
}

int run_dead_entry() {
  const Pair pair;
  leave_dead_entry();
  return verdict(is_told_the_truth(pair.client()));
}

int run_dead_between() {
  const Pair pair;
  parse_junk();
  leave_dead_entry();
  parse_junk();
  return verdict(is_told_the_truth(pair.client()));
}

// Parent and child, at the same place; the child does not run destructors.
int run_fork() {
  const Pair pair;
  parse_junk();
  const bool truth = is_told_the_truth(pair.client());
  const pid_t child = fork();
  if (child == 0) {
    for (int i = 0; i < 2; ++i) {
      parse_junk();
      (void)is_told_the_truth(pair.client());
    }
    _exit(0);
  }
  require(waitpid(child, nullptr, 0) == child, "no child");
  return verdict(truth);
}

int run_threads() {
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([] {
      const Pair pair;
      for (int j = 0; j < 50; ++j) {
        parse_junk();
        (void)is_told_the_truth(pair.client());
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  return kTruth;
}

// A signal within SSL_read(), whose handler makes such a call itself.
const Pair* signal_pair = nullptr;

long signal_on_read(BIO*, int operation, const char*, size_t, int, long, int result, size_t*) {
  if (operation == BIO_CB_READ) (void)std::raise(SIGUSR1);
  return result;
}

void handle_signal(int) {
  (void)read_nothing(signal_pair->server());
}

int run_signal() {
  const Pair pair;
  signal_pair = &pair;
  (void)std::signal(SIGUSR1, handle_signal);
  BIO_set_callback_ex(SSL_get_rbio(pair.client()), signal_on_read);
  parse_junk();
  (void)read_nothing(pair.client());
  BIO_set_callback_ex(SSL_get_rbio(pair.client()), nullptr);
  return kTruth;
}

int run_fiber() {
  const Pair pair;
  bool truth = true;
  boost::context::fiber fiber([&](boost::context::fiber&& back) {
    parse_junk();
    truth = is_told_the_truth(pair.client());
    return std::move(back);
  });
  fiber = std::move(fiber).resume();
  return verdict(truth);
}

// For a frame that seems to be its own caller.
constexpr std::uintptr_t kOwnFrame = 1;

// As in a greenlet: what is above the live frames belongs to somebody else. Makes its own saved
// frame pointer and return address lead astray for the time of the call.
[[gnu::noinline]] bool read_below_garbage(SSL* ssl, std::uintptr_t base,
                                          std::uintptr_t return_address) {
  auto* frame = static_cast<volatile std::uintptr_t*>(__builtin_frame_address(0));
  if (base == kOwnFrame) base = reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0));
  const std::uintptr_t kept_base = frame[0];
  const std::uintptr_t kept_return_address = frame[1];
  frame[0] = base;
  frame[1] = return_address;
  const bool truth = is_told_the_truth(ssl);
  frame[0] = kept_base;
  frame[1] = kept_return_address;
  return truth;
}

// Each in a process of its own, so that each is reported, and its frames are walked.
int run_garbage() {
  const Pair pair;
  // The address of code that finds its frame by the frame pointer.
  const auto code = reinterpret_cast<std::uintptr_t>(&read_below_garbage) + 24;
  for (const std::uintptr_t base : {std::uintptr_t{8}, std::uintptr_t{0x7fffffffe000}, kOwnFrame}) {
    for (const std::uintptr_t return_address : {code, std::uintptr_t{0x1234}}) {
      const pid_t child = fork();
      if (child == 0) {
        parse_junk();
        _exit(verdict(read_below_garbage(pair.client(), base, return_address)));
      }
      int status = 0;
      require(waitpid(child, &status, 0) == child && WIFEXITED(status), "a walk was deadly");
    }
  }
  return kTruth;
}

// Daemons close standard error, and then its number is the next file's.
int run_descriptor_reused() {
  const Pair pair;
  std::array<int, 2> ends{};
  close(STDERR_FILENO);
  if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends.data()) != 0) return 98;
  if (ends[0] != STDERR_FILENO) return 97;
  parse_junk();
  (void)read_nothing(pair.client());
  char byte = 0;
  const bool silent = recv(ends[1], &byte, 1, MSG_DONTWAIT) < 0 && errno == EAGAIN;
  close(STDERR_FILENO);
  return silent ? 0 : 96;
}

// Prints what errno is after a call that found an entry.
int run_errno() {
  const Pair pair;
  parse_junk();
  char byte = 0;
  errno = EDOM;
  (void)SSL_read(pair.client(), &byte, 1);
  std::printf("%d\n", errno);
  return kTruth;
}

// Killed, with much to tell: of calls that failed and of calls that did not.
int run_killed() {
  const Pair pair;
  char byte = 'x';
  require(SSL_write(pair.client(), &byte, 1) == 1, "could not write");
  for (int i = 0; i < 100; ++i) {
    parse_junk();
    (void)is_told_the_truth(pair.client());
    parse_junk();
    (void)SSL_peek(pair.server(), &byte, 1);
    ERR_clear_error();
  }
  return std::raise(SIGKILL);
}

// As daemons do.
int run_elsewhere() {
  require(chdir("/") == 0, "no root");
  return run_often();
}

// As servers do that root starts: goes into a root of its own, and becomes nobody.
int run_demoted() {
  constexpr uid_t kNobody = 65534;
  require(chroot(".") == 0 && chdir("/") == 0, "no root of its own");
  require(setgroups(0, nullptr) == 0 && setgid(kNobody) == 0 && setuid(kNobody) == 0,
          "no other user");
  return run_often();
}

// Closes what it does not know, as daemons do.
int run_closed() {
  for (int i = STDERR_FILENO + 1; i < 1024; ++i) close(i);
  return run_often();
}

// TLS without a stale entry.
bool talks_cleanly() {
  const Pair pair;
  return is_told_the_truth(pair.client());
}

// Only the child speaks TLS, and does so cleanly.
int run_fork_clean() {
  const pid_t child = fork();
  if (child == 0) _exit(verdict(talks_cleanly()));
  int status = 0;
  require(waitpid(child, &status, 0) == child && status == 0, "the child failed");
  return kTruth;
}

// Parent and child do, and the child leaves before it can tell.
int run_fork_raw() {
  const bool truth = talks_cleanly();
  const pid_t child = fork();
  if (child == 0) (void)syscall(SYS_exit_group, verdict(talks_cleanly()));
  int status = 0;
  require(waitpid(child, &status, 0) == child && status == 0, "the child failed");
  return verdict(truth);
}

// Leaves without anybody who could tell.
int run_raw_exit() {
  const bool truth = talks_cleanly();
  for (;;) (void)syscall(SYS_exit_group, verdict(truth));
}

// The child goes on after the parent has ended: until nobody holds the other end of its standard
// input.
int run_daemon() {
  std::array<int, 2> ends{};
  require(pipe(ends.data()) == 0, "no pipe");
  char byte = 'x';
  if (fork() != 0) return read(ends[0], &byte, 1) == 1 ? kTruth : kCalledDead;
  if (!talks_cleanly() || write(ends[1], &byte, 1) != 1) _exit(1);
  while (read(STDIN_FILENO, &byte, 1) > 0) {
  }
  _exit(0);
}

// Waits for the first signal, and tells it by its end.
int run_wait() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigprocmask(SIG_BLOCK, &signals, nullptr);
  std::puts("ready");
  std::fflush(stdout);
  int signal = 0;
  sigwait(&signals, &signal);
  return 40;
}

int run_idle() {
  ERR_clear_error();  // Linked with OpenSSL, but no TLS.
  return kTruth;
}

struct Scenario {
  std::string_view name;
  int (*run)();
};

constexpr std::array kScenarios = {
    Scenario{"often", run_often},
    Scenario{"two-leakers", run_two_leakers},
    Scenario{"many-threads", run_many_threads},
    Scenario{"left-by-call", run_left_by_call},
    Scenario{"nested", run_nested},
    Scenario{"nested-dirty", run_nested_dirty},
    Scenario{"own", run_own},
    Scenario{"own-healthy", run_own_healthy},
    Scenario{"own-gone", run_own_gone},
    Scenario{"true-failure", run_true_failure},
    Scenario{"handshake", run_handshake},
    Scenario{"dead-entry", run_dead_entry},
    Scenario{"dead-between", run_dead_between},
    Scenario{"vanished-peer", run_vanished_peer},
    Scenario{"fork", run_fork},
    Scenario{"threads", run_threads},
    Scenario{"signal", run_signal},
    Scenario{"fiber", run_fiber},
    Scenario{"garbage", run_garbage},
    Scenario{"descriptor-reused", run_descriptor_reused},
    Scenario{"errno", run_errno},
    Scenario{"killed", run_killed},
    Scenario{"wait", run_wait},
    Scenario{"elsewhere", run_elsewhere},
    Scenario{"demoted", run_demoted},
    Scenario{"fork-clean", run_fork_clean},
    Scenario{"fork-raw", run_fork_raw},
    Scenario{"raw-exit", run_raw_exit},
    Scenario{"daemon", run_daemon},
    Scenario{"closed", run_closed},
    Scenario{"idle", run_idle},
};

}  // namespace

int main(int argc, char** argv) {
  const std::string_view name = argc > 1 ? argv[1] : "";
  for (const Scenario& scenario : kScenarios) {
    if (scenario.name == name) return scenario.run();
  }
  std::fprintf(stderr, "guard_host: unknown scenario\n");
  return 2;
}
