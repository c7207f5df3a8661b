// The per-fiber OpenSSL error queue for C, and for languages that call C. heddle/error_queue.h says
// what it is for, and how to use it at the switches of a fiber library.
//
// Every function works on the calling thread's queue. None fails; if there is no memory for
// entries, they are dropped.
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

// Moves everything out of the thread's queue, marks included. Pass the result once to one of the
// functions below, on this thread or another.
HEDDLE_API heddle_error_queue* heddle_error_queue_set_aside(void);

// Puts `queue` in place of whatever the thread's queue holds, and takes ownership.
HEDDLE_API void heddle_error_queue_bring_back(heddle_error_queue* queue);

// Both at once: returns what the thread's queue held. At a switch:
// previous->queue = heddle_error_queue_swap(next->queue);
HEDDLE_API heddle_error_queue* heddle_error_queue_swap(heddle_error_queue* queue);

// Frees a queue that was set aside.
HEDDLE_API void heddle_error_queue_free(heddle_error_queue* queue);

// Clears the thread's queue. Unlike ERR_clear_error(), it costs next to nothing if the queue is
// empty.
HEDDLE_API void heddle_error_queue_clear(void);

#ifdef __cplusplus
}
#endif

#endif /* HEDDLE_ERROR_QUEUE_C_H */
