// expect: loop.cancel(operation)
// A loop that cannot take an operation back.
#include "small_reactor.hpp"

struct Reactor : SmallReactor {
#ifndef CORRECTED
  void cancel(vumedia::io::Operation& operation) = delete;
#endif
};

using Host = vumedia::vhost_user::SessionHost<Reactor>;
