// Puts findings into words: see report.h.
#include "guard/report.h"

#include <algorithm>
#include <cstring>
#include <span>

#include "guard/elf.h"
#include "guard/loading.h"
#include "guard/seen.h"
#include "guard/settings.h"
#include "guard/sink.h"
#include "guard/stamp.h"
#include "guard/text.h"
#include "guard/unwind.h"

namespace heddle::guard {
namespace {

constexpr std::size_t kFramesMax = 48;

using Frames = std::span<const std::uintptr_t>;

const char* error_name(int error) {
  switch (error) {
    case SSL_ERROR_SSL:
      return "SSL_ERROR_SSL";
    case SSL_ERROR_SYSCALL:
      return "SSL_ERROR_SYSCALL";
    case SSL_ERROR_WANT_READ:
      return "SSL_ERROR_WANT_READ";
    case SSL_ERROR_WANT_WRITE:
      return "SSL_ERROR_WANT_WRITE";
    case SSL_ERROR_ZERO_RETURN:
      return "SSL_ERROR_ZERO_RETURN";
    default:
      return "another SSL_ERROR";
  }
}

const char* want_name(int want) {
  switch (want) {
    case SSL_NOTHING:
      return "nothing";
    case SSL_READING:
      return "read";
    case SSL_WRITING:
      return "write";
    default:
      return "callback";
  }
}

const char* outcome_name(Outcome outcome) {
  switch (outcome) {
    case Outcome::kSpurious:
      return "spurious";
    case Outcome::kSaved:
      return "saved";
    case Outcome::kEnded:
      return "ended";
    case Outcome::kFailed:
      return "failed";
  }
  return "";
}

std::uintptr_t number_of(const void* pointer) {
  return reinterpret_cast<std::uintptr_t>(pointer);
}

// Of data there may be any amount.
std::string_view beginning(std::string_view text) {
  constexpr std::size_t kDataMax = 1024;
  return {text.data(), std::min(text.size(), kDataMax)};
}

// A return address may lie behind the end of its function, if the call was the last thing in it.
struct Spot {
  explicit Spot(std::uintptr_t return_address) : object(object_at(return_address - 1)) {
    if (!object) return;
    offset = return_address - object.base;
    function = function_at(object, return_address - 1, function_offset);
    ++function_offset;
  }

  Object object;
  std::uintptr_t offset = 0;
  std::string_view function;
  std::uintptr_t function_offset = 0;
};

// --- Text ----------------------------------------------------------------------------------------

void write_spot(Text& text, std::uintptr_t return_address) {
  const Spot spot(return_address);
  if (!spot.object) {
    text.address(return_address);
    return;
  }
  text.printable(short_name(spot.object)) << "+";
  text.address(spot.offset);
  if (spot.function.empty()) return;
  (text << " (").printable(spot.function) << "+";
  text.address(spot.function_offset) << ")";
}

void write_origin(Text& text, const char* function, const char* file, int line) {
  if (*function != 0) (text << " by ").printable(function) << "()";
  if (*file != 0) (text << " at ").printable(file) << ":";
  if (*file != 0) text.integer(line);
}

void write_entry(Text& text, const Library& library, const Entry& entry) {
  (text << "error:").hexadecimal(entry.code, 8) << ":";
  text.printable(library_text(library, entry.code)) << "::";
  text.printable(reason_text(library, entry.code));
  if (*entry.data != 0) (text << ":").printable(beginning(entry.data));
  text << ", pushed";
  write_origin(text, entry.function, entry.file, entry.line);
}

void write_trail(Text& text, const Trail& trail) {
  if (trail.site == nullptr) {
    text << "  left by: code that ran on this thread before its first TLS call\n";
    return;
  }
  text << (trail.left_entries ? "  left by: " : "  left by: code that ran during or after ")
       << name_of(trail.call) << " on SSL ";
  text.address(number_of(trail.ssl)) << ", called from ";
  write_spot(text, number_of(trail.site));
  text << (trail.left_entries ? ": the queue was empty before it and not after\n"
                              : ": the queue was empty before it\n");
}

void write_dirty_text(Text& text, const Finding& finding, Frames frames) {
  write_stamp_text(text);
  text << name_of(finding.place.call) << " on SSL ";
  text.address(number_of(finding.ssl)) << " is called with ";
  text.decimal(finding.entries.count)
      << (finding.entries.complete ? "" : " or more")
      << (finding.entries.count == 1 ? " stale entry" : " stale entries") << " in the error queue";
  (text << " (place ").decimal(finding.place.number)
      << (mode() == Mode::kCure ? "); cleared\n" : ")\n");
  for (std::size_t i = 0; i < finding.entries.count; ++i) {
    (text << "  entry ").decimal(i + 1)
        << (i == 0 ? ", which SSL_get_error" : "") << (i == 0 ? "() goes by: " : ": ");
    write_entry(text, finding.library, finding.entries.entries[i]);
    text << "\n";
  }
  write_trail(text, finding.trail);
  for (std::size_t i = 0; i < frames.size(); ++i) {
    text << (i == 0 ? "  called from: " : "               ");
    write_spot(text, frames[i]);
    text << "\n";
  }
}

void write_outcome_text(Text& text, const Place& place, const SSL* ssl, const Result& result) {
  write_stamp_text(text);
  text << name_of(result.call) << " on SSL ";
  text.address(number_of(ssl)) << " (place ";
  text.decimal(place.number) << (result.call == Call::kGetError
                                     ? ") is asked about a call that returned "
                                     : ") returned ");
  text.integer(result.returned);
  if (result.outcome == Outcome::kFailed) {
    text << ": it failed for a reason of its own, but the program will look at the stale entry "
            "first: "
         << error_name(result.seen) << "\n";
    return;
  }
  if (result.outcome == Outcome::kEnded) {
    text << ": the peer has ended the connection in good order, ";
    if (mode() == Mode::kCure) {
      text << "and OpenSSL says so: without the cure it would have looked like a failure\n";
    } else {
      text << "but the stale entry makes it say " << error_name(result.seen)
           << ": it looks like a failure\n";
    }
    return;
  }
  text << ": OpenSSL only wants to " << want_name(result.wanted);
  if (result.outcome == Outcome::kSaved) {
    text << " and says so: without the cure the program would have taken the connection for dead\n";
    return;
  }
  text << ", but the stale entry makes it say " << error_name(result.seen)
       << ": a healthy connection looks dead\n";
}

void write_place_text(Text& text, const Place& place) {
  (text << "  place ").decimal(place.number) << ": " << name_of(place.call) << " called from ";
  write_spot(text, number_of(place.site));
  (text << ": ").decimal(place.times) << " times";
  if (place.spurious != 0)
    (text << ", ").decimal(place.spurious) << " healthy connections called dead";
  if (place.saved != 0) (text << ", ").decimal(place.saved) << " saved from being called dead";
  if (place.ended != 0) {
    (text << ", ").decimal(place.ended)
        << " ends in good order "
        << (mode() == Mode::kCure ? "saved from being called failures" : "called failures");
  }
  if (place.failed != 0)
    (text << ", ").decimal(place.failed) << " failed for a reason of their own";
  (text << "; error:").hexadecimal(place.code, 8) << " pushed";
  write_origin(text, place.function.data(), place.file.data(), place.line);
  text << "\n";
}

// --- JSON ----------------------------------------------------------------------------------------

void write_spot_json(Text& text, std::uintptr_t return_address) {
  const Spot spot(return_address);
  (text << "{\"address\":\"").address(return_address) << "\"";
  if (spot.object) {
    (text << ",\"module\":").quoted(short_name(spot.object));
    (text << ",\"path\":").quoted(spot.object.path);
    (text << ",\"offset\":\"").address(spot.offset) << "\"";
  }
  if (!spot.function.empty()) (text << ",\"function\":").quoted(spot.function);
  text << "}";
}

void write_entry_json(Text& text, const Library& library, const Entry& entry) {
  (text << "{\"code\":\"").hexadecimal(entry.code, 8) << "\"";
  (text << ",\"library\":").quoted(library_text(library, entry.code));
  (text << ",\"reason\":").quoted(reason_text(library, entry.code));
  (text << ",\"data\":").quoted(beginning(entry.data));
  (text << ",\"file\":").quoted(entry.file);
  (text << ",\"line\":").integer(entry.line);
  (text << ",\"function\":").quoted(entry.function) << "}";
}

void write_call_json(Text& text, Call call, const SSL* ssl) {
  (text << "\"call\":").quoted(name_of(call));
  (text << ",\"ssl\":\"").address(number_of(ssl)) << "\"";
}

void write_trail_json(Text& text, const Trail& trail) {
  text << ",\"left\":";
  if (trail.site == nullptr) {
    text << "null";
    return;
  }
  text << "{\"when\":\"" << (trail.left_entries ? "by" : "during or after") << "\",";
  write_call_json(text, trail.call, trail.ssl);
  text << ",\"site\":";
  write_spot_json(text, number_of(trail.site));
  text << "}";
}

void write_dirty_json(Text& text, const Finding& finding, Frames frames) {
  write_stamp_json(text, "dirty");
  (text << ",\"place\":").decimal(finding.place.number) << ",";
  write_call_json(text, finding.place.call, finding.ssl);
  text << ",\"cleared\":" << (mode() == Mode::kCure ? "true" : "false")
       << ",\"complete\":" << (finding.entries.complete ? "true" : "false") << ",\"entries\":[";
  for (std::size_t i = 0; i < finding.entries.count; ++i) {
    if (i > 0) text << ",";
    write_entry_json(text, finding.library, finding.entries.entries[i]);
  }
  text << "]";
  write_trail_json(text, finding.trail);
  text << ",\"backtrace\":[";
  for (std::size_t i = 0; i < frames.size(); ++i) {
    if (i > 0) text << ",";
    write_spot_json(text, frames[i]);
  }
  text << "]}\n";
}

void write_outcome_json(Text& text, const Place& place, const SSL* ssl, const Result& result) {
  write_stamp_json(text, "outcome");
  (text << ",\"place\":").decimal(place.number) << ",";
  write_call_json(text, result.call, ssl);
  text << ",\"outcome\":\"" << outcome_name(result.outcome) << "\",\"returned\":";
  text.integer(result.returned) << ",\"wanted\":\"" << want_name(result.wanted) << "\",\"seen\":\""
                                << error_name(result.seen) << "\"}\n";
}

void write_count_json(Text& text, const Place& place) {
  write_stamp_json(text, "count");
  (text << ",\"place\":").decimal(place.number) << ",\"call\":\"" << name_of(place.call);
  (text << "\",\"times\":").decimal(place.times);
  (text << ",\"spurious\":").decimal(place.spurious);
  (text << ",\"saved\":").decimal(place.saved);
  (text << ",\"ended\":").decimal(place.ended);
  (text << ",\"failed\":").decimal(place.failed) << "}\n";
}

// --- The end -------------------------------------------------------------------------------------

struct Totals {
  std::uint64_t places = 0;
  std::uint64_t times = 0;
  std::uint64_t handshakes = 0;
};

Totals total() {
  Totals totals;
  for_each_place(
      [](const Place& place, void* data) {
        auto& sum = *static_cast<Totals*>(data);
        if (clears_the_queue_itself(place.call)) {
          sum.handshakes += place.times;
        } else {
          sum.places += 1;
          sum.times += place.times;
        }
      },
      &totals);
  return totals;
}

// Who defines SSL_read() here: "" if nobody does.
std::string_view openssl_here() {
  std::string_view name;
  for_each_object(
      [](const Object& object, void* data) {
        if (object.base == own_object().base) return false;
        if (!is_openssl(object)) return false;
        *static_cast<std::string_view*>(data) = short_name(object);
        return true;
      },
      &name);
  return name;
}

// The name of a library that is nothing but OpenSSL.
bool is_libssl(std::string_view name) {
  constexpr std::string_view kName = "libssl";  // starts_with() may call into the C++ library.
  return name.size() >= kName.size() && std::memcmp(name.data(), kName.data(), kName.size()) == 0;
}

void write_nothing_text(Text& text) {
  if (family_saw_a_call()) {
    text << (saw_a_call() ? "no TLS call was made with entries in the error queue\n"
                          : "no TLS call was made here; those of forked processes were watched\n");
    return;
  }
  const std::string_view openssl = openssl_here();
  if (saw_an_unwatched_call()) {
    text << "TLS calls were made, but not to an OpenSSL 3 or 4; others cannot be watched\n";
    return;
  }
  text << "no TLS call was seen: ";
  if (used_other_namespaces()) {
    text << "libraries were loaded with dlmopen() into a namespace of their own, which cannot be "
            "watched\n";
    return;
  }
  if (openssl.empty()) {
    text << "no libssl is loaded. If this program speaks TLS, OpenSSL is linked into it statically "
            "or it uses another library; neither can be watched\n";
    return;
  }
  if (!is_libssl(openssl)) {
    text.printable(openssl) << " has an OpenSSL of its own inside, linked statically; that cannot "
                               "be watched\n";
    return;
  }
  text.printable(openssl) << " is there, but the program made no call, or found the functions with "
                             "dlsym(), or calls through BIOs; those cannot be watched\n";
}

void write_exit_text(Text& text, const Totals& totals) {
  write_stamp_text(text);
  if (totals.times + totals.handshakes == 0) {
    write_nothing_text(text);
    return;
  }
  text.decimal(totals.times) << " TLS calls with stale entries in the error queue, in ";
  text.decimal(totals.places) << " places";
  if (calls_without_place() > 0) {
    (text << ", and ").decimal(calls_without_place()) << " calls more in other places";
  }
  if (totals.handshakes > 0) {
    (text << "; ").decimal(totals.handshakes)
        << " handshake calls, which empty the queue themselves";
  }
  text << "\n";
  for_each_place(
      [](const Place& place, void* data) {
        if (!clears_the_queue_itself(place.call))
          write_place_text(*static_cast<Text*>(data), place);
      },
      &text);
}

void write_exit_json(Text& text, const Totals& totals) {
  write_stamp_json(text, "exit");
  (text << ",\"saw_calls\":") << (saw_a_call() ? "true" : "false");
  text << ",\"unwatched_calls\":" << (saw_an_unwatched_call() ? "true" : "false");
  const std::string_view openssl = openssl_here();
  (text << ",\"openssl\":").quoted(openssl);
  text << ",\"openssl_inside\":" << (openssl.empty() || is_libssl(openssl) ? "false" : "true");
  text << ",\"other_namespaces\":" << (used_other_namespaces() ? "true" : "false");
  (text << ",\"places\":").decimal(totals.places);
  (text << ",\"times\":").decimal(totals.times);
  (text << ",\"without_place\":").decimal(calls_without_place());
  (text << ",\"handshakes\":").decimal(totals.handshakes) << "}\n";
}

template <typename JsonWriter>
void publish_in_tally(JsonWriter write_json) {
  const Room room;
  Text record(room.get());
  write_json(record);
  write_tally(record.view());
}

// Writes a record to the log in its format, and to the tally in JSON.
template <typename TextWriter, typename JsonWriter>
void publish(TextWriter write_text, JsonWriter write_json) {
  const Room room;
  Text record(room.get());
  if (log_format() == Format::kText) {
    write_text(record);
    write_log(record.view());
    record.clear();
  }
  if (log_format() == Format::kText && tally_file().path == nullptr) return;
  write_json(record);
  if (log_format() == Format::kJson) write_log(record.view());
  write_tally(record.view());
}

}  // namespace

void report_dirty(const Finding& finding) {
  std::array<std::uintptr_t, kFramesMax> room{};
  const std::size_t depth = walk_stack(finding.place.site, room);
  const Frames frames = Frames(room).first(depth);
  publish([&](Text& text) { write_dirty_text(text, finding, frames); },
          [&](Text& text) { write_dirty_json(text, finding, frames); });
}

void report_outcome(const Place& place, const SSL* ssl, const Result& result) {
  publish([&](Text& text) { write_outcome_text(text, place, ssl, result); },
          [&](Text& text) { write_outcome_json(text, place, ssl, result); });
}

void report_count(const Place& place) {
  publish([](Text&) {}, [&](Text& text) { write_count_json(text, place); });
}

void report_exit(bool is_first_process) {
  const Totals totals = total();
  const bool found = totals.times + totals.handshakes > 0;
  if (!found && !is_first_process) {
    // Nothing that anybody wants to read, but it is to be counted.
    if (saw_a_call()) publish_in_tally([&](Text& text) { write_exit_json(text, totals); });
    return;
  }
  for_each_place([](const Place& place, void*) { report_count(place); }, nullptr);
  publish(
      [&](Text& text) {
        // Under `heddle guard` the summary comes from there, unless there is a file to keep it in.
        if (tally_file().path == nullptr || log_file().path != nullptr)
          write_exit_text(text, totals);
      },
      [&](Text& text) { write_exit_json(text, totals); });
}

}  // namespace heddle::guard
