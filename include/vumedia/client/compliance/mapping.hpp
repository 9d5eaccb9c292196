// Rules on MMAP and MUNMAP of virtio-media (VIRTIO 1.4, 5.22.6.3.4 and 5.22.6.3.5).
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include <vumedia/client/compliance/buffers.hpp>
#include <vumedia/client/compliance/rule.hpp>

namespace vumedia::client::compliance::detail::rules {

// MMAP buffers to be mapped; not applicable to other memory, or without a region to map them into.
inline Finding mappable(Subject& s, Buffers& buffers, std::uint32_t count) {
  if (s.memory() != V4L2_MEMORY_MMAP) return not_applicable("only MMAP buffers are mapped");
  if (s.facts().shm_size == 0) return not_applicable("the device has no shared memory");
  return buffers.allocate(count);
}
inline Finding mapped(Subject& s, std::uint32_t offset, MappedBuffer& mapping) {
  const auto done = s.map(s.session(), offset);
  if (!done) return failed("MMAP of offset 0x%x: %s", offset, errno_name(done.error().value).c_str());
  mapping = *done;
  return passed();
}
inline Finding unmapped(Subject& s, memory::ShmOffset address, int wanted, const char* when) {
  const auto done = s.unmap(address);
  return Subject::judge("MUNMAP", done ? 0 : done.error().value, wanted, when);
}
inline Finding maps_not(Subject& s, std::uint32_t session, std::uint32_t offset, const char* what) {
  const auto done = s.map(session, offset);
  return Subject::judge("MMAP", done ? 0 : done.error().value, EINVAL, what);
}

// Bytes that a rule leaves in a buffer to recognise it later.
inline constexpr std::array<std::byte, 16> mark{
    std::byte{0x6d}, std::byte{0x61}, std::byte{0x72}, std::byte{0x6b}, std::byte{0x00}, std::byte{0xff},
    std::byte{0xa5}, std::byte{0x5a}, std::byte{0x01}, std::byte{0x02}, std::byte{0x03}, std::byte{0x04},
    std::byte{0xfe}, std::byte{0xdc}, std::byte{0xba}, std::byte{0x98}};
inline Finding leave_mark(Subject& s, const MappedBuffer& mapping) {
  if (s.guest().write(mapping, mark)) return passed();
  return failed("mapped memory cannot be written");
}
inline Finding find_mark(Subject& s, const MappedBuffer& mapping, const char* when) {
  std::array<std::byte, mark.size()> seen{};
  if (!s.guest().read(mapping, seen)) return failed("the memory is gone %s", when);
  if (seen == mark) return passed();
  return failed("the memory has other bytes %s", when);
}

inline Finding map_length(Subject& s) {
  Buffers buffers(s);
  if (auto found = mappable(s, buffers, 2)) return found;
  for (std::uint32_t place = 0; place < buffers.size(); ++place) {
    for (std::uint32_t p = 0; p < buffers[place].plane_count; ++p) {
      const Buffers::Plane& plane = buffers[place].planes[p];
      MappedBuffer mapping;
      if (auto found = mapped(s, plane.offset, mapping)) return found;
      if (mapping.size != plane.length)
        return failed("plane %u of buffer %u has %u bytes, but its mapping has %llu", p, place, plane.length,
                      static_cast<unsigned long long>(mapping.size));
      if (!is_aligned(mapping.driver_addr.value, page_size))
        return failed("driver_addr 0x%llx is not at a page boundary",
                      static_cast<unsigned long long>(mapping.driver_addr.value));
      if (auto found = leave_mark(s, mapping)) return found;
    }
  }
  return passed();
}

inline Finding map_apart(Subject& s) {
  Buffers buffers(s);
  if (auto found = mappable(s, buffers, 3)) return found;
  std::vector<std::pair<std::uint64_t, std::uint64_t>> ranges;
  for (std::uint32_t place = 0; place < buffers.size(); ++place) {
    for (std::uint32_t p = 0; p < buffers[place].plane_count; ++p) {
      MappedBuffer mapping;
      if (auto found = mapped(s, buffers[place].planes[p].offset, mapping)) return found;
      ranges.emplace_back(mapping.driver_addr.value, mapping.driver_addr.value + mapping.size);
    }
  }
  std::ranges::sort(ranges);
  for (std::size_t i = 1; i < ranges.size(); ++i) {
    if (ranges[i].first < ranges[i - 1].second)
      return failed("two planes share driver_addr 0x%llx", static_cast<unsigned long long>(ranges[i].first));
  }
  return passed();
}

inline Finding map_again(Subject& s) {
  Buffers buffers(s);
  if (auto found = mappable(s, buffers, 2)) return found;
  MappedBuffer first, second;
  if (auto found = mapped(s, buffers[0].planes[0].offset, first)) return found;
  if (auto found = leave_mark(s, first)) return found;
  if (auto found = mapped(s, buffers[0].planes[0].offset, second)) return found;
  if (first.driver_addr != second.driver_addr)
    return failed("driver_addr was 0x%llx, and then 0x%llx",
                  static_cast<unsigned long long>(first.driver_addr.value),
                  static_cast<unsigned long long>(second.driver_addr.value));
  // After the first MUNMAP it stays mapped until the second.
  if (auto found = unmapped(s, first.driver_addr, 0, "of a buffer that is mapped twice")) return found;
  if (auto found = find_mark(s, second, "when one of two mappings is gone")) return found;
  if (auto found = unmapped(s, second.driver_addr, 0, "of a buffer that is still mapped")) return found;
  return unmapped(s, second.driver_addr, EINVAL, "once more than MMAP");
}

inline Finding map_unknown(Subject& s) {
  Buffers buffers(s);
  if (auto found = mappable(s, buffers, 2)) return found;
  std::uint32_t last = 0;
  for (std::uint32_t place = 0; place < buffers.size(); ++place) {
    for (std::uint32_t p = 0; p < buffers[place].plane_count; ++p)
      last = std::max(last, buffers[place].planes[p].offset);
  }
  if (auto found = maps_not(s, s.session(), 0xfffff000, "of an offset that was never returned")) return found;
  return maps_not(s, s.session(), last + 1, "between the offsets that were returned");
}

inline Finding map_freed(Subject& s) {
  Buffers buffers(s);
  if (auto found = mappable(s, buffers, 2)) return found;
  const std::uint32_t offset = buffers[0].planes[0].offset;
  if (auto found = buffers.release()) return found;
  return maps_not(s, s.session(), offset, "of a buffer that was freed");
}

inline Finding map_closed(Subject& s) {
  Buffers buffers(s);
  if (auto found = mappable(s, buffers, 2)) return found;
  std::uint32_t other = 0;
  if (auto found = s.open(other)) return found;
  if (auto found = s.close(other)) return found;
  return maps_not(s, other, buffers[0].planes[0].offset, "of a file that is closed");
}

inline Finding unmap_unknown(Subject& s) {
  if (s.facts().shm_size == 0) return not_applicable("the device has no shared memory");
  // Nothing is mapped at the first, and nothing can ever be mapped at the second.
  for (const std::uint64_t address :
       {s.facts().shm_size - page_size, s.facts().shm_size, ~std::uint64_t{0}}) {
    if (auto found = unmapped(s, {address}, EINVAL, "of an address where nothing is mapped")) return found;
  }
  return passed();
}

inline Finding map_outlives_buffers(Subject& s) {
  Buffers buffers(s);
  if (auto found = mappable(s, buffers, 2)) return found;
  if ((s.queue().capabilities & V4L2_BUF_CAP_SUPPORTS_ORPHANED_BUFS) == 0)
    return not_applicable("buffers that are mapped cannot be freed");
  MappedBuffer mapping;
  if (auto found = mapped(s, buffers[0].planes[0].offset, mapping)) return found;
  if (auto found = leave_mark(s, mapping)) return found;
  if (auto found = buffers.release()) return found;
  if (auto found = find_mark(s, mapping, "when its buffer is freed")) return found;
  // New buffers are different ones.
  if (auto found = buffers.allocate(2)) return found;
  if (auto found = find_mark(s, mapping, "once there are new buffers")) return found;
  return unmapped(s, mapping.driver_addr, 0, "of a buffer that was freed");
}

inline Finding map_outlives_file(Subject& s) {
  Buffers buffers(s);
  if (auto found = mappable(s, buffers, 2)) return found;
  MappedBuffer mapping;
  if (auto found = mapped(s, buffers[0].planes[0].offset, mapping)) return found;
  if (auto found = leave_mark(s, mapping)) return found;
  if (auto found = s.close(s.session())) return found;
  if (auto found = find_mark(s, mapping, "when its file is closed")) return found;
  return unmapped(s, mapping.driver_addr, 0, "of a buffer of a closed file");
}

inline Finding map_flag(Subject& s) {
  Buffers buffers(s);
  if (auto found = mappable(s, buffers, 2)) return found;
  v4l2::BufferPayload payload{};
  if (auto found = buffers.query(0, payload)) return found;
  if ((payload.buffer.head.flags & V4L2_BUF_FLAG_MAPPED) != 0)
    return failed("a new buffer is flagged as mapped: flags 0x%x", payload.buffer.head.flags);
  MappedBuffer mapping;
  if (auto found = mapped(s, buffers[0].planes[0].offset, mapping)) return found;
  if (auto found = buffers.query(0, payload)) return found;
  if ((payload.buffer.head.flags & V4L2_BUF_FLAG_MAPPED) == 0)
    return failed("a mapped buffer is not flagged as mapped: flags 0x%x", payload.buffer.head.flags);
  return passed();
}

inline constexpr Rule mapping_rules[] = {
    {"mmap/length", "each plane can be mapped in full length at a page boundary, and be written",
     "VIRTIO 1.4, 5.22.6.3.4 Mapping a MMAP buffer", Scope::buffers, map_length},
    {"mmap/apart", "each plane is mapped at a place of its own",
     "VIRTIO 1.4, 5.22.6.3.4 Mapping a MMAP buffer", Scope::buffers, map_apart},
    {"mmap/again",
     "a buffer that is mapped again is at the same place, until there were as many MUNMAP as MMAP",
     "VIRTIO 1.4, 5.22.6.3.5 Unmapping a MMAP buffer", Scope::buffers, map_again},
    {"mmap/unknown", "an offset that belongs to no buffer is EINVAL",
     "VIRTIO 1.4, 5.22.6.3.4 Mapping a MMAP buffer", Scope::buffers, map_unknown},
    {"mmap/freed", "a buffer that was freed cannot be mapped", "V4L2 API, Streaming I/O (Memory Mapping)",
     Scope::buffers, map_freed},
    {"mmap/closed-file", "a closed file maps nothing", "VIRTIO 1.4, 5.22.6.3.2 Close device", Scope::buffers,
     map_closed},
    {"mmap/flag", "V4L2_BUF_FLAG_MAPPED shows whether a buffer is mapped",
     "V4L2 API, Buffers, Buffer Flags, V4L2_BUF_FLAG_MAPPED", Scope::buffers, map_flag},
    {"mmap/outlives-buffers", "a mapping keeps its bytes when its buffer is freed",
     "VIRTIO 1.4, 5.22.6.3.5; V4L2 API, V4L2_BUF_CAP_SUPPORTS_ORPHANED_BUFS", Scope::buffers,
     map_outlives_buffers},
    {"mmap/outlives-file", "a mapping keeps its bytes when its file is closed",
     "VIRTIO 1.4, 5.22.6.3.5 Unmapping a MMAP buffer", Scope::buffers, map_outlives_file},
    {"munmap/unknown", "an address where nothing is mapped is EINVAL",
     "VIRTIO 1.4, 5.22.6.3.5 Unmapping a MMAP buffer", Scope::device, unmap_unknown},
};

}  // namespace vumedia::client::compliance::detail::rules
