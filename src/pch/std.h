// Precompiled for src/http. Only the standard library and libc: a header of our own would make
// every file depend on it, and a library's would hide who uses it. No file may rely on this one:
// trees with sanitizers compile without it, and find what a file forgot to include; see
// is_sanitized in src/meson.build.
#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <exception>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>
