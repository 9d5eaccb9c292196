// Pixel formats: layouts by known figures and by properties, enumerations, names.
#include <random>
#include <set>
#include <string>

#include <gtest/gtest.h>

#include <vumedia/v4l2/formats.hpp>

namespace vumedia::v4l2::test {
namespace {

TEST(Formats, AreListedOnceWithTheKernelsCodes) {
  std::set<std::uint32_t> codes;
  for (const PixelFormat& format : pixel_formats) {
    EXPECT_TRUE(codes.insert(format.code).second) << format.description;
    EXPECT_LT(std::string(format.description).size(), sizeof(v4l2_fmtdesc{}.description));
    EXPECT_EQ(format.compressed, format.component_count == 0);
    EXPECT_EQ(find_pixel_format(format.code), &format);
  }
  EXPECT_EQ(find_pixel_format(0), nullptr);
  EXPECT_EQ(fourcc('H', '2', '6', '4'), V4L2_PIX_FMT_H264);
#ifdef V4L2_PIX_FMT_AV1
  EXPECT_EQ(pix_fmt_av1, V4L2_PIX_FMT_AV1);
#endif
#ifdef V4L2_PIX_FMT_Y210
  EXPECT_EQ(pix_fmt_y210, V4L2_PIX_FMT_Y210);
#endif
}

TEST(Formats, KnownLayouts) {
  struct Case {
    std::uint32_t code, width, height, stride, sizes[3];
    std::uint32_t offsets[3], strides[3];
  };
  const Case cases[] = {
      {V4L2_PIX_FMT_RGB24, 641, 3, 1923, {5769}, {0}, {1923}},
      {V4L2_PIX_FMT_YUYV, 641, 2, 1284, {2568}, {0}, {1284}},
      {V4L2_PIX_FMT_NV12, 640, 480, 640, {460800}, {0, 307200}, {640, 640}},
      {V4L2_PIX_FMT_NV12, 641, 481, 642, {642 * 481 + 642 * 241}, {0, 642 * 481}, {642, 642}},
      {V4L2_PIX_FMT_YUV420,
       641,
       481,
       642,
       {642 * 481 + 2 * 321 * 241},
       {0, 642 * 481, 642 * 481 + 321 * 241},
       {642, 321, 321}},
      {V4L2_PIX_FMT_YUV420M, 640, 480, 640, {307200, 76800, 76800}, {0, 0, 0}, {640, 320, 320}},
      {V4L2_PIX_FMT_NV12M, 640, 480, 640, {307200, 153600}, {0, 0}, {640, 640}},
      {V4L2_PIX_FMT_P010, 641, 481, 1284, {1284 * 481 + 1284 * 241}, {0, 1284 * 481}, {1284, 1284}},
      {V4L2_PIX_FMT_YUV422P,
       641,
       3,
       642,
       {642 * 3 + 2 * 321 * 3},
       {0, 642 * 3, 642 * 3 + 321 * 3},
       {642, 321, 321}},
      {V4L2_PIX_FMT_NV16, 641, 3, 642, {2 * 642 * 3}, {0, 642 * 3}, {642, 642}},
      {V4L2_PIX_FMT_NV24, 641, 3, 641, {3 * 641 * 3}, {0, 641 * 3}, {641, 1282}},
      {V4L2_PIX_FMT_YUV411P,
       641,
       3,
       644,
       {644 * 3 + 2 * 161 * 3},
       {0, 644 * 3, 644 * 3 + 161 * 3},
       {644, 161, 161}},
      {pix_fmt_y210, 641, 2, 2568, {2568 * 2}, {0}, {2568}},
      {V4L2_PIX_FMT_YUV420, 1, 1, 2, {4}, {0, 2, 3}, {2, 1, 1}}};
  for (const Case& test : cases) {
    const PixelFormat& format = *find_pixel_format(test.code);
    const auto layout = compute_layout(format, test.width, test.height);
    ASSERT_TRUE(layout) << format.description;
    EXPECT_EQ(layout->planes[0].bytesperline, test.stride) << format.description;
    for (std::size_t i = 0; i < 3; ++i) {
      EXPECT_EQ(layout->planes[i].sizeimage, test.sizes[i]) << format.description;
      EXPECT_EQ(layout->components[i].offset, test.offsets[i]) << format.description;
      EXPECT_EQ(layout->components[i].stride, test.strides[i]) << format.description;
    }
  }
}

TEST(Formats, OptionsAlignAndGrantStrides) {
  const PixelFormat& yu12 = *find_pixel_format(V4L2_PIX_FMT_YUV420);
  const auto aligned =
      compute_layout(yu12, 1921, 1081, {.stride_alignment = 64, .height_alignment = 16, .slack = 1024});
  ASSERT_TRUE(aligned);
  EXPECT_EQ(aligned->planes[0].bytesperline, 1984U);
  EXPECT_EQ(aligned->components[1].offset, 1984U * 1088);
  EXPECT_EQ(aligned->planes[0].sizeimage, 1984U * 1088 * 3 / 2 + 1024);
  EXPECT_EQ(aligned->components[1].lines, 541U);
  EXPECT_EQ(compute_layout(yu12, 640, 480, {.stride = 1000})->planes[0].bytesperline, 1000U);
  const PixelFormat& yuyv = *find_pixel_format(V4L2_PIX_FMT_YUYV);
  EXPECT_EQ(compute_layout(yuyv, 640, 480, {.stride = 1281})->planes[0].bytesperline, 1284U);
  EXPECT_EQ(compute_layout(yu12, 640, 480, {.stride = 10})->planes[0].bytesperline, 640U);
  EXPECT_EQ(
      compute_layout(yu12, 640, 480, {.stride = UINT32_MAX, .max_stride = 4096})->planes[0].bytesperline,
      4096U);
}

TEST(Formats, RefusesWhatDoesNotFit) {
  const PixelFormat& rgb = *find_pixel_format(V4L2_PIX_FMT_RGB24);
  EXPECT_FALSE(compute_layout(rgb, 0, 480));
  EXPECT_FALSE(compute_layout(rgb, 640, 0));
  EXPECT_FALSE(compute_layout(*find_pixel_format(V4L2_PIX_FMT_H264), 640, 480));
  EXPECT_FALSE(compute_layout(rgb, UINT32_MAX, 1));
  EXPECT_FALSE(compute_layout(rgb, 1, UINT32_MAX));
  EXPECT_FALSE(compute_layout(rgb, UINT32_MAX, UINT32_MAX));
  EXPECT_FALSE(compute_layout(rgb, 37838, 37838));
  EXPECT_TRUE(compute_layout(rgb, 37000, 37000));
  EXPECT_FALSE(compute_layout(rgb, 1431655765, 1, {.slack = 1}));
}

TEST(Formats, ComponentsNeverOverlapNorLeaveTheirPlane) {
  std::mt19937 random(5);
  for (int round = 0; round < 20000; ++round) {
    const PixelFormat& format = pixel_formats[random() % pixel_formats.size()];
    const auto side = [&] { return static_cast<std::uint32_t>(random() % (random() % 2 ? 70 : 9000)); };
    const LayoutOptions options = {.stride_alignment = 1U << (random() % 8),
                                   .stride = side(),
                                   .height_alignment = 1U << (random() % 6),
                                   .slack = side()};
    const std::uint32_t width = side(), height = side();
    const auto layout = compute_layout(format, width, height, options);
    ASSERT_EQ(layout.has_value(), !format.compressed && width != 0 && height != 0);
    if (!layout) continue;
    ASSERT_EQ(layout->planes[0].bytesperline % options.stride_alignment, 0U);
    std::uint64_t end[3] = {};
    for (std::uint32_t c = 0; c < layout->component_count; ++c) {
      const auto& place = layout->components[c];
      ASSERT_LE(place.width_bytes, place.stride);
      ASSERT_EQ(place.offset, end[place.plane]);
      end[place.plane] += std::uint64_t{place.stride} * place.lines;
      if (options.height_alignment == 1)
        ASSERT_LE(end[place.plane] + options.slack, layout->planes[place.plane].sizeimage);
      else
        end[place.plane] =
            c + 1 < layout->component_count ? layout->components[c + 1].offset : end[place.plane];
      ASSERT_LE(std::uint64_t{place.offset} + std::uint64_t{place.stride} * place.lines,
                layout->planes[place.plane].sizeimage);
    }
  }
}

TEST(Formats, FillsBothPlaneLayouts) {
  const PixelFormat& format = *find_pixel_format(V4L2_PIX_FMT_YUV420M);
  const auto layout = compute_layout(format, 64, 32);
  v4l2_format out;
  std::memset(&out, 0xff, sizeof out);
  out.type = V4L2_BUF_TYPE_VIDEO_CAPTURE_MPLANE;
  fill_format(out, format, 64, 32, *layout);
  EXPECT_EQ(out.fmt.pix_mp.num_planes, 3);
  const v4l2_plane_pix_format second = out.fmt.pix_mp.plane_fmt[1];
  EXPECT_EQ(std::uint32_t{second.bytesperline}, 32U);
  EXPECT_EQ(std::uint32_t{second.sizeimage}, 512U);
  const v4l2_plane_pix_format last = out.fmt.pix_mp.plane_fmt[7];
  EXPECT_EQ(std::uint32_t{last.sizeimage}, 0U);
  EXPECT_EQ(out.fmt.pix_mp.reserved[0], 0);

  out.type = V4L2_BUF_TYPE_VIDEO_OUTPUT;
  const Layout::Plane coded[] = {{0, coded_buffer_size(64, 32, 0)}};
  fill_format(out, V4L2_PIX_FMT_H264, 64, 32, coded);
  EXPECT_EQ(out.fmt.pix.bytesperline, 0U);
  EXPECT_EQ(out.fmt.pix.sizeimage, 256U << 10);
  EXPECT_EQ(coded_buffer_size(640, 480, UINT32_MAX), 64U << 20);
  EXPECT_EQ(coded_buffer_size(640, 480, 1'000'000), 1'000'000U);
}

TEST(Formats, Enumerates) {
  const EnumeratedFormat formats[] = {{V4L2_PIX_FMT_NV12, 0},
                                      {V4L2_PIX_FMT_H264, V4L2_FMT_FLAG_DYN_RESOLUTION},
                                      {fourcc('X', 'Y', 'Z', '1'), 0}};
  v4l2_fmtdesc query;
  std::memset(&query, 0xff, sizeof query);
  query.type = V4L2_BUF_TYPE_VIDEO_CAPTURE;
  query.index = 1;
  ASSERT_TRUE(enum_fmt(query, formats));
  EXPECT_EQ(query.pixelformat, V4L2_PIX_FMT_H264);
  EXPECT_EQ(query.flags, static_cast<std::uint32_t>(V4L2_FMT_FLAG_COMPRESSED | V4L2_FMT_FLAG_DYN_RESOLUTION));
  EXPECT_STREQ(reinterpret_cast<const char*>(query.description), "H.264");
  EXPECT_EQ(query.reserved[0], 0U);
  query.index = 2;
  ASSERT_TRUE(enum_fmt(query, formats));
  EXPECT_STREQ(reinterpret_cast<const char*>(query.description), "XYZ1");
  for (const std::uint32_t index : {3U, UINT32_MAX}) {
    query.index = index;
    EXPECT_EQ(enum_fmt(query, formats).error().value, EINVAL);
  }

  const FrameSize sizes[] = {{640, 480}, {1280, 720}};
  v4l2_frmsizeenum size{};
  size.index = 1;
  ASSERT_TRUE(enum_framesizes(size, sizes));
  EXPECT_EQ(size.type, static_cast<std::uint32_t>(V4L2_FRMSIZE_TYPE_DISCRETE));
  EXPECT_EQ(size.discrete.height, 720U);
  size.index = UINT32_MAX;
  EXPECT_FALSE(enum_framesizes(size, sizes));
  v4l2_frmsize_stepwise range{16, 4096, 2, 16, 4096, 2};
  size.index = 0;
  ASSERT_TRUE(enum_framesizes(size, range));
  EXPECT_EQ(size.type, static_cast<std::uint32_t>(V4L2_FRMSIZE_TYPE_STEPWISE));
  range.step_width = range.step_height = 1;
  ASSERT_TRUE(enum_framesizes(size, range));
  EXPECT_EQ(size.type, static_cast<std::uint32_t>(V4L2_FRMSIZE_TYPE_CONTINUOUS));
  size.index = 1;
  EXPECT_FALSE(enum_framesizes(size, range));

  const v4l2_fract intervals[] = {{1, 30}, {1, 60}};
  v4l2_frmivalenum interval{};
  interval.index = 1;
  interval.width = 640;
  ASSERT_TRUE(enum_frameintervals(interval, intervals));
  EXPECT_EQ(interval.discrete.denominator, 60U);
  EXPECT_EQ(interval.width, 640U);
  interval.index = 2;
  EXPECT_FALSE(enum_frameintervals(interval, intervals));
}

TEST(Formats, FourccText) {
  EXPECT_STREQ(fourcc_to_string(V4L2_PIX_FMT_NV12).c_str(), "NV12");
  EXPECT_STREQ(fourcc_to_string(V4L2_PIX_FMT_RGB565X).c_str(), "RGBR");
  EXPECT_STREQ(fourcc_to_string(V4L2_PIX_FMT_NV12 | 1U << 31).c_str(), "NV12-BE");
  EXPECT_STREQ(fourcc_to_string(0).c_str(), "....");
  EXPECT_STREQ(fourcc_to_string(UINT32_MAX).c_str(), "....-BE");
}

}  // namespace
}  // namespace vumedia::v4l2::test
