// A media backend as a daemon, in one call:
//
// clang-format off
//   int main(int, char** arguments) {
//     auto listener = vumedia::io::Listener::at(arguments[1]);
//     if (!listener) ...  // listener.error().message says why
//     auto served = vumedia::vhost_user::serve<MyBackend>(std::move(*listener));
//   }
// clang-format on
#pragma once

#include <utility>

#include <vumedia/core/result.hpp>
#include <vumedia/io/listener.hpp>
#include <vumedia/io/reactor.hpp>
#include <vumedia/io/uring_reactor.hpp>
#include <vumedia/media/device.hpp>
#include <vumedia/vhost_user/serve.hpp>
#include <vumedia/vhost_user/session_host.hpp>

namespace vumedia::vhost_user {

/// What serve_device() takes, and what each device is given.
struct MediaServeOptions : ServeOptions {
  media::DeviceOptions device;  ///< limits on what a guest can make it hold
};

/// Serves virtio-media devices with this backend (media/backend.hpp) until it is told to stop; see
/// serve_device(). Each frontend has a backend of its own, made of copies of `arguments`. Where io_uring is
/// forbidden, serve<Backend, io::EpollReactor> does the same with three system calls for each command instead
/// of one; its header is io/epoll_reactor.hpp. A program that has both can try the first (create() of the
/// reactor says whether it is granted) and then the second; each is compiled by itself.
template <class Backend, io::Reactor R = io::UringReactor, class... Arguments>
[[nodiscard]] Outcome<> serve(io::Listener listener, const MediaServeOptions& options = {},
                              const Arguments&... arguments) {
  using Device = media::Device<Backend, SessionHost<R>>;
  return serve_device<Device, R>(std::move(listener), options, options.device, arguments...);
}

}  // namespace vumedia::vhost_user
