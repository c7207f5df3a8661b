// What is said at the end of a process: what was found or, if nothing was, why not.
#include <cstring>

#include "guard/elf.h"
#include "guard/library.h"
#include "guard/loading.h"
#include "guard/provoke.h"
#include "guard/publish.h"
#include "guard/report.h"
#include "guard/seen.h"
#include "guard/spots.h"
#include "guard/stamp.h"

namespace heddle::guard {
namespace {

std::uintptr_t number_of(const void* pointer) {
  return reinterpret_cast<std::uintptr_t>(pointer);
}

void write_place_text(Text& text, const Place& place) {
  (text << "  place ").decimal(place.number) << ": " << name_of(place.call) << " called from ";
  write_spot_text(text, number_of(place.site));
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
  write_pusher(text, place.function.data(), place.file.data(), place.line);
  text << "\n";
}

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
  (text << ",\"provoked\":").decimal(times_provoked());
  text << ",\"turns\":" << (had_turns() ? "true" : "false");
  text << ",\"other_namespaces\":" << (used_other_namespaces() ? "true" : "false");
  (text << ",\"places\":").decimal(totals.places);
  (text << ",\"times\":").decimal(totals.times);
  (text << ",\"without_place\":").decimal(calls_without_place());
  (text << ",\"handshakes\":").decimal(totals.handshakes) << "}\n";
}

}  // namespace

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
