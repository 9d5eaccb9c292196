// What a daemon includes for its device, with an installed copy: the headers are there, and what they need is
// linked.
#include <cstring>

#include <vumedia/core/version.hpp>
#include <vumedia/io/uring_reactor.hpp>
#include <vumedia/media/device.hpp>
#include <vumedia/vhost_user/server.hpp>

int main() {
  // VERSION is the version that the package reports.
  if (std::strcmp(vumedia::version_string, VERSION) != 0) return 1;
  return vumedia::io::UringReactor::create() ? 0 : 2;
}
