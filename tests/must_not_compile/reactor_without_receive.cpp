// expect: reactor.receive(receive, fd, in)
// A loop that receives no descriptors.
#include "small_reactor.hpp"

struct Reactor : SmallReactor {
#ifndef CORRECTED
  void receive(vumedia::io::ReceiveOperation& operation, int fd, std::span<std::byte> in) = delete;
#endif
};

using Host = vumedia::vhost_user::SessionHost<Reactor>;
