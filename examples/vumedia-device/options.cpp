#include "options.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdio>
#include <string_view>
#include <utility>

#include <CLI/CLI.hpp>

#include <vumedia/core/checked.hpp>

#include "../support/man_page.hpp"
#include "../support/option_checks.hpp"
#include "version.hpp"

namespace vumedia::device {

namespace {

using programs::check;
using programs::in_range;

constexpr std::array<std::pair<std::string_view, LogLevel>, 6> log_levels = {{
    {"trace", LogLevel::trace},
    {"debug", LogLevel::debug},
    {"info", LogLevel::info},
    {"warning", LogLevel::warning},
    {"error", LogLevel::error},
    {"off", LogLevel::off},
}};

constexpr std::array<std::pair<std::string_view, ReactorKind>, 3> reactor_kinds = {{
    {"auto", ReactorKind::automatic},
    {"io_uring", ReactorKind::io_uring},
    {"epoll", ReactorKind::epoll},
}};

std::optional<ReactorKind> find_reactor_kind(std::string_view text) {
  for (const auto& [name, kind] : reactor_kinds) {
    if (name == text) return kind;
  }
  return std::nullopt;
}

std::optional<LogLevel> find_log_level(std::string_view text) {
  for (const auto& [name, level] : log_levels) {
    if (name == text) return level;
  }
  return std::nullopt;
}

// Octal, as chmod takes it.
std::optional<mode_t> read_mode(std::string_view text) {
  mode_t mode = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), mode, 8);
  if (error != std::errc{} || end != text.data() + text.size() || mode > 0777) return std::nullopt;
  return mode;
}

// Bytes, or a number followed by K, M, G or T (powers of 1024; "KiB" and "KB" are the same).
std::optional<std::uint64_t> read_size(std::string_view text) {
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc{}) return std::nullopt;
  std::string_view unit = text.substr(static_cast<std::size_t>(end - text.data()));
  if (unit.empty()) return number;
  const std::size_t power = std::string_view("KMGT").find(unit.front()) + 1;
  if (power == 0) return std::nullopt;
  unit.remove_prefix(1);
  if (!unit.empty() && unit != "B" && unit != "iB") return std::nullopt;
  return checked_multiply(number, std::uint64_t{1} << (10 * power));
}

// Names separated by commas, or by plus signs, which need not be doubled in --device. No name twice.
std::optional<std::vector<std::string>> read_codecs(std::string_view text) {
  std::vector<std::string> names;
  while (true) {
    const std::size_t end = std::min(text.find_first_of(",+"), text.size());
    const std::string_view name = text.substr(0, end);
    if (std::ranges::find(codec_names, name) == codec_names.end()) return std::nullopt;
    if (std::ranges::find(names, name) != names.end()) return std::nullopt;
    names.emplace_back(name);
    if (end == text.size()) return names;
    text.remove_prefix(end + 1);
  }
}

// CLI11's message in one line that begins with the program's name.
std::string one_line(const CLI::App* app, const CLI::Error& error) {
  std::string said = error.what();
  for (char& c : said) {
    if (c == '\n') c = ' ';
  }
  return app->get_name() + ": " + said + " (--help lists the options)\n";
}

bool is_name(std::string_view text) {
  const auto allowed = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           std::string_view("-_.@:").find(c) != std::string_view::npos;
  };
  return !text.empty() && text.size() <= 64 && std::ranges::all_of(text, allowed);
}

// The options of each device: long options of the program, or keys of --device.
void add_device_options(CLI::App& app, Options& options) {
  app.add_option("-b,--backend", options.backend, "The device to offer (see --list-backends)")
      ->type_name("NAME")
      ->capture_default_str();
  app.add_option("-s,--socket-path", options.socket_path,
                 "Listen on this Unix socket; it is removed at the end (default: none)")
      ->type_name("PATH");
  app.add_option("--socket-fd,--fd", options.socket_fd,
                 "Use this inherited socket: one that listens, or one to which a frontend is connected "
                 "(default: none)")
      ->type_name("FD")
      ->check(check(in_range<0, INT32_MAX>, "a file descriptor's number"));
  app.add_option_function<std::string>(
         "--socket-mode", [&options](const std::string& text) { options.socket_mode = read_mode(text); },
         "Permissions of the socket file, in octal (default: by the umask)")
      ->type_name("MODE")
      ->check(check([](const std::string& text) { return read_mode(text).has_value(); },
                    "an octal mode from 0 to 0777"));
  app.add_option_function<std::string>(
         "--name",
         [&options](const std::string& text) {
           options.name = text;
           options.named = true;
         },
         "What log lines and counters call the device (default: the name of its backend)")
      ->type_name("NAME")
      ->check(check(is_name, "a name of at most 64 letters, digits and -_.@:"));
  app.add_option("-d,--v4l2-device", options.v4l2_device,
                 "Host device that v4l2-proxy passes through to the guest")
      ->type_name("PATH")
      ->capture_default_str();
  app.add_option_function<std::string>(
         "--shmem-size",
         [&options](const std::string& text) { options.shmem_size = read_size(text).value_or(0); },
         "Memory region shared with the guest: a power of two in bytes, or followed by K, M, G or T "
         "(default: 256M)")
      ->type_name("SIZE")
      ->check(check(
          [](const std::string& text) {
            const auto size = read_size(text);
            // A BAR's size is a power of two, and QEMU insists on it.
            return size && *size >= page_size && is_power_of_two(*size);
          },
          "a power of two of at least 4K"));
  app.add_flag(
      "--mem-slots", options.mem_slots,
      "Offer memory slots to the frontend (QEMU 11.1 may crash when a guest resets a device with them)");
  app.add_option("--max-sessions", options.limits.max_sessions,
                 "Files that the guest may have open at a time (default: 256)")
      ->type_name("N")
      ->check(check(in_range<1, UINT32_MAX>, "a positive number"));
  app.add_option_function<std::string>(
         "--max-buffer-bytes",
         [&options](const std::string& text) {
           options.limits.max_buffer_bytes = read_size(text).value_or(0);
         },
         "Memory that all buffers of the guest may take together: bytes, or a number followed by "
         "K, M, G or T "
         "(default: 256M)")
      ->type_name("SIZE")
      ->check(check(
          [](const std::string& text) {
            const auto size = read_size(text);
            return size && *size >= page_size;
          },
          "a size of at least 4K"));
  app.add_option("--max-pixels", options.limits.max_pixels,
                 "Largest frame that the decoder accepts, in pixels (default: 9437184, which is 4096 x 2304)")
      ->type_name("N")
      ->check(check(in_range<1, INT64_MAX>, "a positive number"));
  app.add_option("--threads", options.limits.threads, "Threads of the decoder for one open file (default: 1)")
      ->type_name("N")
      ->check(check(in_range<1, 64>, "a number from 1 to 64"));
  app.add_flag("--frame-threads", options.limits.frame_threads,
               "With several threads: decode frames in parallel, which is faster but delays output by that "
               "many frames");
  app.add_option_function<std::string>(
         "--codecs",
         [&options](const std::string& text) { options.codecs = read_codecs(text).value_or(options.codecs); },
         "Formats that the decoder offers, in this order: h264, hevc, vp8, vp9, av1, mpeg2, mjpeg, separated "
         "by + or a comma (default: all)")
      ->type_name("NAMES")
      ->check(check([](const std::string& text) { return read_codecs(text).has_value(); },
                    "a list of h264, hevc, vp8, vp9, av1, mpeg2, mjpeg"));
  app.add_option_function<std::string>(
         "--planes", [&options](const std::string& text) { options.multiplanar = text == "multi"; },
         "V4L2's single- or multi-planar API, for test-pattern (default: single) and ffmpeg-decoder "
         "(default: "
         "multi)")
      ->type_name("API")
      ->check(check([](const std::string& text) { return text == "single" || text == "multi"; },
                    "one of single, multi"));
  app.add_flag("--latency", options.latency, "Also measure how long commands take (see --status-socket)");
}

// The words of `backend=null,socket=/run/a.sock,mem-slots` as a command line. A comma in a value is written
// twice.
std::vector<std::string> words_of_device(std::string_view text) {
  std::vector<std::string> words{""};
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != ',') {
      words.back() += text[i];
    } else if (i + 1 < text.size() && text[i + 1] == ',') {
      words.back() += text[i++];
    } else {
      words.emplace_back();
    }
  }
  for (std::string& word : words) {
    constexpr std::string_view socket = "socket=";
    // An option of one letter, or a word without any, is not a key.
    if (word.find_first_of("-=") == 0 || std::min(word.find('='), word.size()) < 2) {
      throw CLI::ValidationError("'" + word + "' is not a key with its value");
    }
    word = word.starts_with(socket) ? "--socket-path=" + word.substr(socket.size()) : "--" + word;
  }
  return words;
}

// Options of a device that exclude or need each other.
void check_device(const Options& options) {
  if (options.socket_fd && !options.socket_path.empty())
    throw CLI::ValidationError("--socket-fd excludes --socket-path");
  if (options.socket_mode && options.socket_path.empty())
    throw CLI::ValidationError("--socket-mode needs --socket-path");
}

Options parse_device(const std::string& text, const Options& defaults) {
  Options device = defaults;
  CLI::App app("", "--device");
  app.set_help_flag();
  add_device_options(app, device);
  try {
    std::vector<std::string> words = words_of_device(text);
    std::ranges::reverse(words);  // as CLI11 wants them
    app.parse(std::move(words));
    check_device(device);
  } catch (const CLI::ParseError& error) {
    throw CLI::ValidationError("--device " + text + ": " + error.what());
  }
  return device;
}

// Gives each device a name of its own, and checks that no two have the same socket.
void tell_apart(std::vector<Options>& devices) {
  const auto taken = [&devices](const std::string& name, const Options& but) {
    return std::ranges::any_of(devices,
                               [&](const Options& other) { return &other != &but && other.name == name; });
  };
  for (Options& device : devices) {
    if (device.named && taken(device.name, device))
      throw CLI::ValidationError("two devices have the name " + device.name);
    for (const Options& other : devices) {
      if (&other == &device) break;
      if (!device.socket_path.empty() && device.socket_path == other.socket_path)
        throw CLI::ValidationError("two devices have the socket " + device.socket_path);
      if (device.socket_fd && device.socket_fd == other.socket_fd)
        throw CLI::ValidationError("two devices have the file descriptor " +
                                   std::to_string(*device.socket_fd));
    }
  }
  for (Options& device : devices) {
    if (device.named) continue;
    std::string name = device.backend;
    for (int n = 2; taken(name, device); ++n) name = device.backend + "-" + std::to_string(n);
    device.name = name;
  }
}

}  // namespace

std::variant<CommandLine, int> parse_command_line(int argc, char** argv) {
  CommandLine line;
  Options single;
  std::string log_level = "info", status_format = "text", reactor = "auto";
  std::vector<std::string> devices;

  CLI::App app("Serves virtio-media devices to virtual machines over vhost-user sockets.", program_name);
  app.failure_message(one_line);
  app.set_version_flag("-V,--version", std::string(program_name) + " " + program_version);
  programs::add_man_page_flag(app);
  app.get_formatter()->column_width(32);

  add_device_options(app, single);
  app.add_option(
         "--device", devices,
         "One device of several, each with its own thread: KEY=VALUE,... with the long options above as keys "
         "and socket for --socket-path, as in backend=test-pattern,socket=/run/camera.sock,mem-slots; a "
         "comma in a value is written twice; options outside apply to all devices (default: one, from the "
         "options outside)")
      ->type_name("KEYS")
      // One for each --device, so that what follows is not taken for another.
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  app.add_option("--log-level", log_level, "trace, debug, info, warning, error or off")
      ->type_name("LEVEL")
      ->capture_default_str()
      ->check(check([](const std::string& text) { return find_log_level(text).has_value(); },
                    "one of trace, debug, info, warning, error, off"));
  app.add_option(
         "--reactor", reactor,
         "What the program waits with: io_uring, epoll, or auto, which is io_uring where the host allows "
         "it and otherwise epoll, with a line in the log")
      ->type_name("KIND")
      ->capture_default_str()
      ->check(check([](const std::string& text) { return find_reactor_kind(text).has_value(); },
                    "one of auto, io_uring, epoll"));
  app.add_option(
         "--status-socket", line.status_socket,
         "Whoever connects to this Unix socket gets the counters of all devices; SIGUSR1 writes them to "
         "standard error (default: none)")
      ->type_name("PATH");
  app.add_option("--status-format", status_format, "How counters are written: text or json")
      ->type_name("FORMAT")
      ->capture_default_str()
      ->check(check([](const std::string& text) { return text == "text" || text == "json"; },
                    "one of text, json"));
  app.add_flag("--print-capabilities", line.print_capabilities,
               "Print the features of this program as JSON, and exit");
  app.add_flag("--list-backends", line.list_backends, "Print the backends, one per line, and exit");

  try {
    app.parse(argc, argv);
    if (devices.empty()) {
      check_device(single);
      line.devices.push_back(single);
    } else if (single.named || single.socket_fd || !single.socket_path.empty()) {
      throw CLI::ValidationError(
          "--name, --socket-path and --socket-fd must be within --device if there is one");
    }
    for (const std::string& text : devices) line.devices.push_back(parse_device(text, single));
    tell_apart(line.devices);
  } catch (const CLI::ParseError& error) {
    // 0 for --help and --version, which come as errors of their own.
    return app.exit(error) == 0 ? 0 : 2;
  }
  line.log_level = *find_log_level(log_level);
  line.reactor = *find_reactor_kind(reactor);
  line.status_format = status_format == "json" ? StatusFormat::json : StatusFormat::text;
  return line;
}

}  // namespace vumedia::device
