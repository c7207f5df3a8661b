// Exchanging credentials when their files change.
#include "heddle/tls/certificate_watcher.h"

#include <algorithm>
#include <ctime>
#include <mutex>
#include <optional>
#include <utility>

#include "heddle/descriptor.h"
#include "heddle/fiber.h"

#include "base/die.h"
#include "base/handle.h"
#include "base/hidden.h"
#include "fiber/user_code.h"
#include "watch/watched_files.h"

namespace heddle {
namespace {

using Clock = std::chrono::system_clock;

constexpr int kSettlesMax = 10;

Clock::time_point wall_clock() {
  return Clock::from_time_t(std::time(nullptr));
}

// Slot is what is in use. Connections of several threads ask for it.
class Slot {
 public:
  explicit Slot(Credentials first) : credentials_(std::move(first)) {}

  Credentials get() const {
    const std::lock_guard lock(mutex_);
    return credentials_;
  }
  void set(Credentials next) {
    const std::lock_guard lock(mutex_);
    credentials_ = std::move(next);
  }

 private:
  mutable std::mutex mutex_;
  Credentials credentials_;
};

Result<Credentials> load(const std::vector<CertificateFiles>& files) {
  std::vector<Credentials> all;
  for (const CertificateFiles& each : files) {
    auto loaded =
        Credentials::load(each.chain, each.key.empty() ? each.chain : each.key, each.password);
    if (!loaded) return loaded.error();
    all.push_back(*std::move(loaded));
  }
  return Credentials::combine(all);
}

std::vector<std::filesystem::path> names_of(const std::vector<CertificateFiles>& files) {
  std::vector<std::filesystem::path> names;
  for (const CertificateFiles& each : files) {
    names.push_back(each.chain);
    if (!each.key.empty()) names.push_back(each.key);
  }
  return names;
}

}  // namespace

class HEDDLE_HIDDEN CertificateWatcher::Impl {
 public:
  // `watched` has seen the files before `first` was read from them.
  Impl(std::vector<CertificateFiles> files, const WatcherOptions& options,
       watch::WatchedFiles watched, Credentials first)
      : files_(std::move(files)),
        options_(options),
        slot_(std::make_shared<Slot>(std::move(first))),
        watched_(std::move(watched)) {}

  const std::shared_ptr<Slot>& slot() const noexcept { return slot_; }
  Result<void> reload();
  Result<void> run(const std::function<void(const WatcherEvent&)>& tell);

 private:
  Result<void> wait_for_change();
  void try_again(const std::function<void(const WatcherEvent&)>& tell, bool has_changed);
  void warn_of_end(const std::function<void(const WatcherEvent&)>& tell);

  const std::vector<CertificateFiles> files_;
  const WatcherOptions options_;
  const std::shared_ptr<Slot> slot_;
  // Of the fiber in run().
  watch::WatchedFiles watched_;
  std::optional<Clock::time_point> warned_;
  bool refused_ = false;  // What the files hold now.
};

// A certificate that is no good any more is better than none, and so is one for later: but not than
// one that is good now.
Result<void> CertificateWatcher::Impl::reload() {
  auto next = load(files_);
  if (!next) return next.error();
  const Clock::time_point now = wall_clock();
  const auto is_good = [now](const Credentials& credentials) {
    return credentials.not_before() <= now && now <= credentials.not_after();
  };
  if (!is_good(*next) && is_good(slot_->get())) {
    return Error{.code = Errc::kInvalid,
                 .operation = "reload certificates",
                 .detail = next->not_before() > now ? "the new one is not valid yet"
                                                    : "the new one has expired"};
  }
  slot_->set(*std::move(next));
  return {};
}

// Files that were refused may become good without a change: a certificate that was not valid yet, a
// process that had no descriptors left.
void CertificateWatcher::Impl::try_again(const std::function<void(const WatcherEvent&)>& tell,
                                         bool has_changed) {
  const Result<void> reloaded = reload();
  refused_ = !reloaded;
  if (refused_ && !has_changed) return;  // It has been told.
  WatcherEvent event;
  event.kind = reloaded ? WatcherEvent::Kind::kReplaced : WatcherEvent::Kind::kRefused;
  if (!reloaded) event.error = reloaded.error();
  event.not_after = slot_->get().not_after();
  if (reloaded) warned_.reset();
  fiber::call_user(tell, event);
}

void CertificateWatcher::Impl::warn_of_end(const std::function<void(const WatcherEvent&)>& tell) {
  const Clock::time_point now = wall_clock();
  const Clock::time_point end = slot_->get().not_after();
  if (end - now > options_.expiring) return;
  if (warned_ && now - *warned_ < std::chrono::hours(24)) return;
  warned_ = now;
  WatcherEvent event;
  event.kind = WatcherEvent::Kind::kExpiring;
  event.not_after = end;
  fiber::call_user(tell, event);
}

// Returns when something may have changed, and nothing has since for a while.
Result<void> CertificateWatcher::Impl::wait_for_change() {
  const bool is_told = watched_.descriptor() >= 0;
  const Duration look =
      is_told ? options_.look : std::min<Duration>(options_.look, std::chrono::seconds(1));
  if (!is_told) return this_fiber::sleep_until(this_fiber::after(look));
  const auto event =
      wait_descriptor(watched_.descriptor(), Interest::kRead, this_fiber::after(look));
  if (!event) return event.error().code == Errc::kTimedOut ? Result<void>() : event.error();
  // Other files may lie beside ours, and change all the time.
  for (int i = 0; i < kSettlesMax; ++i) {
    watched_.drain();
    const auto more =
        wait_descriptor(watched_.descriptor(), Interest::kRead, this_fiber::after(options_.settle));
    if (!more) return more.error().code == Errc::kTimedOut ? Result<void>() : more.error();
  }
  return {};
}

Result<void> CertificateWatcher::Impl::run(const std::function<void(const WatcherEvent&)>& tell) {
  for (;;) {
    // Before the look at the files, so that what changes behind it is told. Each time, since the
    // folders may be others.
    watched_.arm();
    const bool has_changed = watched_.have_changed();
    if (has_changed || refused_) try_again(tell, has_changed);
    warn_of_end(tell);
    const auto waited = wait_for_change();
    if (!waited) return waited;
  }
}

CertificateWatcher::CertificateWatcher(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
CertificateWatcher::CertificateWatcher(CertificateWatcher&& other) noexcept = default;
CertificateWatcher& CertificateWatcher::operator=(CertificateWatcher&& other) noexcept = default;
CertificateWatcher::~CertificateWatcher() = default;

CertificateWatcher::Impl& CertificateWatcher::impl(const char* call) const noexcept {
  return behind(impl_, "CertificateWatcher", call);
}

Result<CertificateWatcher> CertificateWatcher::create(std::vector<CertificateFiles> files,
                                                      const WatcherOptions& options) {
  if (files.empty()) die("CertificateWatcher::create() of no files: there is nothing to watch");
  watch::WatchedFiles watched(names_of(files));
  (void)watched.have_changed();
  auto first = load(files);
  if (!first) return first.error();
  return CertificateWatcher(
      std::make_unique<Impl>(std::move(files), options, std::move(watched), *std::move(first)));
}

Credentials CertificateWatcher::current() const {
  return impl().slot()->get();
}

CertificateCallback CertificateWatcher::callback() const {
  return [slot = impl().slot()](const ConnectionView&) -> Result<std::optional<Credentials>> {
    return std::optional(slot->get());
  };
}

Result<void> CertificateWatcher::reload() {
  return impl().reload();
}

Result<void> CertificateWatcher::run(const std::function<void(const WatcherEvent&)>& tell) {
  return impl().run(tell);
}

}  // namespace heddle
