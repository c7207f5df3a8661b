// The connection loop: reads requests, has them answered, and sends the answers.
#include "http/connection.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "heddle/fiber.h"
#include "heddle/tls/certificate.h"
#include "heddle/transport.h"

#include "http/request_parser.h"

namespace heddle::http {
namespace {

// Enough for what programs send; browsers may need a larger buffer for a moment. It
// lies on the fiber's stack together with the frames of an idle connection, and all
// of them should fit into the page that such a connection has to keep.
constexpr std::size_t kInlineBytes = 2048;

// A head of the largest size, and room to read a body behind it.
constexpr std::size_t kLargeBytes = kHeadBytesMax + std::size_t{4} * 1024;
constexpr std::size_t kBodyWindowMin = 1024;

// A connection idle for this long gives back what stack it dirtied. Busy ones never
// get here, and so pay nothing.
constexpr Duration kTrimAfter = std::chrono::seconds(2);

constexpr std::size_t kChunkBytes = std::size_t{64} * 1024;
static_assert(kChunkBytes < ConnectionShared::kBufferBytes);

constexpr std::string_view kContinue = "HTTP/1.1 100 Continue\r\n\r\n";

// Reads until `into` is full or the file ends. Returns how many bytes, or -1.
ssize_t read_file(const OpenFile& file, std::span<char> into, std::uint64_t offset) noexcept {
  std::size_t filled = 0;
  while (filled < into.size()) {
    const ssize_t got = ::pread(file.get(), into.data() + filled, into.size() - filled,
                                static_cast<off_t>(offset + filled));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return -1;
    if (got == 0) break;
    filled += static_cast<std::size_t>(got);
  }
  return static_cast<ssize_t>(filled);
}

// Whether the connection goes on after a step.
enum class Next : std::uint8_t {
  kGoOn,
  kClose,  // In order: what was sent should arrive.
  kDrop,   // The peer is gone, or must notice that something is missing.
};

class ServedConnection {
 public:
  ServedConnection(Stream& stream, ConnectionShared& shared, Activity& activity,
                   std::string_view peer)
      : stream_(stream), shared_(shared), activity_(activity), peer_(peer) {
    if (!shared.on_request) return;
    const std::vector<Certificate> chain = stream.peer_certificates();
    if (!chain.empty()) client_ = std::make_unique<std::string>(chain.front().subject);
  }
  ServedConnection(const ServedConnection&) = delete;
  ServedConnection& operator=(const ServedConnection&) = delete;
  ~ServedConnection() = default;

  void serve();

 private:
  Next wait_for_request();
  bool request_has_begun() noexcept;
  Next serve_request();
  Next read_head(RequestParser& parser);
  Next skip_body(RequestParser& parser);
  Next answer(const RequestParser& parser);
  Next refuse(const RequestParser& parser, int status);
  Next send(Response& response, Method method, Persistence persistence, std::span<char> buffer);
  Next send_file(const Response& response, std::size_t done);
  Next send_text(const Response& response, std::string_view head);
  Next write(std::span<const char> bytes);
  Next fill(Deadline deadline);
  void log(const RequestParser& parser, const Request& request, const Response& response,
           Next sent);

  std::span<char> buffer() noexcept {
    return large_ ? std::span<char>(large_.get(), kLargeBytes) : std::span<char>(inline_);
  }
  std::string_view buffered() noexcept { return {buffer().data(), end_}; }
  void grow();
  void drop_front(std::size_t count) noexcept;

  Stream& stream_;
  ConnectionShared& shared_;
  Activity& activity_;
  std::string_view peer_;
  std::unique_ptr<std::string> client_;  // Its subject; only if it has one and something is logged.
  std::unique_ptr<char[]> large_;        // Instead of inline_, while a request needs it.
  std::size_t end_ = 0;                  // Of what is buffered; it begins with the present request.
  Errc failure_{};                       // Of the last fill() that did not go on.
  std::array<char, kInlineBytes> inline_;
};

void ServedConnection::grow() {
  auto larger = std::make_unique_for_overwrite<char[]>(kLargeBytes);
  std::memcpy(larger.get(), buffer().data(), end_);
  large_ = std::move(larger);
}

void ServedConnection::drop_front(std::size_t count) noexcept {
  end_ -= count;
  if (large_ && end_ <= inline_.size()) {
    std::memcpy(inline_.data(), large_.get() + count, end_);
    large_.reset();
  } else if (end_ > 0) {
    std::memmove(buffer().data(), buffer().data() + count, end_);
  }
}

// Reads what there is room for. Precondition: there is room.
Next ServedConnection::fill(Deadline deadline) {
  const Result<std::size_t> got =
      stream_.read(std::as_writable_bytes(buffer().subspan(end_)), deadline);
  if (got && *got > 0) {
    end_ += *got;
    return Next::kGoOn;
  }
  failure_ = got ? Errc::kDisconnected : got.error().code;
  const bool peer_listens = got || failure_ == Errc::kTimedOut || failure_ == Errc::kCancelled;
  return peer_listens ? Next::kClose : Next::kDrop;
}

Next ServedConnection::write(std::span<const char> bytes) {
  // An interrupted write has sent a part, so that nothing can be said any more.
  const Deadline deadline = this_fiber::after(shared_.timeouts.write);
  return stream_.write(std::as_bytes(bytes), deadline) ? Next::kGoOn : Next::kDrop;
}

void ServedConnection::serve() {
  Next next = Next::kGoOn;
  while (next == Next::kGoOn) {
    next = wait_for_request();
    if (next == Next::kGoOn) next = serve_request();
  }
  shared_.waiting.enter(activity_, Phase::kClosing);
  if (next == Next::kDrop) return;
  // Whether the peer ends in time is its own affair.
  static_cast<void>(stream_.close(this_fiber::after(shared_.timeouts.close)));
}

// Empty lines between requests are none: they neither end the idle time nor begin a head's.
bool ServedConnection::request_has_begun() noexcept {
  if (const std::size_t empty = RequestParser::empty_lines(buffered()); empty > 0) {
    drop_front(empty);
  }
  return end_ > 0 && buffered() != "\r";  // Which may be half of such a line.
}

Next ServedConnection::wait_for_request() {
  if (request_has_begun()) return Next::kGoOn;
  if (shared_.draining) return Next::kClose;
  shared_.waiting.enter(activity_, Phase::kIdle);
  const TimePoint now = this_fiber::after(Duration::zero()).time();
  const Deadline deadline = Deadline::after(now, shared_.timeouts.idle);
  Deadline until = std::min(Deadline::after(now, kTrimAfter), deadline);
  do {
    const Next next = fill(until);
    if (next == Next::kGoOn) continue;
    if (failure_ != Errc::kTimedOut || until == deadline) return next;
    this_fiber::release_unused_stack();
    until = deadline;
  } while (!request_has_begun());
  return Next::kGoOn;
}

Next ServedConnection::serve_request() {
  shared_.waiting.enter(activity_, Phase::kRequest);
  ++shared_.requests;
  RequestParser parser;
  Next next = read_head(parser);
  if (next == Next::kGoOn && parser.has_body()) next = skip_body(parser);
  if (next == Next::kGoOn) next = answer(parser);
  return next;
}

Next ServedConnection::read_head(RequestParser& parser) {
  RequestParser::Step step = parser.parse_head(buffered());  // As a rule the whole head has come.
  if (step == RequestParser::Step::kNeedMore) {
    const Deadline deadline = this_fiber::after(shared_.timeouts.head);
    do {
      if (end_ == buffer().size()) grow();
      const Next next = fill(deadline);
      if (next == Next::kClose && failure_ == Errc::kTimedOut) return refuse(parser, 408);
      if (next != Next::kGoOn) return next;
      step = parser.parse_head(buffered());
    } while (step == RequestParser::Step::kNeedMore);
  }
  return step == RequestParser::Step::kDone ? Next::kGoOn : refuse(parser, parser.failure_status());
}

Next ServedConnection::skip_body(RequestParser& parser) {
  const std::size_t head = parser.head_bytes();
  if (parser.expects_continue() && end_ == head) {
    // The client asks before it sends. What will be refused whatever the body says is
    // refused now, and the connection with it.
    if (parser.method() != Method::kGet && parser.method() != Method::kHead) {
      return refuse(parser, parser.method() == Method::kUnknown ? 501 : 405);
    }
    if (const Next sent = write(kContinue); sent != Next::kGoOn) return sent;
  }
  const Deadline deadline = this_fiber::after(shared_.timeouts.body);
  while (true) {
    if (buffer().size() - head < kBodyWindowMin) grow();
    const RequestParser::Skipped skipped = parser.skip_body(buffered().substr(head));
    // The head stays: the answer is made from it.
    char* const body = buffer().data() + head;
    end_ -= skipped.bytes;
    std::memmove(body, body + skipped.bytes, end_ - head);
    if (skipped.step == RequestParser::Step::kDone) return Next::kGoOn;
    if (skipped.step == RequestParser::Step::kFailed) {
      return refuse(parser, parser.failure_status());
    }
    const Next next = fill(deadline);
    if (next == Next::kClose && failure_ == Errc::kTimedOut) return refuse(parser, 408);
    if (next != Next::kGoOn) return next;
  }
}

Next ServedConnection::answer(const RequestParser& parser) {
  const Request request = parser.request(buffered());
  const BufferPool::Lease lease = shared_.buffers.take();
  Response response = shared_.site.answer(request, lease.bytes(), DateCache::seconds());
  Persistence persistence = Persistence::kClose;
  if (request.keep_alive && !shared_.draining) {
    persistence = request.http_1_1 ? Persistence::kKeep : Persistence::kKeepAndSay;
  }
  const Next sent = send(response, request.method, persistence, lease.bytes());
  if (shared_.on_request) log(parser, request, response, sent);
  if (sent != Next::kGoOn) return sent;
  if (persistence == Persistence::kClose) return Next::kClose;
  drop_front(parser.head_bytes());
  return Next::kGoOn;
}

Next ServedConnection::refuse(const RequestParser& parser, int status) {
  const BufferPool::Lease lease = shared_.buffers.take();
  Response response = error_response(status);
  const Next sent = send(response, parser.method(), Persistence::kClose, lease.bytes());
  if (shared_.on_request) log(parser, parser.request(buffered()), response, sent);
  return sent == Next::kGoOn ? Next::kClose : sent;
}

void ServedConnection::log(const RequestParser& parser, const Request& request,
                           const Response& response, Next sent) {
  const bool has_body = parser.method() != Method::kHead && response.status != 304;
  shared_.on_request(AccessRecord{.peer = peer_,
                                  .client = client_ ? *client_ : std::string_view(),
                                  .method = request.method_name,
                                  .target = request.target,
                                  .status = response.status,
                                  .body_bytes = has_body ? response.length : 0,
                                  .complete = sent == Next::kGoOn});
}

Next ServedConnection::send(Response& response, Method method, Persistence persistence,
                            std::span<char> buffer) {
  std::string_view head = write_head(response, persistence, shared_.date.now(), buffer);
  if (method == Method::kHead || response.status == 304) return write(head);
  if (!response.file) return send_text(response, head);
  // The first bytes are read behind the head, and both go out in one write.
  const std::span<char> behind = buffer.subspan(head.size());
  // One write, or a chunk that fills TLS records: a rest of a few bytes costs a record, too.
  const bool fits = response.length <= behind.size();
  const std::size_t first = fits ? response.length : kChunkBytes - head.size();
  const ssize_t got = read_file(response.file, behind.first(first), response.offset);
  if (got != static_cast<ssize_t>(first)) {
    // Truncated after it was looked at, or unreadable. Nothing has been said so far.
    response = error_response(500);
    head = write_head(response, persistence, shared_.date.now(), buffer);
    return send_text(response, head);
  }
  const Next sent = write(buffer.first(head.size() + first));
  if (sent != Next::kGoOn || fits) return sent;
  return send_file(response, first);
}

// Sends what comes after the first `done` bytes.
Next ServedConnection::send_file(const Response& response, std::size_t done) {
  const std::uint64_t end = response.offset + response.length;
  std::uint64_t offset = response.offset + done;
  while (offset < end) {
    const auto part = static_cast<std::size_t>(std::min<std::uint64_t>(kChunkBytes, end - offset));
    const Deadline deadline = this_fiber::after(shared_.timeouts.write);
    const Result<std::size_t> sent = stream_.sendfile(response.file.get(), offset, part, deadline);
    // A file that became shorter: only a cut connection can tell the peer now.
    if (!sent || *sent != part) return Next::kDrop;
    offset += part;
  }
  return Next::kGoOn;
}

Next ServedConnection::send_text(const Response& response, std::string_view head) {
  const std::string_view text = response.body_text();
  const std::string_view first = text.substr(0, kChunkBytes);
  const std::array pieces = {std::as_bytes(std::span(head)), std::as_bytes(std::span(first))};
  const Deadline deadline = this_fiber::after(shared_.timeouts.write);
  if (!stream_.write(pieces, deadline)) return Next::kDrop;
  for (std::size_t sent = first.size(); sent < text.size(); sent += kChunkBytes) {
    if (const Next next = write(text.substr(sent, kChunkBytes)); next != Next::kGoOn) return next;
  }
  return Next::kGoOn;
}

// OpenSSL's numbers for what a client begins with that speaks no TLS: `openssl errstr 0A00009C`
// says "http request", 0A00009B "https proxy request".
constexpr unsigned long kHttpRequest = 0x0A00009C;
constexpr unsigned long kHttpsProxyRequest = 0x0A00009B;

// Says so in the client's own words. What it has asked is gone, and nobody waits if it is slow.
void answer_in_plain_http(Stream& stream, ConnectionShared& shared, std::string_view peer) {
  Response response = error_response(400);
  response.text += "<p>This port speaks HTTPS: write https:// instead of http://.\n";
  response.length = response.text.size();
  std::array<char, 1024> buffer;
  const std::string_view head =
      write_head(response, Persistence::kClose, shared.date.now(), buffer);
  std::string whole(head);
  whole += response.text;
  const IoResult sent = stream.transport().try_write(std::as_bytes(std::span(whole)));
  const bool complete = sent.kind == IoResult::Kind::kBytes && sent.bytes == whole.size();
  if (!shared.on_request) return;
  shared.on_request(AccessRecord{.peer = peer,
                                 .client = {},
                                 .method = {},
                                 .target = {},
                                 .status = response.status,
                                 .body_bytes = response.length,
                                 .complete = complete});
}

// A connection that does not wait any more, whatever happens.
class WaitingScope {
 public:
  WaitingScope(Waiting& waiting, Activity& activity) noexcept
      : waiting_(waiting), activity_(activity) {
    waiting_.enter(activity_, Phase::kHandshake);
  }
  WaitingScope(const WaitingScope&) = delete;
  WaitingScope& operator=(const WaitingScope&) = delete;
  ~WaitingScope() { waiting_.enter(activity_, Phase::kClosing); }

 private:
  Waiting& waiting_;
  Activity& activity_;
};

}  // namespace

Result<void> serve_connection(Stream& stream, ConnectionShared& shared, Activity& activity,
                              std::string_view peer) {
  const WaitingScope waits(shared.waiting, activity);
  const Result<void> ready = stream.handshake(this_fiber::after(shared.timeouts.handshake));
  if (!ready) {
    shared.waiting.enter(activity, Phase::kClosing);
    const Error& error = ready.error();
    if (error.openssl_code == kHttpRequest || error.openssl_code == kHttpsProxyRequest) {
      answer_in_plain_http(stream, shared, peer);
    }
    // An alert may be on its way, which says why; to others there is nothing to say.
    if (error.code == Errc::kProtocol || error.code == Errc::kUntrusted) {
      static_cast<void>(stream.close(this_fiber::after(shared.timeouts.close)));
    }
    return ready;
  }
  ServedConnection(stream, shared, activity, peer).serve();
  return {};
}

}  // namespace heddle::http
