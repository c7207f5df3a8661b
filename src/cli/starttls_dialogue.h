// Dialogue: what the protocols before TLS have in common.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "heddle/buffered.h"
#include "heddle/deadline.h"
#include "heddle/result.h"
#include "heddle/transport.h"

namespace heddle::cli {

// Dialogue asks and hears, until a deadline and for 64 KiB at most.
//
// Errors: an Error says what to do; message() says it to the user.
class Dialogue {
 public:
  Dialogue(Transport& transport, Deadline deadline)
      : transport_(transport), deadline_(deadline), reader_(*this) {}
  Dialogue(const Dialogue&) = delete;
  Dialogue& operator=(const Dialogue&) = delete;
  ~Dialogue() = default;

  // Sends `text`. Fails if the server has said more than was read: that answers nothing.
  Result<void> send(std::string_view text);

  // Returns the next line, without its end; with the text before it, up to `delimiter` and without
  // it; or so many bytes. The end of the stream is an Error.
  Result<std::string> line();
  Result<std::string> until(std::string_view delimiter);
  Result<std::string> bytes(std::size_t count);

  // Fails if anything has come behind what was read: it is the last thing to ask.
  Result<void> expect_silence();

  // Errors for what the server has said. `words` are its own.
  Error refused(std::string_view words);
  Error no_offer();
  Error unexpected(std::string_view words, std::string_view protocol);

  // What went wrong, for the user.
  std::string message(const Error& error) const;

  // For reader_ (ByteSource).
  Result<std::size_t> read(std::span<std::byte> into, Deadline deadline);

 private:
  Error failed(std::string message);
  Result<std::string> taken(Result<std::optional<std::string>> text);

  Transport& transport_;
  Deadline deadline_;
  BufferedReader reader_;
  std::size_t received_ = 0;
  std::string message_;
};

// The dialogues that are not made of lines.
Result<void> start_xmpp(Dialogue& dialogue, std::string_view name);
Result<void> start_ldap(Dialogue& dialogue);
Result<void> start_postgres(Dialogue& dialogue);
Result<void> start_mysql(Dialogue& dialogue);

}  // namespace heddle::cli
