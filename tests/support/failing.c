// A module for LD_PRELOAD that lets a program run out of things: memory, descriptors, mappings,
// threads. What fails, and when, is read from a file that HEDDLE_FAULTS names and that a test
// changes while the program runs (`Faults` in integration/fault_support.py).
//
// Only calls that go through the dynamic linker are seen: glibc's own mappings and OpenSSL's
// direct system calls are not.
#define _GNU_SOURCE
#undef _FILE_OFFSET_BITS  // Both names of a function are wanted here.
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

enum Kind { kMemory, kDescriptors, kMappings, kThreads, kKinds };

// The layout is known to fault_support.py.
struct Orders {
  _Atomic uint32_t one_in[kKinds];  // Of so many calls one fails, at random. 0: none.
  _Atomic uint32_t until[kKinds];   // This call, counted from now, fails: once. 0: none.
  _Atomic uint32_t error[kKinds];   // What errno says then. Set even if it is not used.
  _Atomic uint32_t failed[kKinds];  // How many have failed.
  _Atomic uint32_t bytes_min;       // Smaller allocations never fail.
  _Atomic uint32_t seed;
};

static struct Orders* orders;
static _Atomic uint32_t turn;

// splitmix64.
static uint64_t mixed(uint64_t x) {
  x += 0x9E3779B97F4A7C15U;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9U;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBU;
  return x ^ (x >> 31);
}

static int is_last(_Atomic uint32_t* until) {
  uint32_t left = atomic_load(until);
  while (left > 0 && !atomic_compare_exchange_weak(until, &left, left - 1)) {
  }
  return left == 1;
}

static int is_unlucky(enum Kind kind) {
  const uint32_t one_in = atomic_load(&orders->one_in[kind]);
  if (one_in == 0) return 0;
  const uint64_t at = ((uint64_t)atomic_load(&orders->seed) << 32) + atomic_fetch_add(&turn, 1);
  return mixed(at) % one_in == 0;
}

static int fails(enum Kind kind) {
  if (orders == NULL) return 0;
  if (!is_last(&orders->until[kind]) && !is_unlucky(kind)) return 0;
  atomic_fetch_add(&orders->failed[kind], 1);
  errno = (int)atomic_load(&orders->error[kind]);
  return 1;
}

static int lacks(size_t bytes) {
  return orders != NULL && bytes >= atomic_load(&orders->bytes_min) && fails(kMemory);
}

// --- Memory. glibc's own names, because dlsym() allocates.

extern void* __libc_malloc(size_t bytes);
extern void* __libc_calloc(size_t count, size_t bytes);
extern void* __libc_realloc(void* old, size_t bytes);
extern void* __libc_memalign(size_t alignment, size_t bytes);

void* malloc(size_t bytes) {
  return lacks(bytes) ? NULL : __libc_malloc(bytes);
}

void* calloc(size_t count, size_t bytes) {
  return lacks(count * bytes) ? NULL : __libc_calloc(count, bytes);
}

void* realloc(void* old, size_t bytes) {
  return lacks(bytes) ? NULL : __libc_realloc(old, bytes);
}

void* aligned_alloc(size_t alignment, size_t bytes) {
  return lacks(bytes) ? NULL : __libc_memalign(alignment, bytes);
}

int posix_memalign(void** memory, size_t alignment, size_t bytes) {
  void* const made = aligned_alloc(alignment, bytes);
  if (made == NULL) return ENOMEM;
  *memory = made;
  return 0;
}

// --- The rest. What stands behind a name is looked up at its first use.

#define NEXT(name)                                                \
  static __typeof__(name)* _Atomic next_known;                    \
  __typeof__(name)* next = atomic_load(&next_known);              \
  if (next == NULL) {                                             \
    next = (__typeof__(name)*)(uintptr_t)dlsym(RTLD_NEXT, #name); \
    atomic_store(&next_known, next);                              \
  }

int socket(int domain, int type, int protocol) {
  NEXT(socket)
  return fails(kDescriptors) ? -1 : next(domain, type, protocol);
}

int accept4(int fd, __SOCKADDR_ARG address, socklen_t* restrict size, int flags) {
  NEXT(accept4)
  return fails(kDescriptors) ? -1 : next(fd, address, size, flags);
}

int epoll_create1(int flags) {
  NEXT(epoll_create1)
  return fails(kDescriptors) ? -1 : next(flags);
}

int eventfd(unsigned count, int flags) {
  NEXT(eventfd)
  return fails(kDescriptors) ? -1 : next(count, flags);
}

static mode_t mode_of(int flags, va_list rest) {
  return (flags & (O_CREAT | O_TMPFILE)) != 0 ? va_arg(rest, mode_t) : 0;
}

#define OPEN(name)                                             \
  int name(const char* path, int flags, ...) {                 \
    NEXT(name)                                                 \
    va_list rest;                                              \
    va_start(rest, flags);                                     \
    const mode_t mode = mode_of(flags, rest);                  \
    va_end(rest);                                              \
    return fails(kDescriptors) ? -1 : next(path, flags, mode); \
  }
OPEN(open)
OPEN(open64)

#define OPENAT(name)                                                   \
  int name(int folder, const char* path, int flags, ...) {             \
    NEXT(name)                                                         \
    va_list rest;                                                      \
    va_start(rest, flags);                                             \
    const mode_t mode = mode_of(flags, rest);                          \
    va_end(rest);                                                      \
    return fails(kDescriptors) ? -1 : next(folder, path, flags, mode); \
  }
OPENAT(openat)
OPENAT(openat64)

// openat2() has no function of its own.
long syscall(long number, ...) {
  NEXT(syscall)
  va_list rest;
  va_start(rest, number);
  long arguments[6];
  for (int i = 0; i < 6; ++i) arguments[i] = va_arg(rest, long);
  va_end(rest);
  if (number == SYS_openat2 && fails(kDescriptors)) return -1;
  return next(number, arguments[0], arguments[1], arguments[2], arguments[3], arguments[4],
              arguments[5]);
}

#define MMAP(name)                                                                         \
  void* name(void* at, size_t bytes, int protection, int flags, int fd, off_t offset) {    \
    NEXT(name)                                                                             \
    return fails(kMappings) ? MAP_FAILED : next(at, bytes, protection, flags, fd, offset); \
  }
MMAP(mmap)
MMAP(mmap64)

int mprotect(void* at, size_t bytes, int protection) {
  NEXT(mprotect)
  return fails(kMappings) ? -1 : next(at, bytes, protection);
}

int pthread_create(pthread_t* restrict thread, const pthread_attr_t* restrict attributes,
                   void* (*start)(void*), void* restrict argument) {
  NEXT(pthread_create)
  return fails(kThreads) ? EAGAIN : next(thread, attributes, start, argument);
}

__attribute__((constructor)) static void begin(void) {
  const char* const path = getenv("HEDDLE_FAULTS");
  if (path == NULL) return;
  const int fd = open(path, O_RDWR | O_CLOEXEC);
  if (fd < 0) return;
  void* const mapped = mmap(NULL, sizeof(struct Orders), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  (void)close(fd);
  if (mapped != MAP_FAILED) orders = mapped;
}
