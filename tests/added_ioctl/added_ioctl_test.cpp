// An ioctl that is added with one declaration and one entry, in a copy of ioctl_table.hpp that CMakeLists.txt
// makes: what a backend, a device, its traces and a client then know of it.
#include <cerrno>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>
#include <linux/videodev2.h>

#include <vumedia/backends/null.hpp>
#include <vumedia/client/guest.hpp>
#include <vumedia/media/dispatch.hpp>
#include <vumedia/v4l2/describe.hpp>
#include <vumedia/v4l2/priority.hpp>

#include "support/embedded_transport.hpp"
#include "support/media_guest.hpp"

namespace vumedia::test::added_ioctl {
namespace {

using v4l2::tag::S_SHUTTER;

static_assert(S_SHUTTER::number == 105 && v4l2::ioctl_limit == 106);
static_assert(v4l2::ListedIoctl<S_SHUTTER> && !v4l2::ListedIoctl<v4l2::uncarried::QUERYCAP>);
static_assert(v4l2::needs_priority<S_SHUTTER>);

struct Camera {
  struct Session {
    explicit Session(v4l2::Priorities& all) : priority(all) {}
    v4l2::Priority priority;
  };
  media::Config config() const { return {.device_caps = V4L2_CAP_VIDEO_CAPTURE, .card = "shutter"}; }
  Result<std::unique_ptr<Session>> open(media::Context) { return std::make_unique<Session>(priorities); }

  Result<> ioctl(Session& session, S_SHUTTER, v4l2_fract& time) {
    if (auto allowed = v4l2::may_run<S_SHUTTER>(session, time); !allowed) return allowed;
    if (time.denominator == 0) return fail(EINVAL);
    // The fastest that it has.
    if (time.denominator > 1000) time = {1, 1000};
    return {};
  }
  Result<> ioctl(Session& session, v4l2::tag::S_PRIORITY, std::uint32_t& priority) {
    return session.priority.set(priority);
  }

  v4l2::Priorities priorities;
};
static_assert(media::ioctl_shape<Camera, S_SHUTTER>() == media::IoctlShape::immediate);
static_assert(media::ioctl_shape<backends::Null, S_SHUTTER>() == media::IoctlShape::missing);

// A near miss of it is one as of any other.
struct Confused {
  struct Session {};
  Result<> ioctl(S_SHUTTER, Session&, v4l2_fract&);
};
static_assert(media::detail::TakesTagSomewhere<Confused, S_SHUTTER>);
static_assert(!media::detail::TakesUnknownTag<Camera>);

TEST(AddedIoctl, HasItsNameAndItsDescription) {
  EXPECT_STREQ(v4l2::ioctl_name(105), "VIDIOC_S_SHUTTER");
  EXPECT_STREQ(v4l2::ioctl_name(104), "VIDIOC_REMOVE_BUFS");
  EXPECT_STREQ(v4l2::ioctl_name(106), "unknown ioctl");
  const v4l2_fract time{1, 50};
  EXPECT_EQ(v4l2::describe_payload(105, &time), "{numerator=1, denominator=50}");
}

TEST(AddedIoctl, ReachesItsOverload) {
  MediaGuest<Camera> guest;
  const std::uint32_t id = guest.open();
  v4l2_fract time{1, 8000};
  EXPECT_EQ(guest.ioctl<S_SHUTTER>(id, time), 0);
  EXPECT_EQ(time.denominator, 1000u);
  time = {1, 0};
  EXPECT_EQ(guest.ioctl<S_SHUTTER>(id, time), EINVAL);
  EXPECT_EQ(guest.command(guest.ioctl_command(id, 105), 64).status(), EINVAL) << "its payload is missing";
  EXPECT_EQ(guest.command(guest.ioctl_command(id, 106), 64).status(), ENOTTY);
}

TEST(AddedIoctl, IsTraced) {
  std::vector<std::string> lines;
  const Log log(
      [](void* context, LogLevel, std::string_view line) {
        static_cast<std::vector<std::string>*>(context)->emplace_back(line);
      },
      &lines, LogLevel::trace);
  MediaGuest<Camera> guest(EmbeddedOptions{.log = log},
                           media::DeviceOptions{.describe = v4l2::describe_payload});
  const std::uint32_t id = guest.open();
  v4l2_fract time{1, 8000};
  ASSERT_EQ(guest.ioctl<S_SHUTTER>(id, time), 0);
  EXPECT_EQ(lines.back(),
            "session " + std::to_string(id) + ": VIDIOC_S_SHUTTER {numerator=1, denominator=1000}: done");
}

TEST(AddedIoctl, IsSentByAClient) {
  auto guest =
      client::BasicGuest<EmbeddedTransport>::attach(EmbeddedTransport::over<Camera>(media::DeviceOptions{}));
  ASSERT_TRUE(guest) << guest.error().message;
  const auto id = (*guest)->open();
  ASSERT_TRUE(id);
  v4l2_fract time{1, 8000};
  EXPECT_TRUE((*guest)->ioctl<S_SHUTTER>(*id, time));
  EXPECT_EQ(time.denominator, 1000u);
}

TEST(AddedIoctl, IsMissingWhereThereIsNoOverload) {
  MediaGuest<backends::Null> guest;
  v4l2_fract time{1, 50};
  EXPECT_EQ(guest.ioctl<S_SHUTTER>(guest.open(), time), ENOTTY);
}

TEST(AddedIoctl, ObeysPriorities) {
  MediaGuest<Camera> guest;
  const std::uint32_t one = guest.open();
  const std::uint32_t other = guest.open();
  std::uint32_t highest = V4L2_PRIORITY_RECORD;
  ASSERT_EQ(guest.ioctl<v4l2::tag::S_PRIORITY>(other, highest), 0);
  v4l2_fract time{1, 50};
  EXPECT_EQ(guest.ioctl<S_SHUTTER>(one, time), EBUSY);
  EXPECT_EQ(guest.ioctl<S_SHUTTER>(other, time), 0);
}

}  // namespace
}  // namespace vumedia::test::added_ioctl
