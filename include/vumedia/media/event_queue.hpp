// Events, and the list of those that wait because the driver has no event buffer on the queue.
//
// The list is bounded and allocates only when a session opens: each session brings its own store, so none can
// use up another's room. All sessions share one order, that of sending. Each session's events are also in a
// list of their own, so that work for one session does not depend on how many events wait for others.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>
#include <span>
#include <utility>

#include <linux/videodev2.h>

#include <vumedia/core/intrusive_list.hpp>
#include <vumedia/core/result.hpp>
#include <vumedia/media/wire.hpp>
#include <vumedia/v4l2/payload.hpp>

namespace vumedia::media {

/// An event as it travels: its header and the struct that the header names.
class Event {
 public:
  /// An ERROR event: `error` is a positive errno.
  [[nodiscard]] static Event error(std::uint32_t session, int error) noexcept {
    Event event;
    event.wire_.error = {{wire::event_error, session}, static_cast<std::uint32_t>(error), 0};
    event.size_ = sizeof event.wire_.error;
    return event;
  }

  /// Always the full struct, because the driver drops a shorter one.
  [[nodiscard]] static Event dqbuf(std::uint32_t session, const v4l2::Buffer& buffer) noexcept {
    Event event;
    wire::virtio_media_event_dqbuf& dqbuf = event.wire_.dqbuf;
    dqbuf.hdr = {wire::event_dqbuf, session};
    std::memcpy(&dqbuf.buffer, &buffer.head, sizeof dqbuf.buffer);
    std::memcpy(dqbuf.planes, buffer.planes.data(), sizeof dqbuf.planes);
    // A pointer means nothing to the other side, whoever it belongs to.
    if (v4l2::is_multiplanar(buffer.head.type)) dqbuf.buffer.m.planes = nullptr;
    event.size_ = sizeof dqbuf;
    return event;
  }

  /// An EVENT event.
  [[nodiscard]] static Event v4l2(std::uint32_t session, const v4l2_event& body) noexcept {
    Event event;
    event.wire_.event = {{wire::event_event, session}, body};
    event.size_ = sizeof event.wire_.event;
    return event;
  }

  /// As it travels.
  [[nodiscard]] std::span<const std::byte> bytes() const noexcept {
    return {reinterpret_cast<const std::byte*>(&wire_), size_};
  }
  [[nodiscard]] std::uint32_t kind() const noexcept { return wire_.hdr.event; }  ///< wire::event_*
  /// Its id in the guest.
  [[nodiscard]] std::uint32_t session() const noexcept { return wire_.hdr.session_id; }

  /// The body of a DQBUF event, or null.
  [[nodiscard]] const wire::virtio_media_event_dqbuf* as_dqbuf() const noexcept {
    return kind() == wire::event_dqbuf ? &wire_.dqbuf : nullptr;
  }
  /// The body of an EVENT event, or null.
  [[nodiscard]] const v4l2_event* as_v4l2() const noexcept {
    return kind() == wire::event_event ? &wire_.event.event : nullptr;
  }

  /// Whether it is a DQBUF event of that buffer type (V4L2_BUF_TYPE_*).
  [[nodiscard]] bool is_dqbuf_of(std::uint32_t buffer_type) const noexcept {
    return kind() == wire::event_dqbuf && wire_.dqbuf.buffer.type == buffer_type;
  }

  /// Whether this is a V4L2 event that VIDIOC_UNSUBSCRIBE_EVENT withdraws.
  [[nodiscard]] bool is_of(const v4l2_event_subscription& request) const noexcept {
    const v4l2_event* const body = as_v4l2();
    return body != nullptr &&
           (request.type == V4L2_EVENT_ALL || (request.type == body->type && request.id == body->id));
  }
  /// Whether both are V4L2 events of the same subscription.
  [[nodiscard]] bool same_subscription(const Event& other) const noexcept {
    return kind() == wire::event_event && other.kind() == wire::event_event &&
           wire_.event.event.type == other.wire_.event.event.type &&
           wire_.event.event.id == other.wire_.event.event.id;
  }
  /// Whether a later event of the subscription contains everything in this one, once their flags are
  /// combined.
  [[nodiscard]] bool mergeable() const noexcept {
    return kind() == wire::event_event && (wire_.event.event.type == V4L2_EVENT_CTRL || is_source_change());
  }
  /// Whether it is V4L2_EVENT_SOURCE_CHANGE.
  [[nodiscard]] bool is_source_change() const noexcept {
    return kind() == wire::event_event && wire_.event.event.type == V4L2_EVENT_SOURCE_CHANGE;
  }
  /// For mergeable events: what has changed.
  [[nodiscard]] std::uint32_t changes() const noexcept {
    const v4l2_event& body = wire_.event.event;
    return is_source_change() ? body.u.src_change.changes : body.u.ctrl.changes;
  }
  /// For mergeable events: adds what an earlier one has changed.
  void add_changes(std::uint32_t changes) noexcept {
    v4l2_event body = wire_.event.event;
    (is_source_change() ? body.u.src_change.changes : body.u.ctrl.changes) |= changes;
    wire_.event.event = body;
  }

 private:
  Event() = default;

  // Read only through `hdr`, with which all members begin, or as the member that the header names.
  union Wire {
    wire::virtio_media_event_header hdr;
    wire::virtio_media_event_error error;
    wire::virtio_media_event_dqbuf dqbuf;
    wire::virtio_media_event_event event;
  };
  Wire wire_;
  std::uint32_t size_;
};

/// The events that wait, of all sessions. For the device's loop.
class EventQueue {
  struct InOrder;
  struct OfStore;
  struct Node;

 public:
  /// A session's room in the list. It must be empty when it is destroyed.
  class Store {
   public:
    /// Makes room for `capacity` waiting events, unless it exists. ENOMEM.
    [[nodiscard]] Result<> reserve(std::uint32_t capacity) noexcept {
      if (nodes_ != nullptr) return {};
      // Left uninitialised, so that unused room is never paged in.
      nodes_.reset(new (std::nothrow) Room[capacity]);
      if (nodes_ == nullptr) return fail(ENOMEM);
      capacity_ = capacity;
      return {};
    }

    /// Frees the room of an empty store.
    void release() noexcept {
      free_.clear();
      nodes_.reset();
      capacity_ = touched_ = 0;
      held_ = false;
    }

    /// While held, events are kept back, because the guest does not know the session yet.
    void hold(bool held) noexcept { held_ = held; }
    /// Whether its events are kept back.
    [[nodiscard]] bool held() const noexcept { return held_; }

    // -- For EventQueue

    /// Null if the store is full.
    [[nodiscard]] Node* add(const Event& event) noexcept;
    /// Takes the event out of the store.
    void remove(Node& node) noexcept;
    /// Its events, oldest first.
    [[nodiscard]] const IntrusiveList<Node, OfStore>& events() const noexcept { return events_; }

   private:
    struct Room {
      alignas(8) std::byte bytes[sizeof(Event) + 5 * sizeof(void*)];
    };

    std::unique_ptr<Room[]> nodes_;        // outlives the lists
    IntrusiveList<Node, OfStore> events_;  // in their order
    IntrusiveList<Node, OfStore> free_;    // used before
    std::uint32_t capacity_ = 0;
    std::uint32_t touched_ = 0;  // rooms that have been used once; those after them are free too
    bool held_ = false;
  };

  EventQueue() = default;
  EventQueue(const EventQueue&) = delete;
  EventQueue& operator=(const EventQueue&) = delete;

  /// How many wait, of all sessions.
  [[nodiscard]] std::size_t size() const noexcept { return size_; }

  /// Appends an event, with the rules of a kernel whose events are not read (v4l2-event.c): of each
  /// subscription's control or source changes only the last is kept, and it contains all changes so far; of
  /// other events, the oldest of the subscription is dropped when the store is full. False if there is none
  /// to drop.
  [[nodiscard]] bool push(Store& store, const Event& event) noexcept {
    std::uint32_t changes = 0;
    if (event.mergeable()) {
      if (Node* const earlier = find(store, event)) {
        changes = earlier->changes();
        if (event.is_source_change()) {
          // It keeps its place: the buffer with LAST that follows a change must not reach the guest before
          // it.
          static_cast<Event&>(*earlier) = event;
          earlier->add_changes(changes);
          return true;
        }
        remove(*earlier);
      }
    }
    Node* node = store.add(event);
    if (node == nullptr) {
      Node* const oldest = find(store, event);
      if (oldest == nullptr) return false;
      remove(*oldest);
      node = store.add(event);
    }
    if (changes != 0) node->add_changes(changes);
    events_.push_back(*node);
    ++size_;
    return true;
  }

  /// The first event that is not held back, or null.
  [[nodiscard]] Event* front() const noexcept {
    Node* node = events_.front();
    while (node != nullptr && node->owner.held()) node = events_.after(*node);
    return node;
  }
  /// Removes it: `first` is what front() has returned.
  void pop(Event& first) noexcept { remove(static_cast<Node&>(first)); }
  /// Removes the first event, if there is one.
  void pop_front() noexcept {
    if (Event* const event = front()) pop(*event);
  }

  /// Removes the store's events for which `unwanted(const Event&)` holds.
  template <class Predicate>
  void purge(Store& store, Predicate unwanted) noexcept {
    for (auto next = store.events().begin(); next != store.events().end();) {
      Node& node = *next++;
      if (unwanted(std::as_const(node))) remove(node);
    }
  }
  /// Removes all of the store's events.
  void purge(Store& store) noexcept {
    purge(store, [](const Event&) { return true; });
  }

 private:
  struct Node : ListHook<InOrder>, ListHook<OfStore>, Event {
    Node(Store& store, const Event& first) noexcept : Event(first), owner(store) {}
    Store& owner;
  };

  [[nodiscard]] static Node* find(const Store& store, const Event& event) noexcept {
    for (Node& node : store.events()) {
      if (node.same_subscription(event)) return &node;
    }
    return nullptr;
  }

  void remove(Node& node) noexcept {
    events_.remove(node);
    node.owner.remove(node);
    --size_;
  }

  IntrusiveList<Node, InOrder> events_;
  std::size_t size_ = 0;
};

inline auto EventQueue::Store::add(const Event& event) noexcept -> Node* {
  static_assert(sizeof(Node) <= sizeof(Room) && alignof(Node) <= alignof(Room));
  Node* node = free_.front();
  if (node != nullptr) {
    static_cast<Event&>(*node) = event;
    events_.move_back(*node);
  } else if (touched_ < capacity_) {
    node = ::new (static_cast<void*>(nodes_[touched_++].bytes)) Node(*this, event);
    events_.push_back(*node);
  }
  return node;
}

inline void EventQueue::Store::remove(Node& node) noexcept {
  free_.move_front(node);
}

/// A session, as events know it.
struct SessionEvents {
  std::uint32_t session = 0;  ///< its id in the guest
  int error = 0;              ///< not 0 after an error event, which is its last
  EventQueue::Store waiting;  ///< the events that wait for buffers
};

}  // namespace vumedia::media
