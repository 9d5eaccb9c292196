// The guest's memory, as a frontend describes it: a table of regions, each a piece of a file.
//
// A GuestMemory is immutable. The frontend replaces it as a whole or by one region; the new table shares the
// regions that stay, and whoever still holds the old one (a worker that writes to guest pages) keeps its
// mappings alive. Regions are mapped when they are first used, because a frontend also lists our own buffers
// that it has mapped, and nobody reads those through here. Any thread may use a table.
//
// vhost-user, "Memory region description" and SET_MEM_TABLE, ADD_MEM_REG, REM_MEM_REG.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include <vumedia/core/checked.hpp>
#include <vumedia/core/fd.hpp>
#include <vumedia/core/mapping.hpp>
#include <vumedia/core/result.hpp>
#include <vumedia/memory/address.hpp>
#include <vumedia/memory/mapped_ranges.hpp>

namespace vumedia::memory {

/// One region as the frontend sends it: [guest, guest + size) is [file_offset, file_offset + size) of `fd`.
struct RegionSpec {
  GuestAddress guest;             ///< its first byte in the guest
  FrontendAddress frontend;       ///< its first byte in the frontend
  std::uint64_t size = 0;         ///< in bytes, not 0
  std::uint64_t file_offset = 0;  ///< need not be page-aligned
  OwnedFd fd;                     ///< the file, which is closed when it is mapped
};

/// One checked region and its mapping. Shared by all tables that hold it; unmapped with the last of them.
class Region {
  struct Key {};

 public:
  /// Errors name the region by `index`: size 0, a range that leaves 64 bits, no file or one that is too
  /// short. Its mapping will be listed in `mapped`.
  [[nodiscard]] static Outcome<std::shared_ptr<const Region>> create(RegionSpec spec, std::size_t index,
                                                                     std::shared_ptr<MappedRanges> mapped);
  /// Identifies the file it is a piece of, by device and inode: no two living files share these numbers.
  /// Device 0 stands for files that inodes cannot tell apart.
  struct File {
    /// Compared with those of another file.
    ///@{
    std::uint64_t device = 0;
    std::uint64_t number = 0;
    ///@}
    friend constexpr bool operator==(const File&, const File&) = default;
  };
  /// For create(), which alone has a Key.
  Region(Key, RegionSpec spec, std::uint64_t alignment, File file,
         std::shared_ptr<MappedRanges> mapped) noexcept;

  /// The file it is a piece of.
  [[nodiscard]] File file() const noexcept { return file_; }
  /// What RegionSpec said, in bytes.
  ///@{
  [[nodiscard]] std::uint64_t file_offset() const noexcept { return file_offset_; }
  [[nodiscard]] std::uint64_t guest() const noexcept { return guest_; }
  [[nodiscard]] std::uint64_t frontend() const noexcept { return frontend_; }
  [[nodiscard]] std::uint64_t size() const noexcept { return size_; }
  ///@}

  /// The first byte of the region in this process, which is mapped now if it was not. Null if it cannot be
  /// mapped; that is tried once.
  [[nodiscard]] std::byte* data() const noexcept {
    // Acquire: pairs with the release in map(), so that the mapping was made before its address is seen.
    std::byte* const data = data_.load(std::memory_order_acquire);
    return data != nullptr ? data : map();
  }

 private:
  std::byte* map() const noexcept;

  std::uint64_t guest_;
  std::uint64_t frontend_;
  std::uint64_t size_;
  std::uint64_t file_offset_;
  std::uint64_t alignment_;  // of offsets and lengths for mmap(): a page, or a huge page of hugetlbfs
  File file_;
  std::shared_ptr<MappedRanges> mapped_;

  mutable std::atomic<std::byte*> data_{nullptr};
  mutable std::mutex mutex_;  // guards what follows; taken only until the first attempt to map
  mutable OwnedFd fd_;        // closed after that attempt
  mutable Mapping mapping_;
  mutable MappedRanges::Entry entry_;
};

/// A table of regions. Immutable, and shared by pointers, which any thread may use.
class GuestMemory {
  struct Key {};

 public:
  /// The number of memory slots that back-ends commonly offer.
  static constexpr std::size_t max_regions = 509;

  /// A mapped region, for callers that translate many addresses: valid as long as the table it came from.
  struct Window {
    std::uint64_t guest = 0;    ///< its first address in the guest
    std::uint64_t size = 0;     ///< in bytes
    std::byte* data = nullptr;  ///< its first byte in this process

    /// Whether `length` bytes from `offset` = address - guest on all lie in this window. For an address below
    /// `guest` that difference wraps to at least 2^64 - guest, which exceeds `size`, since guest + size <
    /// 2^64.
    [[nodiscard]] bool holds(std::uint64_t offset, std::uint64_t length) const noexcept {
      return offset < size && length <= size - offset;
    }
    /// The `length` bytes at `address`, or null unless they all lie in this window.
    [[nodiscard]] std::byte* at(GuestAddress address, std::uint64_t length) const noexcept {
      const std::uint64_t offset = address.value - guest;
      return holds(offset, length) ? data + offset : nullptr;
    }
  };

  /// A table of `regions` in any order. Fails, with a message that names index and numbers, if Region::create
  /// refuses a region, if there are more than max_regions, or if ranges overlap for the guest. They may
  /// overlap in the frontend: a VMM can show the guest one piece of its memory at two places.
  [[nodiscard]] static Outcome<std::shared_ptr<const GuestMemory>> create(std::vector<RegionSpec> regions) {
    return create(std::move(regions), std::make_shared<MappedRanges>());
  }
  /// A table without regions: every address is outside.
  [[nodiscard]] static std::shared_ptr<const GuestMemory> empty() {
    return std::make_shared<const GuestMemory>(Key{}, std::vector<Entry>{}, std::make_shared<MappedRanges>());
  }

  /// Like create(): a table that replaces this one, from the same frontend (SET_MEM_TABLE).
  [[nodiscard]] Outcome<std::shared_ptr<const GuestMemory>> successor(std::vector<RegionSpec> regions) const {
    return create(std::move(regions), mapped_);
  }
  /// This table plus one region (ADD_MEM_REG).
  [[nodiscard]] Outcome<std::shared_ptr<const GuestMemory>> with(RegionSpec region) const;
  /// This table without the region that has exactly these numbers (REM_MEM_REG).
  [[nodiscard]] Outcome<std::shared_ptr<const GuestMemory>> without(GuestAddress guest, std::uint64_t size,
                                                                    FrontendAddress frontend) const;

  /// How many regions the table has, at most max_regions.
  [[nodiscard]] std::size_t region_count() const noexcept { return entries_.size(); }
  /// Differs between any two tables of this process and is never 0: a translation is valid as long as the
  /// generation is the same.
  [[nodiscard]] std::uint64_t generation() const noexcept { return generation_; }

  /// The region around `address`, mapped; one of size 0 if there is none or it cannot be mapped.
  [[nodiscard]] Window window(GuestAddress address) const noexcept {
    const Entry* const entry = find(address.value);
    if (entry == nullptr) return {};
    std::byte* const data = entry->region->data();
    if (data == nullptr) return {};
    return {entry->start, entry->size, data};
  }

  /// The `length` bytes at `address`, or null unless they all lie in one region that can be mapped.
  [[nodiscard]] std::byte* contiguous(GuestAddress address, std::uint64_t length) const noexcept {
    return window(address).at(address, length);
  }

  /// Calls `f(std::span<std::byte>)` for each piece of [address, address + length) in order; the range may
  /// continue from one region into an adjacent one. EFAULT where memory ends, after the calls for the pieces
  /// before that point. If `f` returns a bool, false ends the walk early (which is not an error).
  template <class F>
  Result<> for_each_piece(GuestAddress address, std::uint64_t length, F&& f) const;

  /// Whether the `length` bytes at `address` are in both tables and are the same bytes of the same file: as
  /// long as a mapping from one table keeps the file alive, it is as good as a new one from the other.
  /// Frontends send a new table for changes that have nothing to do with the memory of a buffer.
  [[nodiscard]] bool same_bytes(const GuestMemory& other, GuestAddress address,
                                std::uint64_t length) const noexcept;

  /// Whether memory of this table's frontend is mapped at `address` of this process: a region of this table,
  /// or of one before or after it that somebody still uses, or a view that is listed in mapped().
  [[nodiscard]] bool holds(std::uintptr_t address) const noexcept { return mapped_->holds(address); }
  /// What of this table's frontend is mapped in this process: a view of its memory is listed here as long as
  /// it lives.
  [[nodiscard]] const std::shared_ptr<MappedRanges>& mapped() const noexcept { return mapped_; }

  /// Where the guest sees what the frontend has at `address`; the lowest place if there are several.
  [[nodiscard]] std::optional<GuestAddress> guest_address(FrontendAddress address) const noexcept {
    for (const Entry& entry : entries_) {
      const std::uint64_t offset = address.value - entry.region->frontend();  // wraps as in Window::holds
      if (offset < entry.size) return GuestAddress{entry.start + offset};
    }
    return std::nullopt;
  }

 private:
  struct Entry {
    std::uint64_t start = 0;
    std::uint64_t size = 0;
    std::shared_ptr<const Region> region;
  };

 public:
  /// For create() and empty(), which alone have a Key.
  GuestMemory(Key, std::vector<Entry> sorted, std::shared_ptr<MappedRanges> mapped) noexcept
      : generation_(next_generation()), entries_(std::move(sorted)), mapped_(std::move(mapped)) {}
  GuestMemory(const GuestMemory&) = delete;
  GuestMemory& operator=(const GuestMemory&) = delete;

 private:
  [[nodiscard]] static Outcome<std::shared_ptr<const GuestMemory>> create(
      std::vector<RegionSpec> regions, std::shared_ptr<MappedRanges> mapped);
  [[nodiscard]] static Outcome<std::shared_ptr<const GuestMemory>> assemble(
      std::vector<std::shared_ptr<const Region>> regions, std::shared_ptr<MappedRanges> mapped);

  // The entry that holds `address`. A binary search without unpredictable branches: it takes no steps for one
  // region, three for eight.
  [[nodiscard]] const Entry* find(std::uint64_t address) const noexcept {
    std::size_t count = entries_.size();
    if (count == 0) return nullptr;
    const Entry* entry = entries_.data();
    while (count > 1) {
      const std::size_t half = count / 2;
      entry = entry[half].start <= address ? entry + half : entry;
      count -= half;
    }
    return address - entry->start < entry->size ? entry : nullptr;
  }

  static std::uint64_t next_generation() noexcept {
    // One count for the process: an identity, not state that anything depends on.
    static std::atomic<std::uint64_t> last{0};
    return last.fetch_add(1, std::memory_order_relaxed) + 1;
  }

  std::uint64_t generation_;
  std::vector<Entry> entries_;  // by start
  std::shared_ptr<MappedRanges> mapped_;
};

inline Outcome<std::shared_ptr<const Region>> Region::create(RegionSpec spec, std::size_t index,
                                                             std::shared_ptr<MappedRanges> mapped) {
  const unsigned long long guest = spec.guest.value, frontend = spec.frontend.value, size = spec.size,
                           offset = spec.file_offset;
  if (size == 0) return failure("region %zu at guest address 0x%llx is empty", index, guest);
  if (!checked_add(spec.guest.value, spec.size))
    return failure("region %zu: guest address 0x%llx plus size 0x%llx leaves 64 bits", index, guest, size);
  if (!checked_add(spec.frontend.value, spec.size))
    return failure("region %zu: frontend address 0x%llx plus size 0x%llx leaves 64 bits", index, frontend,
                   size);
  const auto file_end = checked_add(spec.file_offset, spec.size);
  if (!file_end || *file_end > static_cast<std::uint64_t>(std::numeric_limits<off_t>::max()))
    return failure("region %zu: file offset 0x%llx plus size 0x%llx is not a valid file range", index, offset,
                   size);
  if (!spec.fd) return failure("region %zu at guest address 0x%llx has no file", index, guest);

  struct stat status{};
  if (::fstat(spec.fd.get(), &status) != 0)
    return system_failure(errno, "region %zu: cannot get the status of its file", index);
  // Files that cannot be memory are refused here, where the reason is known. Dma-bufs have no file type, and
  // persistent memory is a device.
  if (const auto type = status.st_mode & S_IFMT; type != S_IFREG && type != S_IFCHR && type != 0)
    return failure("region %zu: its file descriptor is not a file that can be mapped", index);
  // The size is a limit only for regular files, which include memfds and hugetlbfs: reading beyond it raises
  // SIGBUS.
  if (S_ISREG(status.st_mode) && *file_end > static_cast<std::uint64_t>(status.st_size))
    return failure("region %zu: file offset 0x%llx plus size 0x%llx exceeds its file of 0x%llx bytes", index,
                   offset, size, static_cast<unsigned long long>(status.st_size));

  std::uint64_t alignment = page_size;
  struct statfs file_system{};
  if (::fstatfs(spec.fd.get(), &file_system) == 0 && file_system.f_type == HUGETLBFS_MAGIC &&
      is_power_of_two(static_cast<std::uint64_t>(file_system.f_bsize)))
    alignment = std::max(alignment, static_cast<std::uint64_t>(file_system.f_bsize));
  File file{status.st_dev, status.st_ino};
  // All dma-bufs may share one inode, and a device may give different memory each time it is opened: each
  // region of such a file counts as a file of its own. There is no device 0.
  if (!S_ISREG(status.st_mode)) {
    static std::atomic<std::uint64_t> last{0};
    file = {0, last.fetch_add(1, std::memory_order_relaxed)};
  }
  return std::make_shared<const Region>(Key{}, std::move(spec), alignment, file, std::move(mapped));
}

inline Region::Region(Key, RegionSpec spec, std::uint64_t alignment, File file,
                      std::shared_ptr<MappedRanges> mapped) noexcept
    : guest_(spec.guest.value),
      frontend_(spec.frontend.value),
      size_(spec.size),
      file_offset_(spec.file_offset),
      alignment_(alignment),
      file_(file),
      mapped_(std::move(mapped)),
      fd_(std::move(spec.fd)) {}

inline std::byte* Region::map() const noexcept {
  const std::lock_guard lock(mutex_);
  if (std::byte* const data = data_.load(std::memory_order_relaxed))
    return data;             // another thread was faster
  if (!fd_) return nullptr;  // it failed before
  const std::uint64_t before = file_offset_ & (alignment_ - 1);
  // Neither sum overflows: file_offset_ + size_ fits off_t, and an alignment is far below the other half of
  // 64 bits.
  const std::uint64_t length = (before + size_ + alignment_ - 1) & ~(alignment_ - 1);
  auto mapping = Mapping::map(fd_.get(), file_offset_ - before, length);
  fd_.reset();
  if (!mapping) return nullptr;
  // A worker process that crashes should not write the guest's memory into its core dump.
  ::madvise(mapping->data(), mapping->size(), MADV_DONTDUMP);
  mapping_ = std::move(*mapping);
  entry_ = {mapped_, mapping_.bytes()};
  std::byte* const data = mapping_.data() + before;
  data_.store(data, std::memory_order_release);
  return data;
}

inline Outcome<std::shared_ptr<const GuestMemory>> GuestMemory::create(std::vector<RegionSpec> regions,
                                                                       std::shared_ptr<MappedRanges> mapped) {
  // Checked before any work is done for them.
  if (regions.size() > max_regions)
    return failure("%zu memory regions, at most %zu are supported", regions.size(), max_regions);
  std::vector<std::shared_ptr<const Region>> checked;
  checked.reserve(regions.size());
  for (auto& spec : regions) {
    auto region = Region::create(std::move(spec), checked.size(), mapped);
    if (!region) return std::unexpected(std::move(region.error()));
    checked.push_back(std::move(*region));
  }
  return assemble(std::move(checked), std::move(mapped));
}

inline Outcome<std::shared_ptr<const GuestMemory>> GuestMemory::with(RegionSpec region) const {
  auto added = Region::create(std::move(region), entries_.size(), mapped_);
  if (!added) return std::unexpected(std::move(added.error()));
  std::vector<std::shared_ptr<const Region>> regions;
  regions.reserve(entries_.size() + 1);
  for (const Entry& entry : entries_) regions.push_back(entry.region);
  regions.push_back(std::move(*added));
  return assemble(std::move(regions), mapped_);
}

inline Outcome<std::shared_ptr<const GuestMemory>> GuestMemory::without(GuestAddress guest,
                                                                        std::uint64_t size,
                                                                        FrontendAddress frontend) const {
  auto entries = entries_;
  const auto removed = std::erase_if(entries, [&](const Entry& entry) {
    return entry.start == guest.value && entry.size == size && entry.region->frontend() == frontend.value;
  });
  if (removed == 0)
    return failure("no region at guest address 0x%llx, frontend address 0x%llx with size 0x%llx",
                   static_cast<unsigned long long>(guest.value),
                   static_cast<unsigned long long>(frontend.value), static_cast<unsigned long long>(size));
  return std::make_shared<const GuestMemory>(Key{}, std::move(entries), mapped_);
}

inline Outcome<std::shared_ptr<const GuestMemory>> GuestMemory::assemble(
    std::vector<std::shared_ptr<const Region>> regions, std::shared_ptr<MappedRanges> mapped) {
  if (regions.size() > max_regions)
    return failure("%zu memory regions, at most %zu are supported", regions.size(), max_regions);
  std::vector<std::size_t> order(regions.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;

  std::sort(order.begin(), order.end(),
            [&](std::size_t a, std::size_t b) { return regions[a]->guest() < regions[b]->guest(); });
  for (std::size_t i = 1; i < order.size(); ++i) {
    const Region &low = *regions[order[i - 1]], &high = *regions[order[i]];
    if (high.guest() - low.guest() < low.size())
      return failure(
          "regions %zu and %zu overlap: guest addresses 0x%llx and 0x%llx, sizes 0x%llx and 0x%llx",
          order[i - 1], order[i], static_cast<unsigned long long>(low.guest()),
          static_cast<unsigned long long>(high.guest()), static_cast<unsigned long long>(low.size()),
          static_cast<unsigned long long>(high.size()));
  }

  std::vector<Entry> entries;
  entries.reserve(regions.size());
  for (const std::size_t i : order) {
    const std::uint64_t start = regions[i]->guest(), size = regions[i]->size();
    entries.push_back({start, size, std::move(regions[i])});
  }
  return std::make_shared<const GuestMemory>(Key{}, std::move(entries), std::move(mapped));
}

inline bool GuestMemory::same_bytes(const GuestMemory& other, GuestAddress address,
                                    std::uint64_t length) const noexcept {
  // Each iteration continues in another region of one of the two.
  while (length > 0) {
    const Entry* const here = find(address.value);
    const Entry* const there = other.find(address.value);
    if (here == nullptr || there == nullptr) return false;
    if (here->region != there->region) {
      const std::uint64_t offset = address.value - here->start + here->region->file_offset();
      if (here->region->file() != there->region->file() ||
          offset != address.value - there->start + there->region->file_offset())
        return false;
    }
    const std::uint64_t taken = std::min(
        {length, here->size - (address.value - here->start), there->size - (address.value - there->start)});
    address.value += taken;  // no overflow: a region ends within 64 bits
    length -= taken;
  }
  return true;
}

template <class F>
Result<> GuestMemory::for_each_piece(GuestAddress address, std::uint64_t length, F&& f) const {
  // Each iteration takes at least one byte of a region and continues in another: at most max_regions
  // iterations.
  while (length > 0) {
    const Window piece = window(address);
    if (piece.size == 0) return fail(EFAULT);
    const std::uint64_t offset = address.value - piece.guest;
    const std::uint64_t taken = std::min(length, piece.size - offset);
    const std::span<std::byte> bytes(piece.data + offset, taken);
    if constexpr (std::is_void_v<std::invoke_result_t<F&, std::span<std::byte>>>) {
      f(bytes);
    } else {
      if (!f(bytes)) return {};
    }
    address.value += taken;  // no overflow: a region ends within 64 bits
    length -= taken;
  }
  return {};
}

}  // namespace vumedia::memory
