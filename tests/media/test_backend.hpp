// A backend with a bit of everything, and with settings for what it does wrong.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include <vumedia/media/backend.hpp>

namespace vumedia::media::test {

struct TestBackend {
  struct Session {
    std::uint32_t id = 0;
    Context context;
    Poster<Session> poster;
    v4l2_format format{};
    std::map<std::uint32_t, Mappable> buffers;  // by offset
    std::vector<Completion> owed;
    std::vector<v4l2_control*> payloads;  // of those
    int* closed = nullptr;
    ~Session() {
      if (closed != nullptr) ++*closed;
    }
  };

  Config config() const {
    return {.device_caps = 0x04200001,
            .device_type = DeviceType::sdr,
            .card = "a card whose name is a bit too long"};
  }

  Result<std::unique_ptr<Session>> open(Context context) {
    if (refuse_open != 0) return fail(refuse_open);
    auto session = std::make_unique<Session>();
    session->id = context.session_id();
    session->context = context;
    session->poster = context.poster<Session>();
    session->closed = &destroyed;
    if (send_in_open) context.send_event(end_of_stream());
    last = session.get();
    return session;
  }
  void close(Session& session) {
    closed.push_back(session.id);
    if (keep_owed) {
      for (auto& completion : session.owed) kept.push_back(std::move(completion));
    }
  }

  Result<> ioctl(Session& session, v4l2::tag::G_FMT, v4l2_format& format) {
    ++calls;
    if (format.type != V4L2_BUF_TYPE_VIDEO_CAPTURE) return fail(EINVAL);
    format = session.format;
    format.type = V4L2_BUF_TYPE_VIDEO_CAPTURE;
    return {};
  }
  Result<> ioctl(Session& session, v4l2::tag::S_FMT, v4l2_format& format) {
    ++calls;
    session.format = format;
    return {};
  }
  // An event before the answer, as with SEND_INITIAL.
  Result<> ioctl(Session& session, v4l2::tag::SUBSCRIBE_EVENT, v4l2_event_subscription& subscription) {
    v4l2_event event{};
    event.type = subscription.type;
    event.id = subscription.id;
    session.context.send_event(event);
    return {};
  }
  Result<> ioctl(Session&, v4l2::tag::UNSUBSCRIBE_EVENT, v4l2_event_subscription&) { return {}; }
  // The buffer comes back at once.
  Result<> ioctl(Session& session, v4l2::tag::QBUF, v4l2::BufferPayload& payload) {
    session.context.send_dqbuf(payload.buffer);
    return {};
  }
  Result<> ioctl(Session&, v4l2::tag::STREAMOFF, v4l2::tag::BufferType&) {
    if (refuse_streamoff != 0) return fail(refuse_streamoff);
    return {};
  }
  Result<> ioctl(Session&, v4l2::tag::REQBUFS, v4l2_requestbuffers& request) {
    request.count = 3;
    return {};
  }
  Result<> ioctl(Session&, v4l2::tag::G_EXT_CTRLS, v4l2::ExtControls& controls) {
    controls.head.error_idx = controls.head.count;
    return fail(EINVAL);
  }
  Result<> ioctl(Session&, v4l2::tag::G_INPUT, v4l2::tag::Index& input) {
    input = 7;
    return fail(-5);  // an error in the backend: not an errno
  }
  void ioctl(Session& session, v4l2::tag::S_CTRL, v4l2_control& control, Completion completion) {
    ++calls;
    session.payloads.push_back(&control);
    session.owed.push_back(std::move(completion));
  }
  void ioctl(Session&, v4l2::tag::G_CTRL, v4l2_control& control, Completion completion) {
    control.value = 11;
    completion.complete({});
    completion.complete(fail(EPERM));  // does nothing
  }

  Result<Mappable> mmap(Session& session, std::uint32_t offset) {
    const auto buffer = session.buffers.find(offset);
    if (buffer == session.buffers.end()) return fail(EINVAL);
    return buffer->second;
  }

  static v4l2_event end_of_stream() {
    v4l2_event event{};
    event.type = V4L2_EVENT_EOS;
    return event;
  }

  int calls = 0;
  int refuse_open = 0;
  int refuse_streamoff = 0;
  bool send_in_open = false;
  bool keep_owed = false;
  int destroyed = 0;
  Session* last = nullptr;
  std::vector<std::uint32_t> closed;
  std::vector<Completion> kept;
};

}  // namespace vumedia::media::test
