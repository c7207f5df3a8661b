// Fetches the HTTPS URLs on standard input: fetch_pool AT-ONCE SECONDS-FOR-EACH [CA-FILE]
// Prints status, bytes and how TLS began. Asks in HTTP/1.0: bodies come as they are (RFC
// 9112, 6.1).
#include <algorithm>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <map>
#include <stdexcept>

#include "heddle/heddle.h"

using namespace heddle;  // NOLINT(google-build-using-namespace): it is an example.

struct Url {
  explicit Url(std::string_view text) {
    const bool odd = std::any_of(text.begin(), text.end(), [](char c) { return c <= ' '; });
    if (odd || !text.starts_with("https://")) throw std::runtime_error("not an https URL");
    text = text.substr(8, text.find('#') - 8);
    origin = text.substr(0, text.find_first_of("/?"));
    target = text.substr(origin.size());
    if (!target.starts_with('/')) target.insert(target.begin(), '/');
    const auto colon = std::min(origin.find(':', origin.find(']') + 1), origin.size());
    host = origin.substr(origin.starts_with('['), colon - 2 * origin.starts_with('['));
    if (colon == origin.size()) return;
    const auto [rest, error] = std::from_chars(&origin[colon + 1], &origin[origin.size()], port);
    if (*rest != 0 || error != std::errc()) throw std::runtime_error("not a port");
  }
  std::string origin, host, target;
  std::uint16_t port = 443;
};

struct Answer {
  Answer(Stream& stream, Deadline deadline) {
    if (stream.connection_state().resumed) how = "resumed";
    BufferedReader in(stream);
    const auto head = in.read_until("\r\n\r\n", 65536, deadline).value();
    if (!head || std::sscanf(head->c_str(), "HTTP/1.%*d %d", &status) != 1)
      throw std::runtime_error("no HTTP answer");
    const auto field = [&](const std::string& name) -> std::string {
      const char* at = strcasestr(head->c_str(), ("\r\n" + name + ":").c_str());
      if (at == nullptr) return "";
      at += name.size() + 3 + std::strspn(at + name.size() + 3, " \t");
      return {at, std::strcspn(at, " \t\r")};
    };
    location = field("Location");
    const auto length = field("Content-Length");
    const auto expected = length.empty() ? SIZE_MAX : std::stoul(length);
    std::array<std::byte, 16384> piece;
    for (std::size_t got = 1; got > 0 && bytes < expected; bytes += got)
      got = in.read(piece, deadline).value();
    if (!length.empty() && bytes != expected) throw std::runtime_error("cut off");
  }
  const char* how = "full";
  int status = 0;
  std::string location;
  std::size_t bytes = 0;
};

struct Client {
  std::chrono::seconds patience;
  Context tls = Context::create(Role::kClient).value();
  // By host and port. Each is used once (RFC 8446, C.4), and brings the next one.
  std::multimap<std::string, Session> sessions{};
  int failed = 0;

  Answer ask(const Url& url, Deadline deadline) {
    StreamOptions options{.server_name = url.host};
    if (auto known = sessions.extract(url.origin)) options.session = known.mapped();
    auto socket = connect(this_fiber::runtime(), url.host, url.port, deadline).value();
    auto stream = Stream::create(tls, std::move(socket), options).value();
    const auto done = stream.handshake(deadline);
    if (!done) throw std::runtime_error(stream.explain(done.error()));
    const auto request = "GET " + url.target + " HTTP/1.0\r\nHost: " + url.origin + "\r\n\r\n";
    stream.write(request, deadline).value();
    Answer answer(stream, deadline);
    if (auto next = stream.session(); next && next->is_resumable())
      sessions.emplace(url.origin, *next);
    (void)stream.close(deadline);
    return answer;
  }

  void fetch(const std::string& text) try {
    const Deadline deadline = this_fiber::after(patience);
    Url url(text);
    for (int hops = 0; hops < 6; ++hops) {
      const Answer got = ask(url, deadline);
      if (got.status / 100 != 3 || got.location.empty())
        return (void)std::printf("%s %d %zu %s\n", text.c_str(), got.status, got.bytes, got.how);
      url = Url(got.location[0] == '/' ? "https://" + url.origin + got.location : got.location);
    }
    throw std::runtime_error("too many redirects");
  } catch (const std::exception& error) {
    std::printf("%s failed: %s\n", text.c_str(), error.what());
    ++failed;
  }
};

int main(int argc, char** argv) try {
  if (argc < 3) throw std::runtime_error("usage: fetch_pool AT-ONCE SECONDS [CA-FILE] < URLS");
  Client client{.patience = std::chrono::seconds(std::stoi(argv[2]))};
  if (argc > 3) client.tls.load_verify_locations(argv[3]).value();
  auto runtime = Runtime::create().value();
  Channel<std::string> urls(0);
  const auto work = [&] {
    while (const auto url = urls.pop().value()) client.fetch(*url);
  };
  const auto fetch_all = [&](Scope& fibers) {
    for (int i = std::stoi(argv[1]); i > 0; --i) fibers.spawn("fetch", work).value();
    DescriptorSource input(0);
    BufferedReader lines(input);
    while (auto url = lines.read_line(8192, Deadline::never()).value()) urls.push(*url).value();
    urls.close();
  };
  runtime.spawn("main", [&] { scope(fetch_all); }).value();
  runtime.run();
  return client.failed == 0 ? 0 : 1;
} catch (const std::exception& error) {
  return std::fprintf(stderr, "fetch_pool: %s\n", error.what()), 2;
}
