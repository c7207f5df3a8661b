// Knows nothing of OpenSSL: loads the plugins that it is given, hidden from each other, and runs
// them in turn. Exits with the sum of what they return.
//
//   guard_loader [--deepbind | --namespace | --both] PLUGIN...
#include <cstdio>
#include <string_view>

#include <dlfcn.h>

namespace {

struct How {
  int flags = RTLD_NOW | RTLD_LOCAL;
  bool own_namespace = false;
};

void* load(const How& how, const char* path) {
  return how.own_namespace ? dlmopen(LM_ID_NEWLM, path, how.flags) : dlopen(path, how.flags);
}

}  // namespace

int main(int argc, char** argv) {
  How how;
  int sum = 0;
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    if (argument == "--deepbind" || argument == "--both") how.flags |= RTLD_DEEPBIND;
    if (argument == "--namespace" || argument == "--both") how.own_namespace = true;
    if (argument.starts_with("--")) continue;
    void* plugin = load(how, argv[i]);
    void* run = plugin == nullptr ? nullptr : dlsym(plugin, "run_plugin");
    if (run == nullptr) {
      std::fprintf(stderr, "guard_loader: %s\n", dlerror());
      return 99;
    }
    sum += reinterpret_cast<int (*)()>(run)();
  }
  return sum;
}
