// expect: notifier.signal()
// A loop whose signals of an event fd can fail, where nobody would look at that.
#include "small_reactor.hpp"

struct Reactor : SmallReactor {
#ifndef CORRECTED
  struct Notifier {
    bool signal();
  };
  vumedia::Result<Notifier> make_notifier(vumedia::OwnedFd fd);
#endif
};

using Host = vumedia::vhost_user::SessionHost<Reactor>;
