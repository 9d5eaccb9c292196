// The transport of a guest in user space: how it reaches a virtio-media device, for example over a vhost-user
// socket or a virtual machine's PCI bus.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>

#include <vumedia/core/result.hpp>
#include <vumedia/io/reactor.hpp>
#include <vumedia/memory/address.hpp>
#include <vumedia/virtio/driver_queue.hpp>

namespace vumedia::client {

/// Movable until negotiate(), and used by one thread. BasicGuest calls, in this order:
///
// clang-format off
///   negotiate(config)      brings the device up to FEATURES_OK and fills `config` from its config space
///   event_idx()            whether VIRTIO_F_EVENT_IDX was agreed on
///   shm_size()             bytes of shared memory region 0; 0 if there is none
///   create_memory(size)    once: `size` bytes of zeroed guest memory at a page boundary. They live as long
///                          as the transport; guest_base() is the guest's address of the first
///   start(queues)          starts the device with these queues, whose index is their place
///   kick(queue)            rings the doorbell; the next call that returns a Result reports a failure
///   poll()                 receives what has been sent already; does not wait
///   wait(until)            waits until a queue may have something new, or `until`
///   shared_memory(at, n)   `n` bytes of region 0, as far as they are mapped: SharedMemory, empty() if not
///   reset()                resets the device, as a driver does: its mappings are gone, and start() may
///                          follow
// clang-format on
///
/// An Error's code is EPIPE if the device is gone, or EPROTO if it broke the protocol (0 means the same).
template <class T>
concept Transport = requires(T transport, const T& constant, std::span<std::byte> config, std::size_t size,
                             std::span<const virtio::DriverQueue> queues, std::uint16_t queue,
                             io::TimePoint until, memory::ShmOffset offset, std::uint64_t length) {
  requires std::movable<T>;
  requires std::copyable<typename T::SharedMemory>;
  { transport.negotiate(config) } -> std::same_as<Outcome<>>;
  { constant.event_idx() } -> std::same_as<bool>;
  { constant.shm_size() } -> std::same_as<std::uint64_t>;
  { transport.create_memory(size) } -> std::same_as<Outcome<std::span<std::byte>>>;
  { constant.guest_base() } -> std::same_as<memory::GuestAddress>;
  { transport.start(queues) } -> std::same_as<Outcome<>>;
  { transport.kick(queue) } noexcept;
  { transport.poll() } -> std::same_as<Outcome<>>;
  { transport.wait(until) } -> std::same_as<Outcome<>>;
  { transport.shared_memory(offset, length) } -> std::same_as<typename T::SharedMemory>;
  { transport.shared_memory(offset, length).empty() } -> std::same_as<bool>;
  { transport.reset() } -> std::same_as<Outcome<>>;
};

}  // namespace vumedia::client
