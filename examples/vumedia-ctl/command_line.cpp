#include "command_line.hpp"

#include <cstdint>
#include <cstdio>
#include <map>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include <CLI/CLI.hpp>

#include <vumedia/core/version.hpp>

#include "../support/man_page.hpp"
#include "../support/option_checks.hpp"
#include "capture.hpp"
#include "compliance.hpp"
#include "controls.hpp"
#include "outputs.hpp"
#include "picture.hpp"

namespace ctl {
namespace {

using vumedia::Outcome;
using vumedia::programs::check;
using vumedia::programs::decimal_number;
using vumedia::programs::whole_number;

// That many frames take years; that many command round trips, whose times are kept, take 80 MB.
constexpr std::uint64_t most_frames = 1'000'000'000;
constexpr std::uint64_t most_commands = 10'000'000;

// For a command that either succeeds or fails.
template <class Function>
auto plain(const Function& function) {
  return [function](Device& device) -> Outcome<Status> {
    if (auto done = function(device); !done) return std::unexpected(done.error());
    return Status::ok;
  };
}

// A mistake on the command line, if it is one.
void demand(const char* option, const Outcome<>& done) {
  if (!done) throw CLI::ValidationError(option, done.error().message);
}

void add_looks(CLI::App& app, CommandLine& line) {
  const auto add = [&](const char* name, const char* help, Outcome<> (*look)(Device&)) {
    app.add_subcommand(name, help)->callback([&line, look] { line.command = plain(look); });
  };
  add("info", "Show what the device is", print_info);
  add("list-formats", "List its pixel formats, sizes and frame rates", list_formats);
  add("list-ctrls", "List its controls and their menus", list_controls);
}

CLI::Validator assignment() {
  return check([](const std::string& text) { return parse_assignment(text).has_value(); },
               "a control with its value: NAME=VALUE");
}

void add_controls(CLI::App& app, CommandLine& line) {
  const auto words = std::make_shared<std::vector<std::string>>();
  CLI::App* const get = app.add_subcommand("get-ctrl", "Print the values of controls");
  get->add_option("name", *words,
                  "Names as list-ctrls or v4l2-ctl write them: 'Test Pattern' or test_pattern")
      ->required()
      ->type_name("NAME");
  get->callback([&line, words] {
    line.command = plain([words](Device& device) { return print_controls(device, *words); });
  });
  CLI::App* const set = app.add_subcommand(
      "set-ctrl",
      "Set controls, and print their new values. They last as long as the device keeps them: those of "
      "a host's camera until they are changed, those of vumedia's own devices until the connection ends");
  set->add_option("assignment", *words,
                  "NAME=VALUE, with names as list-ctrls or v4l2-ctl write them; for a menu the number or the "
                  "name of an "
                  "entry, for a switch 0, 1, off or on")
      ->required()
      ->type_name("NAME=VALUE")
      ->check(assignment());
  set->callback([&line, words] {
    line.command = plain([words](Device& device) { return set_controls(device, *words); });
  });
}

void add_capture(CLI::App& app, CommandLine& line) {
  const auto options = std::make_shared<CaptureOptions>();
  CLI::App* const command = app.add_subcommand("capture", "Capture frames to a file");
  command
      ->add_option(
          "-o,--output", options->output,
          "FILE.y4m; FILE.png, an image, or FILE-%03d.png, an image a frame, numbered from 0; FILE.mjpeg "
          "(MJPG as it comes); FILE.nv12, FILE.yuyv, FILE.rgb and the like, frames of that format, or "
          "FILE.yuv, of any YUV format; any other name, such as FILE.raw, for the bytes as they are; - is "
          "standard output")
      ->required()
      ->type_name("FILE");
  command->add_option("-n,--count", options->count, "Frames (default: 1 for FILE.png, otherwise 100)")
      ->type_name("N")
      ->check(whole_number<1, most_frames>());
  command
      ->add_option("-f,--format", options->format,
                   "Pixel format, such as NV12 (default: the current one, or one that FILE can hold)")
      ->type_name("FOURCC")
      ->check(check([](const std::string& text) { return parse_fourcc(text) != 0; },
                    "a pixel format: four characters such as NV12"));
  command->add_option("--size", options->size, "Size, such as 640x480 (default: the current one)")
      ->type_name("WxH")
      ->check(check([](const std::string& text) { return parse_size(text).has_value(); },
                    "a size: width x height such as 640x480"));
  command->add_option("-r,--fps", options->rate, "Frames per second (default: the current rate)")
      ->type_name("RATE")
      ->check(decimal_number(0.001, 1000, "a rate from 0.001 to 1000 frames per second"));
  command
      ->add_option("-c,--set-ctrl", options->controls,
                   "Set this control first; may be repeated (default: none)")
      ->type_name("NAME=VALUE")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
      ->check(assignment());
  command->callback([&line, options] {
    if (const auto complaint = output_complaint(options->output, true); !complaint.empty())
      throw CLI::ValidationError("--output", complaint);
    demand("--format", check_format(*options));
    line.command = plain([options](Device& device) { return capture(device, *options); });
  });
}

#ifdef VUMEDIA_FFMPEG
// The options for a jump, once the command line has been read.
std::function<std::optional<Seek>()> add_seek(CLI::App& command) {
  const auto seek = std::make_shared<Seek>();
  CLI::Option* const to =
      command
          .add_option("--seek-to", seek->to,
                      "Jump once, to the key frame at this time or before it; the reference of a comparison "
                      "jumps, too "
                      "(default: no jump)")
          ->type_name("SECONDS")
          ->check(decimal_number(0, 1e9, "a time of at least 0 and at most 1000000000 seconds"));
  command.add_option("--seek-after", seek->after, "Frames before the jump")
      ->type_name("N")
      ->check(whole_number<1, most_frames>())
      ->capture_default_str()
      ->needs(to);
  return [seek, to] { return to->count() != 0 ? std::optional(*seek) : std::nullopt; };
}

void add_decode(CLI::App& app, CommandLine& line) {
  const auto options = std::make_shared<DecodeOptions>();
  CLI::App* const command = app.add_subcommand("decode", "Decode a media file");
  command->add_option("file", options->input, "Any file that FFmpeg can read; - is standard input")
      ->required()
      ->type_name("FILE");
  command
      ->add_option(
          "-o,--output", options->output,
          "FILE.y4m; FILE.png, a contact sheet, or FILE-%03d.png, an image per frame, numbered from 0; or "
          "any other name, such as FILE.yuv, for planar frames without headers; - is standard output "
          "(default: none)")
      ->type_name("FILE");
  command
      ->add_option(
          "-f,--format", options->format,
          "Format of the frames, such as NV12 or YU12 (default: the device's own, or the first that can "
          "be read)")
      ->type_name("FOURCC")
      // The usual spellings.
      ->transform(
          CLI::Transformer(std::map<std::string, std::string>{
                               {"nv12", "NV12"}, {"yu12", "YU12"}, {"i420", "YU12"}, {"I420", "YU12"}})
              .description(""))
      ->check(check([](const std::string& text) { return is_known(parse_fourcc(text)); },
                    "a format whose frames can be read here"));
  command->add_flag("--md5", options->md5, "Print the MD5 of all frames: planar, visible size, no padding");
  command->add_flag("--compare", options->compare,
                    "Compare every frame with libavcodec's own output; print bit-exact or fail");
  command->callback([&line, options, seek = add_seek(*command)] {
    options->seek = seek();
    if (const auto complaint = output_complaint(options->output, false); !complaint.empty())
      throw CLI::ValidationError("--output", complaint);
    demand("--output", keep_input(options->input, options->output));
    line.command = [options](Device& device) { return decode(device, *options); };
  });
}
#endif

void add_bench(CLI::App& app, CommandLine& line) {
  const auto options = std::make_shared<BenchOptions>();
  CLI::App* const command = app.add_subcommand("bench", "Measure commands, frames, and the device's process");
  command->add_option("-n,--commands", options->commands, "Command round trips")
      ->type_name("N")
      ->check(whole_number<1, most_commands>())
      ->capture_default_str();
  CLI::Option* const frames =
      command->add_option("--frames", options->frames, "Frames to capture from a camera")
          ->type_name("N")
          ->check(whole_number<1, most_frames>())
          ->capture_default_str();
#ifdef VUMEDIA_FFMPEG
  CLI::Option* const file =
      command
          ->add_option("file", options->file,
                       "A media file to decode; - is standard input (default: none is decoded)")
          ->type_name("FILE");
  frames->excludes(file);
#endif
  command->callback([&line, options, frames] {
    demand("file", keep_input(options->file));
    options->frames_wanted = frames->count() != 0;
    line.command = [options](Device& device) { return bench(device, *options); };
  });
}

// It has no Device: it opens files of its own, and its findings are not errors of this program.
void add_compliance(CLI::App& app, CommandLine& line) {
  const auto options = std::make_shared<ComplianceOptions>();
  CLI::App* const command =
      app.add_subcommand("compliance", "Check the device against the rules of V4L2 and virtio-media");
  command
      ->add_option(
          "-r,--rule", options->filter,
          "Run the rules whose names match a pattern, such as 'qbuf/*' or '!(enum-*)' (default: all)")
      ->type_name("PATTERN");
  command->add_option("-m,--memory", options->memory, "Memory of the buffers: mmap, userptr or all")
      ->type_name("MEMORY")
      ->capture_default_str()
      ->check(CLI::IsMember({"mmap", "userptr", "all"}));
#ifdef VUMEDIA_FFMPEG
  command
      ->add_option(
          "--stream", options->stream,
          "A media file for decoders; - is standard input (default: none, and rules that need one are "
          "left out)")
      ->type_name("FILE");
#endif
  command->add_flag("-v,--verbose", options->verbose,
                    "Show what each rule demands, where it is documented, and what it was tried with");
  // Comes after --rule, whose value it uses. It needs no device, so it must not wait for the option that
  // names one.
  command->add_flag_callback(
      "-l,--list",
      [options] {
        const std::string rules = list_rules(options->filter);
        if (rules.empty()) throw CLI::ValidationError("--rule", "no rule is named " + options->filter);
        throw CLI::CallForVersion(rules, 0);
      },
      "List the rules, with what they demand and where that stands");
  command->callback([&line, options] {
    demand("--stream", keep_input(options->stream));
    line.examination = [options](const std::string& socket_path) { return examine(socket_path, *options); };
  });
}

// CLI11's message in one line; for a subcommand that does not exist, which ones there are.
std::string complaint(const CLI::App& app, const CLI::ParseError& error) {
  if (app.get_subcommands().empty()) {
    for (const std::string& word : app.remaining()) {
      if (word.starts_with('-')) continue;
      std::string names;
      for (const CLI::App* const command : app.get_subcommands([](const CLI::App*) { return true; }))
        names.append(names.empty() ? "" : ", ").append(command->get_name());
      return names.insert(0, "there is no subcommand '" + word + "'; there are ");
    }
  }
  std::string said = error.what();
  for (char& c : said) {
    if (c == '\n') c = ' ';
  }
  return said + " (--help lists the options)";
}

}  // namespace

std::variant<CommandLine, int> parse_command_line(int argc, char** argv) {
  CommandLine line;
  CLI::App app("Talks to a vhost-user media device as a guest would.", "vumedia-ctl");
  app.set_version_flag("-V,--version", std::string("vumedia-ctl ") + vumedia::version_string);
  vumedia::programs::add_man_page_flag(app);
  app.footer(
      "Exit status:\n"
      "  0  success\n"
      "  1  the device cannot be reached, refuses, or its frames differ\n"
      "  2  a mistake on the command line\n"
      "  3  decoded, but with frames marked as damaged or packets refused");
  app.require_subcommand(1);
  app.fallthrough();
  app.add_option("-s,--socket-path", line.socket_path, "Socket of the device")->required()->type_name("PATH");
  add_looks(app, line);
  add_controls(app, line);
  add_capture(app, line);
#ifdef VUMEDIA_FFMPEG
  add_decode(app, line);
#endif
  add_bench(app, line);
  add_compliance(app, line);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    // One line for a mistake; the help text if it was requested.
    if (error.get_exit_code() == 0) return app.exit(error);
    std::fprintf(stderr, "vumedia-ctl: %s\n", complaint(app, error).c_str());
    return static_cast<int>(Status::usage);
  }
  return line;
}

}  // namespace ctl
