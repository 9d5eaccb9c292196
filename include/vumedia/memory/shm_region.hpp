// A VIRTIO shared memory region in this process, which a VMM shows a guest as a PCI BAR and a guest without a
// VMM reads and writes itself.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include <sys/mman.h>
#include <sys/stat.h>

#include <vumedia/core/checked.hpp>
#include <vumedia/core/fd.hpp>
#include <vumedia/core/result.hpp>
#include <vumedia/memory/address.hpp>

namespace vumedia::memory {

/// A reserved range of addresses into which pieces of the back-end's files are mapped. Unmapped parts cannot
/// be accessed.
class ShmRegion {
 public:
  /// More than any back-end needs, and far less than a process may have.
  static constexpr std::size_t max_mappings = 16384;

  ShmRegion() = default;
  /// Leaves `other` with nothing.
  ShmRegion(ShmRegion&& other) noexcept
      : base_(std::exchange(other.base_, nullptr)),
        size_(std::exchange(other.size_, 0)),
        pieces_(std::move(other.pieces_)) {}
  /// Unmaps what it had before, and leaves `other` with nothing.
  ShmRegion& operator=(ShmRegion&& other) noexcept {
    std::swap(base_, other.base_);
    std::swap(size_, other.size_);
    std::swap(pieces_, other.pieces_);
    return *this;
  }
  ~ShmRegion() {
    if (base_ != nullptr) ::munmap(base_, size_);
  }

  /// `size` is a page multiple, not 0.
  [[nodiscard]] static Result<ShmRegion> reserve(std::uint64_t size) noexcept {
    if (size == 0 || !is_aligned(size, page_size)) return fail(EINVAL);
    void* const base = ::mmap(nullptr, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED) return fail(errno);
    ShmRegion region;
    region.base_ = static_cast<std::byte*>(base);
    region.size_ = size;
    return region;
  }

  /// Bytes of the whole region; 0 if it is none.
  [[nodiscard]] std::uint64_t size() const noexcept { return size_; }

  /// Shows `length` bytes of `fd` at `offset`; all page multiples. EINVAL: outside the region. EEXIST:
  /// overlaps another mapping. ENXIO: the file ends before. ENOSPC: too many mappings.
  [[nodiscard]] Result<> map(int fd, std::uint64_t fd_offset, ShmOffset offset, std::uint64_t length,
                             bool writable) {
    if (length == 0 || !range_fits(offset.value, length, size_)) return fail(EINVAL);
    const auto next = first_behind(offset.value);
    if (next != pieces_.end() && next->offset < offset.value + length) return fail(EEXIST);
    if (next != pieces_.begin() && (next - 1)->offset + (next - 1)->length > offset.value)
      return fail(EEXIST);
    if (pieces_.size() == max_mappings) return fail(ENOSPC);
    struct stat status{};
    if (::fstat(fd, &status) != 0) return fail(errno);
    // An access beyond the last page of a regular file raises SIGBUS.
    if (S_ISREG(status.st_mode)) {
      const auto pages = align_up(static_cast<std::uint64_t>(status.st_size), page_size);
      if (!pages || !range_fits(fd_offset, length, *pages)) return fail(ENXIO);
    }
    const int protection = PROT_READ | (writable ? PROT_WRITE : 0);
    if (::mmap(base_ + offset.value, length, protection, MAP_SHARED | MAP_FIXED, fd,
               static_cast<off_t>(fd_offset)) == MAP_FAILED) {
      const int error = errno;
      // Older kernels have unmapped what was there by the time the file refuses. In such a hole other memory
      // of this process could come to lie, which the next map would replace.
      static_cast<void>(hide({offset.value, length}));
      return fail(error);
    }
    pieces_.insert(next, {offset.value, length});
    return {};
  }

  /// Unmaps exactly what an earlier map showed; ENOENT otherwise.
  [[nodiscard]] Result<> unmap(ShmOffset offset, std::uint64_t length) {
    const auto piece = first_behind(offset.value);
    if (piece == pieces_.end() || piece->offset != offset.value || piece->length != length)
      return fail(ENOENT);
    if (!hide(*piece)) return fail(errno);
    pieces_.erase(piece);
    return {};
  }

  /// Unmaps all; the addresses stay reserved.
  void unmap_all() noexcept {
    for (const Piece& piece : pieces_) static_cast<void>(hide(piece));
    pieces_.clear();
  }

  /// Pieces that are mapped, at most max_mappings.
  [[nodiscard]] std::size_t mapping_count() const noexcept { return pieces_.size(); }

  /// The bytes at `offset`, or none unless all of them are mapped. Valid until they are unmapped, which the
  /// back-end decides.
  [[nodiscard]] std::span<std::byte> bytes(ShmOffset offset, std::uint64_t length) const noexcept {
    if (length == 0 || !range_fits(offset.value, length, size_)) return {};
    std::uint64_t covered = offset.value;
    for (const Piece& piece : pieces_) {
      if (piece.offset > covered || covered >= offset.value + length) break;
      covered = std::max(covered, piece.offset + piece.length);
    }
    if (covered < offset.value + length) return {};
    return {base_ + offset.value, length};
  }

 private:
  struct Piece {
    std::uint64_t offset;
    std::uint64_t length;
  };

  [[nodiscard]] std::vector<Piece>::iterator first_behind(std::uint64_t offset) noexcept {
    return std::lower_bound(pieces_.begin(), pieces_.end(), offset,
                            [](const Piece& piece, std::uint64_t value) { return piece.offset < value; });
  }
  [[nodiscard]] bool hide(const Piece& piece) noexcept {
    return ::mmap(base_ + piece.offset, piece.length, PROT_NONE,
                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) != MAP_FAILED;
  }

  std::byte* base_ = nullptr;
  std::uint64_t size_ = 0;
  std::vector<Piece> pieces_;  // by offset, without overlaps
};

}  // namespace vumedia::memory
