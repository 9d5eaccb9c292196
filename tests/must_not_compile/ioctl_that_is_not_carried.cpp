// expect: ListedIoctl
// A client that sends an ioctl which virtio-media does not carry: no device would know it.
#include <vumedia/client/guest.hpp>

#ifdef CORRECTED
using Tag = vumedia::v4l2::tag::G_FMT;
#else
using Tag = vumedia::v4l2::uncarried::QUERYCAP;
#endif

vumedia::Result<> ask(vumedia::client::Guest& guest, std::uint32_t session) {
  Tag::Payload payload{};
  return guest.ioctl<Tag>(session, payload);
}
