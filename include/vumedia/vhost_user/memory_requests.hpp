// The requests that tell where guest memory is.
#pragma once

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <utility>
#include <vector>

#include <vumedia/core/fd.hpp>
#include <vumedia/core/result.hpp>
#include <vumedia/memory/address.hpp>
#include <vumedia/memory/guest_memory.hpp>
#include <vumedia/vhost_user/handlers.hpp>
#include <vumedia/vhost_user/requests.hpp>
#include <vumedia/vhost_user/verdict.hpp>
#include <vumedia/vhost_user/wire.hpp>

namespace vumedia::vhost_user {

/// `Host` is a SessionHost, which outlives this: something with a table, memory(), and replace_memory().
template <class Host>
class MemoryRequests {
 public:
  /// `host` is borrowed.
  explicit MemoryRequests(Host& host) noexcept : host_(host) {}

  /// Replaces the table as a whole; refused with the reason if it is not valid.
  Verdict handle(const Received<request::SetMemTable>& message) {
    const std::uint32_t count = message.body.count;
    const std::size_t body_size = sizeof message.body + message.tail.size();
    if (count > max_table_regions) return malformed("%u regions, at most %u fit", count, max_table_regions);
    if (message.tail.size() != count * sizeof(MemoryRegion))
      return malformed("%u regions in a body of %zu bytes", count, body_size);
    if (message.fds.size() != count)
      return malformed("%u regions came with %zu file descriptors", count, message.fds.size());
    std::vector<memory::RegionSpec> regions;
    for (std::uint32_t i = 0; i < count; ++i) {
      MemoryRegion region;
      std::memcpy(&region, message.tail.data() + i * sizeof region, sizeof region);
      regions.push_back(spec(region, message.fds.take(i)));
    }
    return replace(host_.memory()->successor(std::move(regions)));
  }

  /// Answers with max_mem_slots.
  Verdict handle(const Received<request::GetMaxMemSlots>&) { return answered(U64{max_mem_slots}); }

  /// Replaces the table by one with another region.
  Verdict handle(const Received<request::AddMemReg>& message) {
    return replace(host_.memory()->with(spec(message.body.region, message.fds.take(0))));
  }

  /// Replaces the table by one without that region.
  Verdict handle(const Received<request::RemMemReg>& message) {
    const MemoryRegion& region = message.body.region;
    return replace(host_.memory()->without(memory::GuestAddress{region.guest_address}, region.size,
                                           memory::FrontendAddress{region.user_address}));
  }

 private:
  using Table = std::shared_ptr<const memory::GuestMemory>;

  [[nodiscard]] static memory::RegionSpec spec(const MemoryRegion& region, OwnedFd fd) noexcept {
    return {memory::GuestAddress{region.guest_address}, memory::FrontendAddress{region.user_address},
            region.size, region.mmap_offset, std::move(fd)};
  }
  Verdict replace(Outcome<Table> table) {
    if (!table) return refused({std::move(table.error().message), EINVAL});
    host_.replace_memory(std::move(*table));
    return {};
  }

  Host& host_;
};

}  // namespace vumedia::vhost_user
