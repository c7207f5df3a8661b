// Differences between OpenSSL versions, in one place: 3.0 to 3.6, and 4.x.
#pragma once

#include <cstddef>
#include <ctime>
#include <new>
#include <string>
#include <utility>
#include <vector>

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/opensslv.h>
#include <openssl/ssl.h>
#include <openssl/sslerr.h>
#include <openssl/x509_vfy.h>

#include "heddle/error_queue.h"

namespace heddle::openssl::version {

// ERR_peek_error() does not see entries flagged ERR_FLAG_CLEAR. A mark can be set
// exactly if there is an entry to carry it.
inline bool queue_is_empty() noexcept {
  if (ERR_set_mark() == 0) return true;
  ERR_clear_last_mark();
  return false;
}

// From 3.2 on the record layer gives its own reason, and its caller adds that it has failed.
inline bool only_names_the_record_layer([[maybe_unused]] int reason_of_ssl) noexcept {
#ifdef SSL_R_RECORD_LAYER_FAILURE
  return reason_of_ssl == SSL_R_RECORD_LAYER_FAILURE;
#else
  return false;
#endif
}

// What `store` holds. Precondition: it is locked (X509_STORE_lock(3)) as long as this is looked at.
// Deprecated in 4.0, since most callers do not lock; X509_STORE_get1_objects() would copy all CAs
// of a system for each connection.
inline const STACK_OF(X509_OBJECT) * objects_of(const X509_STORE* store) noexcept {
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
  return X509_STORE_get0_objects(store);
#pragma GCC diagnostic pop
}

// SSL_SESSION_get_time() counts in a long, which ends in 2038 on some machines.
inline std::time_t session_time(const SSL_SESSION* session) noexcept {
#if OPENSSL_VERSION_NUMBER < 0x30300000L
  return SSL_SESSION_get_time(session);
#else
  return SSL_SESSION_get_time_ex(session);
#endif
}

#if OPENSSL_VERSION_NUMBER < 0x40000000L

// To 3.6 the thread's queue is a public structure whose layout never changed.
// Exchanging it whole keeps what the calls of 3.2 lose: marks and flags.
class QueueContent {
 public:
  QueueContent() = default;
  QueueContent(const QueueContent&) = delete;
  QueueContent& operator=(const QueueContent&) = delete;

  ~QueueContent() {
    for (std::size_t i = 0; i < ERR_NUM_ERRORS; ++i) {
      if ((state_.err_data_flags[i] & ERR_TXT_MALLOCED) != 0) OPENSSL_free(state_.err_data[i]);
      // Most are null, and each call costs.
      if (state_.err_file[i] != nullptr) OPENSSL_free(state_.err_file[i]);
      if (state_.err_func[i] != nullptr) OPENSSL_free(state_.err_func[i]);
    }
  }

  // Null only when OpenSSL could not allocate it.
  static ERR_STATE* thread_state() noexcept {
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
    return ERR_get_state();
#pragma GCC diagnostic pop
  }

  // Either also moves the text buffers that emptied slots keep for their next use,
  // so that none is lost or freed twice.
  void take() noexcept {
    swap();
  }
  void put() noexcept {
    swap();
  }

  // Oldest first.
  std::vector<ErrorEntry> entries() const {
    std::vector<ErrorEntry> entries;
    const auto text = [](const char* from) { return std::string(from != nullptr ? from : ""); };
    for (int at = state_.bottom; at != state_.top;) {
      at = (at + 1) % ERR_NUM_ERRORS;
      const bool has_text = (state_.err_data_flags[at] & ERR_TXT_STRING) != 0;
      entries.push_back({.code = state_.err_buffer[at],
                         .file = text(state_.err_file[at]),
                         .line = state_.err_line[at],
                         .function = text(state_.err_func[at]),
                         .data = has_text ? text(state_.err_data[at]) : "",
                         .hidden = (state_.err_flags[at] & ERR_FLAG_CLEAR) != 0});
    }
    return entries;
  }

 private:
  void swap() noexcept {
    ERR_STATE* const state = thread_state();
    // Null: out of memory, on a thread that had no queue before. The entries are dropped.
    if (state != nullptr) std::swap(state_, *state);
  }

  ERR_STATE state_{};
};

inline std::pair<const int*, const int*> queue_ends() noexcept {
  const ERR_STATE* state = QueueContent::thread_state();
  return state != nullptr ? std::pair{&state->top, &state->bottom}
                          : std::pair<const int*, const int*>{};
}

#else

// From 4.0 only calls are left. OSSL_ERR_STATE_save() and _restore() lose marks
// and append, so the queue is peeled from mark to mark.
class QueueContent {
 public:
  QueueContent() = default;
  QueueContent(const QueueContent&) = delete;
  QueueContent& operator=(const QueueContent&) = delete;

  ~QueueContent() {
    for (const Layer& layer : layers_) OSSL_ERR_STATE_free(layer.entries);
  }

  void take() noexcept {
    do {
      // With null nothing would be saved, and nothing leave the queue either.
      ERR_STATE* const entries = has_room() ? OSSL_ERR_STATE_new() : nullptr;
      if (entries == nullptr) return ERR_clear_error();  // Out of memory: the rest is dropped.
      OSSL_ERR_STATE_save_to_mark(entries);
      Layer& layer = layers_.emplace_back(Layer{entries, 0});
      // Marks that lie right under the layer, on the entry that is newest now.
      while (ERR_count_to_mark() == 0 && ERR_clear_last_mark() == 1) ++layer.marks_below;
    } while (!queue_is_empty());
  }

  void put() noexcept {
    ERR_clear_error();
    for (auto layer = layers_.rbegin(); layer != layers_.rend(); ++layer) {
      for (int i = 0; i < layer->marks_below; ++i) ERR_set_mark();
      OSSL_ERR_STATE_restore(layer->entries);
    }
  }

  // Oldest first. Leaves the thread's queue empty: there is no other way to look at an entry.
  std::vector<ErrorEntry> entries() const {
    std::vector<ErrorEntry> entries;
    for (auto layer = layers_.rbegin(); layer != layers_.rend(); ++layer) {
      OSSL_ERR_STATE_restore(layer->entries);  // A copy.
      ErrorEntry entry;
      const char* file = nullptr;
      const char* function = nullptr;
      const char* data = nullptr;
      while ((entry.code = ERR_get_error_all(&file, &entry.line, &function, &data, nullptr)) != 0) {
        entry.file = file;
        entry.function = function;
        entry.data = data;
        entries.push_back(entry);
      }
    }
    return entries;
  }

 private:
  struct Layer {
    ERR_STATE* entries;
    int marks_below;
  };

  bool has_room() noexcept {
    try {
      if (layers_.size() == layers_.capacity()) layers_.reserve(2 * layers_.size() + 1);
      return true;
    } catch (const std::bad_alloc&) {
      return false;
    }
  }

  std::vector<Layer> layers_;  // Newest entries first.
};

inline std::pair<const int*, const int*> queue_ends() noexcept {
  return {};
}

#endif

}  // namespace heddle::openssl::version
