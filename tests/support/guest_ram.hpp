// Guest memory for tests and benchmarks: memory files, as a frontend would share them, and our own view of
// the same bytes. Without such files nothing can be tested, so it aborts.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <utility>
#include <vector>

#include <vumedia/core/mapping.hpp>
#include <vumedia/memory/guest_memory.hpp>

namespace vumedia::test {

// One memory file at one guest address. Our mapping of it is separate from the one that a Region makes.
class RamFile {
 public:
  explicit RamFile(std::uint64_t guest, std::uint64_t size, std::uint64_t frontend_base = 0x7f00'0000'0000)
      : guest_(guest), frontend_(frontend_base + guest), size_(size) {
    auto fd = make_sealed_memfd("guest-ram", size);
    if (!fd) std::abort();
    auto mapping = Mapping::map(fd->get(), 0, size);
    if (!mapping) std::abort();
    fd_ = std::move(*fd);
    mapping_ = std::move(*mapping);
  }

  [[nodiscard]] std::uint64_t guest() const noexcept { return guest_; }
  [[nodiscard]] std::uint64_t frontend() const noexcept { return frontend_; }
  [[nodiscard]] std::uint64_t size() const noexcept { return size_; }
  [[nodiscard]] int fd() const noexcept { return fd_.get(); }
  [[nodiscard]] std::byte* data() const noexcept { return mapping_.data(); }

  // What a frontend would send for it.
  [[nodiscard]] memory::RegionSpec spec() const {
    auto fd = fd_.duplicate();
    if (!fd) std::abort();
    return {{guest_}, {frontend_}, size_, 0, std::move(*fd)};
  }

 private:
  std::uint64_t guest_;
  std::uint64_t frontend_;
  std::uint64_t size_;
  OwnedFd fd_;
  Mapping mapping_;
};

// A table of the files.
inline std::shared_ptr<const memory::GuestMemory> make_table(const std::vector<const RamFile*>& files) {
  std::vector<memory::RegionSpec> specs;
  for (const RamFile* file : files) specs.push_back(file->spec());
  auto table = memory::GuestMemory::create(std::move(specs));
  if (!table) {
    std::fprintf(stderr, "%s\n", table.error().message.c_str());
    std::abort();
  }
  return *table;
}

}  // namespace vumedia::test
