// Devices with one seeded fault each, one for each compliance rule, which has to notice it.
//
// A table is a device and its faults. On the correct device every rule of the table passes; on the device
// with a rule's fault that rule fails, and no others of its group except those that the entry names.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include <vumedia/client/compliance.hpp>

#include "support/embedded_transport.hpp"
#include "support/faulty_backend.hpp"
#include "support/patience.hpp"

namespace vumedia::client::test {

struct SeededFault {
  const char* rule;
  vumedia::test::Fault (*make)();  // created for each device, because hooks may have state
  // Ids, or their beginnings, of rules that must also fail, because they rely on the same thing.
  std::vector<std::string_view> also = {};
};

// For faults that need not be waited for: it ends what hangs. With less, rules that the fault has nothing to
// do with fail on a busy machine.
inline constexpr std::chrono::milliseconds long_patience{30'000};

struct FaultTable {
  const char* device;
  std::unique_ptr<vumedia::test::EmbeddedGuest> (*make)(vumedia::test::Fault fault);
  std::span<const SeededFault> faults;
  const compliance::CodedStream* (*stream)() = nullptr;  // for decoders; null if it cannot be had
  // What a faulty device owes is not waited for as long as for what a sound one may take.
  std::chrono::milliseconds patience{100};
  // The rules of a group take long on this device: only the fault's own is run.
  bool alone = false;
};

// A guest of a Faulty<Backend>, made of the further arguments.
template <class Backend, class... Arguments>
[[nodiscard]] std::unique_ptr<vumedia::test::EmbeddedGuest> guest_of_faulty(vumedia::test::Fault fault,
                                                                            Arguments&&... arguments) {
  using vumedia::test::EmbeddedGuest, vumedia::test::EmbeddedTransport, vumedia::test::Faulty;
  auto guest = EmbeddedGuest::attach(
      EmbeddedTransport::over<Faulty<Backend>>(media::DeviceOptions{}, std::move(fault),
                                               std::forward<Arguments>(arguments)...),
      {.command_timeout = vumedia::test::patience, .user_memory = compliance::user_memory_size});
  EXPECT_TRUE(guest) << guest.error().message;
  return guest ? std::move(*guest) : nullptr;
}

// Shows the guest other memory than the frames'.
[[nodiscard]] inline vumedia::test::Fault maps_elsewhere() {
  const auto context = std::make_shared<media::Context>();
  vumedia::test::Fault fault;
  fault.ioctl = [context](vumedia::test::IoctlCall& call) {
    *context = call.context;
    call.forward();
  };
  fault.mmap = [context](std::uint32_t, std::uint32_t, Result<media::Mappable>& result) {
    if (!result) return;
    if (auto block = context->arenas().allocate(result->length))
      result = media::Mappable(std::move(*block), result->length);
  };
  return fault;
}

// Writes one byte into the guest's memory when a USERPTR buffer is queued: where `place` says, given the
// buffer's type and its first list of ranges, which is not empty; nowhere if that has no length.
template <class F>
[[nodiscard]] vumedia::test::Fault writes_at(F place) {
  using v4l2::tag::QBUF;
  return vumedia::test::instead<QBUF>([place](vumedia::test::IoctlCall& call) {
    const auto& payload = call.payload<QBUF>();
    const auto list = payload.ranges[0];
    const v4l2::GuestRange range =
        list.empty() ? v4l2::GuestRange{} : place(std::uint32_t{payload.buffer.head.type}, list);
    call.forward();
    if (!call.result || range.length == 0) return;
    const std::byte byte{0x11};
    static_cast<void>(v4l2::copy_to_ranges(*call.context.memory(), std::span(&range, 1),
                                           std::span<const std::byte>(&byte, 1)));
  });
}
[[nodiscard]] inline vumedia::test::Fault writes_beyond() {
  return writes_at([](std::uint32_t, auto list) {
    const v4l2::GuestRange last = list.back();
    return v4l2::GuestRange{{last.start.value + last.length}, 1};
  });
}

// What a run objected to, a line a rule.
[[nodiscard]] inline std::string failures(const compliance::Report& report) {
  std::string text;
  for (const auto& result : report.results) {
    for (const auto& run : result.runs) {
      if (run.finding.verdict == compliance::Verdict::failed)
        text += std::string(result.rule->id) + ": " + run.finding.text + "\n";
    }
  }
  return text;
}

// Runs rule `id` on a correct device, which keeps it, and its group on one with a fault, which breaks it and
// no other rule except those in `also`. With `alone`, runs only the rule, because the others of its group
// take long.
inline void check_fault(std::string_view id, std::span<const std::string_view> also,
                        vumedia::test::EmbeddedGuest& sound, vumedia::test::EmbeddedGuest& faulty,
                        compliance::Options options, bool alone = false) {
  using compliance::Verdict;
  const auto patience = std::exchange(options.patience, vumedia::test::patience);
  options.filter = id;
  const auto before = compliance::run(sound, options);
  ASSERT_EQ(before.results.size(), 1u) << "there is no such rule";
  EXPECT_EQ(before.results[0].verdict(), Verdict::passed) << "on the sound device: " << failures(before);

  if (!alone) options.filter = std::string(id.substr(0, id.find('/'))) + "/*";
  options.patience = patience;
  const auto after = compliance::run(faulty, options);
  EXPECT_EQ(after.ended, "");
  for (const auto& result : after.results) {
    const std::string_view other = result.rule->id;
    const bool failed = result.verdict() == Verdict::failed;
    if (other == id) {
      EXPECT_TRUE(failed) << "the fault goes unnoticed";
      continue;
    }
    const bool expected = std::ranges::any_of(
        also, [other](std::string_view beginning) { return other.starts_with(beginning); });
    EXPECT_TRUE(!failed || expected) << other << " fails as well: " << failures(after);
  }
}

// Runs the rules of `table` on its correct device, and the groups of its faults on the faulty ones.
inline void check_faults(const FaultTable& table) {
  const compliance::CodedStream* stream = nullptr;
  if (table.stream != nullptr) {
    stream = table.stream();
    if (stream == nullptr) GTEST_SKIP() << "cannot make the stream";
  }
  for (const SeededFault& fault : table.faults) {
    SCOPED_TRACE(fault.rule);
    const auto sound = table.make({});
    const auto faulty = table.make(fault.make());
    ASSERT_TRUE(sound && faulty);
    compliance::Options options;
    options.stream = stream;
    options.patience = table.patience;
    check_fault(fault.rule, fault.also, *sound, *faulty, options, table.alone);
  }
}

// The rules of `all_rules` for which `about` holds and that have no fault in any of the tables.
template <class About>
[[nodiscard]] std::string rules_without_fault(std::span<const FaultTable> tables, About about) {
  std::string missing;
  for (const auto& group : compliance::all_rules) {
    for (const auto& rule : group.rules) {
      if (!about(rule)) continue;
      const bool found = std::ranges::any_of(tables, [&](const FaultTable& table) {
        return std::ranges::any_of(
            table.faults, [&](const SeededFault& fault) { return std::string_view(fault.rule) == rule.id; });
      });
      if (!found) missing += std::string(rule.id) + "\n";
    }
  }
  return missing;
}

}  // namespace vumedia::client::test
