// The kernel's vivid driver, as tests in the virtual machine need it: loaded again for each of them.
#pragma once

#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/videodev2.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <vumedia/core/fd.hpp>

#include "support/patience.hpp"

namespace vumedia::vivid {

// Asks `condition` until it holds; false when patience is at an end. For what the kernel finishes in its own
// time.
template <class Condition>
[[nodiscard]] bool eventually(Condition&& condition) {
  const auto deadline = std::chrono::steady_clock::now() + vumedia::test::patience;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  return true;
}

// Its own controls.
namespace cid {

inline constexpr std::uint32_t brightness = V4L2_CID_BRIGHTNESS;
inline constexpr std::uint32_t own = V4L2_CID_USER_BASE | 0xf000;
inline constexpr std::uint32_t button = own + 0;
inline constexpr std::uint32_t boolean = own + 1;
inline constexpr std::uint32_t integer = own + 2;
inline constexpr std::uint32_t integer64 = own + 3;
inline constexpr std::uint32_t menu = own + 4;
inline constexpr std::uint32_t string = own + 5;
inline constexpr std::uint32_t bitmask = own + 6;
inline constexpr std::uint32_t integer_menu = own + 7;
inline constexpr std::uint32_t u32_array = own + 8;
inline constexpr std::uint32_t u16_matrix = own + 9;
inline constexpr std::uint32_t u8_array = own + 10;
inline constexpr std::uint32_t area = own + 11;
inline constexpr std::uint32_t read_only = own + 12;
inline constexpr std::uint32_t dynamic_array = own + 13;

inline constexpr std::uint32_t test_pattern = 0x00f0f000;
inline constexpr std::uint32_t osd_text_mode = 0x00f0f001;
inline constexpr std::uint32_t loop_video = 0x00f0f025;
inline constexpr std::uint32_t standard_signal_mode = 0x00f0f03c;
inline constexpr std::uint32_t disconnect = 0x00f0f041;
inline constexpr std::uint32_t inject_buffer_error = 0x00f0f042;
inline constexpr std::uint32_t inject_reqbufs_error = 0x00f0f043;
inline constexpr std::uint32_t inject_qbuf_error = 0x00f0f044;
inline constexpr std::uint32_t inject_streamon_error = 0x00f0f045;
inline constexpr std::uint32_t inject_fatal_error = 0x00f0f046;

}  // namespace cid

// The driver with all its devices in their initial state. Anything that a test leaves open prevents the
// driver from being unloaded, so each test also shows whether a descriptor or a mapping was kept.
class Driver {
 public:
  // `options` are the module's.
  explicit Driver(const std::string& options = "n_devs=1") {
    if (std::filesystem::exists("/sys/module/vivid")) unload();
    const OwnedFd module(::open("/modules/vivid.ko", O_RDONLY | O_CLOEXEC));
    const long result = ::syscall(SYS_finit_module, module.get(), options.c_str(), 0);
    EXPECT_EQ(result, 0) << "vivid cannot be loaded: " << std::strerror(errno);
  }
  Driver(const Driver&) = delete;
  Driver& operator=(const Driver&) = delete;
  ~Driver() { unload(); }

 private:
  static void unload() {
    // A killed process releases some of its descriptors a little later.
    const bool unloaded = eventually([] { return ::syscall(SYS_delete_module, "vivid", O_NONBLOCK) == 0; });
    EXPECT_TRUE(unloaded) << "vivid is still in use: " << std::strerror(errno);
  }
};

// The path of the device node that the driver calls `name`, such as "vivid-000-vid-cap"; empty if there is
// none.
[[nodiscard]] inline std::string node(const std::string& name) {
  for (const auto& entry : std::filesystem::directory_iterator("/sys/class/video4linux")) {
    std::ifstream file(entry.path() / "name");
    std::string line;
    if (std::getline(file, line) && line == name) return "/dev/" + entry.path().filename().string();
  }
  ADD_FAILURE() << "vivid has no " << name;
  return {};
}

// A program of this project, in the same folder as this one.
[[nodiscard]] inline std::string program(const std::string& name) {
  return std::filesystem::read_symlink("/proc/self/exe").parent_path() / name;
}

}  // namespace vumedia::vivid
