// Knows nothing of OpenSSL: loads the plugins that it is given, hidden from each other, and runs
// them in turn. Exits with the sum of what they return.
#include <cstdio>

#include <dlfcn.h>

int main(int argc, char** argv) {
  int sum = 0;
  for (int i = 1; i < argc; ++i) {
    void* plugin = dlopen(argv[i], RTLD_NOW | RTLD_LOCAL);
    void* run = plugin == nullptr ? nullptr : dlsym(plugin, "run_plugin");
    if (run == nullptr) {
      std::fprintf(stderr, "guard_loader: %s\n", dlerror());
      return 99;
    }
    sum += reinterpret_cast<int (*)()>(run)();
  }
  return sum;
}
