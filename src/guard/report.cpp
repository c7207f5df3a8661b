// Puts findings into words: see report.h.
#include "guard/report.h"

#include <algorithm>
#include <span>

#include "guard/connection.h"
#include "guard/origin.h"
#include "guard/publish.h"
#include "guard/spots.h"
#include "guard/stamp.h"
#include "guard/unwind.h"

namespace heddle::guard {

void write_pusher(Text& text, const char* function, const char* file, int line) {
  if (*function != 0) (text << " by ").printable(function) << "()";
  if (*file != 0) (text << " at ").printable(file) << ":";
  if (*file != 0) text.integer(line);
}

namespace {

// Who makes the call that meets the entries. Too big for the stacks of fibers.
struct Victim {
  WalkRoom walk;
  std::array<std::uintptr_t, 48> room;
  std::size_t depth;
  PythonStack python;

  [[nodiscard]] std::span<const std::uintptr_t> frames() const {
    return std::span<const std::uintptr_t>(room).first(depth);
  }
};

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

// --- Text ----------------------------------------------------------------------------------------

void write_entry(Text& text, const Library& library, const Entry& entry) {
  (text << "error:").hexadecimal(entry.code, 8) << ":";
  text.printable(library_text(library, entry.code)) << "::";
  text.printable(reason_text(library, entry.code));
  if (*entry.data != 0) (text << ":").printable(beginning(entry.data));
  text << ", pushed";
  write_pusher(text, entry.function, entry.file, entry.line);
}

void write_python_text(Text& text, const char* title, const PythonStack& stack) {
  for (std::size_t i = 0; i < stack.size(); ++i) {
    text << (i == 0 ? title : "               ");
    write_python_frame_text(text, stack[i]);
    text << "\n";
    if (i + 2 == stack.size() && stack.omitted() > 0) {
      (text << "               ... ").decimal(stack.omitted()) << " more\n";
    }
  }
}

void write_frames_text(Text& text, const char* title, std::span<const std::uintptr_t> frames) {
  for (std::size_t i = 0; i < frames.size(); ++i) {
    text << (i == 0 ? title : "               ");
    write_spot_text(text, frames[i]);
    text << "\n";
  }
}

std::span<const std::uintptr_t> frames_of(const Origin& origin) {
  return std::span<const std::uintptr_t>(origin.frames).first(origin.frame_count);
}

const char* origin_words(How how) {
  switch (how) {
    case How::kPushed:
      return "  the entry was pushed here";
    case How::kCalled:
      return "  the call that left the entry was made here (who pushed it, OpenSSL hides)";
    case How::kProvoked:
      return "  the entry was left by --provoke, after the call here";
  }
  return "";
}

const char* origin_name(How how) {
  switch (how) {
    case How::kPushed:
      return "pushed";
    case How::kCalled:
      return "called";
    case How::kProvoked:
      return "provoked";
  }
  return "";
}

void write_origin_text(Text& text, const Origin& origin) {
  text << origin_words(origin.how);
  if (origin.greenlet.address != 0) {
    (text << ", in greenlet ").address(origin.greenlet.address) << " (";
    text.printable(origin.greenlet.type) << ")";
  }
  text << ":\n";
  write_python_text(text, "       python: ", origin.python);
  write_frames_text(text, "       native: ", frames_of(origin));
}

// The next best to an origin.
void write_trail(Text& text, const Trail& trail) {
  if (trail.site == nullptr) {
    text << "  left by: code that ran on this thread before its first TLS call\n";
    return;
  }
  text << (trail.left_entries ? "  left by: " : "  left by: code that ran during or after ")
       << name_of(trail.call) << " on SSL ";
  text.address(number_of(trail.ssl)) << ", called from ";
  write_spot_text(text, number_of(trail.site));
  text << (trail.left_entries ? ": the queue was empty before it and not after\n"
                              : ": the queue was empty before it\n");
}

void write_dirty_text(Text& text, const Finding& finding, const Victim& victim) {
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
  if (const Origin* const origin = origin_of(finding.entries.entries[0]); origin != nullptr) {
    write_origin_text(text, *origin);
  } else {
    write_trail(text, finding.trail);
  }
  text << "  the connection: ";
  write_connection_text(text, finding.library, finding.ssl);
  text << "\n";
  write_python_text(text, "  called from: ", victim.python);
  write_frames_text(
      text, victim.python.size() == 0 ? "  called from: " : "       native: ", victim.frames());
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

// --- JSON ----------------------------------------------------------------------------------------

void write_origin_json(Text& text, const Origin& origin) {
  text << "{\"how\":\"" << origin_name(origin.how) << "\"";
  (text << ",\"outside\":").decimal(origin.first_outside) << ",\"greenlet\":";
  if (origin.greenlet.address == 0) {
    text << "null";
  } else {
    (text << "{\"address\":\"").address(origin.greenlet.address) << "\",\"type\":";
    text.quoted(origin.greenlet.type) << "}";
  }
  text << ",\"python\":";
  write_python_json(text, origin.python);
  text << ",\"native\":";
  write_spots_json(text, frames_of(origin));
  text << "}";
}

void write_entry_json(Text& text, const Library& library, const Entry& entry) {
  (text << "{\"code\":\"").hexadecimal(entry.code, 8) << "\"";
  (text << ",\"library\":").quoted(library_text(library, entry.code));
  (text << ",\"reason\":").quoted(reason_text(library, entry.code));
  (text << ",\"data\":").quoted(beginning(entry.data));
  (text << ",\"file\":").quoted(entry.file);
  (text << ",\"line\":").integer(entry.line);
  (text << ",\"function\":").quoted(entry.function) << ",\"origin\":";
  if (const Origin* const origin = origin_of(entry); origin != nullptr) {
    write_origin_json(text, *origin);
  } else {
    text << "null";
  }
  text << "}";
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

void write_dirty_json(Text& text, const Finding& finding, const Victim& victim) {
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
  text << ",\"connection\":";
  write_connection_json(text, finding.library, finding.ssl);
  text << ",\"python\":";
  write_python_json(text, victim.python);
  text << ",\"backtrace\":";
  write_spots_json(text, victim.frames());
  text << "}\n";
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

}  // namespace

void report_dirty(const Finding& finding) {
  const Room room;
  if (room.get().size() < sizeof(Victim)) return;
  auto& victim = *reinterpret_cast<Victim*>(room.get().data());  // All zero.
  victim.depth = walk_stack(finding.place.site, victim.room, victim.walk);
  read_python_stack(victim.python);
  publish([&](Text& text) { write_dirty_text(text, finding, victim); },
          [&](Text& text) { write_dirty_json(text, finding, victim); });
}

void report_outcome(const Place& place, const SSL* ssl, const Result& result) {
  publish([&](Text& text) { write_outcome_text(text, place, ssl, result); },
          [&](Text& text) { write_outcome_json(text, place, ssl, result); });
}

void report_count(const Place& place) {
  publish([](Text&) {}, [&](Text& text) { write_count_json(text, place); });
}

void report_provoked(std::uint64_t times) {
  publish_in_tally([&](Text& text) {
    write_stamp_json(text, "provoked");
    (text << ",\"times\":").decimal(times) << "}\n";
  });
}

}  // namespace heddle::guard
