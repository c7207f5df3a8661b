// HEDDLE_API: marks what the shared libraries export. C and C++.
//
// The libraries are compiled with -fvisibility=hidden: a symbol without the mark cannot be linked
// to, and cannot conflict with a program's own symbols. On a class it covers the members, the
// vtable and the type information, which programs need to derive from the class or to catch it.
#pragma once

#if defined(__GNUC__)
#define HEDDLE_API __attribute__((visibility("default")))
#else
#define HEDDLE_API
#endif
