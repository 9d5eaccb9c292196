// Checks whether a virtio-media device keeps the rules of V4L2 and of virtio-media (VIRTIO 1.4, 5.22), as
// v4l2-compliance does for a kernel driver, but without a kernel. Authors of devices and VMMs can use it in
// their own tests, over any transport; `vumedia-ctl compliance` runs it over a vhost-user socket.
//
// clang-format off
//   auto guest = client::Guest::connect(path, {.user_memory = compliance::user_memory_size});
//   const compliance::Report report = compliance::run(**guest);
//   EXPECT_EQ(report.failed, 0u);
// clang-format on
//
// The device is used as a program would use it: formats, rates, controls and inputs change while rules run,
// and formats are restored. Nobody else should use it at the same time. Each rule has open files of its own,
// so that what one leaves behind does not affect the next.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <vumedia/client/compliance/all_rules.hpp>
#include <vumedia/client/compliance/any_guest.hpp>
#include <vumedia/client/compliance/facts.hpp>
#include <vumedia/client/compliance/rule.hpp>
#include <vumedia/client/compliance/subject.hpp>
#include <vumedia/client/guest.hpp>

namespace vumedia::client::compliance {

/// The GuestOptions::user_memory needed for USERPTR buffers of 1920x1080 pictures. With none, USERPTR is not
/// examined.
inline constexpr std::size_t user_memory_size = std::size_t{64} << 20;

/// What a run examines.
struct Options {
  /// The rules to run, as a pattern for is_named().
  std::string filter = "*";
  /// The memory types of buffers to examine.
  bool mmap = true;
  bool userptr = true;  ///< likewise
  /// How long a frame or an event may take; GuestOptions::command_timeout is the limit for a command.
  std::chrono::milliseconds patience{5000};
  /// For decoders; without it, rules that need a stream are not applicable. It outlives the run.
  const CodedStream* stream = nullptr;
};

/// One rule for one queue and memory.
struct Run {
  std::uint32_t type = 0;    ///< V4L2_BUF_TYPE_*; 0: the whole device
  std::uint32_t memory = 0;  ///< V4L2_MEMORY_*; 0: no memory in particular
  Finding finding;           ///< what came of it
  /// Describes the queue and memory; empty for the device.
  [[nodiscard]] std::string name() const {
    std::string text = type != 0 ? type_name(type) : "";
    if (memory != 0) text += std::string(text.empty() ? "" : " ") + memory_name(memory);
    return text;
  }
};

/// What came of one rule, in all its runs.
struct RuleResult {
  const Group* group = nullptr;  ///< the heading it stands under
  const Rule* rule = nullptr;    ///< the rule
  std::vector<Run> runs;         ///< none if the device has nothing that the rule is about; see `absent`
  std::string absent;            ///< what the device lacks that the rule is about
  /// Failed if any run failed; passed if at least one passed and none failed.
  [[nodiscard]] Verdict verdict() const noexcept {
    Verdict verdict = Verdict::not_applicable;
    for (const Run& run : runs) {
      if (run.finding.verdict == Verdict::failed) return Verdict::failed;
      if (run.finding.verdict == Verdict::passed) verdict = Verdict::passed;
    }
    return verdict;
  }
  /// Why it is not applicable; empty if it is applicable.
  [[nodiscard]] std::string reason() const {
    if (verdict() != Verdict::not_applicable) return {};
    return runs.empty() ? absent : runs.front().finding.text;
  }
};

/// What came of all rules.
struct Report {
  std::vector<RuleResult> results;  ///< in the order of all_rules
  /// Rules with this verdict.
  ///@{
  std::uint32_t passed = 0;
  std::uint32_t failed = 0;
  std::uint32_t not_applicable = 0;
  ///@}
  /// Why the run ended before its last rule, or did not begin: the device is gone or stuck. Empty otherwise.
  std::string ended;
  /// Only the rules that apply to every device were applicable, on its configuration, files and commands:
  /// nothing is known about what it does, although rules about that were requested.
  [[nodiscard]] bool nothing_tried() const noexcept {
    const auto general = [](const RuleResult& result) {
      return result.group == &all_rules[0] || result.group == &all_rules[1] ||
             std::string_view(result.rule->id) == "munmap/unknown";
    };
    const auto idle = [&](const RuleResult& result) {
      return general(result) || result.verdict() == Verdict::not_applicable;
    };
    return std::ranges::all_of(results, idle) &&
           !(passed + failed != 0 && std::ranges::all_of(results, general));
  }
  /// Whether something was examined, and nothing found to be wrong.
  [[nodiscard]] bool good() const noexcept { return failed == 0 && ended.empty() && !nothing_tried(); }
};

namespace detail {

// Restores the formats in which the queues were found; sets `queue` to its small format and a fast rate.
inline void prepare(Subject& subject, const Queue* queue) {
  namespace tag = v4l2::tag;
  // In a memory-to-memory device each open file has formats of its own.
  if (subject.facts().m2m) return;
  for (const Queue& each : subject.facts().queues) {
    if (&each == queue) continue;
    v4l2_format format = each.initial;
    static_cast<void>(subject.call<tag::S_FMT>(format));
  }
  if (queue == nullptr) return;
  v4l2_format format = queue->small;
  static_cast<void>(subject.call<tag::S_FMT>(format));
  v4l2_streamparm parameters{};
  parameters.type = queue->type;
  // timeperframe is at the same place for both directions.
  parameters.parm.capture.timeperframe = {1, 1000};
  static_cast<void>(subject.call<tag::S_PARM>(parameters));
}

inline Finding run_once(const Rule& rule, AnyGuest& guest, const Facts& facts, const Settings& settings,
                        const Queue* queue, std::uint32_t memory) {
  Subject subject(guest, facts, settings, queue, memory);
  std::uint32_t session = 0;
  if (auto found = subject.open(session)) return found;
  const bool streams =
      rule.scope == Scope::buffers || rule.scope == Scope::stream || rule.scope == Scope::capture;
  prepare(subject, streams ? queue : nullptr);
  return rule.check(subject);
}

// Why there was nothing that a rule of this scope could run on.
[[nodiscard]] inline const char* what_is_absent(Scope scope, const Facts& facts) noexcept {
  switch (scope) {
    case Scope::queue:
      return "the device has no queue";
    case Scope::video:
      return "the device has no video queue";
    case Scope::buffers:
      return "no queue has buffers in an examined type of memory";
    case Scope::stream:
    case Scope::capture:
      if (facts.m2m) return "the queues of a memory-to-memory device do not stream by themselves";
      return scope == Scope::stream ? "no queue has buffers in an examined type of memory"
                                    : "no CAPTURE queue has buffers in an examined type of memory";
    case Scope::m2m:
      if (!facts.m2m) return "it is not a memory-to-memory device";
      if (facts.stateful_decoder) return "it is a stateful decoder, which has rules of its own";
      return "its queues have no examined type of memory in common";
    case Scope::decoder:
      if (!facts.stateful_decoder) return "it is not a stateful decoder";
      return "its queues have no examined type of memory in common";
    case Scope::device:
      break;
  }
  return "";
}

// Examines one rule after another, each for what its scope says.
class Examination {
 public:
  // What the arguments refer to outlives it.
  Examination(AnyGuest& guest, const Facts& facts, const Options& options) noexcept
      : guest_(guest), facts_(facts), options_(options) {}

  [[nodiscard]] RuleResult examine(const Group& group, const Rule& rule) {
    RuleResult result{&group, &rule, {}, {}};
    switch (rule.scope) {
      case Scope::device:
        run(result, nullptr, 0);
        break;
      case Scope::m2m:
        if (facts_.m2m && !facts_.stateful_decoder) run_in_common_memory(result);
        break;
      case Scope::decoder:
        if (facts_.stateful_decoder) run_in_common_memory(result);
        break;
      default:
        for (const Queue& queue : facts_.queues) run_for(result, queue);
    }
    if (result.runs.empty()) result.absent = what_is_absent(rule.scope, facts_);
    return result;
  }
  // Why nothing more can be examined; empty while it can.
  [[nodiscard]] const std::string& ended() const noexcept { return ended_; }

  // Leaves the device as it was found.
  void restore() {
    Subject subject(guest_, facts_, settings_, nullptr, 0);
    std::uint32_t session = 0;
    if (!subject.open(session)) prepare(subject, nullptr);
  }

 private:
  void run_for(RuleResult& result, const Queue& queue) {
    const Scope scope = result.rule->scope;
    if (scope == Scope::queue || (scope == Scope::video && is_video(queue.type))) {
      run(result, &queue, 0);
    } else if (scope == Scope::buffers || (scope == Scope::stream && !facts_.m2m) ||
               (scope == Scope::capture && !facts_.m2m && !queue.output())) {
      for (const std::uint32_t memory : memories) {
        if (is_wanted(memory) && queue.has(memory)) run(result, &queue, memory);
      }
    }
  }
  // For a device with two queues.
  void run_in_common_memory(RuleResult& result) {
    const Queue* const output = facts_.queue(true);
    const Queue* const capture = facts_.queue(false);
    if (output == nullptr || capture == nullptr) return;
    for (const std::uint32_t memory : memories) {
      if (is_wanted(memory) && output->has(memory) && capture->has(memory)) run(result, nullptr, memory);
    }
  }
  void run(RuleResult& result, const Queue* queue, std::uint32_t memory) {
    if (!ended_.empty()) return;
    Run run{queue != nullptr ? queue->type : 0, memory, {}};
    run.finding = run_once(*result.rule, guest_, facts_, settings_, queue, memory);
    if (guest_.error().code != 0) {
      ended_ = guest_.error().message;
      run.finding = failed("%s", ended_.c_str());
    }
    result.runs.push_back(std::move(run));
  }
  [[nodiscard]] bool is_wanted(std::uint32_t memory) const noexcept {
    return memory == V4L2_MEMORY_MMAP ? options_.mmap : options_.userptr && !guest_.user_memory().empty();
  }

  static constexpr std::uint32_t memories[] = {V4L2_MEMORY_MMAP, V4L2_MEMORY_USERPTR};
  AnyGuest& guest_;
  const Facts& facts_;
  const Options& options_;
  const Settings settings_{options_.patience, options_.stream};
  std::string ended_;
};

inline void count(Report& report, Verdict verdict) noexcept {
  switch (verdict) {
    case Verdict::passed:
      ++report.passed;
      break;
    case Verdict::failed:
      ++report.failed;
      break;
    case Verdict::not_applicable:
      ++report.not_applicable;
  }
}

}  // namespace detail

/// Runs the rules that `options` name, one after another, and calls `on_result` after each.
[[nodiscard]] inline Report run(AnyGuest guest, const Options& options = {},
                                const std::function<void(const RuleResult&)>& on_result = {}) {
  Report report;
  const auto facts = discover(guest);
  if (!facts) {
    report.ended = facts.error().message;
    return report;
  }
  detail::Examination examination(guest, *facts, options);
  for (const Group& group : all_rules) {
    for (const Rule& rule : group.rules) {
      if (!is_named(rule, options.filter)) continue;
      report.results.push_back(examination.examine(group, rule));
      report.ended = examination.ended();
      detail::count(report, report.results.back().verdict());
      if (on_result) on_result(report.results.back());
      if (!report.ended.empty()) return report;
    }
  }
  examination.restore();
  return report;
}

/// The same, of a guest whose transport is known.
template <class Link>
[[nodiscard]] Report run(BasicGuest<Link>& guest, const Options& options = {},
                         const std::function<void(const RuleResult&)>& on_result = {}) {
  return run(AnyGuest(guest), options, on_result);
}

}  // namespace vumedia::client::compliance
