// The names of functions that a program does not export: from the symbol tables of its files.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace heddle::cli {

class Symbols {
 public:
  // The function in the ELF file at `path` whose code is at `address`, as the file counts them;
  // demangled. "" if it has none, or if the file cannot be read. Files are read once.
  std::string function_at(const std::string& path, std::uint64_t address);

 private:
  struct Function {
    std::uint64_t start = 0;
    std::uint64_t size = 0;
    std::string name;
  };

  static std::vector<Function> read(const std::string& path);

  std::map<std::string, std::vector<Function>> files_;  // Sorted by address.
};

}  // namespace heddle::cli
