// What fuzz targets share. A target is one file that defines LLVMFuzzerTestOneInput(): it is linked
// to libFuzzer (-Dfuzz=true), or to run_corpus.cpp in every other tree.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>
#include <string_view>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace heddle::fuzz {

// Ends the run if a property does not hold.
inline void require(bool holds, const char* property) {
  if (holds) return;
  (void)std::fprintf(stderr, "does not hold: %s\n", property);
  std::abort();
}

inline std::string_view text_of(const std::uint8_t* data, std::size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

// Choices that depend on the input alone, for what is not to be part of it: a corpus stays
// readable.
inline std::mt19937 choices_for(std::string_view input) {
  std::uint32_t hash = 2166136261U;  // FNV-1a
  for (const char c : input) hash = (hash ^ static_cast<unsigned char>(c)) * 16777619U;
  return std::mt19937(hash);
}

// Where to cut `size` bytes into pieces of up to `piece_max`.
inline std::vector<std::size_t> cuts_of(std::size_t size, std::size_t piece_max,
                                        std::mt19937& random) {
  std::vector<std::size_t> cuts;
  for (std::size_t at = 1 + random() % piece_max; at < size; at += 1 + random() % piece_max) {
    cuts.push_back(at);
  }
  return cuts;
}

// `text` with characters changed as `edits` say, three bytes for each: where, and to what. For
// texts that are made now, because none may be kept.
inline std::string edited(std::string text, std::string_view edits) {
  for (; edits.size() >= 3 && !text.empty(); edits.remove_prefix(3)) {
    const std::size_t at = static_cast<unsigned char>(edits[0]) * std::size_t{256} +
                           static_cast<unsigned char>(edits[1]);
    text[at % text.size()] = edits[2];
  }
  return text;
}

}  // namespace heddle::fuzz
