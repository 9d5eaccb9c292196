// A camera in under 100 lines: grey pictures that become lighter, 30 per second.
//
//   minimal_backend /tmp/camera.sock &
//   vumedia-ctl --socket-path /tmp/camera.sock capture -o grey.raw
#include <cstdio>
#include <cstring>

#include <vumedia/vumedia.hpp>

using namespace vumedia;
namespace tag = v4l2::tag;

struct GreyCamera {
  static constexpr std::uint32_t type = V4L2_BUF_TYPE_VIDEO_CAPTURE, width = 320, height = 240;

  struct Session {
    explicit Session(media::Context handle) : context(handle) {}
    ~Session() { context.cancel(timer); }
    void on_due(std::int32_t) noexcept {
      if (!queue.streaming()) return;
      context.timer(timer, due += std::chrono::microseconds(33'333));
      const auto index = queue.take_next();
      if (!index) return;
      std::memset(queue.plane(*index, 0)->data(), static_cast<int>(sequence & 0xff), width * height);
      v4l2::BufferQueue::Completion done;
      done.bytesused[0] = width * height;
      done.timestamp_ns = static_cast<std::uint64_t>(due.time_since_epoch().count());
      done.sequence = sequence++;
      if (const auto buffer = queue.complete(*index, done)) context.send_dqbuf(*buffer);
    }
    media::Context context;
    v4l2::BufferQueue queue{{.type = type}};
    io::TimePoint due;
    std::uint32_t sequence = 0;
    io::MemberOperation<&Session::on_due> timer{*this};
  };

  media::Config config() const { return {V4L2_CAP_VIDEO_CAPTURE | V4L2_CAP_STREAMING, {}, "Grey camera"}; }
  Result<std::unique_ptr<Session>> open(media::Context context) { return std::make_unique<Session>(context); }

  Result<> ioctl(Session&, tag::ENUM_FMT, v4l2_fmtdesc& format) {
    if (format.type != type || format.index != 0) return fail(EINVAL);
    format.pixelformat = V4L2_PIX_FMT_GREY;
    return {};
  }
  template <class Tag>
    requires std::same_as<typename Tag::Payload, v4l2_format>  // G_FMT, S_FMT, TRY_FMT: there is one format
  Result<> ioctl(Session&, Tag, v4l2_format& format) {
    if (format.type != type) return fail(EINVAL);
    format.fmt.pix = {width, height, V4L2_PIX_FMT_GREY, V4L2_FIELD_NONE, width, width * height, 0, 0, 0, {},
                      0,     0};
    return {};
  }
  Result<> ioctl(Session& s, tag::REQBUFS, v4l2_requestbuffers& request) {
    return s.queue.reqbufs(request, std::array{width * height}, s.context.arenas());
  }
  Result<> ioctl(Session& s, tag::QUERYBUF, v4l2::BufferPayload& buffer) { return s.queue.querybuf(buffer); }
  Result<> ioctl(Session& s, tag::QBUF, v4l2::BufferPayload& buffer) { return s.queue.qbuf(buffer); }
  Result<> ioctl(Session& s, tag::STREAMON, std::uint32_t& queue_type) {
    s.due = io::Clock::now();
    if (!s.timer.pending()) s.context.timer(s.timer, s.due);
    return s.queue.stream_on(queue_type);
  }
  Result<> ioctl(Session& s, tag::STREAMOFF, std::uint32_t& kind) { return s.queue.stream_off(kind); }
  Result<media::Mappable> mmap(Session& s, std::uint32_t offset) { return s.queue.mappable(offset); }
};

int main(int, char** arguments) {
  auto listener = io::Listener::at(arguments[1] != nullptr ? arguments[1] : "camera.sock");
  if (!listener) return std::fprintf(stderr, "%s\n", listener.error().message.c_str()), 1;
  const auto served = vhost_user::serve<GreyCamera>(std::move(*listener));
  if (!served) return std::fprintf(stderr, "%s\n", served.error().message.c_str()), 1;
}
