// Standard input and output for fibers: one thread each, because files, terminals and pipes can
// block, and other processes may share them, so they must not be made non-blocking.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <thread>
#include <vector>

#include "heddle/deadline.h"
#include "heddle/result.h"

namespace heddle {
class Runtime;
}

namespace heddle::cli {

using Block = std::vector<std::byte>;

// InputThread reads a descriptor ahead, a few blocks far.
//
// Fibers:   one fiber calls next().
// Lifetime: the Runtime and the descriptor must outlive it. Destruction stops the thread, also
//   while it waits for input that never comes.
class InputThread {
 public:
  // Fails with kExhausted when the kernel gives no descriptor.
  static Result<std::unique_ptr<InputThread>> start(Runtime& runtime, int descriptor);

  InputThread(const InputThread&) = delete;
  InputThread& operator=(const InputThread&) = delete;
  ~InputThread();

  // Parks until there is input, and returns it: an empty block at the end, for good. Fails with
  // kCancelled, or with kDisconnected when the descriptor cannot be read.
  Result<Block> next();

 private:
  struct State;
  explicit InputThread(std::shared_ptr<State> state);

  std::shared_ptr<State> state_;
  std::thread thread_;
};

// OutputThread writes a descriptor behind, a few blocks far.
//
// Fibers:   one fiber calls write() and finish().
// Lifetime: the Runtime and the descriptor must outlive it. Destruction waits until what was
//   handed over has been written, or cannot be.
class OutputThread {
 public:
  OutputThread(Runtime& runtime, int descriptor);

  OutputThread(const OutputThread&) = delete;
  OutputThread& operator=(const OutputThread&) = delete;
  ~OutputThread();

  // Hands `block` over; parks while too much is waiting to be written. Fails with kCancelled, or
  // with kDisconnected, now or at a later call, when the descriptor cannot be written.
  Result<void> write(Block block);

  // Parks until everything has been written. Fails as write().
  Result<void> finish();

 private:
  struct State;

  std::shared_ptr<State> state_;
  std::thread thread_;
};

}  // namespace heddle::cli
