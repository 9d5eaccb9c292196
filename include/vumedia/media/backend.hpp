// A media backend: a plain class that media::Device serves to a guest.
//
// clang-format off
//   struct Camera {
//     struct Session { ... };  // one open file; its address is stable
//     media::Config config() const;
//     // Or open(context, completion), to answer later.
//     Result<std::unique_ptr<Session>> open(media::Context);
//     // Optional.
//     void close(Session&);
//     Result<media::Mappable> mmap(Session&, std::uint32_t mem_offset);
//     media::Statistics& statistics();
//
//     // One overload for each ioctl it supports, in one of two shapes:
//     Result<> ioctl(Session&, v4l2::tag::G_FMT, v4l2_format&);
//     void ioctl(Session&, v4l2::tag::S_CTRL, v4l2_control&, media::Completion);
//   };
// clang-format on
//
// Laws:
//  - Everything is called on the loop's thread and must not wait there: what takes long is given to a worker,
//    with the Completion, and answered from any thread.
//  - A Session keeps the Context that open() was given, if it needs one later.
//  - A guest chooses how much a command is. An overload without a completion does as much as its context's
//    work() allows, returns memory::again, and is called again with the same payload, before other commands
//    of the session; v4l2::BufferQueue does so for QBUF, given that work.
//  - A Session comes from open() and dies after close(), on CLOSE, reset, or the end of the device. No other
//    function is called with it afterwards; completions and posters of it may outlive it.
//  - An errno in a Result is the guest's status. The payload is the guest's own bytes, checked for nothing
//    but its shape (v4l2/payload.hpp); reserved fields may hold anything.
//  - `mem_offset` is whatever the guest asked for; EINVAL if QUERYBUF never named it. A buffer that is asked
//    for again is given as the same object again.
//  - What has no overload answers ENOTTY and costs nothing. What is nearly one, private or with its arguments
//    in another order, is not taken for missing but refused by the compiler (media/near_miss.hpp), which has
//    to derive from the backend for that: it cannot be `final`.
//  - A backend with a member `statistics()` is counted (media/statistics.hpp has it ready made).
#pragma once

#include <concepts>
#include <cstdint>
#include <memory>
#include <string_view>
#include <utility>

#include <vumedia/core/result.hpp>
#include <vumedia/media/completion.hpp>
#include <vumedia/media/context.hpp>
#include <vumedia/memory/mappable.hpp>
#include <vumedia/v4l2/ioctl_table.hpp>
#include <vumedia/v4l2/payload.hpp>

namespace vumedia::media {

/// VFL_TYPE_* of the specification.
enum class DeviceType : std::uint32_t { video = 0, vbi = 1, radio = 2, subdev = 3, sdr = 4, touch = 5 };

/// What the guest reads in the configuration space. Constant for the life of the device.
struct Config {
  std::uint32_t device_caps = 0;               ///< V4L2_CAP_*
  DeviceType device_type = DeviceType::video;  ///< what kind of V4L2 node the guest makes of it
  std::string_view card;                       ///< cut to 32 bytes
};

// What mmap() returns: v4l2::BufferQueue::mappable() has one for each plane of its buffers.
using memory::ForeignMemory;
using memory::Mappable;

/// The parts of a Backend, so that a diagnostic can name the missing one.
template <class B>
concept BackendIsCompleteHere = requires { sizeof(B); };

/// `Session`, complete or not.
template <class B>
concept NamesSession = requires { typename B::Session; };
/// `Session` is defined.
template <class B>
concept SessionIsCompleteHere = requires { sizeof(typename B::Session); };
/// `Session`, which can be destroyed.
template <class B>
concept HasSession = NamesSession<B> && SessionIsCompleteHere<B> && std::destructible<typename B::Session>;

/// `config() const`.
template <class B>
concept HasConfig = requires(const B& backend) {
  { backend.config() } -> std::same_as<Config>;
};

/// `open(context)`, which answers at once.
template <class B>
concept Opens = requires(B& backend, Context context) {
  { backend.open(context) } -> std::same_as<Result<std::unique_ptr<typename B::Session>>>;
};
/// The session is returned at once; the completion decides, later and from any thread, whether the guest gets
/// it. If not, it is closed as if the guest had closed it. It fails with ETIMEDOUT like a deferred ioctl.
template <class B>
concept OpensDeferred = requires(B& backend, Context context, Completion completion) {
  {
    backend.open(context, std::move(completion))
  } -> std::same_as<Result<std::unique_ptr<typename B::Session>>>;
};

/// Optional: `mmap(session, offset)`.
template <class B>
concept Maps = requires(B& backend, typename B::Session& session, std::uint32_t offset) {
  { backend.mmap(session, offset) } -> std::same_as<Result<Mappable>>;
};

/// Optional: `close(session)`.
template <class B>
concept Closes = requires(B& backend, typename B::Session& session) {
  { backend.close(session) } -> std::same_as<void>;
};

/// Optional: what the device reports about its work (media/statistics.hpp).
template <class B>
concept HasStatistics = requires(B& backend) { backend.statistics(); };

/// What a type must have; its optional members and its ioctls are looked up one by one (media/dispatch.hpp).
template <class B>
concept Backend = HasSession<B> && HasConfig<B> && (Opens<B> || OpensDeferred<B>);

/// Says what a type that media::Device is given lacks.
template <class BackendType>
struct CheckedBackend {
  static constexpr bool done = true;  ///< so that a device can ask for the check
  static_assert(
      BackendIsCompleteHere<BackendType>,
      "media::Device<BackendType, Host>: BackendType is not complete here: its definition must come "
      "before the device");
  static_assert(
      !BackendIsCompleteHere<BackendType> || !std::is_final_v<BackendType>,
      "media::Device<BackendType, Host>: BackendType is `final`, which hides what is private in it: "
      "leave `final` out, so that members that cannot be called are not taken for missing");
  static_assert(!NamesSession<BackendType> || SessionIsCompleteHere<BackendType>,
                "media::Device<BackendType, Host>: BackendType::Session is not complete here: its definition "
                "must come before the device");
  static_assert(HasSession<BackendType>,
                "media::Device<BackendType, Host>: BackendType is not a media::Backend: it has no public "
                "type `Session`");
  static_assert(HasConfig<BackendType>,
                "media::Device<BackendType, Host>: BackendType is not a media::Backend: it has no public "
                "`media::Config config() const`");
  static_assert(Opens<BackendType> || OpensDeferred<BackendType>,
                "media::Device<BackendType, Host>: BackendType is not a media::Backend: it has no public "
                "`Result<std::unique_ptr<Session>> open(media::Context)`, nor one with a media::Completion "
                "as its second argument");
  static_assert(!(Opens<BackendType> && OpensDeferred<BackendType>),
                "media::Device<BackendType, Host>: BackendType has `open(context)` and "
                "`open(context, completion)`: keep one of them");
};

}  // namespace vumedia::media
