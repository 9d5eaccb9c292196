// A split ring that is written byte by byte, without any of the rules that a driver keeps, as a hostile one
// can do.
#pragma once

#include <cstdint>
#include <cstring>

#include <gtest/gtest.h>

#include <vumedia/virtio/queue.hpp>
#include <vumedia/virtio/ring_layout.hpp>

#include "support/guest_ram.hpp"

namespace vumedia::test {

class RawRing {
 public:
  // Descriptor table at `guest` in `ram`, then the two rings, each from a page of its own on.
  RawRing(const RamFile& ram, std::uint64_t guest, std::uint16_t size)
      : memory_(ram.data() + (guest - ram.guest())), guest_(guest), size_(size) {
    const auto pages = [](std::uint64_t bytes) { return (bytes + page_size - 1) & ~(page_size - 1); };
    available_ = pages(virtio::ring::descriptors_bytes(size));
    used_ = available_ + pages(virtio::ring::available_bytes(size));
  }

  // The settings of a queue on this ring.
  void configure(virtio::Queue& queue) const {
    EXPECT_TRUE(queue.set_size(size_));
    queue.set_addresses({guest_}, {guest_ + available_}, {guest_ + used_});
  }

  void set(std::size_t index, const virtio::Descriptor& descriptor) const {
    std::memcpy(memory_ + index * sizeof descriptor, &descriptor, sizeof descriptor);
  }
  // Makes the chain at `head` available.
  void offer(std::uint16_t head) const {
    const std::uint16_t index = load(available_ + virtio::ring::index);
    store(available_ + virtio::ring::elements + 2u * (index & (size_ - 1u)), head);
    set_available_index(static_cast<std::uint16_t>(index + 1));
  }
  void set_available_index(std::uint16_t index) const { store(available_ + virtio::ring::index, index); }
  void set_available_flags(std::uint16_t flags) const { store(available_ + virtio::ring::flags, flags); }
  void set_used_flags(std::uint16_t flags) const { store(used_ + virtio::ring::flags, flags); }
  void set_used_event(std::uint16_t event) const {
    store(available_ + virtio::ring::used_event(size_), event);
  }
  // Sets the index of both rings, as if that many chains had come and gone.
  void set_indices(std::uint16_t index) const {
    set_available_index(index);
    store(used_ + virtio::ring::index, index);
  }

  [[nodiscard]] std::uint16_t used_index() const { return load(used_ + virtio::ring::index); }
  [[nodiscard]] std::uint16_t used_flags() const { return load(used_ + virtio::ring::flags); }
  [[nodiscard]] std::uint16_t avail_event() const { return load(used_ + virtio::ring::avail_event(size_)); }
  [[nodiscard]] virtio::UsedElement used(std::uint16_t index) const {
    virtio::UsedElement element;
    std::memcpy(&element, memory_ + used_ + virtio::ring::elements + 8u * (index & (size_ - 1u)),
                sizeof element);
    return element;
  }

 private:
  [[nodiscard]] std::uint16_t load(std::size_t offset) const {
    return virtio::ring::field(memory_ + offset).load(std::memory_order_acquire);
  }
  void store(std::size_t offset, std::uint16_t value) const {
    virtio::ring::field(memory_ + offset).store(value, std::memory_order_release);
  }

  std::byte* memory_;
  std::uint64_t guest_;
  std::uint16_t size_;
  std::size_t available_;
  std::size_t used_;
};

}  // namespace vumedia::test
