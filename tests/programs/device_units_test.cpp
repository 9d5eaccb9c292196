// The systemd units of vumedia-device, checked by systemd itself. Without systemd-analyze the tests are
// skipped.
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <support/child_process.hpp>
#include <support/temporary_folder.hpp>

namespace vumedia::device::test {
namespace {

using vumedia::test::ChildProcess;
namespace fs = std::filesystem;

constexpr const char* systemd_analyze = "/usr/bin/systemd-analyze";

std::string read(const fs::path& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

class DeviceUnits : public testing::Test {
 protected:
  DeviceUnits() {
    // As an installation fills them in, for the instance `camera`.
    for (const std::string kind : {"service", "socket"}) {
      std::string text = read(fs::path(VUMEDIA_SOURCE_DIR "/examples/vumedia-device/data") /
                              ("vumedia-device@." + kind + ".in"));
      for (const auto& [name, value] : {std::pair{"BINDIR", VUMEDIA_BIN_DIR}, std::pair{"SYSCONFDIR", "/etc"},
                                        std::pair{"RUNSTATEDIR", "/run"}}) {
        const std::string placeholder = "@CMAKE_INSTALL_FULL_" + std::string(name) + "@";
        for (auto at = text.find(placeholder); at != std::string::npos; at = text.find(placeholder))
          text.replace(at, placeholder.size(), value);
      }
      texts_.push_back(text);
      for (const std::string instance : {"", "camera"})
        std::ofstream(folder_.path("vumedia-device@" + instance + "." + kind)) << text;
    }
  }

  struct Ended {
    int status;
    std::string said;
  };
  static Ended run(std::vector<std::string> words) {
    words.insert(words.begin(), systemd_analyze);
    ChildProcess child(words);
    const auto status = child.wait();
    return {status.value_or(-1), child.output() + child.error_output()};
  }
  [[nodiscard]] std::string unit(const std::string& kind) const {
    return folder_.path("vumedia-device@camera." + kind);
  }

  const vumedia::test::TemporaryFolder folder_;
  std::vector<std::string> texts_;
};

TEST_F(DeviceUnits, HaveNoPlaceholderLeft) {
  for (const std::string& text : texts_) {
    EXPECT_FALSE(text.empty());
    EXPECT_EQ(text.find("@CMAKE"), std::string::npos) << text;
  }
}

#define VUMEDIA_SKIP_WITHOUT_SYSTEMD_ANALYZE() \
  if (!fs::exists(systemd_analyze))            \
  GTEST_SKIP() << "there is no systemd-analyze: it is in the package systemd"

TEST_F(DeviceUnits, AreUnderstoodToTheLastLine) {
  VUMEDIA_SKIP_WITHOUT_SYSTEMD_ANALYZE();
  // Man pages are not installed here.
  const Ended ended = run({"verify", "--man=no", unit("service"), unit("socket")});
  EXPECT_EQ(ended.status, 0) << ended.said;
  // systemd only warns about what it does not know. It may also have messages about other units.
  EXPECT_EQ(ended.said.find("vumedia"), std::string::npos) << ended.said;
}

TEST_F(DeviceUnits, LeaveTheServiceLittleToMisuse) {
  VUMEDIA_SKIP_WITHOUT_SYSTEMD_ANALYZE();
  // From 0 to 100; systemd calls less than 20 safe.
  const Ended ended = run({"security", "--offline=true", "--no-pager", "--threshold=15", unit("service")});
  if (ended.said.find("unrecognized option") != std::string::npos)
    GTEST_SKIP() << "this systemd-analyze is too old to judge a file";
  EXPECT_EQ(ended.status, 0) << ended.said;
}

}  // namespace
}  // namespace vumedia::device::test
