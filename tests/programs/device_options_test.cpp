// What vumedia-device prints without serving anyone: help, version, lists, and mistakes in one line.
#include <algorithm>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <support/child_process.hpp>

namespace vumedia::device::test {
namespace {

using vumedia::test::ChildProcess;

struct Ended {
  int status = -1;
  std::string output;
  std::string errors;
};

Ended run(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), VUMEDIA_BIN_DIR "/vumedia-device");
  ChildProcess child(arguments);
  const auto status = child.wait();
  return {status.value_or(-1), child.output(), child.error_output()};
}

std::ptrdiff_t lines(const std::string& text) {
  return std::count(text.begin(), text.end(), '\n');
}

TEST(DeviceOptions, HelpNamesEveryOption) {
  for (const char* const option : {"-h", "--help"}) {
    const Ended ended = run({option});
    EXPECT_EQ(ended.status, 0);
    for (const char* const name : {"--backend",
                                   "--socket-path",
                                   "--socket-fd",
                                   "--fd",
                                   "--v4l2-device",
                                   "--print-capabilities",
                                   "--list-backends",
                                   "--log-level",
                                   "--shmem-size",
                                   "--mem-slots",
                                   "--socket-mode",
                                   "--max-sessions",
                                   "--max-buffer-bytes",
                                   "--max-pixels",
                                   "--threads",
                                   "--frame-threads",
                                   "--version",
                                   "--device",
                                   "--name",
                                   "--latency",
                                   "--codecs",
                                   "--planes",
                                   "--status-socket",
                                   "--status-format",
                                   "--reactor"}) {
      EXPECT_NE(ended.output.find(name), std::string::npos) << name;
    }
    EXPECT_EQ(ended.errors, "");
  }
}

TEST(DeviceOptions, VersionIsOneLine) {
  for (const char* const option : {"-V", "--version"}) {
    const Ended ended = run({option});
    EXPECT_EQ(ended.status, 0);
    EXPECT_EQ(ended.output.rfind("vumedia-device ", 0), 0u) << ended.output;
    EXPECT_EQ(lines(ended.output), 1);
  }
}

TEST(DeviceOptions, ListsBackends) {
  const Ended ended = run({"--list-backends"});
  EXPECT_EQ(ended.status, 0);
  EXPECT_NE(ended.output.find("null"), std::string::npos);
  EXPECT_NE(ended.output.find("test-pattern"), std::string::npos);
  EXPECT_NE(ended.output.find("simple-capture"), std::string::npos);
#ifdef VUMEDIA_WITH_FFMPEG
  EXPECT_NE(ended.output.find("ffmpeg-decoder"), std::string::npos);
#else
  EXPECT_EQ(ended.output.find("ffmpeg-decoder"), std::string::npos);
#endif
}

TEST(DeviceOptions, PrintsCapabilitiesAsJson) {
  const Ended ended = run({"--print-capabilities"});
  EXPECT_EQ(ended.status, 0);
  EXPECT_EQ(ended.output.front(), '{');
  EXPECT_NE(ended.output.find("\"type\": \"media\""), std::string::npos) << ended.output;
  EXPECT_NE(ended.output.find("\"test-pattern\""), std::string::npos) << ended.output;
  EXPECT_EQ(std::count(ended.output.begin(), ended.output.end(), '{'),
            std::count(ended.output.begin(), ended.output.end(), '}'));
  EXPECT_EQ(ended.errors, "");
}

struct Mistake {
  const char* name;
  std::vector<std::string> arguments;
  int status;
  const char* says;
};

class DeviceMistakes : public testing::TestWithParam<Mistake> {};

TEST_P(DeviceMistakes, EndInOneLine) {
  const Ended ended = run(GetParam().arguments);
  EXPECT_EQ(ended.status, GetParam().status);
  EXPECT_EQ(lines(ended.errors), 1) << ended.errors;
  EXPECT_EQ(ended.errors.rfind("vumedia-device: ", 0), 0u) << ended.errors;
  EXPECT_NE(ended.errors.find(GetParam().says), std::string::npos) << ended.errors;
  EXPECT_EQ(ended.output, "");
}

const std::vector<Mistake> mistakes = {
    {"NoSocket", {}, 2, "--socket-path or --socket-fd"},
    {"TwoSockets", {"-s", "x", "--fd", "3"}, 2, "excludes"},
    {"UnknownOption", {"-s", "x", "--nonsense"}, 2, "--nonsense"},
    {"UnknownBackend", {"-s", "x", "-b", "toaster"}, 2, "no backend 'toaster'"},
    {"SizeNoPowerOfTwo", {"-s", "x", "--shmem-size", "3M"}, 2, "power of two"},
    {"SizeBeyondNumbers", {"-s", "x", "--shmem-size", "99999999999T"}, 2, "power of two"},
    {"SizeOfNothing", {"-s", "x", "--shmem-size", "M"}, 2, "power of two"},
    {"ModeNotOctal", {"-s", "x", "--socket-mode", "0689"}, 2, "octal"},
    {"ModeBeyondPermissions", {"-s", "x", "--socket-mode", "4755"}, 2, "octal"},
    {"ModeWithoutPath", {"--fd", "3", "--socket-mode", "0600"}, 2, "--socket-path"},
    {"LogLevel", {"-s", "x", "--log-level", "loud"}, 2, "'loud'"},
    {"NoThreads", {"-s", "x", "--threads", "0"}, 2, "'0'"},
    {"UnknownCodec", {"-s", "x", "--codecs", "h264,theora"}, 2, "a list of h264"},
    {"CodecTwice", {"-s", "x", "--codecs", "vp9,h264,vp9"}, 2, "a list of h264"},
    {"CodecEmpty", {"-s", "x", "--codecs", "h264,"}, 2, "a list of h264"},
    {"UnknownPlanes", {"-s", "x", "--planes", "double"}, 2, "one of single, multi"},
    {"DeviceUnknownPlanes", {"--device", "socket=x,planes=many"}, 2, "one of single, multi"},
    {"DeviceUnknownCodec", {"--device", "socket=x,codecs=h264+theora"}, 2, "a list of h264"},
    {"NegativeSessions", {"-s", "x", "--max-sessions", "-1"}, 2, "--max-sessions: '-1' is not a positive"},
    {"NoSessions", {"-s", "x", "--max-sessions", "0"}, 2, "--max-sessions: '0'"},
    {"SessionsBeyondNumbers", {"-s", "x", "--max-sessions", "4294967296"}, 2, "--max-sessions: '4294967296'"},
    {"NegativeBuffers", {"-s", "x", "--max-buffer-bytes", "-1"}, 2, "--max-buffer-bytes: '-1'"},
    {"NoBuffers", {"-s", "x", "--max-buffer-bytes", "0"}, 2, "--max-buffer-bytes: '0'"},
    {"BuffersBeyondNumbers", {"-s", "x", "--max-buffer-bytes", "99999999999T"}, 2, "--max-buffer-bytes: '99"},
    {"NegativePixels", {"-s", "x", "--max-pixels", "-1"}, 2, "--max-pixels: '-1'"},
    {"NoPixels", {"-s", "x", "--max-pixels", "0"}, 2, "--max-pixels: '0'"},
    {"PixelsBeyondNumbers", {"-s", "x", "--max-pixels", "9223372036854775808"}, 2, "--max-pixels: '92"},
    {"NegativeThreads", {"-s", "x", "--threads", "-1"}, 2, "--threads: '-1'"},
    {"TooManyThreads", {"-s", "x", "--threads", "65"}, 2, "--threads: '65'"},
    {"NoMemory", {"-s", "x", "--shmem-size", "0"}, 2, "--shmem-size: '0'"},
    {"NegativeMemory", {"-s", "x", "--shmem-size", "-4096"}, 2, "--shmem-size: '-4096'"},
    {"NegativeFd", {"--socket-fd", "-1"}, 2, "--socket-fd: '-1'"},
    {"FdBeyondNumbers", {"--socket-fd", "2147483648"}, 2, "--socket-fd: '2147483648'"},
    {"NegativeMode", {"-s", "x", "--socket-mode", "-1"}, 2, "--socket-mode: '-1'"},
    {"FdClosed", {"--fd", "77"}, 1, "file descriptor 77 is not open"},
    {"FdNoSocket", {"--socket-fd", "1"}, 1, "file descriptor 1 is not a socket"},
    {"ProxyOfNothing",
     {"-s", "/tmp/vumedia-no-device", "-b", "v4l2-proxy", "-d", "/nonexistent/video0"},
     1,
     "cannot open /nonexistent/video0: No such file"},
    {"ProxyOfAFile",
     {"-s", "/tmp/vumedia-no-device", "-b", "v4l2-proxy", "-d", "/etc/passwd"},
     1,
     "/etc/passwd is not a V4L2 device"},
    {"ProxyOfAnotherDevice",
     {"-s", "/tmp/vumedia-no-device", "-b", "v4l2-proxy", "-d", "/dev/null"},
     1,
     "/dev/null is not a V4L2 device"},
    {"NoFolder", {"-s", "/nonexistent/socket"}, 1, "/nonexistent"},
    {"StatusFormat", {"-s", "x", "--status-format", "xml"}, 2, "text, json"},
    {"Reactor", {"-s", "x", "--reactor", "select"}, 2, "auto, io_uring, epoll"},
    {"NoFolderForStatus", {"-s", "x", "--status-socket", "/nonexistent/status"}, 1, "/nonexistent"},
    {"BadName", {"-s", "x", "--name", "a b"}, 2, "letters, digits"},
    {"DeviceWithoutSocket", {"--device", "backend=null"}, 2, "no socket"},
    {"OneDeviceWithoutSocket",
     {"--device", "socket=x", "--device", "name=y"},
     2,
     "no socket for the device y"},
    {"DeviceUnknownKey", {"--device", "socket=x,nonsense=1"}, 2, "nonsense"},
    {"DeviceUnknownBackend", {"--device", "socket=x,backend=toaster"}, 2, "no backend 'toaster'"},
    {"DeviceBadValue", {"--device", "socket=x,threads=0"}, 2, "'0'"},
    {"DeviceCommaInAValue", {"--device", "socket=/nonexistent/x,,y"}, 1, "/nonexistent"},
    {"DeviceEmptyWord", {"--device", "socket=x,"}, 2, "is not a key"},
    {"DeviceShortKey", {"--device", "s=x"}, 2, "'s=x' is not a key"},
    {"DeviceTwoSockets", {"--device", "socket=x,fd=3"}, 2, "excludes"},
    {"DeviceLeadingDash", {"--device", "--backend=null"}, 2, "is not a key"},
    {"DeviceAndSocket", {"-s", "x", "--device", "socket=y"}, 2, "within --device"},
    {"DevicesOfOneName", {"--device", "socket=x,name=a", "--device", "socket=y,name=a"}, 2, "the name a"},
    {"DevicesOnOneSocket", {"--device", "socket=x", "--device", "socket=x"}, 2, "the socket x"},
    {"DevicesOnOneFd", {"--device", "fd=5", "--device", "fd=5"}, 2, "file descriptor 5"},
    {"PathTooLong", {"-s", "/tmp/" + std::string(200, 'x')}, 1, "205 bytes"},
};
INSTANTIATE_TEST_SUITE_P(All, DeviceMistakes, testing::ValuesIn(mistakes),
                         [](const auto& tested) { return tested.param.name; });

}  // namespace
}  // namespace vumedia::device::test
