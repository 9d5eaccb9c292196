// The driver's half of the event queue (VIRTIO 1.4, 5.22.6.2): lends its buffers to the device, and keeps the
// events that come in them.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <deque>
#include <optional>
#include <span>
#include <utility>
#include <variant>
#include <vector>

#include <linux/videodev2.h>

#include <vumedia/client/encoding.hpp>
#include <vumedia/client/guest_area.hpp>
#include <vumedia/core/result.hpp>
#include <vumedia/media/wire.hpp>
#include <vumedia/v4l2/payload.hpp>
#include <vumedia/virtio/driver_queue.hpp>

namespace vumedia::client {

/// The device has ended a session.
struct ErrorEvent {
  std::uint32_t session = 0;  ///< its id
  int error = 0;              ///< the errno that the session has ended with
};
/// A buffer is the guest's again.
struct DqbufEvent {
  std::uint32_t session = 0;  ///< its id
  v4l2::Buffer buffer{};      ///< what VIDIOC_DQBUF returns
};
/// A V4L2 event that the session has subscribed to.
struct V4l2Event {
  std::uint32_t session = 0;  ///< its id
  v4l2_event event{};         ///< what VIDIOC_DQEVENT returns
};
/// Any of them.
using Event = std::variant<ErrorEvent, DqbufEvent, V4l2Event>;

/// The events of all sessions, in the order in which they came. One thread at a time may use it.
class EventReceiver {
 public:
  /// Descriptors of the queue, and as many buffers.
  static constexpr std::uint16_t queue_size = 16;
  static constexpr std::size_t memory_size = queue_size * std::size_t{640};  ///< bytes for all buffers

  /// `area` is for the buffers: that many bytes.
  void use(const GuestArea& area) noexcept { area_ = area; }

  /// Lends all buffers to the device of an empty `queue`, and forgets the events that are kept.
  void begin(virtio::DriverQueue& queue) noexcept {
    kept_.clear();
    for (std::uint32_t slot = 0; slot < queue_size; ++slot) lend(queue, slot);
    static_cast<void>(queue.publish());
  }

  /// Takes the events that have come, and lends their buffers anew. Returns whether the device is to be
  /// kicked. EPROTO: it returned a buffer that it does not have.
  [[nodiscard]] Result<bool> collect(virtio::DriverQueue& queue);

  /// The oldest event that is kept.
  [[nodiscard]] std::optional<Event> take() {
    if (kept_.empty()) return std::nullopt;
    Event event = std::move(kept_.front());
    kept_.pop_front();
    return event;
  }
  /// Drops what is kept of that session.
  void forget(std::uint32_t session) {
    std::erase_if(kept_, [session](const Event& event) {
      return std::visit([session](const auto& each) { return each.session == session; }, event);
    });
  }
  /// The number of events that were too short for their type; the Linux driver drops them, too.
  [[nodiscard]] std::uint64_t dropped() const noexcept { return dropped_; }

 private:
  static constexpr std::size_t stride = memory_size / queue_size;
  // Beyond this limit no more buffers are lent, and the device keeps its events.
  static constexpr std::size_t max_kept = 4096;

  [[nodiscard]] GuestArea buffer(std::uint32_t slot) const noexcept {
    return area_.part(slot * stride, media::wire::max_event_size);
  }
  void lend(virtio::DriverQueue& queue, std::uint32_t slot) noexcept {
    const virtio::Piece piece{buffer(slot).address, media::wire::max_event_size, true};
    // There are as many descriptors as slots, and one of them has just come back, or the queue is empty.
    if (const auto head = queue.add(std::span(&piece, 1))) slot_of_head_[*head] = slot;
  }
  [[nodiscard]] static std::optional<Event> read(std::span<const std::byte> bytes) noexcept;

  GuestArea area_;
  std::array<std::uint32_t, queue_size> slot_of_head_{};
  std::deque<Event> kept_;
  std::uint64_t dropped_ = 0;
};

inline Result<bool> EventReceiver::collect(virtio::DriverQueue& queue) {
  bool lent = false;
  while (kept_.size() < max_kept) {
    const auto used = queue.pop_used();
    if (!used) return fail(EPROTO);
    if (!*used) break;
    const std::uint32_t slot = slot_of_head_[(*used)->head];
    const std::span<const std::byte> all = buffer(slot).bytes;
    if (auto event = read(all.first((*used)->length)))
      kept_.push_back(std::move(*event));
    else
      ++dropped_;
    lend(queue, slot);
    lent = true;
  }
  return lent && queue.publish();
}

// Nothing if it is too short for its type, or has none.
inline std::optional<Event> EventReceiver::read(std::span<const std::byte> bytes) noexcept {
  namespace wire = media::wire;
  const auto read = [&bytes](auto& event) {
    if (bytes.size() < sizeof event) return false;
    std::memcpy(&event, bytes.data(), sizeof event);
    return true;
  };
  wire::virtio_media_event_header head;
  if (!read(head)) return std::nullopt;
  switch (head.event) {
    case wire::event_error:
      if (wire::virtio_media_event_error event; read(event))
        return ErrorEvent{event.hdr.session_id, detail::status_errno(event.error)};
      break;
    case wire::event_dqbuf:
      if (wire::virtio_media_event_dqbuf event; read(event)) {
        DqbufEvent kept{event.hdr.session_id, {}};
        kept.buffer.head = event.buffer;
        std::copy(std::begin(event.planes), std::end(event.planes), kept.buffer.planes.begin());
        return kept;
      }
      break;
    case wire::event_event:
      if (wire::virtio_media_event_event event; read(event)) {
        V4l2Event kept{event.hdr.session_id, {}};
        kept.event = event.event;
        return kept;
      }
      break;
    default:
      break;
  }
  return std::nullopt;
}

}  // namespace vumedia::client
