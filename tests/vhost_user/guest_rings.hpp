// Guest memory with the rings of two queues and their event fds, for tests of what serves rings, without a
// session and without a frontend.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <utility>

#include <gtest/gtest.h>

#include <vumedia/core/fd.hpp>
#include <vumedia/io/reactor.hpp>
#include <vumedia/io/uring_reactor.hpp>
#include <vumedia/memory/guest_memory.hpp>
#include <vumedia/vhost_user/ring.hpp>
#include <vumedia/virtio/driver_queue.hpp>

#include "support/guest_ram.hpp"
#include "support/io.hpp"

namespace vumedia::vhost_user::test {

template <io::Reactor R = io::UringReactor>
std::unique_ptr<R> make_reactor() {
  auto made = R::create();
  EXPECT_TRUE(made);
  return made ? std::move(*made) : nullptr;
}

// Runs the handlers of all that has completed.
template <io::Reactor R>
void settle(R& reactor) {
  while (reactor.run_once(false).value_or(0) > 0) {
  }
}

struct GuestRings {
  static constexpr std::uint16_t size = 16;
  static constexpr std::uint64_t base = 0x10'0000, stride = 0x4000;

  [[nodiscard]] RingAddresses addresses(std::size_t i) const {
    const auto here = [this](memory::GuestAddress address) {
      return memory::FrontendAddress{address.value - base + ram.frontend()};
    };
    return {here(queues[i].descriptors()), here(queues[i].available()), here(queues[i].used())};
  }
  // Size, base and addresses.
  template <class Ring>
  void configure(Ring& ring, std::uint16_t first = 0) const {
    EXPECT_TRUE(ring.set_size(size));
    ring.set_base(first);
    ring.set_addresses(addresses(ring.index()));
  }
  // The driver offers a buffer of one byte that the device may write.
  void offer(std::size_t i) {
    const virtio::Piece piece{{base + 0xf000}, 1, true};
    EXPECT_TRUE(queues[i].add(std::span(&piece, 1)));
    static_cast<void>(queues[i].publish());
  }

  vumedia::test::RamFile ram{base, 1 << 16};
  std::shared_ptr<const memory::GuestMemory> table = vumedia::test::make_table({&ram});
  std::array<virtio::DriverQueue, 2> queues{
      virtio::DriverQueue{ram.data(), {base}, size, true},
      virtio::DriverQueue{ram.data() + stride, {base + stride}, size, true}};
  std::array<OwnedFd, 2> kick{io::test::event_fd(), io::test::event_fd()};
  std::array<OwnedFd, 2> call{io::test::event_fd(), io::test::event_fd()};
  std::array<OwnedFd, 2> err{io::test::event_fd(), io::test::event_fd()};
};

[[nodiscard]] inline OwnedFd copy(const OwnedFd& fd) {
  return std::move(*fd.duplicate());
}

}  // namespace vumedia::vhost_user::test
