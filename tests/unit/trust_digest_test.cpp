// What a store trusts, as a digest.
#include "tls/state/trust_digest.h"

#include <filesystem>
#include <fstream>
#include <string>

#include <gtest/gtest.h>
#include <openssl/pem.h>
#include <openssl/x509_vfy.h>
#include <stdlib.h>

#include "heddle/error_queue.h"
#include "heddle/tls/certificate.h"

#include "openssl/handles.h"
#include "openssl/version.h"
#include "support/own_entries.h"

namespace heddle::tls {
namespace {

using StoreContextPtr = openssl::Handle<X509_STORE_CTX, X509_STORE_CTX_free>;

openssl::X509Ptr make_certificate(const char* name, std::string* pem = nullptr) {
  const Identity identity = make_self_signed({name}).value();
  if (pem != nullptr) *pem = identity.certificate_pem;
  const openssl::BioPtr bio(BIO_new_mem_buf(identity.certificate_pem.data(), -1));
  return openssl::X509Ptr(PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr));
}

class TrustDigestTest : public testing::Test {
 protected:
  TrustDigestTest() {
    std::string name = "/tmp/heddle_trust_XXXXXX";
    folder_ = ::mkdtemp(name.data());
    std::string pem;
    const openssl::X509Ptr kept = make_certificate("kept.test", &pem);
    std::array<char, 16> hash{};
    (void)std::snprintf(hash.data(), hash.size(), "%08lx.0", X509_subject_name_hash(kept.get()));
    std::ofstream(folder_ / hash.data()) << pem;
    kept_ = X509_get_subject_name(kept.get());
    certificate_in_folder_.reset(X509_dup(kept.get()));
    kept_ = X509_get_subject_name(certificate_in_folder_.get());
  }
  ~TrustDigestTest() override { std::filesystem::remove_all(folder_); }

  static StorePtr make_store() { return StorePtr(X509_STORE_new()); }
  static Sha256 digest(TrustDigest& trust, const StorePtr& store) {
    Sha256 made{};
    EXPECT_TRUE(trust.compute(store.get(), made));
    return made;
  }

  void look_into_folder(X509_STORE* store) const {
    X509_LOOKUP* const lookup = X509_STORE_add_lookup(store, X509_LOOKUP_hash_dir());
    X509_LOOKUP_add_dir(lookup, folder_.c_str(), X509_FILETYPE_PEM);
  }
  // What a verification does that needs the certificate in the folder.
  void find(X509_STORE* store) const {
    const ErrorQueueScope scope(Leftovers::kDrop);  // Reading a file to its end clears the queue.
    const StoreContextPtr search(X509_STORE_CTX_new());
    X509_STORE_CTX_init(search.get(), store, nullptr, nullptr);
    const int before = sk_X509_OBJECT_num(openssl::version::objects_of(store));
    const openssl::X509StackPtr found(X509_STORE_CTX_get1_certs(search.get(), kept_));
    ASSERT_EQ(sk_X509_num(found.get()), 1);
    ASSERT_EQ(sk_X509_OBJECT_num(openssl::version::objects_of(store)), before + 1);
  }

  std::filesystem::path folder_;
  openssl::X509Ptr certificate_in_folder_;
  const X509_NAME* kept_ = nullptr;
  const openssl::X509Ptr one_ = make_certificate("one.test");
  const openssl::X509Ptr other_ = make_certificate("other.test");
  test::OwnEntries entries_;
};

TEST_F(TrustDigestTest, IsTheSameWhateverTheOrderAndTheStore) {
  const StorePtr first = make_store();
  const StorePtr second = make_store();
  TrustDigest of_first;
  TrustDigest of_second;
  X509_STORE_add_cert(first.get(), one_.get());
  const Sha256 alone = digest(of_first, first);
  X509_STORE_add_cert(first.get(), other_.get());
  X509_STORE_add_cert(second.get(), other_.get());
  X509_STORE_add_cert(second.get(), one_.get());
  EXPECT_NE(digest(of_first, first), alone);
  EXPECT_EQ(digest(of_first, first), digest(of_second, second));
}

TEST_F(TrustDigestTest, FolderStandsForWhatIsFoundInIt) {
  const StorePtr store = make_store();
  TrustDigest trust;
  X509_STORE_add_cert(store.get(), one_.get());
  const Sha256 without = digest(trust, store);
  trust.add_folder(store.get(), folder_);
  look_into_folder(store.get());
  const Sha256 with = digest(trust, store);
  EXPECT_NE(with, without);
  find(store.get());
  EXPECT_EQ(digest(trust, store), with);
  X509_STORE_add_cert(store.get(), other_.get());
  EXPECT_NE(digest(trust, store), with) << "not from the folder";
}

TEST_F(TrustDigestTest, WhatIsAddedCountsThoughTheFolderHasIt) {
  TrustDigest trust;
  const StorePtr store = make_store();
  trust.add_folder(store.get(), folder_);
  look_into_folder(store.get());
  const Sha256 before = digest(trust, store);
  trust.before_addition(store.get());
  X509_STORE_add_cert(store.get(), certificate_in_folder_.get());
  trust.after_addition(store.get());
  EXPECT_NE(digest(trust, store), before);
}

TEST_F(TrustDigestTest, AdditionDoesNotHideWhatWasFoundBefore) {
  TrustDigest trust;
  TrustDigest fresh;
  const StorePtr store = make_store();
  const StorePtr unused = make_store();
  for (const auto& [digest, which] : {std::pair{&trust, store.get()}, {&fresh, unused.get()}}) {
    digest->add_folder(which, folder_);
    look_into_folder(which);
  }
  find(store.get());
  trust.before_addition(store.get());
  X509_STORE_add_cert(store.get(), one_.get());
  trust.after_addition(store.get());
  fresh.before_addition(unused.get());
  X509_STORE_add_cert(unused.get(), one_.get());
  fresh.after_addition(unused.get());
  EXPECT_EQ(digest(trust, store), digest(fresh, unused));
}

TEST_F(TrustDigestTest, AnotherStoreIsLookedThroughAnew) {
  TrustDigest trust;
  const StorePtr first = make_store();
  X509_STORE_add_cert(first.get(), one_.get());
  const Sha256 before = digest(trust, first);
  const StorePtr second = make_store();
  X509_STORE_add_cert(second.get(), other_.get());
  EXPECT_NE(digest(trust, second), before);
  EXPECT_EQ(digest(trust, first), before);
}

TEST_F(TrustDigestTest, CertificatesHaveDigestsOfTheirOwn) {
  TrustDigest trust;
  Sha256 one{};
  Sha256 other{};
  Sha256 again{};
  ASSERT_TRUE(trust.compute(one_.get(), one) && trust.compute(other_.get(), other) &&
              trust.compute(one_.get(), again));
  EXPECT_NE(one, other);
  EXPECT_EQ(one, again);
}

}  // namespace
}  // namespace heddle::tls
