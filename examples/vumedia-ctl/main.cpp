// vumedia-ctl: the guest's half of virtio-media without a guest. It connects to any vhost-user media device,
// shows what the device offers, captures, decodes, and measures it.
#include <cstdio>
#include <functional>
#include <map>
#include <string>

#include <CLI/CLI.hpp>

#include <vumedia/core/version.hpp>

#include "../support/man_page.hpp"
#include "commands.hpp"
#include "compliance.hpp"
#include "device.hpp"

#ifdef VUMEDIA_FFMPEG
extern "C" {
#include <libavutil/log.h>
}
#endif

namespace {

using Command = std::function<vumedia::Outcome<ctl::Status>(ctl::Device&)>;

// Of a command that either goes well or fails.
template <class Function>
Command plain(Function function) {
  return [function](ctl::Device& device) -> vumedia::Outcome<ctl::Status> {
    if (auto done = function(device); !done) return std::unexpected(done.error());
    return ctl::Status::ok;
  };
}

int run(const std::string& socket_path, const Command& command) {
  auto device = ctl::Device::open(socket_path);
  auto done = device ? command(**device) : std::unexpected(device.error());
  if (done && std::fflush(stdout) != 0)
    done = vumedia::system_failure(errno, "cannot write to standard output");
  if (done) return static_cast<int>(*done);
  std::fflush(stdout);
  std::fprintf(stderr, "vumedia-ctl: %s\n", done.error().message.c_str());
  return 1;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Talks to a vhost-user media device as a guest would.", "vumedia-ctl");
  app.set_version_flag("-V,--version", std::string("vumedia-ctl ") + vumedia::version_string);
  vumedia::programs::add_man_page_flag(app);
  app.footer(
      "Exit status:\n"
      "  0  all went well\n"
      "  1  the device cannot be reached, refuses, or its frames differ\n"
      "  2  a mistake on the command line\n"
      "  3  decoded, but with frames marked as damaged or packets refused");
  app.require_subcommand(1);
  app.fallthrough();

  std::string socket_path;
  app.add_option("-s,--socket-path", socket_path, "Socket of the device")->required()->type_name("PATH");

  Command command;
  const auto add = [&](const char* name, const char* help, Command action) {
    CLI::App* const sub = app.add_subcommand(name, help);
    sub->callback([&command, action = std::move(action)] { command = action; });
    return sub;
  };

  add("info", "What the device is", plain(ctl::print_info));
  add("list-formats", "Its pixel formats, sizes and frame rates", plain(ctl::list_formats));
  add("list-ctrls", "Its controls and their menus", plain(ctl::list_controls));

  ctl::CaptureOptions capture;
  CLI::App* const capture_command =
      add("capture", "Capture frames to a file",
          plain([&](ctl::Device& device) { return ctl::capture(device, capture); }));
  capture_command
      ->add_option(
          "-o,--output", capture.output,
          "FILE.y4m, FILE.png (one image a frame), FILE.mjpeg (MJPG as it comes), or any other name for the "
          "bytes as they are; - is standard output")
      ->required()
      ->type_name("FILE");
  capture_command->add_option("-n,--count", capture.count, "Frames (default: 1 for .png, else 100)")
      ->type_name("N");
  capture_command->add_option("-f,--format", capture.format, "Pixel format, such as NV12")
      ->type_name("FOURCC");
  capture_command->add_option("--size", capture.size, "Size, such as 640x480")->type_name("WxH");
  capture_command->add_option("-r,--fps", capture.rate, "Frames a second")
      ->type_name("RATE")
      ->check(CLI::Range(0.001, 1000.0));

#ifdef VUMEDIA_FFMPEG
  // Errors come back as results; a damaged stream's own noise would only hide them.
  av_log_set_level(AV_LOG_FATAL);
  ctl::DecodeOptions decode;
  ctl::Seek seek;
  CLI::Option* seek_to = nullptr;
  CLI::App* const decode_command = add("decode", "Decode a media file", [&](ctl::Device& device) {
    if (seek_to->count() != 0) decode.seek = seek;
    return ctl::decode(device, decode);
  });
  decode_command->add_option("file", decode.input, "Any file that FFmpeg can read")
      ->required()
      ->type_name("FILE");
  decode_command
      ->add_option(
          "-o,--output", decode.output,
          "FILE.y4m, FILE.png (a contact sheet), or any other name for planar frames without headers; - is "
          "standard output")
      ->type_name("FILE");
  decode_command->add_option("-f,--format", decode.format, "Format of the frames, such as NV12 or YU12")
      ->type_name("FOURCC")
      // As people write them.
      ->transform(
          CLI::Transformer(std::map<std::string, std::string>{
                               {"nv12", "NV12"}, {"yu12", "YU12"}, {"i420", "YU12"}, {"I420", "YU12"}})
              .description(""));
  decode_command->add_flag("--md5", decode.md5,
                           "Print the MD5 of all frames: planar, visible size, no padding");
  decode_command->add_flag("--compare", decode.compare,
                           "Compare every frame with libavcodec's own output; print bit-exact or fail");
  seek_to =
      decode_command
          ->add_option("--seek-to", seek.to,
                       "Jump once, to the key frame at this time or before it; what is compared jumps, too")
          ->type_name("SECONDS")
          ->check(CLI::Range(0.0, 1e9));
  decode_command->add_option("--seek-after", seek.after, "Frames before the jump")
      ->type_name("N")
      ->check(CLI::PositiveNumber)
      ->capture_default_str()
      ->needs(seek_to);
#endif

  ctl::BenchOptions bench;
  CLI::App* const bench_command = add("bench", "Measure commands, frames, and the device's process",
                                      [&](ctl::Device& device) { return ctl::bench(device, bench); });
  bench_command->add_option("-n,--commands", bench.commands, "Command round trips")
      ->type_name("N")
      ->capture_default_str();
  bench_command->add_option("--frames", bench.frames, "Frames to capture from a camera")
      ->type_name("N")
      ->capture_default_str();
#ifdef VUMEDIA_FFMPEG
  bench_command->add_option("file", bench.file, "A media file to decode")->type_name("FILE");
#endif

  // It has no Device: it opens files of its own, and its findings are no errors of this program.
  ctl::ComplianceOptions compliance;
  CLI::App* const compliance_command =
      app.add_subcommand("compliance", "Hold the device to the rules of V4L2 and virtio-media");
  compliance_command
      ->add_option("-r,--rule", compliance.filter,
                   "Rules by a pattern for their names, such as 'qbuf/*' or '!(enum-*)'")
      ->type_name("PATTERN");
  compliance_command
      ->add_option("-m,--memory", compliance.memory, "Memory of the buffers: mmap, userptr or all")
      ->type_name("MEMORY")
      ->capture_default_str()
      ->check(CLI::IsMember({"mmap", "userptr", "all"}));
#ifdef VUMEDIA_FFMPEG
  compliance_command
      ->add_option("--stream", compliance.stream,
                   "A media file for decoders; without, rules that need one are left out")
      ->type_name("FILE");
#endif
  compliance_command->add_flag("-v,--verbose", compliance.verbose,
                               "Say what each rule demands, where it stands, and what it was tried with");
  // Behind --rule, whose value it uses. It needs no device, so it must not wait to be told one.
  compliance_command->add_flag_callback(
      "-l,--list", [&] { throw CLI::CallForVersion(ctl::list_rules(compliance.filter), 0); },
      "List the rules, with what they demand and where that stands");

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    // One line for a mistake; the help text for those who ask for it.
    if (error.get_exit_code() == 0) return app.exit(error);
    std::fprintf(stderr, "vumedia-ctl: %s\n", error.what());
    return 2;
  }
  if (compliance_command->parsed()) return ctl::examine(socket_path, compliance);
  return run(socket_path, command);
}
