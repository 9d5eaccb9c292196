// The command line of vumedia-device. Names, short forms and defaults are those of the Rust
// vhost-device-media if it has them.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include <sys/types.h>

#include <vumedia/core/log.hpp>

namespace vumedia::device {

// What a decoder may use of the host. 0 means the backend's default.
struct DecoderLimits {
  std::uint32_t threads = 0;           // libavcodec threads for each session
  bool frame_threads = false;          // they decode frames in parallel, not slices
  std::uint64_t max_pixels = 0;        // of one coded frame
  std::uint64_t max_buffer_bytes = 0;  // of all buffers of a frontend
  std::uint32_t max_sessions = 0;      // open files of a frontend
};

// The names of the compressed formats that a decoder can be told to offer.
inline constexpr std::array<std::string_view, 7> codec_names = {"h264", "hevc",  "vp8",  "vp9",
                                                                "av1",  "mpeg2", "mjpeg"};

// One device.
struct Options {
  // Used in log lines, counters, and where sockets are passed in by name. Consists of letters, digits and
  // "-_.@:"; unique.
  std::string name;
  bool named = false;  // it was given, not derived from the backend's
  std::string backend = "null";
  // One of the two, or neither: then the parent process passes a socket in.
  std::string socket_path;
  std::optional<int> socket_fd;
  std::optional<mode_t> socket_mode;

  std::string v4l2_device = "/dev/video0";  // for a backend that passes a host device through
  std::uint64_t shmem_size = 0;             // bytes; 0: the library's default
  bool mem_slots = false;
  bool latency = false;  // measure how long commands take
  DecoderLimits limits;
  std::optional<bool> multiplanar;  // the plane API of V4L2; none: the backend's default
  std::vector<std::string> codecs;  // from codec_names, in the order to offer them; empty: all
};

enum class StatusFormat { text, json };

// What the program's threads wait with.
enum class ReactorKind { automatic, io_uring, epoll };

struct CommandLine {
  std::vector<Options> devices;  // at least one
  LogLevel log_level = LogLevel::info;
  std::string status_socket;  // empty: none
  StatusFormat status_format = StatusFormat::text;
  ReactorKind reactor = ReactorKind::automatic;

  bool print_capabilities = false;
  bool list_backends = false;
};

// Either what to do, or the exit status: after --help, --version (0) or a mistake (2, reported in one line).
[[nodiscard]] std::variant<CommandLine, int> parse_command_line(int argc, char** argv);

}  // namespace vumedia::device
