#include "options.hpp"

#include <array>
#include <charconv>
#include <cstdio>
#include <string_view>
#include <utility>

#include <CLI/CLI.hpp>

#include <vumedia/core/checked.hpp>

#include "../support/man_page.hpp"
#include "version.hpp"

namespace vumedia::device {

namespace {

constexpr std::array<std::pair<std::string_view, LogLevel>, 6> log_levels = {{
    {"trace", LogLevel::trace},
    {"debug", LogLevel::debug},
    {"info", LogLevel::info},
    {"warning", LogLevel::warning},
    {"error", LogLevel::error},
    {"off", LogLevel::off},
}};

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

// Bytes, or a number with K, M, G or T behind it (powers of 1024; "KiB" and "KB" are the same).
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

// A check for CLI11 that adds nothing to the help text.
template <class Accepts>
CLI::Validator check(Accepts accepts, std::string complaint) {
  return CLI::Validator(
      [accepts, complaint = std::move(complaint)](std::string& text) {
        return accepts(text) ? std::string{} : "'" + text + "' is not " + complaint;
      },
      "");
}

template <std::uint64_t Lowest, std::uint64_t Highest>
bool in_range(std::string_view text) {
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  return error == std::errc{} && end == text.data() + text.size() && number >= Lowest && number <= Highest;
}

// CLI11's complaint in one line with the program's name in front.
std::string one_line(const CLI::App* app, const CLI::Error& error) {
  std::string said = error.what();
  for (char& c : said) {
    if (c == '\n') c = ' ';
  }
  return app->get_name() + ": " + said + " (--help lists the options)\n";
}

}  // namespace

std::variant<Options, int> parse_options(int argc, char** argv) {
  Options options;
  std::string mode, shmem_size, max_buffer_bytes, log_level = "info";

  CLI::App app("Serves a virtio-media device to a virtual machine over a vhost-user socket.", program_name);
  app.failure_message(one_line);
  app.set_version_flag("-V,--version", std::string(program_name) + " " + program_version);
  programs::add_man_page_flag(app);
  app.get_formatter()->column_width(32);

  app.add_option("-b,--backend", options.backend, "The device to offer (see --list-backends)")
      ->type_name("NAME")
      ->capture_default_str();
  auto* const path = app.add_option("-s,--socket-path", options.socket_path,
                                    "Listen on this Unix socket; it is removed at the end")
                         ->type_name("PATH");
  app.add_option("--socket-fd,--fd", options.socket_fd,
                 "Use this inherited socket: one that listens, or one that a frontend is connected to")
      ->type_name("FD")
      ->check(check(in_range<0, INT32_MAX>, "a file descriptor's number"))
      ->excludes(path);
  app.add_option("--socket-mode", mode, "Permissions of the socket file, in octal (default: by the umask)")
      ->type_name("MODE")
      ->check(check([](const std::string& text) { return read_mode(text).has_value(); },
                    "an octal mode from 0 to 0777"))
      ->needs(path);
  app.add_option("-d,--v4l2-device", options.v4l2_device,
                 "Host device of a backend that passes one through; this build has no such backend")
      ->type_name("PATH")
      ->capture_default_str();
  app.add_option("--shmem-size", shmem_size,
                 "Memory region shared with the guest: a power of two in bytes, or with K, M, G or T behind")
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
  app.add_option("--log-level", log_level, "trace, debug, info, warning, error or off")
      ->type_name("LEVEL")
      ->capture_default_str()
      ->check(check([](const std::string& text) { return find_log_level(text).has_value(); },
                    "one of trace, debug, info, warning, error, off"));

  app.add_option("--max-sessions", options.limits.max_sessions,
                 "Files that the guest may have open at a time")
      ->type_name("N")
      ->check(check(in_range<1, UINT32_MAX>, "a positive number"));
  app.add_option("--max-buffer-bytes", max_buffer_bytes,
                 "Memory that all buffers of the guest may take together: bytes, or with K, M, G or T behind")
      ->type_name("SIZE")
      ->check(check(
          [](const std::string& text) {
            const auto size = read_size(text);
            return size && *size >= page_size;
          },
          "a size of at least 4K"));
  app.add_option("--max-pixels", options.limits.max_pixels, "Pixels of a frame that the decoder takes on")
      ->type_name("N")
      ->check(check(in_range<1, INT64_MAX>, "a positive number"));
  app.add_option("--threads", options.limits.threads, "Threads of the decoder for one open file")
      ->type_name("N")
      ->check(check(in_range<1, 64>, "a number from 1 to 64"));

  app.add_flag("--frame-threads", options.limits.frame_threads,
               "With several threads: decode frames side by side, faster and with as many frames of delay");

  app.add_flag("--print-capabilities", options.print_capabilities,
               "Print what this program can do as JSON, and end");
  app.add_flag("--list-backends", options.list_backends, "Print the backends, one a line, and end");

  try {
    app.parse(argc, argv);
    const bool informs = options.print_capabilities || options.list_backends;
    if (!informs && options.socket_path.empty() && !options.socket_fd) {
      throw CLI::RequiredError("--socket-path or --socket-fd");
    }
  } catch (const CLI::ParseError& error) {
    // 0 for --help and --version, which come as errors of their own.
    return app.exit(error) == 0 ? 0 : 2;
  }
  if (!mode.empty()) options.socket_mode = read_mode(mode);
  options.shmem_size = read_size(shmem_size).value_or(0);
  options.limits.max_buffer_bytes = read_size(max_buffer_bytes).value_or(0);
  options.log_level = *find_log_level(log_level);
  return options;
}

}  // namespace vumedia::device
