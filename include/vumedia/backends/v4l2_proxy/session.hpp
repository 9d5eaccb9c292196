// The loop's half of an open file, and what its thread does. Part of file.hpp.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <utility>

#include <vumedia/backends/v4l2_proxy/file.hpp>

namespace vumedia::backends::v4l2_proxy {

/// The loop's side of a file, which it closes when it ends.
class Session {
 public:
  /// attach() follows before anything else.
  explicit Session(media::Context context) noexcept : context_(context) {}
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;
  ~Session() {
    if (file_ != nullptr) file_->close();
  }

  /// The file, once its thread has started.
  void attach(std::shared_ptr<File> file) noexcept { file_ = std::move(file); }
  /// The attached file.
  [[nodiscard]] File& file() const noexcept { return *file_; }
  /// The guest's memory as it is now.
  [[nodiscard]] const std::shared_ptr<const memory::GuestMemory>& memory() const noexcept {
    return context_.memory();
  }

  /// The plane at this offset, if QUERYBUF has returned the offset since its buffer was made; otherwise
  /// EINVAL.
  [[nodiscard]] Result<media::Mappable> mmap(std::uint32_t offset) {
    const auto found = planes_.find(offset);
    if (found == planes_.end()) return fail(EINVAL);
    const NamedPlane& plane = found->second.named;
    if (plane.exported != nullptr) return media::Mappable(plane.exported);
    // The same object for as long as someone has it mapped; one descriptor for each plane would be too many.
    auto memory = found->second.memory.lock();
    if (memory == nullptr) {
      auto fd = file_->duplicate();
      if (!fd) return std::unexpected(fd.error());
      memory = std::make_shared<const media::ForeignMemory>(
          media::ForeignMemory{std::move(*fd), plane.kernel_offset, plane.length, true});
      found->second.memory = memory;
    }
    return media::Mappable(std::move(memory));
  }

  // -- Posted by the file's thread

  /// QUERYBUF has returned `offset` to the guest: mmap() finds `plane` there.
  void name(std::uint32_t offset, NamedPlane plane) {
    planes_.insert_or_assign(offset, Plane{std::move(plane), {}});
  }
  /// The planes of buffers [first, first + count) of a queue do not exist any more.
  void forget(std::uint32_t type, std::uint32_t first, std::uint64_t count) {
    std::erase_if(planes_, [=](const auto& entry) {
      const std::uint32_t index = index_of_offset(entry.first);
      return type_of_offset(entry.first) == type && index >= first && index - first < count;
    });
  }

 private:
  struct Plane {
    NamedPlane named;
    std::weak_ptr<const media::ForeignMemory> memory;
  };

  const media::Context context_;
  std::shared_ptr<File> file_;
  std::map<std::uint32_t, Plane> planes_;  // by the guest's offset
};

// -- Life of the thread

inline void File::run(std::uint64_t closed, media::Completion opened) {
  shared_->closings.wait(closed);
  opened.complete(open());
  while (closing_id_ == 0) {
    const bool there = fd_ && !gone_;
    const bool paused = std::exchange(fruitless_, false);
    std::array<pollfd, 2> waits{{{inbox_->fd(), POLLIN, 0}, {fd_.get(), wanted_events(), 0}}};
    // It fails when a signal comes or when memory is short, and must be tried again.
    if (::poll(waits.data(), there && !paused ? 2 : 1, there && paused ? pause_milliseconds : -1) < 0)
      continue;
    if (waits[1].revents != 0) fruitless_ = !on_ready(waits[1].revents);
    if (waits[0].revents != 0) inbox_->run();
  }
  // What was posted after the end is dropped, which also answers it.
  inbox_->close();
  shut_down();
  shared_->closings.end(closing_id_);
}

inline Result<> File::open() {
  auto fd = open_node(node_->path.c_str());
  // The device that existed when the program started has been unplugged.
  if (!fd) return fail(fd.error().value == ENOENT || fd.error().value == ENXIO ? ENODEV : fd.error().value);
  if (!is_node(fd->get(), *node_)) return fail(ENODEV);
  fd_ = std::move(*fd);
  return {};
}

// The file may live on, because whoever has mapped a buffer keeps it. What the guest has given up must still
// be free.
inline void File::shut_down() noexcept {
  if (!fd_) return;
  queues_.for_each([this](std::uint32_t type, Queue& queue) {
    give_back_bytes(queue);
    if (queue.streaming) static_cast<void>(call(fd_.get(), VIDIOC_STREAMOFF, &type));
    if (queue.memory == 0) return;
    v4l2_requestbuffers request{};
    request.type = type;
    request.memory = queue.memory;
    static_cast<void>(call(fd_.get(), VIDIOC_REQBUFS, &request));
  });
  v4l2_event_subscription all{};
  all.type = V4L2_EVENT_ALL;
  static_cast<void>(call(fd_.get(), VIDIOC_UNSUBSCRIBE_EVENT, &all));
  std::uint32_t priority = V4L2_PRIORITY_DEFAULT;
  static_cast<void>(call(fd_.get(), VIDIOC_S_PRIORITY, &priority));
  fd_.reset();
}

// -- What the device has for the guest

inline short File::wanted_events() noexcept {
  int events = POLLPRI;
  queues_.for_each([&events](std::uint32_t type, const Queue& queue) {
    if (queue.wanted()) events |= v4l2::is_output(type) ? POLLOUT : POLLIN;
  });
  return static_cast<short>(events);
}

// False if there was nothing.
inline bool File::on_ready(short seen) {
  if ((seen & (POLLHUP | POLLNVAL)) != 0) {
    // Unplugged: the guest is told once; the kernel answers what it tries after that with ENODEV.
    gone_ = true;
    poster_.post([](Session&, media::Context context) { context.send_error(ENODEV); });
    return true;
  }
  bool taken = (seen & POLLPRI) != 0 && take_events();
  queues_.for_each([&](std::uint32_t type, Queue& queue) {
    const int ready = POLLERR | (v4l2::is_output(type) ? POLLOUT : POLLIN);
    if (queue.wanted() && (seen & ready) != 0 && take_buffers(type, queue)) taken = true;
  });
  return taken;
}

inline bool File::take_events() {
  for (int i = 0; i < taken_a_turn; ++i) {
    v4l2_event event{};
    if (!call(fd_.get(), VIDIOC_DQEVENT, &event)) return i != 0;
    poster_.post([event](Session&, media::Context context) { context.send_event(event); });
  }
  return true;
}

// False if nothing has changed.
inline bool File::take_buffers(std::uint32_t type, Queue& queue) {
  for (int i = 0; i < taken_a_turn && queue.wanted(); ++i) {
    KernelBuffer kernel(type);
    kernel.head.memory = queue.memory;
    if (const auto done = call(fd_.get(), VIDIOC_DQBUF, &kernel.head); !done) {
      const int error = done.error().value;
      if (error == EAGAIN) return i != 0;
      // EPIPE: LAST has already been taken. Other errors last until a buffer is queued or streaming starts
      // again.
      (error == EPIPE ? queue.drained : queue.paused) = true;
      if (error == EIO) give_up_buffers(type, queue);
      return true;
    }
    std::erase(queue.queued, kernel.head.index);
    if (!v4l2::is_output(type) && (kernel.head.flags & V4L2_BUF_FLAG_LAST) != 0) queue.drained = true;
    send(kernel);
  }
  return true;
}

inline void File::send(const KernelBuffer& kernel) {
  v4l2::Buffer buffer;
  queues_.to_guest(kernel, buffer);
  poster_.post([buffer](Session&, media::Context context) { context.send_dqbuf(buffer); });
}

// The queue is broken: no buffer comes back before STREAMOFF, which repairs it. A guest's DQBUF cannot fail,
// so it gets the buffers back flagged as bad, and QBUF returns the kernel's error.
inline void File::give_up_buffers(std::uint32_t type, Queue& queue) {
  for (const std::uint32_t index : std::exchange(queue.queued, {})) {
    KernelBuffer kernel(type);
    kernel.head.index = index;
    if (!call(fd_.get(), VIDIOC_QUERYBUF, &kernel.head)) continue;
    constexpr std::uint32_t states = V4L2_BUF_FLAG_QUEUED | V4L2_BUF_FLAG_PREPARED | V4L2_BUF_FLAG_DONE;
    kernel.head.flags = (kernel.head.flags & ~states) | V4L2_BUF_FLAG_ERROR;
    send(kernel);
  }
}

// -- Commands

inline Result<> File::plain(unsigned long code, void* payload) {
  if (code == VIDIOC_S_HW_FREQ_SEEK) return seek(payload);
  if (code == VIDIOC_REQBUFS) {
    auto& request = *static_cast<v4l2_requestbuffers*>(payload);
    return allocate(code, payload, request.type, request.memory, request.count, image_size(request.type),
                    true);
  }
  if (code == VIDIOC_CREATE_BUFS) {
    auto& request = *static_cast<v4l2_create_buffers*>(payload);
    return allocate(code, payload, request.format.type, request.memory, request.count,
                    image_size(request.format), false);
  }
  const auto done = call(fd_.get(), code, payload);
  if (done) note(code, payload);
  return done;
}

// REQBUFS and CREATE_BUFS: if the driver allocates memory, only as many buffers as the budget allows; a
// driver, too, may give fewer than requested. `count` is part of `payload`.
inline Result<> File::allocate(unsigned long code, void* payload, std::uint32_t type, std::uint32_t memory,
                               std::uint32_t& count, std::uint64_t size, bool replaces) {
  Queue* const queue = queues_.find(type);
  const bool counts = queue != nullptr && memory == V4L2_MEMORY_MMAP && count != 0 && size != 0;
  if (counts) {
    const std::uint64_t left = bytes_->left() + (replaces ? queue->bytes : 0);
    if (left < size) return fail(ENOMEM);
    count = static_cast<std::uint32_t>(std::min<std::uint64_t>(count, left / size));
  }
  if (const auto done = call(fd_.get(), code, payload); !done) return done;
  if (queue != nullptr && replaces) give_back_bytes(*queue);
  note(code, payload);
  // The driver has them, even if it gave more than requested, or if another file was faster.
  if (counts) {
    queue->bytes += size * count;
    bytes_->take_anyway(size * count);
  }
  return {};
}

inline void File::give_back_bytes(Queue& queue) noexcept {
  bytes_->give_back(std::exchange(queue.bytes, 0));
}

// Bytes of a buffer of this format, all planes together; 0 if the format does not determine that.
inline std::uint64_t File::image_size(const v4l2_format& format) noexcept {
  switch (format.type) {
    case V4L2_BUF_TYPE_VIDEO_CAPTURE:
    case V4L2_BUF_TYPE_VIDEO_OUTPUT:
      return format.fmt.pix.sizeimage;
    case V4L2_BUF_TYPE_VIDEO_CAPTURE_MPLANE:
    case V4L2_BUF_TYPE_VIDEO_OUTPUT_MPLANE: {
      std::uint64_t size = 0;
      const v4l2_pix_format_mplane& pix = format.fmt.pix_mp;
      for (std::uint32_t p = 0; p < std::min<std::uint32_t>(pix.num_planes, VIDEO_MAX_PLANES); ++p)
        size += pix.plane_fmt[p].sizeimage;
      return size;
    }
    case V4L2_BUF_TYPE_SDR_CAPTURE:
    case V4L2_BUF_TYPE_SDR_OUTPUT:
      return format.fmt.sdr.buffersize;
    case V4L2_BUF_TYPE_META_CAPTURE:
    case V4L2_BUF_TYPE_META_OUTPUT:
      return format.fmt.meta.buffersize;
    default:
      return 0;  // some lines of a picture, or none
  }
}
inline std::uint64_t File::image_size(std::uint32_t type) noexcept {
  v4l2_format format{};
  format.type = type;
  if (detail::is_overlay(type) || !call(fd_.get(), VIDIOC_G_FMT, &format)) return 0;
  return image_size(format);
}

// A seek is only carried out for callers that wait for it. This thread waits; nothing else uses the file.
inline Result<> File::seek(void* payload) {
  const int flags = ::fcntl(fd_.get(), F_GETFL);
  if (flags < 0 || ::fcntl(fd_.get(), F_SETFL, flags & ~O_NONBLOCK) != 0) return fail(errno);
  const auto done = call(fd_.get(), VIDIOC_S_HW_FREQ_SEEK, payload);
  ::fcntl(fd_.get(), F_SETFL, flags);
  return done;
}

// Updates the state of queues after an ioctl that has succeeded.
inline void File::note(unsigned long code, const void* payload) {
  switch (code) {
    case VIDIOC_REQBUFS: {
      const auto& request = *static_cast<const v4l2_requestbuffers*>(payload);
      forget_planes(request.type, 0, max_buffer_index + 1);
      queues_.replace_buffers(request.type, request.memory, request.count);
      break;
    }
    case VIDIOC_CREATE_BUFS: {
      const auto& request = *static_cast<const v4l2_create_buffers*>(payload);
      // With a count of 0 it is only a query.
      if (request.count != 0)
        queues_.add_buffers(request.format.type, request.memory,
                            std::uint64_t{request.index} + request.count);
      break;
    }
    case v4l2::tag::REMOVE_BUFS::code: {
      const auto& request = *static_cast<const v4l2::RemoveBuffers*>(payload);
      forget_planes(request.type, request.index, request.count);
      queues_.remove_buffers(request.type, request.index, request.count);
      break;
    }
    case VIDIOC_STREAMON:
      queues_.started(*static_cast<const std::uint32_t*>(payload));
      break;
    case VIDIOC_STREAMOFF:
      queues_.stopped(*static_cast<const std::uint32_t*>(payload));
      break;
    case VIDIOC_DECODER_CMD:
      if (static_cast<const v4l2_decoder_cmd*>(payload)->cmd == V4L2_DEC_CMD_START) queues_.resumed();
      break;
    case VIDIOC_ENCODER_CMD:
      if (static_cast<const v4l2_encoder_cmd*>(payload)->cmd == V4L2_ENC_CMD_START) queues_.resumed();
      break;
    case VIDIOC_SUBSCRIBE_EVENT:
      // The first event, if requested, must arrive before the answer.
      take_events();
      break;
    default:
      break;
  }
}

inline Result<> File::buffer(unsigned long code, v4l2::BufferPayload& payload,
                             const memory::GuestMemory& memory) {
  const v4l2_buffer& head = payload.buffer.head;
  const bool hands_over = code != VIDIOC_QUERYBUF;
  KernelBuffer kernel(payload.buffer);
  UserPlanes fresh;
  if (hands_over) {
    // A radio refuses before it looks at the buffer.
    if ((node_->capabilities & V4L2_CAP_STREAMING) == 0) return fail(ENOTTY);
    // A request's fd, like a dmabuf's, would refer to this process.
    if ((head.flags & V4L2_BUF_FLAG_REQUEST_FD) != 0) return fail(EBADR);
    if (!detail::is_known_memory(head.memory)) return fail(EINVAL);
    if (head.memory == V4L2_MEMORY_USERPTR) {
      if (!queues_.has_user_buffer(head.type, head.index)) return refuse(code, kernel);
      if (auto taken = queues_.take_pages(payload, memory, kernel, fresh); !taken) return taken;
    }
  }
  const std::uint32_t planes = kernel.plane_count();
  const auto done = call(fd_.get(), code, &kernel.head);
  if (hands_over && head.memory == V4L2_MEMORY_USERPTR)
    queues_.keep_pages(payload, planes, fresh, done.has_value());
  if (!done) return done;
  if (code == VIDIOC_QBUF) {
    if (Queue* const queue = queues_.find(kernel.head.type)) {
      queue->queued.push_back(kernel.head.index);
      queue->paused = false;
    }
  } else if (!hands_over && kernel.head.memory == V4L2_MEMORY_MMAP) {
    if (auto named = name_planes(kernel); !named) return named;
  }
  queues_.to_guest(kernel, payload.buffer);
  return {};
}

// A USERPTR buffer that this file does not have: EBUSY if the queue belongs to another file, otherwise
// EINVAL. Only the kernel knows which; it is shown no memory.
inline Result<> File::refuse(unsigned long code, KernelBuffer& kernel) {
  kernel.head.m.userptr = 0;
  if (v4l2::is_multiplanar(kernel.head.type)) {
    kernel.planes = {};
    kernel.head.m.planes = kernel.planes.data();
  } else {
    kernel.head.length = 0;
  }
  const auto done = call(fd_.get(), code, &kernel.head);
  return fail(!done && done.error().value == EBUSY ? EBUSY : EINVAL);
}

// The loop learns about the planes before the guest, which then requests them with MMAP.
inline Result<> File::name_planes(const KernelBuffer& kernel) {
  for (std::uint32_t p = 0; p < kernel.plane_count(); ++p) {
    const bool multiplanar = v4l2::is_multiplanar(kernel.head.type);
    const auto offset = guest_offset(kernel.head.type, kernel.head.index, p);
    if (!offset) return fail(EINVAL);
    if (named_.contains(*offset)) continue;
    NamedPlane plane;
    plane.length = multiplanar ? kernel.planes[p].length : kernel.head.length;
    plane.kernel_offset = multiplanar ? kernel.planes[p].m.mem_offset : kernel.head.m.offset;
    const auto mapped = align_up(std::uint64_t{plane.length}, page_size);
    if (plane.length == 0) continue;
    // Tried once here, because otherwise the frontend could only fail.
    if (exports_ || !Mapping::map(fd_.get(), plane.kernel_offset, *mapped)) {
      v4l2_exportbuffer request{};
      request.type = kernel.head.type;
      request.index = kernel.head.index;
      request.plane = p;
      request.flags = O_RDWR | O_CLOEXEC;
      if (!call(fd_.get(), VIDIOC_EXPBUF, &request)) continue;  // MMAP will answer EINVAL
      plane.exported = std::make_shared<const media::ForeignMemory>(
          media::ForeignMemory{OwnedFd(request.fd), 0, plane.length, true});
    }
    named_.emplace(*offset, plane);
    poster_.post(
        [offset = *offset, plane](Session& session, media::Context) { session.name(offset, plane); });
  }
  return {};
}

inline void File::forget_planes(std::uint32_t type, std::uint32_t first, std::uint64_t count) {
  std::erase_if(named_, [=](const auto& entry) {
    const std::uint32_t index = index_of_offset(entry.first);
    return type_of_offset(entry.first) == type && index >= first && index - first < count;
  });
  poster_.post([=](Session& session, media::Context) { session.forget(type, first, count); });
}

}  // namespace vumedia::backends::v4l2_proxy
