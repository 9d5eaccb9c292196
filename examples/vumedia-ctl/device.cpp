#include "device.hpp"

#include <algorithm>
#include <cerrno>
#include <utility>

#include <sys/stat.h>

#include <vumedia/client/guest.hpp>

namespace ctl {

using vumedia::Outcome;
using vumedia::Result;
using vumedia::system_failure;
namespace client = vumedia::client;
namespace tag = vumedia::v4l2::tag;

Device::Device(std::unique_ptr<client::Guest> guest, std::uint32_t session) noexcept
    : guest_(std::move(guest)), session_(session) {}

Device::~Device() {
  static_cast<void>(guest_->close(session_));
}

namespace {

// Advice for a path to which no connection is possible.
vumedia::Error unreachable(const vumedia::Error& error, const std::string& path) {
  struct stat status{};
  if (error.code == ENOENT)
    return {error.message + " (start the device first, with this --socket-path)", error.code};
  if (error.code != ECONNREFUSED || ::stat(path.c_str(), &status) != 0) return error;
  if (S_ISSOCK(status.st_mode))
    return {
        error.message + " (nobody listens there: the device has ended, or the socket is another program's)",
        error.code};
  return {path + " is " + (S_ISDIR(status.st_mode) ? "a folder" : "a file") + ", not the socket of a device",
          0};
}

// A device that serves another frontend hangs up before it sends anything.
vumedia::Error unanswered(const vumedia::Error& error, const std::string& path) {
  const bool hung_up = error.code == ECONNRESET || error.code == EPIPE ||
                       error.message.find("closed the connection") != std::string::npos;
  if (!hung_up) return error;
  return {path + " is busy: a device serves one frontend at a time, and this one has hung up (" +
              error.message + ")",
          error.code};
}

}  // namespace

Outcome<std::unique_ptr<client::Guest>> connect(const std::string& socket_path,
                                                const client::GuestOptions& options) {
  auto transport = client::VhostUserTransport::connect(socket_path);
  if (!transport) return std::unexpected(unreachable(transport.error(), socket_path));
  auto guest = client::Guest::attach(std::move(*transport), options);
  if (!guest) return std::unexpected(unanswered(guest.error(), socket_path));
  return guest;
}

Outcome<std::unique_ptr<Device>> Device::open(const std::string& socket_path) {
  auto guest = connect(socket_path, {});
  if (!guest) return std::unexpected(guest.error());
  const auto session = (*guest)->open();
  if (!session) {
    if ((*guest)->error().code != 0) return std::unexpected((*guest)->error());
    if (session.error().value == EBUSY || session.error().value == EMFILE || session.error().value == ENFILE)
      return system_failure(session.error().value, "the device is busy: it cannot open more files");
    return system_failure(session.error().value, "cannot open the device");
  }
  return std::unique_ptr<Device>(new Device(std::move(*guest), *session));
}

Outcome<> Device::alive() const {
  if (guest_->error().code != 0) return std::unexpected(guest_->error());
  return {};
}

Outcome<> Device::named(const char* name, const Result<>& result) const {
  if (result) return {};
  if (auto connection = alive(); !connection) return connection;
  if (result.error().value == EBUSY)
    return system_failure(EBUSY, "%s: another program uses the device (%s)", card().c_str(), name);
  return system_failure(result.error().value, "%s", name);
}

std::uint32_t Device::capabilities() const noexcept {
  return guest_->config().device_caps;
}
std::uint32_t Device::device_type() const noexcept {
  return guest_->config().device_type;
}
std::uint64_t Device::shared_memory_size() const noexcept {
  return guest_->shm_size();
}
int Device::socket() const noexcept {
  return guest_->frontend().fd();
}

std::string Device::card() const {
  const auto& card = guest_->config().card;
  const auto* const text = reinterpret_cast<const char*>(card.data());
  const std::string name(text, ::strnlen(text, card.size()));
  return name.empty() ? "the device" : name;
}

std::uint32_t Device::capture_type() const noexcept {
  if ((capabilities() & (V4L2_CAP_VIDEO_CAPTURE_MPLANE | V4L2_CAP_VIDEO_M2M_MPLANE)) != 0) {
    return V4L2_BUF_TYPE_VIDEO_CAPTURE_MPLANE;
  }
  return (capabilities() & (V4L2_CAP_VIDEO_CAPTURE | V4L2_CAP_VIDEO_M2M)) != 0 ? V4L2_BUF_TYPE_VIDEO_CAPTURE
                                                                               : 0;
}

std::uint32_t Device::output_type() const noexcept {
  if ((capabilities() & (V4L2_CAP_VIDEO_OUTPUT_MPLANE | V4L2_CAP_VIDEO_M2M_MPLANE)) != 0) {
    return V4L2_BUF_TYPE_VIDEO_OUTPUT_MPLANE;
  }
  return (capabilities() & (V4L2_CAP_VIDEO_OUTPUT | V4L2_CAP_VIDEO_M2M)) != 0 ? V4L2_BUF_TYPE_VIDEO_OUTPUT
                                                                              : 0;
}

template <class Tag>
Result<> Device::try_call(typename Tag::Payload& payload) {
  return guest_->ioctl<Tag>(session_, payload);
}

template Result<> Device::try_call<tag::ENUM_FMT>(v4l2_fmtdesc&);
template Result<> Device::try_call<tag::ENUM_FRAMESIZES>(v4l2_frmsizeenum&);
template Result<> Device::try_call<tag::ENUM_FRAMEINTERVALS>(v4l2_frmivalenum&);
template Result<> Device::try_call<tag::ENUMINPUT>(v4l2_input&);
template Result<> Device::try_call<tag::G_FMT>(v4l2_format&);
template Result<> Device::try_call<tag::S_FMT>(v4l2_format&);
template Result<> Device::try_call<tag::G_PARM>(v4l2_streamparm&);
template Result<> Device::try_call<tag::S_PARM>(v4l2_streamparm&);
template Result<> Device::try_call<tag::G_SELECTION>(v4l2_selection&);
template Result<> Device::try_call<tag::QUERY_EXT_CTRL>(v4l2_query_ext_ctrl&);
template Result<> Device::try_call<tag::QUERYMENU>(v4l2_querymenu&);
template Result<> Device::try_call<tag::S_CTRL>(v4l2_control&);
template Result<> Device::try_call<tag::G_EXT_CTRLS>(vumedia::v4l2::ExtControls&);
template Result<> Device::try_call<tag::S_EXT_CTRLS>(vumedia::v4l2::ExtControls&);
template Result<> Device::try_call<tag::SUBSCRIBE_EVENT>(v4l2_event_subscription&);
template Result<> Device::try_call<tag::DECODER_CMD>(v4l2_decoder_cmd&);
template Result<> Device::try_call<tag::REQBUFS>(v4l2_requestbuffers&);
template Result<> Device::try_call<tag::CREATE_BUFS>(v4l2_create_buffers&);
template Result<> Device::try_call<tag::STREAMON>(std::uint32_t&);
template Result<> Device::try_call<tag::STREAMOFF>(std::uint32_t&);

Outcome<> Device::query_buffer(vumedia::v4l2::Buffer& buffer) {
  vumedia::v4l2::BufferPayload payload{};
  payload.buffer = buffer;
  auto done = named("VIDIOC_QUERYBUF", guest_->ioctl<tag::QUERYBUF>(session_, payload));
  if (done) buffer = payload.buffer;
  return done;
}

Outcome<> Device::queue_buffer(vumedia::v4l2::Buffer& buffer) {
  vumedia::v4l2::BufferPayload payload{};
  payload.buffer = buffer;
  auto done = named("VIDIOC_QBUF", guest_->ioctl<tag::QBUF>(session_, payload));
  if (done) buffer = payload.buffer;
  return done;
}

std::optional<std::int64_t> Device::get_control(std::uint32_t id) {
  vumedia::v4l2::ExtControls request{};
  v4l2_ext_control value{};
  value.id = id;
  request.head.which = V4L2_CTRL_WHICH_CUR_VAL;
  request.head.count = 1;
  request.controls.push_back(value);
  if (guest_->ioctl<tag::G_EXT_CTRLS>(session_, request) && request.controls.size() == 1) {
    v4l2_query_ext_ctrl query{};
    query.id = id;
    const v4l2_ext_control got = request.controls[0];  // packed: no references to its members
    const bool wide = try_call<tag::QUERY_EXT_CTRL>(query) && query.type == V4L2_CTRL_TYPE_INTEGER64;
    return wide ? std::int64_t{got.value64} : std::int64_t{got.value};
  }
  v4l2_control control{id, 0};
  if (!guest_->ioctl<tag::G_CTRL>(session_, control)) return std::nullopt;
  return control.value;
}

Outcome<std::span<std::byte>> Device::map(std::uint32_t mem_offset) {
  const auto mapped = guest_->mmap(session_, mem_offset);
  if (!mapped) {
    if (auto connection = alive(); !connection) return std::unexpected(connection.error());
    return system_failure(mapped.error().value, "cannot map a buffer");
  }
  mappings_.push_back({mapped->memory.data(), mapped->driver_addr});
  return mapped->memory;
}

Outcome<> Device::unmap(std::span<std::byte> memory) {
  const auto found = std::ranges::find(mappings_, memory.data(), &Mapping::data);
  if (found == mappings_.end()) return vumedia::failure("cannot unmap what is not mapped");
  const auto address = found->address;
  mappings_.erase(found);
  return named("MUNMAP", guest_->munmap(address));
}

Outcome<std::optional<Event>> Device::wait(std::chrono::milliseconds timeout) {
  const auto until = std::chrono::steady_clock::now() + timeout;
  for (;;) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(until - std::chrono::steady_clock::now());
    auto next = guest_->wait_event(std::max(left, std::chrono::milliseconds(0)));
    if (!next) {
      if (auto connection = alive(); !connection) return std::unexpected(connection.error());
      return system_failure(next.error().value, "cannot wait for events");
    }
    if (!*next) return std::nullopt;
    Event event;
    std::uint32_t session = session_;
    if (const auto* const buffer = std::get_if<client::DqbufEvent>(&**next)) {
      event.kind = Event::Kind::buffer;
      event.buffer = buffer->buffer;
      session = buffer->session;
    } else if (const auto* const v4l2 = std::get_if<client::V4l2Event>(&**next)) {
      event.kind = Event::Kind::v4l2;
      event.v4l2 = v4l2->event;
      session = v4l2->session;
    } else if (const auto* const error = std::get_if<client::ErrorEvent>(&**next)) {
      event.error = error->error;
      session = error->session;
    }
    if (session == session_) return event;
    // An event of another file, not ours: wait for the rest of the time.
  }
}

}  // namespace ctl
