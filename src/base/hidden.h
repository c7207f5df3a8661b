// HEDDLE_HIDDEN: for a class within a public class that is defined in src. It would be exported
// with the class around it (heddle/export.h) otherwise.
#pragma once

#if defined(__GNUC__)
#define HEDDLE_HIDDEN __attribute__((visibility("hidden")))
#else
#define HEDDLE_HIDDEN
#endif
