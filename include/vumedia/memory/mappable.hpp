// A buffer that a guest may map, as a backend hands it to its device.
#pragma once

#include <cstdint>
#include <memory>
#include <utility>

#include <vumedia/core/fd.hpp>
#include <vumedia/memory/arena.hpp>

namespace vumedia::memory {

/// Memory that is not ours, such as a host device's buffer: mapped by itself, at the cost of one of the
/// frontend's slots.
struct ForeignMemory {
  OwnedFd fd;                   ///< the file, owned: kept open as long as something is mapped
  std::uint64_t fd_offset = 0;  ///< a page multiple
  std::uint64_t length = 0;     ///< bytes of the buffer; the file holds them rounded up to whole pages
  bool writable = true;         ///< whether the guest may write to it
};

/// A buffer that the guest may map, kept alive by the mapping: a block of the device's arenas, or foreign
/// memory. The object is its identity: the same pointer is the same buffer, at the same address.
struct Mappable {
  /// The first `buffer_length` bytes of a block, which is not null.
  Mappable(std::shared_ptr<const Block> of, std::uint64_t buffer_length)
      : block(std::move(of)), length(buffer_length) {}
  /// All of a block, which is not null.
  explicit Mappable(std::shared_ptr<const Block> whole) : block(std::move(whole)), length(block->size()) {}
  /// Foreign memory, which is not null.
  explicit Mappable(std::shared_ptr<const ForeignMemory> of)
      : foreign(std::move(of)), length(foreign->length) {}

  /// One of the two is set.
  std::shared_ptr<const Block> block;
  /// Set if `block` is null.
  std::shared_ptr<const ForeignMemory> foreign;
  /// Bytes of the buffer (a plane's length): at most what the memory holds.
  std::uint64_t length;
};

}  // namespace vumedia::memory
