// Making a Signals once the reactor is known.
#pragma once

#include <initializer_list>

#include "heddle/result.h"
#include "heddle/signals.h"

#include "io/reactor.h"

namespace heddle::io {

class SignalsFactory {
 public:
  static Result<Signals> make(Reactor& reactor, std::initializer_list<int> signals);
};

}  // namespace heddle::io
