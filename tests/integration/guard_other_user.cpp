// A plugin that is linked with guard_other_ssl. It ends with the call, so that the compiler makes
// it a jump: the return address is the loader's, which is linked with neither OpenSSL.
extern "C" {

void* SSL_new(void* context);
int SSL_read(void* ssl, void* buffer, int size);

[[gnu::visibility("default")]] int run_plugin() {
  static char byte = 0;
  static void* const ssl = SSL_new(nullptr);
  return SSL_read(ssl, &byte, 1);
}
}
