// A guest's way to a device over a vhost-user socket: this process plays the VMM, too.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>

#include <poll.h>
#include <unistd.h>

#include <vumedia/core/checked.hpp>
#include <vumedia/core/fd.hpp>
#include <vumedia/core/mapping.hpp>
#include <vumedia/core/result.hpp>
#include <vumedia/io/reactor.hpp>
#include <vumedia/media/wire.hpp>
#include <vumedia/memory/address.hpp>
#include <vumedia/memory/shm_region.hpp>
#include <vumedia/vhost_user/frontend.hpp>
#include <vumedia/virtio/driver_queue.hpp>

namespace vumedia::client {

/// A Transport. Guest memory is one sealed memory file, shared memory region 0 a range of addresses here.
class VhostUserTransport {
 public:
  using SharedMemory = std::span<std::byte>;  ///< valid until it is unmapped

  /// Connects to a listening back-end.
  [[nodiscard]] static Outcome<VhostUserTransport> connect(const std::string& socket_path) {
    auto frontend = vhost_user::Frontend::connect(socket_path);
    if (!frontend) return std::unexpected(std::move(frontend.error()));
    return VhostUserTransport(std::move(*frontend));
  }
  /// Uses a connected frontend that has not negotiated yet.
  VhostUserTransport(vhost_user::Frontend frontend) noexcept  // NOLINT: implicit on purpose
      : frontend_(std::move(frontend)) {}

  /// See client::Transport.
  ///@{
  [[nodiscard]] Outcome<> negotiate(std::span<std::byte> config);
  [[nodiscard]] bool event_idx() const noexcept {
    return (frontend_.features() & vhost_user::feature::ring_event_idx) != 0;
  }
  ///@}
  /// See client::Transport.
  ///@{
  [[nodiscard]] std::uint64_t shm_size() const noexcept { return shm_.size(); }
  [[nodiscard]] Outcome<std::span<std::byte>> create_memory(std::size_t size);
  [[nodiscard]] memory::GuestAddress guest_base() const noexcept { return {0x1'0000'0000}; }
  [[nodiscard]] Outcome<> start(std::span<const virtio::DriverQueue> queues);
  void kick(std::uint16_t queue) noexcept {
    const std::uint64_t one = 1;
    // A full counter means that the device has enough kicks.
    [[maybe_unused]] const auto done = ::write(kick_[queue].get(), &one, sizeof one);
  }
  [[nodiscard]] Outcome<> poll() { return gone_if_failed(frontend_.serve_backend()); }
  [[nodiscard]] Outcome<> wait(io::TimePoint until);
  [[nodiscard]] SharedMemory shared_memory(memory::ShmOffset offset, std::uint64_t length) const noexcept {
    return shm_.bytes(offset, length);
  }
  [[nodiscard]] Outcome<> reset();
  ///@}

  /// The frontend, which the transport owns.
  [[nodiscard]] vhost_user::Frontend& frontend() noexcept { return frontend_; }

 private:
  [[nodiscard]] Outcome<> start_queue(std::uint16_t index, const virtio::DriverQueue& queue);
  [[nodiscard]] Result<> shmem(vhost_user::Frontend::ShmemRequest request);
  [[nodiscard]] static Outcome<> gone_if_failed(Outcome<> done) {
    if (!done) return gone();
    return done;
  }
  [[nodiscard]] static std::unexpected<Error> gone() {
    return std::unexpected(Error{"the back-end has gone", EPIPE});
  }
  // An event fd wakes up, which means nothing by itself: the ring shows what has come.
  static void drain(int event_fd) noexcept {
    std::uint64_t count = 0;
    [[maybe_unused]] const auto got = ::read(event_fd, &count, sizeof count);
  }

  vhost_user::Frontend frontend_;
  memory::ShmRegion shm_;
  OwnedFd memory_fd_;
  Mapping memory_;
  OwnedFd kick_[media::wire::queue_count];
  OwnedFd call_[media::wire::queue_count];
};

inline Outcome<> VhostUserTransport::negotiate(std::span<std::byte> config) {
  using namespace vhost_user;
  frontend_.set_shmem_handler([this](Frontend::ShmemRequest request) { return shmem(std::move(request)); });
  if (auto done = frontend_.negotiate(); !done) return done;
  if ((frontend_.features() & feature::version_1) == 0) return failure("the device is not a VIRTIO 1 device");
  if (!frontend_.has(protocol_feature::config))
    return failure("the back-end does not offer the configuration space");
  if (auto done = frontend_.get_config(0, config); !done) return done;

  if (!frontend_.has(protocol_feature::shmem) || frontend_.backend_fd() < 0) return {};
  auto shmem = frontend_.shmem_config();
  if (!shmem) return std::unexpected(std::move(shmem.error()));
  if (const std::uint64_t size = shmem->size[media::wire::mmap_region]; size != 0) {
    auto region = memory::ShmRegion::reserve(size);
    if (!region)
      return system_failure(region.error().value, "cannot reserve %llu bytes for shared memory",
                            static_cast<unsigned long long>(size));
    shm_ = std::move(*region);
  }
  return {};
}

inline Outcome<std::span<std::byte>> VhostUserTransport::create_memory(std::size_t size) {
  auto fd = make_sealed_memfd("vumedia-guest", size);
  if (!fd) return system_failure(fd.error().value, "cannot create guest memory");
  auto mapping = Mapping::map(fd->get(), 0, *align_up(size, page_size));
  if (!mapping) return system_failure(mapping.error().value, "cannot map guest memory");
  memory_fd_ = std::move(*fd);
  memory_ = std::move(*mapping);
  for (std::uint16_t i = 0; i < media::wire::queue_count; ++i) {
    auto kick = make_event_fd(), call = make_event_fd();
    if (!kick || !call)
      return system_failure((kick ? call : kick).error().value, "cannot create an event fd");
    kick_[i] = std::move(*kick);
    call_[i] = std::move(*call);
  }
  // The frontend's address of a byte is its address here.
  const vhost_user::Frontend::Region region{
      guest_base(), {reinterpret_cast<std::uintptr_t>(memory_.data())}, memory_.size(), 0, memory_fd_.get()};
  const bool slots = frontend_.has(vhost_user::protocol_feature::configure_mem_slots);
  auto told = slots ? frontend_.add_region(region) : frontend_.set_memory(std::span(&region, 1));
  if (!told) return std::unexpected(std::move(told.error()));
  return memory_.bytes();
}

inline Outcome<> VhostUserTransport::start(std::span<const virtio::DriverQueue> queues) {
  const auto count = static_cast<std::uint16_t>(queues.size());
  for (std::uint16_t i = 0; i < count; ++i) {
    if (auto done = start_queue(i, queues[i]); !done) return done;
  }
  if ((frontend_.features() & vhost_user::feature::protocol_features) != 0) {
    for (std::uint16_t i = 0; i < count; ++i) {
      if (auto done = frontend_.enable_vring(i, true); !done) return done;
    }
  }
  // ACKNOWLEDGE, DRIVER, DRIVER_OK, FEATURES_OK.
  if (frontend_.has(vhost_user::protocol_feature::status)) return frontend_.set_status(15);
  return {};
}

inline Outcome<> VhostUserTransport::start_queue(std::uint16_t index, const virtio::DriverQueue& queue) {
  const auto user = [this](memory::GuestAddress address) {
    return memory::FrontendAddress{reinterpret_cast<std::uintptr_t>(memory_.data()) + address.value -
                                   guest_base().value};
  };
  if (auto done = frontend_.set_vring_size(index, queue.size()); !done) return done;
  if (auto done = frontend_.set_vring_base(index, 0); !done) return done;
  if (auto done = frontend_.set_vring_addresses(index, user(queue.descriptors()), user(queue.available()),
                                                user(queue.used()));
      !done)
    return done;
  if (auto done = frontend_.set_vring_call(index, call_[index].get()); !done) return done;
  return frontend_.set_vring_kick(index, kick_[index].get());
}

// Serves the back-end while it waits.
inline Outcome<> VhostUserTransport::wait(io::TimePoint until) {
  pollfd fds[] = {{call_[0].get(), POLLIN, 0},
                  {call_[1].get(), POLLIN, 0},
                  {frontend_.fd(), POLLIN, 0},
                  {frontend_.backend_fd(), POLLIN, 0}};
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(until - io::Clock::now()).count();
  const int ready = ::poll(fds, std::size(fds), static_cast<int>(std::clamp<long long>(left, 0, 60'000)));
  if (ready < 0 && errno != EINTR) return system_failure(errno, "cannot poll");
  if (ready <= 0) return {};
  if (fds[0].revents != 0) drain(call_[0].get());
  if (fds[1].revents != 0) drain(call_[1].get());
  if (fds[3].revents != 0) {
    if (auto served = frontend_.serve_backend(); !served)
      return std::unexpected(Error{std::move(served.error().message), EPROTO});
  }
  // No request is pending on this socket: only its end can be read from it. An answer may still be in the
  // queue.
  if (fds[2].revents != 0 && (fds[0].revents | fds[1].revents) == 0) return gone();
  return {};
}

inline Outcome<> VhostUserTransport::reset() {
  using namespace vhost_user;
  const bool enables = (frontend_.features() & feature::protocol_features) != 0;
  for (std::uint16_t i = 0; enables && i < media::wire::queue_count; ++i) {
    if (auto done = frontend_.enable_vring(i, false); !done) return done;
  }
  for (std::uint16_t i = 0; i < media::wire::queue_count; ++i) {
    if (auto base = frontend_.stop_vring(i); !base) return std::unexpected(std::move(base.error()));
  }
  if (frontend_.has(protocol_feature::status)) {
    if (auto done = frontend_.set_status(0); !done) return done;
  } else if (frontend_.has(protocol_feature::reset_device)) {
    if (auto done = frontend_.reset_device(); !done) return done;
  }
  // Does what a VMM does when its guest resets the device.
  shm_.unmap_all();
  return {};
}

inline Result<> VhostUserTransport::shmem(vhost_user::Frontend::ShmemRequest request) {
  const auto& range = request.range;
  if (range.region != media::wire::mmap_region) return fail(EINVAL);
  if (!request.map) return shm_.unmap({range.shm_offset}, range.length);
  return shm_.map(request.fd.get(), range.fd_offset, {range.shm_offset}, range.length,
                  (range.flags & vhost_user::shmem_map_writable) != 0);
}

}  // namespace vumedia::client
