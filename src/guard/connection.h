// Which connection it is: what the program's owner knows it by.
#pragma once

#include "guard/library.h"
#include "guard/text.h"

namespace heddle::guard {

// "descriptor 7, 10.0.0.1:4711 to 10.0.0.2:443, client, "example.org", TLSv1.3, SSL negotiation
// finished successfully": as far as it is known.
void write_connection_text(Text& text, const Library& library, const SSL* ssl);

// An object with descriptor, local, peer, role, name, version and state, as far as they are known.
void write_connection_json(Text& text, const Library& library, const SSL* ssl);

}  // namespace heddle::guard
