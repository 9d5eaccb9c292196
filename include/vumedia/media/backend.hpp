// What a media backend is: a plain class that media::Device serves to a guest.
//
//   struct Camera {
//     struct Session { ... };                                   // one open file; its address is stable
//     media::Config config() const;
//     Result<std::unique_ptr<Session>> open();                  // or open(context), open(context,
//     completion) void close(Session&);                                     // optional; or close(session,
//     context) Result<media::Mappable> mmap(Session&, std::uint32_t mem_offset);   // optional; or with a
//     context behind
//
//     // One overload for each ioctl it supports, in one of three shapes:
//     Result<> ioctl(Session&, v4l2::tag::G_FMT, v4l2_format&);
//     template <class Context>
//     Result<> ioctl(Session&, Context, v4l2::tag::QBUF, v4l2::BufferPayload&);
//     template <class Context>
//     void ioctl(Session&, Context, v4l2::tag::S_CTRL, v4l2_control&, media::Completion);
//   };
//
// Laws:
//  - Everything is called on the loop's thread and must not wait there: what takes long is given to a worker,
//  with
//    the Completion, and answered from any thread.
//  - A Session comes from open() and dies after close(), on CLOSE, reset, or the end of the device. No other
//  function
//    is called with it afterwards; completions and posters of it may outlive it.
//  - An errno in a Result is the guest's status. The payload is the guest's own bytes, checked for nothing
//  but its
//    shape (v4l2/payload.hpp); reserved fields may hold anything.
//  - `mem_offset` is whatever the guest asked for; EINVAL if QUERYBUF never named it. A buffer that is asked
//  for
//    again is given as the same object again.
//  - What has no overload answers ENOTTY and costs nothing.
//  - A backend with a member `statistics()` is counted (media/statistics.hpp has it ready made).
#pragma once

#include <concepts>
#include <cstdint>
#include <memory>
#include <string_view>
#include <utility>

#include <vumedia/core/fd.hpp>
#include <vumedia/core/result.hpp>
#include <vumedia/media/completion.hpp>
#include <vumedia/media/context.hpp>
#include <vumedia/memory/arena.hpp>
#include <vumedia/v4l2/ioctl_table.hpp>
#include <vumedia/v4l2/payload.hpp>

namespace vumedia::media {

// VFL_TYPE_* of the specification.
enum class DeviceType : std::uint32_t { video = 0, vbi = 1, radio = 2, subdev = 3, sdr = 4, touch = 5 };

// What the guest reads in the configuration space. Constant for the life of the device.
struct Config {
  std::uint32_t device_caps = 0;  // V4L2_CAP_*
  DeviceType device_type = DeviceType::video;
  std::string_view card;  // cut to 32 bytes
};

// Memory that is not ours, such as a host device's buffer: mapped by itself, at the cost of a slot of the
// frontend's.
struct ForeignMemory {
  OwnedFd fd;
  std::uint64_t fd_offset = 0;  // a page multiple
  std::uint64_t length = 0;     // bytes of the buffer; the file holds them rounded up to whole pages
  bool writable = true;
};

// A buffer that the guest may map, kept alive by the mapping: a block of the context's arenas, or foreign
// memory. Its identity is the object's: the same pointer is the same buffer, at the same address.
struct Mappable {
  Mappable(std::shared_ptr<const memory::Block> of, std::uint64_t buffer_length)
      : block(std::move(of)), length(buffer_length) {}
  explicit Mappable(std::shared_ptr<const memory::Block> whole)
      : block(std::move(whole)), length(block->size()) {}
  explicit Mappable(std::shared_ptr<const ForeignMemory> of)
      : foreign(std::move(of)), length(foreign->length) {}

  // One of the two is set.
  std::shared_ptr<const memory::Block> block;
  std::shared_ptr<const ForeignMemory> foreign;
  // Bytes of the buffer (a plane's length): at most what the memory holds.
  std::uint64_t length;
};

// The parts of a Backend, so that a diagnostic can name the one that is missing. `C` is the context it will
// be given.
template <class B>
concept HasSession = requires { typename B::Session; } && std::destructible<typename B::Session>;

template <class B>
concept HasConfig = requires(const B& backend) {
  { backend.config() } -> std::same_as<Config>;
};

template <class B, class C>
concept OpensWithContext = requires(B& backend, C context) {
  { backend.open(context) } -> std::same_as<Result<std::unique_ptr<typename B::Session>>>;
};
// The session is given at once; the completion decides, later and from any thread, whether the guest gets it.
// If not, it is closed as if the guest had. ETIMEDOUT as of a deferred ioctl.
template <class B, class C>
concept OpensDeferred = requires(B& backend, C context, Completion completion) {
  {
    backend.open(context, std::move(completion))
  } -> std::same_as<Result<std::unique_ptr<typename B::Session>>>;
};
template <class B>
concept OpensPlainly = requires(B& backend) {
  { backend.open() } -> std::same_as<Result<std::unique_ptr<typename B::Session>>>;
};

template <class B, class C>
concept MapsWithContext =
    requires(B& backend, typename B::Session& session, std::uint32_t offset, C context) {
      { backend.mmap(session, offset, context) } -> std::same_as<Result<Mappable>>;
    };
template <class B>
concept MapsPlainly = requires(B& backend, typename B::Session& session, std::uint32_t offset) {
  { backend.mmap(session, offset) } -> std::same_as<Result<Mappable>>;
};

// Optional: what the device tells of its work (media/statistics.hpp).
template <class B>
concept HasStatistics = requires(B& backend) { backend.statistics(); };

template <class B, class C = AnyContext>
concept Backend =
    HasSession<B> && HasConfig<B> && (OpensWithContext<B, C> || OpensPlainly<B> || OpensDeferred<B, C>);

}  // namespace vumedia::media
