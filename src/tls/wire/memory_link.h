// MemoryLink: the BIO of an SSL object whose bytes come from one MemoryBio and go to another.
#pragma once

#include "heddle/tls/memory_bio.h"

#include "openssl/handles.h"
#include "tls/wire/link.h"

namespace heddle::tls {

struct MemoryLink {
  MemoryBio& incoming;
  MemoryBio& outgoing;
  BioState state{};
  MemoryBio begun{};  // A client's first message, until its rest has come. Read before `incoming`.

  // Where what is to be read next lies.
  MemoryBio& next() noexcept { return begun.pending() != 0 ? begun : incoming; }

  // For servers, before OpenSSL is asked: whether there is something for it to judge. Else takes
  // what has come, so that `incoming` is empty as after every other call that wants more.
  bool has_first_message();
};

// Makes a BIO over `link`, which must outlive it: one copy each way. Throws std::bad_alloc.
openssl::BioPtr make_bio(MemoryLink& link);

}  // namespace heddle::tls
