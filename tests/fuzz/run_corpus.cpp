// Runs a fuzz target over kept inputs, without libFuzzer: run_corpus FOLDER [CHANGES]. Each input
// is taken as it is, cut short, and CHANGES times with some bytes changed, always the same ones.
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include "fuzz/fuzz.h"

namespace {

constexpr std::size_t kPrefixes = 16;  // Of each input.

void run(const std::string& input) {
  (void)LLVMFuzzerTestOneInput(reinterpret_cast<const std::uint8_t*>(input.data()), input.size());
}

std::string changed(std::string input, std::mt19937& random) {
  const std::size_t count = 1 + random() % 4;
  for (std::size_t i = 0; i < count && !input.empty(); ++i) {
    const std::size_t at = random() % input.size();
    switch (random() % 3) {
      case 0:
        input[at] = static_cast<char>(random());
        break;
      case 1:
        input.erase(at, 1 + random() % 4);
        break;
      default:
        input.insert(at, input.substr(random() % input.size(), 1 + random() % 8));
    }
  }
  return input;
}

std::string content_of(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) return 2;
  const int changes = argc > 2 ? std::atoi(argv[2]) : 0;  // NOLINT(cert-err34-c): ours.
  std::vector<std::filesystem::path> paths;
  for (const auto& entry : std::filesystem::directory_iterator(argv[1])) {
    if (entry.is_regular_file()) paths.push_back(entry.path());
  }
  std::sort(paths.begin(), paths.end());
  for (const std::filesystem::path& path : paths) {
    (void)std::fprintf(stderr, "%s\n", path.c_str());  // The last one is the culprit.
    const std::string input = content_of(path);
    run(input);
    const std::size_t step = std::max<std::size_t>(input.size() / kPrefixes, 1);
    for (std::size_t size = 0; size < input.size(); size += step) run(input.substr(0, size));
    std::mt19937 random(1);
    for (int i = 0; i < changes; ++i) run(changed(input, random));
  }
  return paths.empty() ? 1 : 0;
}
