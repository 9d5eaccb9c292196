// Memory mappings and memory files with one owner.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

#include <fcntl.h>
#include <sys/mman.h>

#include <vumedia/core/checked.hpp>
#include <vumedia/core/fd.hpp>
#include <vumedia/core/result.hpp>

namespace vumedia {

/// Owns one mmap()ed range of this process.
class Mapping {
 public:
  Mapping() = default;
  /// Leaves `other` with nothing.
  Mapping(Mapping&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
  /// Unmaps what it owned before, and leaves `other` with nothing.
  Mapping& operator=(Mapping&& other) noexcept {
    if (this != &other) {
      unmap();
      data_ = std::exchange(other.data_, nullptr);
      size_ = std::exchange(other.size_, 0);
    }
    return *this;
  }
  ~Mapping() { unmap(); }

  /// Maps `length` bytes (> 0) of `fd` from `offset` (a page multiple) on, shared.
  [[nodiscard]] static Result<Mapping> map(int fd, std::uint64_t offset, std::size_t length,
                                           int protection = PROT_READ | PROT_WRITE) noexcept {
    void* const data = ::mmap(nullptr, length, protection, MAP_SHARED, fd, static_cast<off_t>(offset));
    if (data == MAP_FAILED) return fail(errno);
    return Mapping(static_cast<std::byte*>(data), length);
  }

  /// The first byte; null if nothing is mapped.
  [[nodiscard]] std::byte* data() const noexcept { return data_; }
  /// Bytes, as they were asked for; 0 if nothing is mapped.
  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  /// All of the mapping, valid until it is unmapped.
  [[nodiscard]] std::span<std::byte> bytes() const noexcept { return {data_, size_}; }
  /// Whether something is mapped.
  [[nodiscard]] explicit operator bool() const noexcept { return data_ != nullptr; }

 private:
  Mapping(std::byte* data, std::size_t size) noexcept : data_(data), size_(size) {}
  void unmap() noexcept {
    if (data_ != nullptr) ::munmap(data_, size_);
  }

  std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

/// A memory file of `size` bytes (rounded up to whole pages: QEMU refuses others), close-on-exec, sealed
/// against shrinking and growing, so that neither we nor the frontend that receives it can remove pages that
/// the other uses.
[[nodiscard]] inline Result<OwnedFd> make_sealed_memfd(const char* name, std::uint64_t size) noexcept {
  const auto rounded = align_up(size, page_size);
  if (!rounded || *rounded == 0 || *rounded > INT64_MAX) return fail(EINVAL);
  OwnedFd fd(::memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!fd) return fail(errno);
  if (::ftruncate(fd.get(), static_cast<off_t>(*rounded)) != 0) return fail(errno);
  if (::fcntl(fd.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) return fail(errno);
  return fd;
}

}  // namespace vumedia
