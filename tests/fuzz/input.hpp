// What a fuzz target is made of: the bytes of an input, taken one after the other, and laws that end the
// process when they do not hold.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <span>
#include <type_traits>

#include <dirent.h>

namespace vumedia::fuzz {

// Takes values from the front. What is missing at the end reads as zeros, so that every input means
// something.
class Input {
 public:
  Input(const std::uint8_t* data, std::size_t size) noexcept
      : bytes_(reinterpret_cast<const std::byte*>(data), size) {}

  [[nodiscard]] bool empty() const noexcept { return bytes_.empty(); }
  [[nodiscard]] std::size_t size() const noexcept { return bytes_.size(); }

  template <class T>
    requires std::is_trivially_copyable_v<T>
  [[nodiscard]] T take() noexcept {
    T value{};
    fill({reinterpret_cast<std::byte*>(&value), sizeof value});
    return value;
  }
  [[nodiscard]] std::uint8_t byte() noexcept { return take<std::uint8_t>(); }
  [[nodiscard]] bool flag() noexcept { return (byte() & 1) != 0; }
  // A number below `bound` > 0. One byte of input, or two if more are needed.
  [[nodiscard]] std::uint32_t below(std::uint32_t bound) noexcept {
    return (bound > 256 ? take<std::uint16_t>() : byte()) % bound;
  }
  template <class T>
  [[nodiscard]] const T& pick(std::span<const T> choices) noexcept {
    return choices[below(static_cast<std::uint32_t>(choices.size()))];
  }
  template <class T, std::size_t N>
  [[nodiscard]] const T& pick(const T (&choices)[N]) noexcept {
    return pick(std::span<const T>(choices));
  }

  // As many bytes as there are, up to `most`.
  [[nodiscard]] std::span<const std::byte> bytes(std::size_t most) noexcept {
    const auto taken = bytes_.first(std::min(most, bytes_.size()));
    bytes_ = bytes_.subspan(taken.size());
    return taken;
  }
  void fill(std::span<std::byte> out) noexcept {
    const auto taken = bytes(out.size());
    std::memset(out.data(), 0, out.size());
    std::ranges::copy(taken, out.begin());
  }

 private:
  std::span<const std::byte> bytes_;
};

// Ends the process with the name of the law, as a sanitizer would.
[[noreturn, gnu::cold]] inline void broken(const char* law) noexcept {
  std::fprintf(stderr, "broken law: %s\n", law);
  std::abort();
}
inline void require(bool holds, const char* law) noexcept {
  if (!holds) [[unlikely]]
    broken(law);
}

// Descriptors that this process has open, the one that counts not among them.
[[nodiscard]] inline std::size_t open_descriptors() noexcept {
  static DIR* const folder = ::opendir("/proc/self/fd");
  require(folder != nullptr, "/proc can be read");
  ::rewinddir(folder);
  std::size_t count = 0;
  while (::readdir(folder) != nullptr) ++count;
  return count;
}

// Mappings of memory files, whatever has mapped them.
[[nodiscard]] inline std::size_t mapped_files() noexcept {
  std::FILE* const maps = std::fopen("/proc/self/maps", "re");
  require(maps != nullptr, "/proc can be read");
  std::size_t count = 0;
  char line[512];
  while (std::fgets(line, sizeof line, maps) != nullptr) count += std::strstr(line, "/memfd:") != nullptr;
  std::fclose(maps);
  return count;
}

// Around an input: as many descriptors are open afterwards as before, and now and then (because it takes
// long) the same of mapped files.
class Balance {
 public:
  Balance() noexcept : descriptors_(open_descriptors()), mapped_(looks_ ? mapped_files() : 0) {}
  Balance(const Balance&) = delete;
  Balance& operator=(const Balance&) = delete;
  ~Balance() {
    require(open_descriptors() == descriptors_, "an input leaves as many descriptors as it finds");
    if (looks_) require(mapped_files() == mapped_, "an input leaves as many mapped files as it finds");
  }

 private:
  static inline unsigned inputs_ = 0;
  bool looks_ = inputs_++ % 64 == 1;
  std::size_t descriptors_;
  std::size_t mapped_;
};

}  // namespace vumedia::fuzz
