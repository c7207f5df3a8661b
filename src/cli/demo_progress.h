// Progress: a bar on a terminal, a few plain lines elsewhere.
#pragma once

#include <string>
#include <string_view>

namespace heddle::cli {

// Whether to colour what is written to `descriptor`: a terminal, and NO_COLOR is not set.
bool wants_colour(int descriptor);

// Progress tells on standard error how far a long command has come.
class Progress {
 public:
  Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  ~Progress() { finish(); }

  // Begins a stage, such as "shared: 2,000 handshakes".
  void begin(std::string_view stage);

  // Redraws the bar. `fraction` is 0 to 1. Without a terminal it does nothing.
  void update(double fraction, std::string_view detail);

  // Removes the bar.
  void finish();

 private:
  const bool terminal_;
  const bool colour_;
  std::string stage_;
};

}  // namespace heddle::cli
