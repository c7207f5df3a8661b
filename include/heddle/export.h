// HEDDLE_API: marks what the shared libraries export. C and C++.
//
// The libraries are compiled with -fvisibility=hidden: what does not carry the mark cannot be
// linked to, nor be in conflict with a program's own symbols. On a class it covers the members, the
// vtable and the type information, which a program needs that derives from it or catches it.
#pragma once

#if defined(__GNUC__)
#define HEDDLE_API __attribute__((visibility("default")))
#else
#define HEDDLE_API
#endif
