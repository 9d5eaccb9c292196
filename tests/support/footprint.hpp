// The resources that the process holds, to be compared before and after: file descriptors, mappings, threads,
// bytes of heap.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <string>
#include <string_view>
#include <system_error>

#include <malloc.h>
#include <sys/stat.h>

namespace vumedia::test {

struct Footprint {
  std::size_t fds = 0;
  std::size_t threads = 0;
  std::size_t mappings = 0;
  std::size_t heap_bytes = 0;  // in use, in all of the allocator's arenas; under a sanitizer always the same

  static Footprint now() {
    Footprint footprint;
    footprint.fds = entries("/proc/self/fd");
    footprint.threads = entries("/proc/self/task");
    std::ifstream maps("/proc/self/maps");
    footprint.mappings = static_cast<std::size_t>(
        std::count(std::istreambuf_iterator<char>(maps), std::istreambuf_iterator<char>(), '\n'));
    footprint.heap_bytes = heap();
    return footprint;
  }

 private:
  static std::size_t entries(const char* directory) {
    namespace fs = std::filesystem;
    return static_cast<std::size_t>(
        std::distance(fs::directory_iterator(directory), fs::directory_iterator()));
  }

  // malloc_info() ends with the sums over all arenas.
  static std::size_t heap() {
    char* text = nullptr;
    std::size_t size = 0;
    std::FILE* const stream = ::open_memstream(&text, &size);
    if (stream == nullptr) return 0;
    const bool told = ::malloc_info(0, stream) == 0;
    std::fclose(stream);
    std::string report = told ? std::string(text, size) : std::string();
    std::free(text);
    const std::size_t sums = report.rfind("</heap>");
    if (sums == std::string::npos) return 0;
    report.erase(0, sums);
    return number(report, "<system type=\"current\"") + number(report, "<total type=\"mmap\"") -
           number(report, "<total type=\"fast\"") - number(report, "<total type=\"rest\"");
  }
  static std::size_t number(std::string_view report, std::string_view element) {
    const std::size_t at = report.find(element);
    if (at == std::string_view::npos) return 0;
    const std::size_t size = report.find("size=\"", at);
    return size == std::string_view::npos
               ? 0
               : std::strtoull(std::string(report.substr(size + 6, 20)).c_str(), nullptr, 10);
  }
};

// Bytes of memory in the files of arenas, which hold buffers.
[[nodiscard]] inline std::uint64_t bytes_of_arenas() {
  std::map<std::uint64_t, std::uint64_t> files;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    std::error_code gone;
    if (std::filesystem::read_symlink(entry.path(), gone).string().find("vumedia-arena") == std::string::npos)
      continue;
    struct stat status{};
    if (::stat(entry.path().c_str(), &status) == 0)
      files[status.st_ino] = static_cast<std::uint64_t>(status.st_blocks) * 512;
  }
  std::uint64_t bytes = 0;
  for (const auto& [number, size] : files) bytes += size;
  return bytes;
}

// Mappings of the memory of guests.
[[nodiscard]] inline std::size_t mappings_of_guest_ram() {
  std::ifstream maps("/proc/self/maps");
  std::size_t count = 0;
  for (std::string line; std::getline(maps, line);) {
    if (line.find("guest-ram") != std::string::npos) ++count;
  }
  return count;
}

}  // namespace vumedia::test
