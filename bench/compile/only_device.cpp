// What it costs to compile a file that only instantiates media::Device on a backend like `null`: bench/run
// measures it.
#include <vumedia/backends/null.hpp>
#include <vumedia/io/uring_reactor.hpp>
#include <vumedia/media/device.hpp>
#include <vumedia/vhost_user/session_host.hpp>

template class vumedia::media::Device<vumedia::backends::Null,
                                      vumedia::vhost_user::SessionHost<vumedia::io::UringReactor>>;
