// What QEMU sends to its back-end, and in which order, from the first message to the last: recorded, and
// compared with the trace that tests/vhost_user replays.
//
// VUMEDIA_QEMU_TRACE=FOLDER writes the traces again.
#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "qemu/fixture.hpp"
#include "qemu/recorder.hpp"

namespace vumedia::qemu_test {
namespace {

struct Habit {
  const char* file;
  const char* what;
  std::vector<std::string> device_options;
  // QEMU 11.1 crashes when the guest resets a device that has memory slots while a mapping exists.
  bool resets;
  bool pauses;
};

class QemuTrace : public QemuTest, public testing::WithParamInterface<Habit> {
 protected:
  static std::string first_line(const std::vector<std::string>& command) {
    test::ChildProcess child(command);
    child.wait(patience);
    return child.output().substr(0, child.output().find('\n'));
  }

  // The life of a guest: it streams, may be paused, may reset the device while it streams and then stream
  // again, and its machine ends.
  void live(Recorder& recorder, const Habit& habit) {
    const auto machine = switch_on(folder_.path("recorder"));
    ASSERT_TRUE(machine);
    const auto guest = drive(*machine);
    ASSERT_TRUE(guest);
    recorder.note("# the driver has written DRIVER_OK; it opens a file, maps two buffers and streams");
    stream(*guest);
    if (habit.pauses) {
      recorder.note("# the machine is paused");
      ASSERT_TRUE(machine->qmp().execute("stop", "STOP"));
      recorder.note("# it goes on");
      ASSERT_TRUE(machine->qmp().execute("cont", "RESUME"));
      ASSERT_TRUE(guest->open());
    }
    if (habit.resets) {
      recorder.note("# the driver writes status 0 with all that alive, then goes through to DRIVER_OK again");
      ASSERT_TRUE(guest->reset());
      recorder.note("# a second life: the same again");
      stream(*guest);
    }
    recorder.note("# the machine is told to quit");
    machine->process().signal(SIGTERM);
    EXPECT_EQ(machine->process().wait(patience), 0);
    recorder.join();
  }
  static void stream(QemuGuest& guest) {
    Camera camera(guest, 320, 240);
    camera.allocate(2);
    ASSERT_TRUE(camera.stream(true));
    ASSERT_TRUE(camera.next_frame());
  }

  // The requests of the main socket in their order, without their bodies, which hold addresses. How often
  // configuration space is read depends on the guest.
  static std::vector<std::string> order(const std::vector<std::string>& lines) {
    std::vector<std::string> requests;
    for (const std::string& line : lines) {
      if (!line.starts_with("F>B ")) continue;
      const std::size_t fds = line.find(" fds=");
      const std::string request = line.substr(4, line.find(' ', fds + 1) - 4);
      if (!request.starts_with("GET_CONFIG ") || requests.empty() || requests.back() != request)
        requests.push_back(request);
    }
    return requests;
  }
};

TEST_P(QemuTrace, IsTheOneThatTheHabitsAreTakenFrom) {
  const Habit& habit = GetParam();
  const std::string version = first_line({qemu().program, "--version"});
  start_device("test-pattern", habit.device_options);
  Recorder recorder(folder_.path("recorder"), socket());
  live(recorder, habit);
  const auto lines = recorder.lines();
  const std::string title = "# " + version;

  const std::string name = std::string("/tests/vhost_user/traces/") + habit.file;
  if (const char* const folder = std::getenv("VUMEDIA_QEMU_TRACE")) {
    std::ofstream file(std::string(folder) + "/" + habit.file);
    file << title << "\n# " << habit.what
         << "\n# Recorded by tests/qemu/trace_test.cpp, whose recorder.hpp says what a line means.\n";
    for (const std::string& line : lines) file << line << '\n';
  }
  std::ifstream file(VUMEDIA_SOURCE_DIR + name);
  std::vector<std::string> known;
  for (std::string line; std::getline(file, line);) known.push_back(line);
  ASSERT_FALSE(known.empty()) << "there is no " << name;
  if (known[0] != title) GTEST_SKIP() << name << " is of '" << known[0] << "', here is '" << title << "'";
  EXPECT_EQ(order(lines), order(known));
}

INSTANTIATE_TEST_SUITE_P(
    Qemu, QemuTrace,
    testing::Values(Habit{"qemu-11.1.txt", "The back-end offers no CONFIGURE_MEM_SLOTS.", {}, true, false},
                    Habit{"qemu-11.1-mem-slots.txt",
                          "The back-end offers CONFIGURE_MEM_SLOTS.",
                          {"--mem-slots"},
                          false,
                          false},
                    Habit{"qemu-11.1-pause.txt", "The machine is paused on the way.", {}, false, true}),
    [](const auto& row) {
      return std::string(row.param.pauses ? "Pause" : row.param.resets ? "MemoryTables" : "MemorySlots");
    });

}  // namespace
}  // namespace vumedia::qemu_test
