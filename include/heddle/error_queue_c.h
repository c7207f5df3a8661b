// The per-fiber OpenSSL error queue for C, and for languages that call C. What it is for, and how
// to use it at the switches of a fiber library, is told in heddle/error_queue.h.
//
// Every function is about the calling thread's queue. None fails; where memory is needed for
// entries and none is left, they are dropped.
#ifndef HEDDLE_ERROR_QUEUE_C_H
#define HEDDLE_ERROR_QUEUE_C_H

#include "heddle/export.h"

#ifdef __cplusplus
extern "C" {
#endif

// A queue that was set aside. NULL stands for an empty one.
typedef struct heddle_error_queue heddle_error_queue;  // NOLINT(modernize-use-using): C.

// Returns 1 if the thread's queue holds no entry at all, hidden ones (ERR_FLAG_CLEAR) included;
// else 0.
HEDDLE_API int heddle_error_queue_is_empty(void);

// Moves everything out of the thread's queue, marks included. Give the result to one of the
// functions below, once; on another thread if need be.
HEDDLE_API heddle_error_queue* heddle_error_queue_set_aside(void);

// Puts `queue` in place of whatever the thread's queue holds, and takes ownership.
HEDDLE_API void heddle_error_queue_bring_back(heddle_error_queue* queue);

// Both at once: returns what the thread's queue held. At a switch:
// previous->queue = heddle_error_queue_swap(next->queue);
HEDDLE_API heddle_error_queue* heddle_error_queue_swap(heddle_error_queue* queue);

// Forgets a queue that was set aside.
HEDDLE_API void heddle_error_queue_free(heddle_error_queue* queue);

// Forgets what the thread's queue holds. Costs next to nothing if that is nothing, unlike
// ERR_clear_error().
HEDDLE_API void heddle_error_queue_clear(void);

#ifdef __cplusplus
}
#endif

#endif /* HEDDLE_ERROR_QUEUE_C_H */
