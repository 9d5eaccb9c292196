// expect: the argument of client::BasicGuest does not satisfy client::Transport
// A guest with something that does not lead to a device.
#include <span>

#include <vumedia/client/guest.hpp>

struct Nothing {
  using SharedMemory = std::span<std::byte>;
};

#ifdef CORRECTED
using Way = vumedia::client::VhostUserTransport;
#else
using Way = Nothing;
#endif

template class vumedia::client::BasicGuest<Way>;
