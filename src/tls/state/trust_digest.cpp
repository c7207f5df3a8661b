// Looking through a certificate store.
#include "tls/state/trust_digest.h"

#include <algorithm>
#include <utility>

#include <openssl/evp.h>
#include <openssl/x509.h>
#include <openssl/x509_vfy.h>

#include "heddle/error_queue.h"

#include "openssl/version.h"

namespace heddle::tls {
namespace {

bool digest_of(const X509* certificate, Sha256& digest) {
  return X509_digest(certificate, EVP_sha256(), digest.data(), nullptr) == 1;
}

bool digest_of(const X509_OBJECT* object, Sha256& digest) {
  if (const X509* const certificate = X509_OBJECT_get0_X509(object)) {
    return digest_of(certificate, digest);
  }
  const X509_CRL* const crl = X509_OBJECT_get0_X509_CRL(object);
  return crl != nullptr && X509_CRL_digest(crl, EVP_sha256(), digest.data(), nullptr) == 1;
}

using StoreContextPtr = openssl::Handle<X509_STORE_CTX, X509_STORE_CTX_free>;

struct FreeCrls {
  void operator()(STACK_OF(X509_CRL) * all) const noexcept {
    sk_X509_CRL_pop_free(all, X509_CRL_free);
  }
};

}  // namespace

// Precondition of the private functions: the mutex is held.
void TrustDigest::take_over(X509_STORE* store) {
  if (store_.get() == store) return;
  const bool is_first = store_ == nullptr;
  X509_STORE_up_ref(store);
  store_.reset(store);
  is_current_ = false;
  added_.clear();
  found_.clear();
  // The program has exchanged the store, through the SSL_CTX: its folders went with it.
  if (!is_first) folders_.clear();
  folder_store_.reset();
}

bool TrustDigest::is_in_folder(const X509_OBJECT* object) {
  if (!folder_store_) {
    folder_store_.reset(X509_STORE_new());
    if (!folder_store_) return false;
    X509_LOOKUP* const lookup = X509_STORE_add_lookup(folder_store_.get(), X509_LOOKUP_hash_dir());
    for (const std::string& folder : folders_) {
      if (lookup != nullptr) X509_LOOKUP_add_dir(lookup, folder.c_str(), X509_FILETYPE_PEM);
    }
  }
  const StoreContextPtr search(X509_STORE_CTX_new());
  if (!search || X509_STORE_CTX_init(search.get(), folder_store_.get(), nullptr, nullptr) != 1) {
    return false;
  }
  if (X509* const certificate = X509_OBJECT_get0_X509(object)) {
    const openssl::X509StackPtr all(
        X509_STORE_CTX_get1_certs(search.get(), X509_get_subject_name(certificate)));
    for (int i = 0; i < sk_X509_num(all.get()); ++i) {
      if (X509_cmp(sk_X509_value(all.get(), i), certificate) == 0) return true;
    }
    return false;
  }
  const X509_CRL* const crl = X509_OBJECT_get0_X509_CRL(object);
  const std::unique_ptr<STACK_OF(X509_CRL), FreeCrls> all(
      X509_STORE_CTX_get1_crls(search.get(), X509_CRL_get_issuer(crl)));
  for (int i = 0; i < sk_X509_CRL_num(all.get()); ++i) {
    if (X509_CRL_match(sk_X509_CRL_value(all.get(), i), crl) == 0) return true;
  }
  return false;
}

bool TrustDigest::sort_out(X509_STORE* store, bool ask_folders) {
  const ErrorQueueScope scope(Leftovers::kDrop);
  const StoreLock lock(store);
  const STACK_OF(X509_OBJECT)* const objects = openssl::version::objects_of(store);
  const int count = sk_X509_OBJECT_num(objects);
  if (is_current_ && count == objects_) return true;
  is_current_ = false;
  for (int i = 0; i < count; ++i) {
    const X509_OBJECT* const object = sk_X509_OBJECT_value(objects, i);
    Sha256 digest{};
    if (!digest_of(object, digest)) return false;
    if (added_.count(digest) + found_.count(digest) != 0) continue;
    const bool found = ask_folders && !folders_.empty() && is_in_folder(object);
    (found ? found_ : added_).insert(digest);
  }
  std::string all;
  for (const Sha256& each : added_) all.append(each.begin(), each.end());
  for (const std::string& folder : folders_) all.append(folder).push_back('\0');
  objects_ = count;
  is_current_ =
      EVP_Digest(all.data(), all.size(), digest_.data(), nullptr, EVP_sha256(), nullptr) == 1;
  return is_current_;
}

bool TrustDigest::compute(X509_STORE* store, Sha256& digest) {
  const std::lock_guard lock(mutex_);
  take_over(store);
  if (!sort_out(store, /*ask_folders=*/true)) return false;
  digest = digest_;
  return true;
}

bool TrustDigest::compute(X509* certificate, Sha256& digest) {
  const std::lock_guard lock(mutex_);
  if (certificate_.get() != certificate) {
    if (!digest_of(certificate, certificate_digest_)) return false;
    X509_up_ref(certificate);
    certificate_.reset(certificate);
  }
  digest = certificate_digest_;
  return true;
}

void TrustDigest::before_addition(X509_STORE* store) {
  const std::lock_guard lock(mutex_);
  take_over(store);
  if (!folders_.empty()) sort_out(store, /*ask_folders=*/true);
}

void TrustDigest::after_addition(X509_STORE* store) {
  const std::lock_guard lock(mutex_);
  if (!folders_.empty()) sort_out(store, /*ask_folders=*/false);
}

void TrustDigest::add_folder(X509_STORE* store, std::string folder) {
  const std::lock_guard lock(mutex_);
  take_over(store);
  sort_out(store, /*ask_folders=*/true);
  folders_.push_back(std::move(folder));
  folder_store_.reset();
  is_current_ = false;
}

}  // namespace heddle::tls
