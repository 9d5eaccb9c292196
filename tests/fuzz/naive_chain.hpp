// Descriptor chains as VIRTIO 1.4, 2.7.5 describes them, read without windows and counters: what Queue::pop
// is compared with. It counts its steps.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <span>
#include <vector>

#include <vumedia/memory/guest_memory.hpp>
#include <vumedia/virtio/chain.hpp>
#include <vumedia/virtio/ring_layout.hpp>

namespace vumedia::fuzz {

struct Range {
  std::uint64_t guest = 0;
  std::uint64_t length = 0;
  friend bool operator==(const Range&, const Range&) = default;
};

struct NaiveChain {
  virtio::ChainError error = virtio::ChainError::none;
  std::vector<Range> readable, writable;  // adjacent ones joined
  std::size_t steps = 0;                  // descriptors that were looked at
  std::size_t pieces = 0;                 // of regions
};

class NaiveReader {
 public:
  // Regions by guest address, none empty, and where their bytes are here.
  struct Region {
    std::uint64_t guest;
    std::span<const std::byte> bytes;
  };
  explicit NaiveReader(std::vector<Region> regions) : regions_(std::move(regions)) {}

  [[nodiscard]] NaiveChain chain(std::uint64_t table, std::uint32_t size, std::uint16_t head,
                                 bool indirect) const {
    using enum virtio::ChainError;
    NaiveChain result;
    std::uint64_t at = table, entries = size, index = head, in_table = 0, total = 0, own = 0;
    bool inside = false, writable = false;
    const auto failed = [&](virtio::ChainError error) {
      result.error = error;
      return result;
    };
    while (true) {
      if ((inside ? in_table : own) == entries) return failed(loop);
      if (inside && own + in_table == size) return failed(too_long);
      virtio::Descriptor d;
      if (!copy(at + 16 * index, d)) return failed(outside_memory);
      ++result.steps;
      if ((d.flags & virtio::desc_f_indirect) != 0) {
        if (inside) return failed(nested_indirect);
        if (!indirect) return failed(indirect_not_negotiated);
        if ((d.flags & virtio::desc_f_next) != 0) return failed(indirect_with_next);
        if (d.length == 0 || d.length % 16 != 0) return failed(bad_indirect_size);
        // All of the table is within 64 bits.
        if (d.address + d.length < d.address) return failed(outside_memory);
        inside = true;
        at = d.address;
        entries = d.length / 16;
        index = 0;
        continue;
      }
      ++(inside ? in_table : own);
      const bool write = (d.flags & virtio::desc_f_write) != 0;
      if (writable && !write) return failed(readable_after_writable);
      writable = write;
      total += d.length;
      if (!add(result, write ? result.writable : result.readable, d)) return failed(outside_memory);
      if ((d.flags & virtio::desc_f_next) == 0) break;
      if (d.next >= entries) return failed(next_out_of_range);
      index = d.next;
    }
    return total > std::numeric_limits<std::uint32_t>::max() ? failed(length_overflow) : result;
  }

  // The guest's name for memory of ours; joined with what lies before it.
  void name(std::span<const virtio::Segment> segments, std::vector<Range>& to) const {
    for (const virtio::Segment& segment : segments) {
      for (const Region& region : regions_) {
        if (segment.data() < region.bytes.data() ||
            segment.data() >= region.bytes.data() + region.bytes.size())
          continue;
        const auto offset = static_cast<std::uint64_t>(segment.data() - region.bytes.data());
        if (segment.size() <= region.bytes.size() - offset) join(to, region.guest + offset, segment.size());
      }
    }
  }

 private:
  [[nodiscard]] const Region* find(std::uint64_t address) const {
    for (const Region& region : regions_) {
      if (address >= region.guest && address - region.guest < region.bytes.size()) return &region;
    }
    return nullptr;
  }
  [[nodiscard]] bool copy(std::uint64_t address, virtio::Descriptor& to) const {
    std::byte bytes[16];
    for (std::uint64_t i = 0; i < 16; ++i) {
      const Region* const region = find(address + i);
      if (region == nullptr) return false;
      bytes[i] = region->bytes[address + i - region->guest];
    }
    std::memcpy(&to, bytes, 16);
    return true;
  }
  static void join(std::vector<Range>& ranges, std::uint64_t guest, std::uint64_t length) {
    if (!ranges.empty() && ranges.back().guest + ranges.back().length == guest)
      ranges.back().length += length;
    else
      ranges.push_back({guest, length});
  }
  [[nodiscard]] bool add(NaiveChain& chain, std::vector<Range>& to, const virtio::Descriptor& d) const {
    std::uint64_t at = d.address, left = d.length;
    while (left > 0) {
      const Region* const region = find(at);
      if (region == nullptr) return false;
      const std::uint64_t part = std::min<std::uint64_t>(left, region->guest + region->bytes.size() - at);
      join(to, at, part);
      ++chain.pieces;
      at += part;
      left -= part;
    }
    return true;
  }

  std::vector<Region> regions_;
};

}  // namespace vumedia::fuzz
