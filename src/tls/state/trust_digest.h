// What a certificate store trusts, as a digest that is the same in every process.
#pragma once

#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "openssl/handles.h"
#include "tls/state/last_digest.h"

namespace heddle::tls {

using StorePtr = openssl::Handle<X509_STORE, X509_STORE_free>;

// StoreLock keeps verifications from adding to a store while it is looked through.
class StoreLock {
 public:
  explicit StoreLock(X509_STORE* store) : store_(store) { X509_STORE_lock(store_); }
  StoreLock(const StoreLock&) = delete;
  StoreLock& operator=(const StoreLock&) = delete;
  ~StoreLock() { X509_STORE_unlock(store_); }

 private:
  X509_STORE* store_;
};

// TrustDigest computes the digest of a store's certificates and CRLs, and of the folders in which
// OpenSSL looks for more. It keeps the last one and notices when the store changes, also through
// the SSL_CTX.
//
// OpenSSL adds what it finds in a folder to the store, when a verification first needs it. Those
// objects are left out: the folder stands for them, and processes that have verified different
// peers agree. OpenSSL does not tell which objects these are, nor which folders a store has, so the
// calls of Context note their folders here. A folder that was added through the SSL_CTX is not
// known: what is found in it counts as added, and changes the digest.
//
// Threads: any, at the same time.
class TrustDigest {
 public:
  // Of what `store` trusts now. Returns false when out of memory.
  bool compute(X509_STORE* store, Sha256& digest);
  // Of `certificate`, in DER. The last one is kept. False as above.
  bool compute(X509* certificate, Sha256& digest);

  // Around an addition to `store`: what it adds was not found in a folder.
  void before_addition(X509_STORE* store);
  void after_addition(X509_STORE* store);
  // Before OpenSSL is told to look into `folder`, too.
  void add_folder(X509_STORE* store, std::string folder);

 private:
  void take_over(X509_STORE* store);
  bool sort_out(X509_STORE* store, bool ask_folders);
  bool is_in_folder(const X509_OBJECT* object);

  std::mutex mutex_;
  StorePtr store_;   // Whose digest this is. Kept, so that no other has its address.
  int objects_ = 0;  // How many it had.
  bool is_current_ = false;
  Sha256 digest_{};
  std::set<Sha256> added_;
  std::set<Sha256> found_;  // In a folder.
  std::vector<std::string> folders_;
  StorePtr folder_store_;  // Has the folders, and nothing else.
  openssl::X509Ptr certificate_;
  Sha256 certificate_digest_{};
};

}  // namespace heddle::tls
