// The error queue from C: compiled as C11 and linked to the shared library, as a program in C, or
// a language that calls C, would be.
#include "heddle/error_queue_c.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>

static int failures = 0;

// Goes on after a failure, so that one run shows all of them.
#define CHECK(condition)                                                                           \
  do {                                                                                             \
    if (!(condition)) {                                                                            \
      (void)fprintf(stderr, "%s:%d: %s: %s is false\n", __FILE__, __LINE__, __func__, #condition); \
      ++failures;                                                                                  \
    }                                                                                              \
  } while (0)

// Two operations that fail and leave an entry each.
static void fail_to_parse_a_certificate(void) {
  BIO* const junk = BIO_new_mem_buf("not PEM", -1);
  CHECK(junk != NULL);
  CHECK(PEM_read_bio_X509(junk, NULL, NULL, NULL) == NULL);
  (void)BIO_free(junk);
}

static void fail_to_open_a_file(void) {
  CHECK(BIO_new_file("/nonexistent/heddle", "r") == NULL);
}

static int oldest_library(void) {
  return ERR_GET_LIB(ERR_peek_error());
}

static int newest_library(void) {
  return ERR_GET_LIB(ERR_peek_last_error());
}

static void a_queue_without_entries_is_empty_and_null(void) {
  CHECK(heddle_error_queue_is_empty() == 1);
  CHECK(heddle_error_queue_set_aside() == NULL);
  CHECK(heddle_error_queue_swap(NULL) == NULL);
  heddle_error_queue_clear();
  heddle_error_queue_free(NULL);
  fail_to_parse_a_certificate();
  CHECK(heddle_error_queue_is_empty() == 0);
  ERR_clear_error();
  CHECK(heddle_error_queue_is_empty() == 1);
}

static void what_is_set_aside_comes_back_with_its_mark(void) {
  fail_to_parse_a_certificate();
  CHECK(ERR_set_mark() == 1);
  fail_to_open_a_file();
  const unsigned long newest = ERR_peek_last_error();

  heddle_error_queue* const queue = heddle_error_queue_set_aside();
  CHECK(queue != NULL);
  CHECK(heddle_error_queue_is_empty() == 1);
  fail_to_open_a_file();  // Another fiber's: not there any more after the next line.
  heddle_error_queue_bring_back(queue);

  CHECK(ERR_peek_last_error() == newest);
  CHECK(oldest_library() == ERR_LIB_PEM);
  CHECK(ERR_pop_to_mark() == 1);
  CHECK(newest_library() == ERR_LIB_PEM);
  ERR_clear_error();
}

static void null_brought_back_leaves_an_empty_queue(void) {
  fail_to_open_a_file();
  heddle_error_queue_bring_back(NULL);
  CHECK(heddle_error_queue_is_empty() == 1);
}

// As at the switches of a fiber library: the queue of the one that stops for that of the one that
// goes on.
static void two_fibers_that_swap_keep_their_own(void) {
  heddle_error_queue* first = NULL;
  heddle_error_queue* second = NULL;

  fail_to_parse_a_certificate();            // The first runs,
  first = heddle_error_queue_swap(second);  // stops, and the second goes on.
  second = NULL;
  CHECK(first != NULL);
  CHECK(heddle_error_queue_is_empty() == 1);
  fail_to_open_a_file();
  const int left_by_second = oldest_library();
  CHECK(left_by_second != ERR_LIB_PEM);

  second = heddle_error_queue_swap(first);
  first = NULL;
  CHECK(second != NULL);
  CHECK(oldest_library() == ERR_LIB_PEM);
  CHECK(newest_library() == ERR_LIB_PEM);
  ERR_clear_error();  // It has read its error.

  first = heddle_error_queue_swap(second);
  CHECK(first == NULL);
  CHECK(oldest_library() == left_by_second);
  ERR_clear_error();
}

// The leak checker looks whether the texts go, too.
static void a_queue_can_be_forgotten(void) {
  fail_to_open_a_file();
  heddle_error_queue_free(heddle_error_queue_set_aside());
  CHECK(heddle_error_queue_is_empty() == 1);

  fail_to_open_a_file();
  heddle_error_queue_clear();
  CHECK(heddle_error_queue_is_empty() == 1);
}

int main(void) {
  a_queue_without_entries_is_empty_and_null();
  what_is_set_aside_comes_back_with_its_mark();
  null_brought_back_leaves_an_empty_queue();
  two_fibers_that_swap_keep_their_own();
  a_queue_can_be_forgotten();
  return failures == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
