// Compliance of memory-to-memory devices, each rule with its seeded fault; and what a report says of what it
// did not try.
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "client/compliance_faults.hpp"
#include "support/copy_device.hpp"

namespace vumedia::client::test {
namespace {

using vumedia::test::CopyDevice;
using vumedia::test::Fault;
namespace tag = v4l2::tag;

std::unique_ptr<vumedia::test::EmbeddedGuest> make_copier(Fault fault) {
  return guest_of_faulty<CopyDevice>(std::move(fault));
}

// `alter(buffer)` says how often a buffer of this type comes.
template <class F>
Fault on_buffers_of(std::uint32_t type, F alter) {
  Fault fault;
  fault.dqbuf = [=](std::uint32_t, v4l2::Buffer& buffer) mutable {
    return buffer.head.type == type ? alter(buffer) : 1;
  };
  return fault;
}

const SeededFault m2m_faults[] = {
    {"m2m/returns-output",
     [] { return on_buffers_of(V4L2_BUF_TYPE_VIDEO_OUTPUT, [](v4l2::Buffer&) { return 0; }); },
     {"m2m/order", "m2m/describes-itself"}},
    {"m2m/returns-capture",
     [] { return on_buffers_of(V4L2_BUF_TYPE_VIDEO_CAPTURE, [](v4l2::Buffer&) { return 0; }); },
     {"m2m/order", "m2m/describes-itself", "m2m/timestamps", "m2m/again"}},
    {"m2m/order",
     [] {
       return on_buffers_of(V4L2_BUF_TYPE_VIDEO_CAPTURE, [](v4l2::Buffer& buffer) {
         buffer.head.index ^= 1;
         return 1;
       });
     }},
    {"m2m/describes-itself",
     [] {
       return on_buffers_of(V4L2_BUF_TYPE_VIDEO_CAPTURE, [](v4l2::Buffer& buffer) {
         buffer.head.bytesused = 0;
         return 1;
       });
     }},
    {"m2m/timestamps",
     [] {
       return on_buffers_of(V4L2_BUF_TYPE_VIDEO_CAPTURE, [](v4l2::Buffer& buffer) {
         buffer.head.timestamp = {};
         return 1;
       });
     }},
    {"m2m/again",
     [] {
       // As if the device had still its first stream.
       return on_buffers_of(V4L2_BUF_TYPE_VIDEO_CAPTURE,
                            [n = 0](v4l2::Buffer&) mutable { return n++ < 4 ? 1 : 0; });
     },
     {"m2m/"}},
};
const FaultTable m2m_tables[] = {{"copier", make_copier, m2m_faults}};

TEST(M2mFaults, AreNoticedByTheirRules) {
  check_faults(m2m_tables[0]);
}

TEST(M2mFaults, AreThereForEveryRule) {
  EXPECT_EQ(
      rules_without_fault(m2m_tables,
                          [](const compliance::Rule& rule) { return rule.scope == compliance::Scope::m2m; }),
      "");
}

// What the report that is printed of it comes from.
TEST(M2mReport, ADeviceThatReturnsNothingFails) {
  Fault fault;
  fault.dqbuf = [](std::uint32_t, v4l2::Buffer&) { return 0; };
  const auto guest = make_copier(std::move(fault));
  ASSERT_NE(guest, nullptr);
  compliance::Options options;
  options.patience = std::chrono::milliseconds(50);
  options.filter = "@(m2m|stream|streamoff)/*";
  const auto report = compliance::run(*guest, options);
  EXPECT_FALSE(report.good());
  EXPECT_EQ(report.failed, std::size(compliance::m2m::rules)) << failures(report);
}

TEST(M2mReport, EachRuleThatIsNotSupportedSaysWhy) {
  const auto copier = make_copier({});
  const auto codec = guest_of_faulty<CopyDevice>(Fault{}, std::uint32_t{V4L2_PIX_FMT_H264});
  ASSERT_TRUE(copier && codec);
  for (auto* const guest : {copier.get(), codec.get()}) {
    compliance::Options options;
    options.patience = std::chrono::milliseconds(500);
    const auto report = compliance::run(*guest, options);
    EXPECT_GT(report.not_applicable, 0u);
    EXPECT_FALSE(report.nothing_tried());
    for (const auto& result : report.results) {
      EXPECT_EQ(result.verdict() == compliance::Verdict::not_applicable, !result.reason().empty())
          << result.rule->id;
    }
  }
  compliance::Options options;
  options.filter = "m2m/*";
  const auto report = compliance::run(*codec, options);
  EXPECT_TRUE(report.nothing_tried());
  EXPECT_FALSE(report.good());
  EXPECT_EQ(report.results.front().reason(), "VIDEO_OUTPUT has coded frames, which a codec may keep");
}

}  // namespace
}  // namespace vumedia::client::test
