// PEM and DER input. Callers hold an ErrorQueueScope: OpenSSL leaves entries even when
// it reads a file to its end.
#include "tls/x509/pem.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstring>
#include <exception>
#include <optional>

#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <unistd.h>

#include "base/unique_fd.h"
#include "fiber/no_park.h"
#include "openssl/error.h"

namespace heddle::tls {
namespace {

constexpr std::size_t kFileBytesMax = std::size_t{1} << 20;

openssl::BioPtr memory_bio(const void* data, std::size_t size) {
  if (size > INT_MAX) return nullptr;  // To OpenSSL, less than 0 is a text that ends with NUL.
  return openssl::BioPtr(BIO_new_mem_buf(data, static_cast<int>(size)));
}

Error invalid(const char* operation) {
  return openssl::error_from_queue(Errc::kInvalid, operation);
}

// Password is what a key's reader is asked for by OpenSSL, through C.
struct Password {
  const AskPassword& ask;
  std::optional<Error> failure{};
  std::exception_ptr thrown{};

  void rethrow() const {
    if (thrown) std::rethrow_exception(thrown);
  }
};

// PEM_read_bio_...() and the decoders ask at the terminal if they have no callback of ours.
int give_password(char* into, int size, int /*for_writing*/, void* data) {
  auto& password = *static_cast<Password*>(data);
  if (!password.ask || password.failure || password.thrown) return -1;
  // OpenSSL is in the middle of a key.
  const fiber::NoParkScope no_park("the password callback of a private key");
  try {
    SecretText text;
    auto given = password.ask();
    if (!given) {
      password.failure = given.error();
      return -1;
    }
    text.text() = *std::move(given);
    if (text.text().empty() || text.text().size() > static_cast<std::size_t>(size)) return -1;
    std::memcpy(into, text.text().data(), text.text().size());
    return static_cast<int>(text.text().size());
  } catch (...) {  // tidy: thrown again by parse_key().
    password.thrown = std::current_exception();
    return -1;
  }
}

openssl::KeyPtr parse_der_key(std::string_view der, Password& password) {
  const openssl::BioPtr bio = memory_bio(der.data(), der.size());
  if (!bio) return nullptr;
  // An encrypted one is another structure, for which the next asks for a password.
  const auto* at = reinterpret_cast<const unsigned char*>(der.data());
  openssl::KeyPtr plain(d2i_AutoPrivateKey(nullptr, &at, static_cast<long>(der.size())));
  if (plain) return plain;
  return openssl::KeyPtr(d2i_PKCS8PrivateKey_bio(bio.get(), nullptr, give_password, &password));
}

// Reads every object of one kind in `pem` by `read`, one of the PEM_read_bio_...(); at least one.
template <typename Owner, typename Read>
Result<std::vector<Owner>> read_all(std::string_view pem, Read read, const char* operation) {
  const openssl::BioPtr bio = memory_bio(pem.data(), pem.size());
  if (!bio) return invalid(operation);
  std::vector<Owner> all;
  while (Owner each{read(bio.get(), nullptr, nullptr, nullptr)}) all.push_back(std::move(each));
  const unsigned long last = ERR_peek_last_error();
  const bool at_end =
      ERR_GET_LIB(last) == ERR_LIB_PEM && ERR_GET_REASON(last) == PEM_R_NO_START_LINE;
  if (all.empty() || !at_end) return invalid(operation);
  ERR_clear_error();
  return all;
}

}  // namespace

SecretText::~SecretText() {
  OPENSSL_cleanse(text_.data(), text_.size());
}

Result<SecretText> read_file(const std::filesystem::path& path, const char* operation) {
  const auto failed = [&](int sys_errno) {
    const Error error{.code = Errc::kInvalid, .sys_errno = sys_errno, .operation = operation};
    return error.with(path.native());
  };
  // Not blocking: the name may be a FIFO's.
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!fd) return failed(errno);
  struct stat status {};
  if (::fstat(fd.get(), &status) != 0) return failed(errno);
  if (S_ISDIR(status.st_mode)) return failed(EISDIR);
  if (!S_ISREG(status.st_mode)) return failed(EINVAL);
  if (static_cast<std::size_t>(status.st_size) > kFileBytesMax) return failed(EFBIG);
  SecretText content;
  content.text().resize(static_cast<std::size_t>(status.st_size));
  std::size_t have = 0;
  while (have < content.text().size()) {
    const ssize_t count =
        ::read(fd.get(), content.text().data() + have, content.text().size() - have);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return failed(errno);
    if (count == 0) break;
    have += static_cast<std::size_t>(count);
  }
  content.text().resize(have);
  return content;
}

Result<std::vector<openssl::X509Ptr>> parse_chain(std::string_view pem, const char* operation) {
  return read_all<openssl::X509Ptr>(pem, PEM_read_bio_X509, operation);
}

Result<std::vector<openssl::X509Ptr>> parse_chain_or_der(std::string_view text,
                                                         const char* operation) {
  if (is_pem(text) || text.empty()) return parse_chain(text, operation);
  auto one = parse_der(std::as_bytes(std::span(text)), operation);
  if (!one) return one.error();
  std::vector<openssl::X509Ptr> all;
  all.push_back(*std::move(one));
  return all;
}

Result<std::vector<CrlPtr>> parse_crls(std::string_view text, const char* operation) {
  if (is_pem(text)) return read_all<CrlPtr>(text, PEM_read_bio_X509_CRL, operation);
  const auto* at = reinterpret_cast<const unsigned char*>(text.data());
  const auto* const end = at + text.size();
  std::vector<CrlPtr> all;
  all.emplace_back(d2i_X509_CRL(nullptr, &at, static_cast<long>(text.size())));
  if (!all.front() || at != end) return invalid(operation);
  return all;
}

Result<openssl::KeyPtr> parse_parameters(std::string_view pem, const char* operation) {
  const openssl::BioPtr bio = memory_bio(pem.data(), pem.size());
  openssl::KeyPtr parameters(bio ? PEM_read_bio_Parameters(bio.get(), nullptr) : nullptr);
  if (!parameters) return invalid(operation);
  return parameters;
}

bool is_pem(std::string_view text) noexcept {
  return text.find("-----BEGIN ") != std::string_view::npos;
}

Result<openssl::KeyPtr> parse_key(std::string_view text, const AskPassword& ask,
                                  const char* operation) {
  if (text.size() > kFileBytesMax) {
    return Error{.code = Errc::kInvalid, .sys_errno = EFBIG, .operation = operation};
  }
  const openssl::BioPtr bio = memory_bio(text.data(), text.size());
  if (!bio) return invalid(operation);
  Password password{ask};
  openssl::KeyPtr key =
      is_pem(text) || text.empty()
          ? openssl::KeyPtr(PEM_read_bio_PrivateKey(bio.get(), nullptr, give_password, &password))
          : parse_der_key(text, password);
  password.rethrow();
  if (password.failure) return *password.failure;
  if (!key) return invalid(operation);
  ERR_clear_error();
  return key;
}

Result<openssl::X509Ptr> parse_der(std::span<const std::byte> der, const char* operation) {
  const auto* at = reinterpret_cast<const unsigned char*>(der.data());
  const auto* const end = at + der.size();
  openssl::X509Ptr certificate(d2i_X509(nullptr, &at, static_cast<long>(der.size())));
  if (!certificate || at != end) return invalid(operation);
  return certificate;
}

}  // namespace heddle::tls
