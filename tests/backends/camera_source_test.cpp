// Cameras whose frames come from other sources than the test pattern: what a Source must have, and what a
// guest gets of one that fills buffers, one that lends pictures, and one that fails.
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>
#include <linux/videodev2.h>

#include <vumedia/backends/camera.hpp>
#include <vumedia/backends/test_pattern/source.hpp>

#include "backends/fake_services.hpp"

namespace vumedia::backends::camera_source {
namespace {

namespace tag = v4l2::tag;
using backends::test::FakeServices;

constexpr std::array<v4l2_fract, 2> intervals{{{1001, 60000}, {1, 10}}};
constexpr std::array sizes{camera::FrameSize{64, 48, intervals}, camera::FrameSize{32, 24, intervals}};
constexpr std::array<std::uint32_t, 2> formats{V4L2_PIX_FMT_YUV420, V4L2_PIX_FMT_NV12M};
constexpr camera::Modes grey_modes{formats, sizes, {1, 10}};
static_assert(camera::valid_modes(grey_modes));

constexpr std::array controls{
    v4l2::ControlInfo{.id = V4L2_CID_BRIGHTNESS, .name = "Brightness", .maximum = 255, .default_value = 7}};
static_assert(v4l2::valid_controls(controls));

// Fills every plane with one value: the brightness and the frame's number.
struct Grey {
  static constexpr const char* card = "Grey camera";
  static constexpr const char* input = "Grey";
  [[nodiscard]] camera::Modes modes() const { return grey_modes; }
  [[nodiscard]] std::span<const v4l2::ControlInfo> controls() const { return camera_source::controls; }
  [[nodiscard]] Result<> set_control(std::uint32_t, const v4l2::ControlValue& value) {
    if (value.number == 99) return fail(EIO);
    brightness = static_cast<int>(value.number);
    return {};
  }
  [[nodiscard]] Result<> start(const camera::Mode& mode) {
    if (brightness == 13) return fail(ENODEV);
    width = mode.size->width;
    return {};
  }
  [[nodiscard]] Result<> fill(const camera::Frame& frame) {
    EXPECT_EQ(frame.mode.size->width, width);
    if (brightness == 66) return fail(EIO);
    for (std::uint32_t p = 0; p < frame.mode.layout.plane_count; ++p)
      std::memset(frame.planes[p], brightness + static_cast<int>(frame.number),
                  frame.mode.layout.planes[p].sizeimage);
    return {};
  }
  int brightness = 7;
  std::uint32_t width = 0;
};

// Lends one of two pictures, of which the second is too short.
struct Lender {
  static constexpr const char* card = "Lender";
  static constexpr const char* input = "Shelf";
  [[nodiscard]] camera::Modes modes() const { return grey_modes; }
  [[nodiscard]] Result<std::span<const std::byte>> lend(const camera::Mode& mode, std::uint32_t number) {
    picture.assign(camera::lent_size(mode) - number, std::byte{0x33});
    return picture;
  }
  std::vector<std::byte> picture;
};

// ---- The concept

static_assert(camera::Source<Grey> && camera::FillsFrames<Grey> && !camera::LendsFrames<Grey>);
static_assert(camera::Source<Lender> && camera::LendsFrames<Lender> && !camera::HasSourceControls<Lender>);
static_assert(camera::Source<test_pattern::PatternSource> &&
              camera::PaintingSource<test_pattern::PatternSource>);
static_assert(!camera::PaintingSource<Grey> && !camera::PaintingSource<Lender>);
static_assert(!camera::Source<int>);

struct Nameless {
  camera::Modes modes() const;
  Result<> fill(const camera::Frame&);
};
static_assert(!camera::HasNames<Nameless> && !camera::Source<Nameless> && camera::FillsFrames<Nameless>);
struct Named : Nameless {
  static constexpr const char *card = "A", *input = "B";
};
static_assert(camera::Source<Named>);
struct PaintsForNothing : Named {
  void fill(const camera::Frame&);  // cannot fail
};
static_assert(!camera::FillsFrames<PaintsForNothing> && !camera::Source<PaintsForNothing>);
struct LendsText : Named {
  std::span<const std::byte> fill(const camera::Frame&);
  Result<const char*> lend(const camera::Mode&, std::uint32_t);
};
static_assert(!camera::LendsFrames<LendsText> && !camera::Source<LendsText>);
struct ModesChange : Named {
  camera::Modes modes();  // not const
};
static_assert(!camera::HasModes<ModesChange> && !camera::Source<ModesChange>);
// Nearly optional members.
struct OnlyShowsControls : Named {
  std::span<const v4l2::ControlInfo> controls() const;
};
static_assert(camera::NamesControls<OnlyShowsControls> && !camera::Source<OnlyShowsControls>);
struct OnlySetsControls : Named {
  Result<> set_control(std::uint32_t, const v4l2::ControlValue&);
};
static_assert(!camera::Source<OnlySetsControls>);
struct StartsWithoutMode : Named {
  Result<> start();
};
static_assert(camera::NamesStart<StartsWithoutMode> && !camera::Source<StartsWithoutMode>);
// An encoder's thread needs more.
struct SceneWithoutArtist : Named {
  struct Scene {};
  Scene scene() const;
};
static_assert(camera::Source<SceneWithoutArtist> && !camera::PaintingSource<SceneWithoutArtist>);
struct Painting : SceneWithoutArtist {
  struct Artist {
    void paint(const Scene&, const camera::Easel&, std::uint32_t);
  };
};
static_assert(camera::PaintingSource<Painting>);

// ---- What a guest gets

template <class S>
struct CameraOf : testing::Test {
  explicit CameraOf(bool multiplanar = false)
      : device(CameraOptions{.multiplanar = multiplanar}), session(*device.open(services.context(1))) {}
  ~CameraOf() override { device.close(*session); }

  template <class Tag>
  int call(Tag, typename Tag::Payload& payload) {
    const auto done = device.ioctl(*session, Tag{}, payload);
    return done ? 0 : done.error().value;
  }
  std::uint32_t type() { return device.queues_of(*session).type(); }
  int reqbufs(std::uint32_t count) {
    v4l2_requestbuffers request{};
    request.count = count;
    request.type = type();
    request.memory = V4L2_MEMORY_MMAP;
    return call(tag::REQBUFS{}, request);
  }
  int qbuf(std::uint32_t index) {
    v4l2::BufferPayload payload{};
    payload.buffer.head.index = index;
    payload.buffer.head.type = type();
    payload.buffer.head.memory = V4L2_MEMORY_MMAP;
    payload.buffer.head.length = payload.sent.planes = 2;
    return call(tag::QBUF{}, payload);
  }
  int stream(bool on) {
    std::uint32_t kind = type();
    return on ? call(tag::STREAMON{}, kind) : call(tag::STREAMOFF{}, kind);
  }
  int set(std::int32_t brightness) {
    v4l2_control control{V4L2_CID_BRIGHTNESS, brightness};
    return call(tag::S_CTRL{}, control);
  }
  // The first byte of each plane of buffer `index`, which the guest maps.
  std::vector<int> first_bytes(std::uint32_t index, std::uint32_t planes) {
    std::vector<int> bytes;
    for (std::uint32_t p = 0; p < planes; ++p) {
      const auto offset = static_cast<std::uint32_t>((index * v4l2::BufferQueue::max_planes + p) * page_size);
      const auto mapped = device.mmap(*session, offset);
      EXPECT_TRUE(mapped);
      if (mapped) bytes.push_back(std::to_integer<int>(mapped->block->bytes()[0]));
    }
    return bytes;
  }

  FakeServices services;
  Camera<S> device;
  std::unique_ptr<typename Camera<S>::Session> session;
};

using GreyCamera = CameraOf<Grey>;
struct PlanarGreyCamera : GreyCamera {
  PlanarGreyCamera() : GreyCamera(true) {}
};
using LendingCamera = CameraOf<Lender>;

TEST_F(GreyCamera, HasTheNamesAndModesOfItsSource) {
  EXPECT_EQ(device.config().card, "Grey camera");
  v4l2_input input{};
  ASSERT_EQ(call(tag::ENUMINPUT{}, input), 0);
  EXPECT_STREQ(reinterpret_cast<const char*>(input.name), "Grey");
  v4l2_format format{};
  format.type = type();
  ASSERT_EQ(call(tag::G_FMT{}, format), 0);
  EXPECT_EQ(format.fmt.pix.pixelformat, std::uint32_t{V4L2_PIX_FMT_YUV420});
  EXPECT_EQ(format.fmt.pix.width, 64U);
  v4l2_fmtdesc description{};
  description.type = type();
  description.index = 1;
  EXPECT_EQ(call(tag::ENUM_FMT{}, description), EINVAL) << "the other one has several planes";
  v4l2_streamparm parameters{};
  parameters.type = type();
  ASSERT_EQ(call(tag::G_PARM{}, parameters), 0);
  EXPECT_EQ(parameters.parm.capture.timeperframe.denominator, 10U);
  parameters.parm.capture.timeperframe = {1, 60};
  ASSERT_EQ(call(tag::S_PARM{}, parameters), 0);
  EXPECT_EQ(parameters.parm.capture.timeperframe.numerator, 1001U);
  EXPECT_EQ(parameters.parm.capture.timeperframe.denominator, 60000U);
}

TEST_F(GreyCamera, FillsBuffersAndCountsThem) {
  ASSERT_EQ(reqbufs(2), 0);
  ASSERT_EQ(qbuf(0), 0);
  ASSERT_EQ(qbuf(1), 0);
  ASSERT_EQ(stream(true), 0);
  ASSERT_TRUE(services.fire());
  ASSERT_EQ(set(50), 0);
  ASSERT_TRUE(services.fire());
  ASSERT_EQ(services.dqbufs.size(), 2U);
  EXPECT_EQ(services.dqbufs[1].buffer.head.sequence, 1U);
  EXPECT_EQ(services.dqbufs[1].buffer.head.bytesused, 64U * 48 * 3 / 2);
  EXPECT_EQ(first_bytes(0, 1), (std::vector{7}));
  EXPECT_EQ(first_bytes(1, 1), (std::vector{51}));
  EXPECT_FALSE(services.has_timer()) << "no buffer is left";
  ASSERT_EQ(stream(false), 0);
  ASSERT_EQ(qbuf(0), 0);
  ASSERT_EQ(stream(true), 0);
  ASSERT_TRUE(services.fire());
  EXPECT_EQ(services.dqbufs[2].buffer.head.sequence, 0U);
  EXPECT_EQ(first_bytes(0, 1), (std::vector{50}));
}

TEST_F(PlanarGreyCamera, HasPlanesApart) {
  v4l2_format format{};
  format.type = type();
  format.fmt.pix_mp.pixelformat = V4L2_PIX_FMT_NV12M;
  format.fmt.pix_mp.width = 32;
  format.fmt.pix_mp.height = 24;
  ASSERT_EQ(call(tag::S_FMT{}, format), 0);
  EXPECT_EQ(format.fmt.pix_mp.num_planes, 2U);
  ASSERT_EQ(reqbufs(1), 0);
  ASSERT_EQ(qbuf(0), 0);
  ASSERT_EQ(stream(true), 0);
  ASSERT_TRUE(services.fire());
  ASSERT_EQ(services.dqbufs.size(), 1U);
  EXPECT_EQ(services.dqbufs[0].buffer.planes[0].bytesused, 32U * 24);
  EXPECT_EQ(services.dqbufs[0].buffer.planes[1].bytesused, 16U * 12 * 2);
  EXPECT_EQ(first_bytes(0, 2), (std::vector{7, 7}));
}

TEST_F(GreyCamera, AFrameThatFailsIsFlagged) {
  ASSERT_EQ(set(66), 0);
  ASSERT_EQ(reqbufs(1), 0);
  ASSERT_EQ(qbuf(0), 0);
  ASSERT_EQ(stream(true), 0);
  ASSERT_TRUE(services.fire());
  ASSERT_EQ(services.dqbufs.size(), 1U);
  EXPECT_NE(services.dqbufs[0].buffer.head.flags & V4L2_BUF_FLAG_ERROR, 0U);
  EXPECT_EQ(services.dqbufs[0].buffer.head.bytesused, 0U);
}

TEST_F(GreyCamera, ItsSourceMayRefuse) {
  EXPECT_EQ(set(99), EIO);
  v4l2_control control{V4L2_CID_BRIGHTNESS, 0};
  ASSERT_EQ(call(tag::G_CTRL{}, control), 0);
  EXPECT_EQ(control.value, 7) << "the old one";
  ASSERT_EQ(set(13), 0);
  ASSERT_EQ(reqbufs(1), 0);
  ASSERT_EQ(qbuf(0), 0);
  EXPECT_EQ(stream(true), ENODEV);
  EXPECT_FALSE(services.has_timer());
  ASSERT_EQ(set(14), 0);
  EXPECT_EQ(stream(true), 0);
}

TEST_F(LendingCamera, CopiesWhatIsLent) {
  ASSERT_EQ(reqbufs(2), 0);
  ASSERT_EQ(qbuf(0), 0);
  ASSERT_EQ(qbuf(1), 0);
  ASSERT_EQ(stream(true), 0);
  ASSERT_TRUE(services.fire());
  ASSERT_TRUE(services.fire());
  ASSERT_EQ(services.dqbufs.size(), 2U);
  EXPECT_EQ(first_bytes(0, 1), (std::vector{0x33}));
  EXPECT_EQ(services.dqbufs[0].buffer.head.flags & V4L2_BUF_FLAG_ERROR, 0U);
  EXPECT_NE(services.dqbufs[1].buffer.head.flags & V4L2_BUF_FLAG_ERROR, 0U) << "it was too short";
  v4l2_queryctrl query{};
  query.id = V4L2_CTRL_FLAG_NEXT_CTRL;
  EXPECT_EQ(call(tag::QUERYCTRL{}, query), EINVAL) << "it has no controls";
}

// Modes that come from a file, and are found to be none only when the camera is made.
struct Misinformed {
  static constexpr const char *card = "Misinformed camera", *input = "File";
  [[nodiscard]] camera::Modes modes() const { return has; }
  [[nodiscard]] Result<> fill(const camera::Frame&) { return {}; }
  camera::Modes has;
};

TEST(CameraOfASource, SaysWhyItCannotBeOpened) {
  static constexpr std::array endless{camera::FrameSize{64, 48, {}}};
  FakeServices services;
  std::vector<std::string> lines;
  services.log =
      Log([](void* to, LogLevel,
             std::string_view line) { static_cast<std::vector<std::string>*>(to)->emplace_back(line); },
          &lines, LogLevel::error);
  for (const camera::Modes& modes : {camera::Modes{}, camera::Modes{formats, endless}}) {
    Camera<Misinformed> broken(Misinformed{modes});
    EXPECT_EQ(broken.open(services.context(1)).error().value, ENODEV);
  }
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_EQ(lines[0], "Misinformed camera has modes that no camera can have: there is no format");
  EXPECT_EQ(lines[1],
            "Misinformed camera has modes that no camera can have: there is a size without intervals");
  Camera<Misinformed> whole(Misinformed{grey_modes});
  const auto opened = whole.open(services.context(1));
  ASSERT_TRUE(opened);
  whole.close(**opened);
}

}  // namespace
}  // namespace vumedia::backends::camera_source
