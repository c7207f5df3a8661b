// What `heddle serve` writes to its log.
#pragma once

#include <cstddef>
#include <span>
#include <string_view>

#include "heddle/error.h"
#include "heddle/fiber.h"

#include "cli/log_writer.h"
#include "http/connection.h"

namespace heddle::cli {

// A line for each request. Throws std::bad_alloc.
void log_request(LogWriter& log, const http::AccessRecord& record);

// A line for a handshake that failed. Throws std::bad_alloc.
void log_handshake(LogWriter& log, std::string_view peer, const Error& error);

// A line for each fiber. Throws std::bad_alloc.
void log_fibers(LogWriter& log, std::span<const FiberInfo> fibers);

// What there is too little of, and what helps. Needs no memory.
void say_exhausted(LogWriter& log, const Error& error, std::size_t connections_max);

}  // namespace heddle::cli
