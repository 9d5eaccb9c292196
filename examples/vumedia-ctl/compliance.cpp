// The compliance command: client::compliance over the socket, with a report like v4l2-compliance's.
#include "compliance.hpp"

#include <cstdio>
#include <cstring>
#include <optional>
#include <utility>

#include <vumedia/client/compliance.hpp>
#include <vumedia/client/guest.hpp>

#include "device.hpp"
#ifdef VUMEDIA_FFMPEG
#include "bitstream.hpp"
#endif

namespace ctl {
namespace {

namespace client = vumedia::client;
namespace compliance = vumedia::client::compliance;
using compliance::Verdict;
using vumedia::failure;
using vumedia::Outcome;

#ifdef VUMEDIA_FFMPEG
// The beginning of a stream, in memory: rules decode it again and again.
constexpr std::size_t max_stream_bytes = std::size_t{64} << 20;

Outcome<compliance::CodedStream> read_stream(const std::string& path) {
  const auto input = Input::open(path, false);
  if (!input) return std::unexpected(input.error());
  auto bitstream = Bitstream::open(*input);
  if (!bitstream) return std::unexpected(bitstream.error());
  compliance::CodedStream stream;
  stream.fourcc = bitstream->fourcc();
  stream.width = bitstream->width();
  stream.height = bitstream->height();
  std::size_t size = 0;
  while (true) {
    const auto packet = bitstream->next();
    if (!packet) return std::unexpected(packet.error());
    if (*packet == nullptr) break;
    const auto bytes = std::as_bytes(std::span((*packet)->data, static_cast<std::size_t>((*packet)->size)));
    size += bytes.size();
    if (size > max_stream_bytes) break;
    stream.units.emplace_back(bytes.begin(), bytes.end());
  }
  if (stream.units.empty()) return failure("%s has no frames", path.c_str());
  return stream;
}
#endif

// Prints a group's title before its first result.
class Printer {
 public:
  explicit Printer(bool verbose) : verbose_(verbose) {}

  void operator()(const compliance::RuleResult& result) {
    if (std::exchange(group_, result.group) != result.group) std::printf("\n%s:\n", result.group->title);
    const Verdict verdict = result.verdict();
    std::printf("\ttest %s: %s\n", result.rule->id,
                verdict == Verdict::passed   ? "OK"
                : verdict == Verdict::failed ? "FAIL"
                                             : "OK (Not Supported)");
    if (verbose_) std::printf("\t\t%s\n", result.rule->demand);
    if (!verbose_ || result.runs.empty()) {
      if (const std::string reason = result.reason(); !reason.empty())
        std::printf("\t\t%s\n", reason.c_str());
    }
    for (const auto& run : result.runs) {
      const bool failed = run.finding.verdict == Verdict::failed;
      if (!failed && !verbose_) continue;
      const std::string name = run.name();
      const char* const what =
          failed || run.finding.verdict == Verdict::not_applicable ? run.finding.text.c_str() : "passed";
      std::printf("\t\t%s%s%s\n", name.c_str(), name.empty() ? "" : ": ", what);
    }
    if (verdict == Verdict::failed || verbose_) std::printf("\t\tsee %s\n", result.rule->section);
  }

 private:
  bool verbose_;
  const compliance::Group* group_ = nullptr;
};

// Prints a line and returns 2: the device could not be examined.
int unexamined(const std::string& message) {
  std::fflush(stdout);
  std::fprintf(stderr, "vumedia-ctl: %s\n", message.c_str());
  return 2;
}

bool names_a_rule(const std::string& filter) {
  for (const auto& group : compliance::all_rules) {
    for (const auto& rule : group.rules) {
      if (compliance::is_named(rule, filter)) return true;
    }
  }
  return false;
}

}  // namespace

std::string list_rules(const std::string& filter) {
  std::string text;
  for (const auto& group : compliance::all_rules) {
    for (const auto& rule : group.rules) {
      if (!compliance::is_named(rule, filter)) continue;
      text += std::string(rule.id) + "\n    " + rule.demand + "\n    " + rule.section + "\n";
    }
  }
  if (!text.empty()) text.pop_back();
  return text;
}

int examine(const std::string& socket_path, const ComplianceOptions& options) {
  if (!names_a_rule(options.filter)) return unexamined("no rule is named " + options.filter);
  compliance::Options settings;
  settings.filter = options.filter;
  settings.mmap = options.memory != "userptr";
  settings.userptr = options.memory != "mmap";
#ifdef VUMEDIA_FFMPEG
  std::optional<compliance::CodedStream> stream;
  if (!options.stream.empty()) {
    auto read = read_stream(options.stream);
    if (!read) return unexamined(read.error().message);
    stream = std::move(*read);
    settings.stream = &*stream;
  }
#endif
  client::GuestOptions guest_options;
  guest_options.user_memory = compliance::user_memory_size;
  const auto guest = connect(socket_path, guest_options);
  if (!guest) return unexamined(guest.error().message);

#ifdef VUMEDIA_FFMPEG
  constexpr std::uint32_t decoders = V4L2_CAP_VIDEO_M2M | V4L2_CAP_VIDEO_M2M_MPLANE;
  if (stream && ((*guest)->config().device_caps & decoders) == 0)
    std::fprintf(stderr, "vumedia-ctl: --stream has no meaning for this device, which is not a decoder\n");
#endif
  const auto& card = (*guest)->config().card;
  const std::string name(card.data(), ::strnlen(card.data(), card.size()));
  std::printf("Compliance of %s:\n", name.c_str());
  Printer printer(options.verbose);
  const auto report = compliance::run(**guest, settings, [&](const compliance::RuleResult& result) {
    printer(result);
    // If the device hangs in the next rule, the results so far have been printed.
    std::fflush(stdout);
  });
  std::printf("\nTotal for %s: %zu, Succeeded: %u, Failed: %u, Not Supported: %u\n", name.c_str(),
              report.results.size(), report.passed, report.failed, report.not_applicable);
  if (!report.ended.empty()) {
    std::fflush(stdout);
    std::fprintf(stderr, "vumedia-ctl: the run ended early: %s\n", report.ended.c_str());
    // Without a single answer there was no device to examine.
    return report.results.empty() ? 2 : 1;
  }
  if (report.failed == 0 && report.nothing_tried())
    return unexamined("nothing that the device does could be tried; each rule says why it is not supported");
  return report.failed == 0 ? 0 : 1;
}

}  // namespace ctl
