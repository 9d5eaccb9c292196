// bench/run measures what it costs to compile this file, which only instantiates media::Device with a backend
// like `null`.
#include <vumedia/backends/null.hpp>
#include <vumedia/io/uring_reactor.hpp>
#include <vumedia/media/device.hpp>
#include <vumedia/vhost_user/session_host.hpp>

template class vumedia::media::Device<vumedia::backends::Null,
                                      vumedia::vhost_user::SessionHost<vumedia::io::UringReactor>>;
