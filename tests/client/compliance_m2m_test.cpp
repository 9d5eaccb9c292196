// Compliance of memory-to-memory devices, each rule with its seeded fault; and what a report says about rules
// that were not tried.
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
using vumedia::test::Fault, vumedia::test::ignores, vumedia::test::IoctlCall;
namespace tag = v4l2::tag;

std::unique_ptr<vumedia::test::EmbeddedGuest> make_copier(Fault fault) {
  return guest_of_faulty<CopyDevice>(std::move(fault));
}

// `alter(buffer)` determines how often a buffer of this type comes.
template <class F>
Fault on_buffers_of(std::uint32_t type, F alter) {
  Fault fault;
  fault.dqbuf = [=](std::uint32_t, v4l2::Buffer& buffer) mutable {
    return buffer.head.type == type ? alter(buffer) : 1;
  };
  return fault;
}

[[nodiscard]] std::uint32_t other_type(std::uint32_t type) noexcept {
  return type == V4L2_BUF_TYPE_VIDEO_OUTPUT ? V4L2_BUF_TYPE_VIDEO_CAPTURE : V4L2_BUF_TYPE_VIDEO_OUTPUT;
}

// Does to both queues what it is to do to one.
template <class Tag>
Fault takes_both() {
  return vumedia::test::instead<Tag>([](IoctlCall& call) {
    std::uint32_t other = other_type(call.payload<Tag>());
    call.forward();
    static_cast<void>(call.run<Tag>(other));
  });
}

// Goes on sending buffers of a queue that was stopped.
Fault sends_late() {
  Fault fault;
  fault.ioctl = [late = false](IoctlCall& call) mutable {
    call.forward();
    if (call.is<tag::STREAMOFF>()) late = true;
    if (call.is<tag::STREAMON>()) late = false;
    if (!late || !call.is<tag::G_FMT>()) return;
    v4l2::Buffer buffer{};
    buffer.head.type = V4L2_BUF_TYPE_VIDEO_CAPTURE;
    call.context.send_dqbuf(buffer);
  };
  return fault;
}

const SeededFault m2m_faults[] = {
    {"m2m/returns-output",
     [] { return on_buffers_of(V4L2_BUF_TYPE_VIDEO_OUTPUT, [](v4l2::Buffer&) { return 0; }); },
     {"m2m/order", "m2m/describes-itself", "m2m/returns-once", "m2m/pointers", "m2m/streamoff-returns"}},
    {"m2m/returns-capture",
     [] { return on_buffers_of(V4L2_BUF_TYPE_VIDEO_CAPTURE, [](v4l2::Buffer&) { return 0; }); },
     {"m2m/"}},
    {"m2m/order",
     [] {
       return on_buffers_of(V4L2_BUF_TYPE_VIDEO_CAPTURE, [](v4l2::Buffer& buffer) {
         buffer.head.index ^= 1;
         return 1;
       });
     },
     {"m2m/returns-once", "m2m/pointers"}},
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
       // As if the device still had its first stream.
       return on_buffers_of(V4L2_BUF_TYPE_VIDEO_CAPTURE,
                            [n = 0](v4l2::Buffer&) mutable { return n++ < 4 ? 1 : 0; });
     },
     {"m2m/"}},
    {"m2m/returns-once",
     [] {
       return on_buffers_of(V4L2_BUF_TYPE_VIDEO_OUTPUT,
                            [](v4l2::Buffer& buffer) { return buffer.head.index == 3 ? 2 : 1; });
     }},
    {"m2m/frames-arrive", maps_elsewhere},
    {"m2m/keeps-output",
     [] {
       return writes_at([](std::uint32_t type, auto list) {
         const bool out = type == V4L2_BUF_TYPE_VIDEO_OUTPUT;
         return v4l2::GuestRange{list.front().start, out ? 1u : 0u};
       });
     }},
    {"m2m/pointers",
     [] {
       return on_buffers_of(V4L2_BUF_TYPE_VIDEO_OUTPUT, [](v4l2::Buffer& buffer) {
         if (buffer.head.memory == V4L2_MEMORY_USERPTR) buffer.head.m.userptr ^= 8;
         return 1;
       });
     }},
    {"m2m/writes-within", writes_beyond},
    {"m2m/needs-both", takes_both<tag::STREAMON>},
    // What ignores the end of a stream begins the next one too early.
    {"m2m/streamoff-returns", ignores<tag::STREAMOFF>, {"m2m/streamoff-", "m2m/needs-both"}},
    {"m2m/streamoff-ends", sends_late},
    {"m2m/streamoff-of-one", takes_both<tag::STREAMOFF>},
};

// Further ways in which such a device goes wrong, and which rule says so.
struct Misbehaviour {
  const char* what;
  Fault (*make)();
  const char* rule;
};
const Misbehaviour misbehaviours[] = {
    {"each CAPTURE buffer comes twice",
     [] { return on_buffers_of(V4L2_BUF_TYPE_VIDEO_CAPTURE, [](v4l2::Buffer&) { return 2; }); },
     "m2m/returns-once"},
    {"one OUTPUT buffer never comes",
     [] {
       return on_buffers_of(V4L2_BUF_TYPE_VIDEO_OUTPUT,
                            [](v4l2::Buffer& buffer) { return buffer.head.index == 2 ? 0 : 1; });
     },
     "m2m/returns-output"},
    {"more bytes are used than there are",
     [] {
       return on_buffers_of(V4L2_BUF_TYPE_VIDEO_CAPTURE, [](v4l2::Buffer& buffer) {
         buffer.head.bytesused = buffer.head.length + 1;
         return 1;
       });
     },
     "m2m/describes-itself"},
    {"a buffer comes that does not exist",
     [] {
       return on_buffers_of(V4L2_BUF_TYPE_VIDEO_CAPTURE, [](v4l2::Buffer& buffer) {
         buffer.head.index = 77;
         return 1;
       });
     },
     "m2m/returns-capture"},
    {"time stamps are a microsecond off",
     [] {
       return on_buffers_of(V4L2_BUF_TYPE_VIDEO_CAPTURE, [](v4l2::Buffer& buffer) {
         buffer.head.timestamp.tv_usec = 1;
         return 1;
       });
     },
     "m2m/timestamps"},
    {"OUTPUT buffers come out of order",
     [] {
       return on_buffers_of(V4L2_BUF_TYPE_VIDEO_OUTPUT, [](v4l2::Buffer& buffer) {
         buffer.head.index ^= 2;
         return 1;
       });
     },
     "m2m/order"},
    {"a stopped queue keeps its buffers", [] { return ignores<tag::STREAMOFF>(); }, "m2m/streamoff-returns"},
};

TEST(M2mFaults, OfOtherKindsAreNoticed) {
  for (const auto& [what, make, rule] : misbehaviours) {
    SCOPED_TRACE(what);
    const auto guest = make_copier(make());
    ASSERT_NE(guest, nullptr);
    compliance::Options options;
    options.patience = std::chrono::milliseconds(50);
    options.filter = rule;
    const auto report = compliance::run(*guest, options);
    EXPECT_EQ(report.failed, 1u) << failures(report);
  }
}
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

// The data of the printed report.
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
  for (const auto& result : report.results) {
    const std::string_view rule = result.rule->id;
    if (!rule.starts_with("m2m/")) continue;
    // That no buffer may come is no demand on it.
    const bool holds = rule == "m2m/streamoff-ends";
    EXPECT_EQ(result.verdict(), holds ? compliance::Verdict::passed : compliance::Verdict::failed) << rule;
  }
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
