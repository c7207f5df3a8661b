// Precompiled for the library and src/stale; see std.h.
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "pch/std.h"
