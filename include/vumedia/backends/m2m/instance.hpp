// What an engine of a memory-to-memory device has for one open file: m2m::Instance. All of it is called on
// the loop's thread, none of it waits, and the File that it was made with outlives it.
#pragma once

#include <concepts>
#include <cstdint>
#include <functional>
#include <type_traits>

#include <linux/videodev2.h>

#include <vumedia/core/result.hpp>
#include <vumedia/v4l2/buffer_queue.hpp>
#include <vumedia/v4l2/controls.hpp>
#include <vumedia/v4l2/payload.hpp>

namespace vumedia::backends::m2m {

/// For an instance that works on threads of its own: any of them may call it, and the instance's notified()
/// is called on the loop soon afterwards, if the file is still open. It only posts, so a lock may be held.
using Notify = std::move_only_function<void()>;

// ---- What an instance must have

/// `formats()`: the formats of both queues, as they are now. An object that has
// clang-format off
///   Result<> enumerate(v4l2_fmtdesc&) const;      // VIDIOC_ENUM_FMT
///   Result<> enumerate(v4l2_frmsizeenum&) const;  // VIDIOC_ENUM_FRAMESIZES
///   Result<> get(v4l2_format&) const;             // VIDIOC_G_FMT. EINVAL for a type of neither queue
///   Result<> adjust(v4l2_format&) const;          // VIDIOC_TRY_FMT likewise
///   // VIDIOC_S_FMT of a queue that has no buffers.
///   Result<> set(v4l2_format&, bool other_is_busy);
///   // Whether setting this leaves the format of the other queue as it is. If not, VIDIOC_S_FMT answers
///   // EBUSY while that queue has buffers.
///   bool keeps_other(const v4l2_format&) const;
///   // The bytes of a buffer of the queue of this type.
///   std::uint32_t size_image(std::uint32_t type) const;
// clang-format on
template <class F>
concept ServesFormats =
    requires(F& formats, const F& constant, v4l2_fmtdesc& description, v4l2_frmsizeenum& size,
             v4l2_format& format, const v4l2_format& wanted, std::uint32_t type, bool busy) {
      { constant.enumerate(description) } -> std::same_as<Result<>>;
      { constant.enumerate(size) } -> std::same_as<Result<>>;
      { constant.get(format) } -> std::same_as<Result<>>;
      { constant.adjust(format) } -> std::same_as<Result<>>;
      { constant.keeps_other(wanted) } -> std::same_as<bool>;
      { formats.set(format, busy) } -> std::same_as<Result<>>;
      { constant.size_image(type) } -> std::same_as<std::uint32_t>;
    };
template <class I>
concept HasInstanceFormats =
    requires(I& instance) { requires ServesFormats<std::remove_cvref_t<decltype(instance.formats())>>; };

/// `queued(queue)`: buffers may be taken from a queue that got one; `started(queue)`: it streams now, and has
/// the buffers that were queued before; `stopped(queue)`: all its buffers belong to the guest again, so none
/// of them may be used or completed any more. The queues are those of File::queues, to which buffers go back
/// by Queues::complete().
template <class I>
concept FollowsQueues = requires(I& instance, const v4l2::BufferQueue& queue) {
  instance.queued(queue);
  instance.started(queue);
  instance.stopped(queue);
};

/// If the engine has a drain_command: `drain()`, STOP while both queues stream; File::send_end() and an empty
/// CAPTURE buffer flagged LAST will follow the pictures of all buffers that are queued now. `resume()`,
/// START. m2m::Phase has the states, and says when they answer EBUSY.
template <class I>
concept Drains = requires(I& instance) {
  { instance.drain() } -> std::same_as<Result<>>;
  { instance.resume() } -> std::same_as<Result<>>;
};

// ---- What it may have

/// `controls()`: the file's controls. M2m sends their events.
template <class I>
concept HasControls = requires(I& instance) {
  { instance.controls() } -> std::same_as<v4l2::Controls&>;
};

/// `notified()`, and a constructor that takes a Notify.
template <class I>
concept IsNotified = requires(I& instance) { instance.notified(); };

/// `may_set(queue)`: before VIDIOC_S_FMT of a queue that has no buffers.
template <class I>
concept ChecksFormats = requires(I& instance, const v4l2::BufferQueue& queue) {
  { instance.may_set(queue) } -> std::same_as<Result<>>;
};
/// `was_set(queue)`: VIDIOC_S_FMT has succeeded.
template <class I>
concept FollowsFormats = requires(I& instance, const v4l2::BufferQueue& queue) { instance.was_set(queue); };

/// `may_queue(queue, payload)`: before VIDIOC_QBUF, whose payload is not checked yet.
template <class I>
concept ChecksBuffers =
    requires(I& instance, const v4l2::BufferQueue& queue, const v4l2::BufferPayload& payload) {
      { instance.may_queue(queue, payload) } -> std::same_as<Result<>>;
    };
/// `may_start(queue)`: before VIDIOC_STREAMON of a queue that has buffers and does not stream.
template <class I>
concept ChecksStart = requires(I& instance, const v4l2::BufferQueue& queue) {
  { instance.may_start(queue) } -> std::same_as<Result<>>;
};
/// `removed(queue, first, count)`: these buffers are gone, or are new ones.
template <class I>
concept FollowsRemoval = requires(I& instance, const v4l2::BufferQueue& queue, std::uint32_t number) {
  instance.removed(queue, number, number);
};

/// `bytes_needed()`: what it will take of Queues::engine_bytes(), and so cannot be used for buffers.
template <class I>
concept NeedsBytes = requires(const I& instance) {
  { instance.bytes_needed() } -> std::same_as<std::uint64_t>;
};

/// `ioctl(tag, payload)`: any other ioctl that only this kind of device has. M2m has checked the priority.
template <class I, class Tag>
concept Answers = requires(I& instance, typename Tag::Payload& payload) {
  { instance.ioctl(Tag{}, payload) } -> std::same_as<Result<>>;
};

/// Says what is wrong with a type that is none. What is nearly one of the optional members is an error, not a
/// missing one.
template <class I>
consteval bool check_instance() {
  static_assert(HasInstanceFormats<I>,
                "backends::M2m<Engine>: Engine::Instance needs `formats()`, which returns an object as "
                "m2m::ServesFormats asks for it");
  static_assert(
      FollowsQueues<I>,
      "backends::M2m<Engine>: Engine::Instance needs `queued`, `started` and `stopped`, each called "
      "with a `const v4l2::BufferQueue&`");
  static_assert(
      HasControls<I> || !requires { &I::controls; },
      "backends::M2m<Engine>: Engine::Instance's `controls` must be `v4l2::Controls& controls()`");
  static_assert(
      IsNotified<I> || !requires { &I::notified; },
      "backends::M2m<Engine>: Engine::Instance's `notified` must be `void notified()`");
  static_assert(
      ChecksFormats<I> || !requires { &I::may_set; },
      "backends::M2m<Engine>: Engine::Instance's `may_set` must be `Result<> may_set(const "
      "v4l2::BufferQueue&)`");
  static_assert(
      FollowsFormats<I> || !requires { &I::was_set; },
      "backends::M2m<Engine>: Engine::Instance's `was_set` must be `void was_set(const "
      "v4l2::BufferQueue&)`");
  static_assert(
      ChecksBuffers<I> || !requires { &I::may_queue; },
      "backends::M2m<Engine>: Engine::Instance's `may_queue` must be `Result<> may_queue(const "
      "v4l2::BufferQueue&, const v4l2::BufferPayload&)`");
  static_assert(
      ChecksStart<I> || !requires { &I::may_start; },
      "backends::M2m<Engine>: Engine::Instance's `may_start` must be `Result<> may_start(const "
      "v4l2::BufferQueue&)`");
  static_assert(
      FollowsRemoval<I> || !requires { &I::removed; },
      "backends::M2m<Engine>: Engine::Instance's `removed` must be `void removed(const "
      "v4l2::BufferQueue&, std::uint32_t first, std::uint32_t count)`");
  static_assert(
      NeedsBytes<I> || !requires { &I::bytes_needed; },
      "backends::M2m<Engine>: Engine::Instance's `bytes_needed` must be `std::uint64_t "
      "bytes_needed() const`");
  return HasInstanceFormats<I> && FollowsQueues<I>;
}

}  // namespace vumedia::backends::m2m
