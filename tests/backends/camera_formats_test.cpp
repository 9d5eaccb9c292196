// A camera's answers about formats, sizes, rates and rectangles, with the modes of the test pattern: the
// rules of "Data Format Negotiation", "Image Format Enumeration", VIDIOC_G_PARM and VIDIOC_G_SELECTION, for
// both plane APIs.
#include <array>
#include <cstring>
#include <set>

#include <gtest/gtest.h>

#include <vumedia/backends/camera/negotiation.hpp>
#include <vumedia/backends/test_pattern/modes.hpp>

namespace vumedia::backends::camera {
namespace {

using test_pattern::frame_sizes;
constexpr std::uint32_t default_rate = 30;

// Both APIs, without and with Motion-JPEG.
struct Api {
  bool multiplanar = false;
  bool compressed = false;
};

class CameraFormats : public testing::TestWithParam<Api> {
 protected:
  static int error(const Result<>& result) { return result ? 0 : result.error().value; }

  // A guest may leave anything in the fields that it does not fill.
  v4l2_format ask(std::uint32_t code, std::uint32_t width, std::uint32_t height,
                  std::uint32_t stride = 0) const {
    v4l2_format format;
    std::memset(&format, 0xa5, sizeof format);
    format.type = formats.type();
    if (multiplanar) {
      auto& pix = format.fmt.pix_mp;
      pix.width = width, pix.height = height, pix.pixelformat = code;
      pix.plane_fmt[0].bytesperline = stride;
    } else {
      auto& pix = format.fmt.pix;
      pix.width = width, pix.height = height, pix.pixelformat = code;
      pix.bytesperline = stride;
    }
    return format;
  }
  // Calls `check` with the v4l2_pix_format or the v4l2_pix_format_mplane.
  template <class Check>
  void look(v4l2_format format, Check check) const {
    if (multiplanar) {
      check(format.fmt.pix_mp);
    } else {
      check(format.fmt.pix);
    }
  }
  v4l2::Layout::Plane plane(const v4l2_format& format, std::size_t p) const {
    if (!multiplanar) return {format.fmt.pix.bytesperline, format.fmt.pix.sizeimage};
    const v4l2_plane_pix_format found = format.fmt.pix_mp.plane_fmt[p];
    return {found.bytesperline, found.sizeimage};
  }
  std::vector<std::uint32_t> all_codes() const {
    std::vector<std::uint32_t> codes;
    v4l2_fmtdesc query{};
    query.type = formats.type();
    for (; formats.enum_fmt(query); ++query.index) codes.push_back(query.pixelformat);
    return codes;
  }

  const bool multiplanar = GetParam().multiplanar;
  const bool compressed = GetParam().compressed;
  Negotiation formats{test_pattern::modes, multiplanar, compressed ? std::uint32_t{V4L2_PIX_FMT_MJPEG} : 0U};
};
INSTANTIATE_TEST_SUITE_P(Apis, CameraFormats,
                         testing::Values(Api{false, false}, Api{true, false}, Api{false, true},
                                         Api{true, true}),
                         [](const auto& parameter) {
                           return std::string(parameter.param.multiplanar ? "Multi" : "Single") +
                                  (parameter.param.compressed ? "Jpeg" : "");
                         });

TEST_P(CameraFormats, EnumFmtListsThemWithFlagsAndNothingStale) {
  const auto codes = all_codes();
  EXPECT_EQ(codes.size(), (multiplanar ? 6u : 4u) + (compressed ? 1u : 0u));
  EXPECT_EQ(std::set(codes.begin(), codes.end()).size(), codes.size()) << "one twice";
  for (std::uint32_t index = 0; index < codes.size(); ++index) {
    v4l2_fmtdesc query;
    std::memset(&query, 0xa5, sizeof query);
    query.index = index;
    query.type = formats.type();
    query.mbus_code = 0x2008;  // without V4L2_CAP_IO_MC it selects nothing and comes back 0
    ASSERT_EQ(error(formats.enum_fmt(query)), 0);
    EXPECT_EQ(query.index, index);
    EXPECT_EQ(query.type, formats.type());
    EXPECT_EQ(query.mbus_code, 0u);
    for (const auto reserved : query.reserved) EXPECT_EQ(reserved, 0u);
    EXPECT_EQ(query.flags, query.pixelformat == V4L2_PIX_FMT_MJPEG ? unsigned{V4L2_FMT_FLAG_COMPRESSED} : 0u);
    EXPECT_STREQ(reinterpret_cast<const char*>(query.description),
                 v4l2::find_pixel_format(query.pixelformat)->description);
    if (!multiplanar) {
      EXPECT_EQ(v4l2::find_pixel_format(query.pixelformat)->memory_planes, 1);
    }
  }
}

TEST_P(CameraFormats, EnumerationsEndInEinval) {
  v4l2_fmtdesc format{};
  format.type = formats.type();
  for (const auto index : {std::uint32_t(all_codes().size()), 0x7fffffffu, 0xffffffffu}) {
    format.index = index;
    EXPECT_EQ(error(formats.enum_fmt(format)), EINVAL) << index;
  }
  format.index = 0;
  for (std::uint32_t type = 0; type < 20; ++type) {
    format.type = type;
    EXPECT_EQ(error(formats.enum_fmt(format)), type == formats.type() ? 0 : EINVAL) << type;
  }
  for (const auto code : {unsigned{V4L2_PIX_FMT_H264}, 0u, 0xffffffffu, 0x20202020u}) {
    v4l2_frmsizeenum size{};
    size.pixel_format = code;
    EXPECT_EQ(error(formats.enum_framesizes(size)), EINVAL);
    v4l2_frmivalenum interval{};
    interval.pixel_format = code;
    interval.width = 640;
    interval.height = 480;
    EXPECT_EQ(error(formats.enum_frameintervals(interval)), EINVAL);
  }
  for (const auto code : all_codes()) {
    v4l2_frmsizeenum size{};
    size.pixel_format = code;
    size.index = frame_sizes.size();
    EXPECT_EQ(error(formats.enum_framesizes(size)), EINVAL);
    for (const auto& [width, height] : {std::pair{641u, 480u}, std::pair{640u, 481u}, std::pair{0u, 0u}}) {
      v4l2_frmivalenum interval{};
      interval.pixel_format = code;
      interval.width = width;
      interval.height = height;
      EXPECT_EQ(error(formats.enum_frameintervals(interval)), EINVAL);
    }
  }
}

TEST_P(CameraFormats, SizesAndIntervalsAreThoseThatCanBeSet) {
  for (const auto code : all_codes()) {
    v4l2_frmsizeenum size;
    std::memset(&size, 0xa5, sizeof size);
    size.pixel_format = code;
    for (size.index = 0; formats.enum_framesizes(size); ++size.index) {
      ASSERT_EQ(size.type, unsigned{V4L2_FRMSIZE_TYPE_DISCRETE});
      EXPECT_EQ(size.reserved[0] + size.reserved[1], 0u);
      v4l2_format format = ask(code, size.discrete.width, size.discrete.height);
      ASSERT_EQ(error(formats.s_fmt(format)), 0);
      look(format, [&](const auto& pix) {
        EXPECT_EQ(pix.width, size.discrete.width);
        EXPECT_EQ(pix.height, size.discrete.height);
        EXPECT_EQ(pix.pixelformat, code);
      });
      v4l2_frmivalenum interval;
      std::memset(&interval, 0xa5, sizeof interval);
      interval.pixel_format = code;
      interval.width = size.discrete.width;
      interval.height = size.discrete.height;
      for (interval.index = 0; formats.enum_frameintervals(interval); ++interval.index) {
        ASSERT_EQ(interval.type, unsigned{V4L2_FRMIVAL_TYPE_DISCRETE});
        EXPECT_EQ(interval.reserved[0] + interval.reserved[1], 0u);
        v4l2_streamparm parameters{};
        parameters.type = formats.type();
        parameters.parm.capture.timeperframe = interval.discrete;
        ASSERT_EQ(error(formats.s_parm(parameters)), 0);
        EXPECT_EQ(parameters.parm.capture.timeperframe.numerator, interval.discrete.numerator);
        EXPECT_EQ(parameters.parm.capture.timeperframe.denominator, interval.discrete.denominator);
      }
      EXPECT_GE(interval.index, 5u);
      std::memset(&size.discrete, 0xa5, sizeof size.discrete);
    }
    EXPECT_EQ(size.index, frame_sizes.size());
  }
}

TEST_P(CameraFormats, FormatsAreAdjustedAndNeverRefused) {
  struct Row {
    std::uint32_t code, width, height;
    std::uint32_t want_code, want_width, want_height, want_line, want_size;
  };
  const std::array rows{
      Row{V4L2_PIX_FMT_RGB24, 640, 480, V4L2_PIX_FMT_RGB24, 640, 480, 1920, 921600},
      Row{V4L2_PIX_FMT_YUYV, 320, 240, V4L2_PIX_FMT_YUYV, 320, 240, 640, 153600},
      Row{V4L2_PIX_FMT_NV12, 1920, 1080, V4L2_PIX_FMT_NV12, 1920, 1080, 1920, 3110400},
      Row{V4L2_PIX_FMT_YUV420, 1280, 720, V4L2_PIX_FMT_YUV420, 1280, 720, 1280, 1382400},
      Row{V4L2_PIX_FMT_NV12, 0, 0, V4L2_PIX_FMT_NV12, 320, 240, 320, 115200},
      Row{V4L2_PIX_FMT_NV12, 0xffffffff, 0xffffffff, V4L2_PIX_FMT_NV12, 1920, 1080, 1920, 3110400},
      Row{V4L2_PIX_FMT_H264, 650, 470, V4L2_PIX_FMT_RGB24, 640, 480, 1920, 921600},
      Row{0, 1270, 730, V4L2_PIX_FMT_RGB24, 1280, 720, 3840, 2764800},
      // More planes than the single-planar API has.
      Row{V4L2_PIX_FMT_YUV420M, 640, 480,
          multiplanar ? unsigned{V4L2_PIX_FMT_YUV420M} : unsigned{V4L2_PIX_FMT_RGB24}, 640, 480,
          multiplanar ? 640u : 1920u, multiplanar ? 307200u : 921600u},
      Row{V4L2_PIX_FMT_MJPEG, 640, 480,
          compressed ? unsigned{V4L2_PIX_FMT_MJPEG} : unsigned{V4L2_PIX_FMT_RGB24}, 640, 480,
          compressed ? 0u : 1920u, compressed ? compressed_size(frame_sizes[0]) : 921600u},
  };
  for (const auto& row : rows) {
    v4l2_format before = ask(0, 0, 0);
    ASSERT_EQ(error(formats.g_fmt(before)), 0);
    v4l2_format tried = ask(row.code, row.width, row.height);
    v4l2_format format = tried;
    ASSERT_EQ(error(formats.try_fmt(tried)), 0);
    v4l2_format after = ask(0, 0, 0);
    ASSERT_EQ(error(formats.g_fmt(after)), 0);
    EXPECT_EQ(std::memcmp(&before, &after, sizeof before), 0) << "TRY_FMT changes nothing";
    ASSERT_EQ(error(formats.s_fmt(format)), 0);
    EXPECT_EQ(std::memcmp(&tried, &format, sizeof tried), 0) << "and says what S_FMT does";
    look(format, [&](const auto& pix) {
      EXPECT_EQ(pix.pixelformat, row.want_code);
      EXPECT_EQ(pix.width, row.want_width);
      EXPECT_EQ(pix.height, row.want_height);
      EXPECT_EQ(pix.field, unsigned{V4L2_FIELD_NONE}) << "whatever was asked for";
    });
    EXPECT_EQ(plane(format, 0).bytesperline, row.want_line);
    EXPECT_EQ(plane(format, 0).sizeimage, row.want_size);
    ASSERT_EQ(error(formats.g_fmt(after)), 0);
    EXPECT_EQ(std::memcmp(&format, &after, sizeof format), 0);
    v4l2_format again = after;
    ASSERT_EQ(error(formats.s_fmt(again)), 0);
    EXPECT_EQ(std::memcmp(&again, &after, sizeof format), 0) << "what G_FMT gives can be set";
  }
}

TEST_P(CameraFormats, OtherBufferTypesAreRefused) {
  for (std::uint32_t type = 0; type < 20; ++type) {
    if (type == formats.type()) continue;
    v4l2_format format{};
    format.type = type;
    EXPECT_EQ(error(formats.g_fmt(format)), EINVAL);
    EXPECT_EQ(error(formats.try_fmt(format)), EINVAL);
    EXPECT_EQ(error(formats.s_fmt(format)), EINVAL);
    v4l2_streamparm parameters{};
    parameters.type = type;
    EXPECT_EQ(error(formats.g_parm(parameters)), EINVAL);
    EXPECT_EQ(error(formats.s_parm(parameters)), EINVAL);
  }
}

TEST_P(CameraFormats, BytesALineAreGrantedWithinReason) {
  struct Row {
    std::uint32_t code, asked, want;
  };
  for (const auto& row : {Row{V4L2_PIX_FMT_YUYV, 1, 1280}, Row{V4L2_PIX_FMT_YUYV, 1281, 1284},
                          Row{V4L2_PIX_FMT_NV12, 704, 704}, Row{V4L2_PIX_FMT_NV12, 701, 702},
                          Row{V4L2_PIX_FMT_RGB24, 2048, 2048}, Row{V4L2_PIX_FMT_NV12, 16384, 16384},
                          Row{V4L2_PIX_FMT_NV12, 16385, 640}, Row{V4L2_PIX_FMT_NV12, 0xffffffff, 640}}) {
    v4l2_format format = ask(row.code, 640, 480, row.asked);
    ASSERT_EQ(error(formats.try_fmt(format)), 0);
    EXPECT_EQ(plane(format, 0).bytesperline, row.want) << row.asked;
    const std::uint32_t lines = row.code == V4L2_PIX_FMT_NV12 ? 720 : 480;
    EXPECT_EQ(plane(format, 0).sizeimage, row.want * lines);
  }
  if (!multiplanar) return;
  // Those of the other planes follow.
  v4l2_format format = ask(V4L2_PIX_FMT_YUV420M, 640, 480, 768);
  ASSERT_EQ(error(formats.try_fmt(format)), 0);
  EXPECT_EQ(plane(format, 0).sizeimage, 768u * 480);
  for (const std::size_t p : {1u, 2u}) {
    EXPECT_EQ(plane(format, p).bytesperline, 384u);
    EXPECT_EQ(plane(format, p).sizeimage, 384u * 240);
  }
}

TEST_P(CameraFormats, ColoursAreSaidForEachFormat) {
  for (const auto code : all_codes()) {
    v4l2_format format = ask(code, 640, 480);
    // A request to convert colours, which this camera cannot do: it is not an error, and not granted.
    look(format, [&](auto pix) {
      pix.flags = V4L2_PIX_FMT_FLAG_SET_CSC;
      pix.colorspace = V4L2_COLORSPACE_BT2020;
      if constexpr (requires { format.fmt.pix = pix; }) {
        pix.priv = V4L2_PIX_FMT_PRIV_MAGIC;
        format.fmt.pix = pix;
      } else {
        format.fmt.pix_mp = pix;
      }
    });
    ASSERT_EQ(error(formats.try_fmt(format)), 0);
    const bool rgb = code == V4L2_PIX_FMT_RGB24;
    const bool jpeg = code == V4L2_PIX_FMT_MJPEG;
    look(format, [&](const auto& pix) {
      EXPECT_EQ(pix.colorspace, jpeg ? unsigned{V4L2_COLORSPACE_JPEG} : unsigned{V4L2_COLORSPACE_SRGB});
      EXPECT_EQ(pix.xfer_func, unsigned{V4L2_XFER_FUNC_SRGB});
      EXPECT_EQ(pix.ycbcr_enc, rgb ? unsigned{V4L2_YCBCR_ENC_DEFAULT} : unsigned{V4L2_YCBCR_ENC_601});
      EXPECT_EQ(pix.quantization,
                rgb || jpeg ? unsigned{V4L2_QUANTIZATION_FULL_RANGE} : unsigned{V4L2_QUANTIZATION_LIM_RANGE});
      EXPECT_EQ(pix.flags, 0u);
    });
    if (multiplanar) {
      EXPECT_EQ(format.fmt.pix_mp.num_planes, v4l2::find_pixel_format(code)->memory_planes);
      for (const auto reserved : format.fmt.pix_mp.reserved) EXPECT_EQ(reserved, 0);
      const v4l2_plane_pix_format none = format.fmt.pix_mp.plane_fmt[3];
      EXPECT_EQ(std::uint32_t{none.sizeimage}, 0u);
    } else {
      EXPECT_EQ(format.fmt.pix.priv, unsigned{V4L2_PIX_FMT_PRIV_MAGIC}) << "V4L2_CAP_EXT_PIX_FORMAT";
    }
  }
}

TEST_P(CameraFormats, RatesFollowWishSizeAndReset) {
  v4l2_streamparm parameters;
  const auto set = [&](std::uint32_t numerator, std::uint32_t denominator) {
    std::memset(&parameters, 0xa5, sizeof parameters);
    parameters.type = formats.type();
    parameters.parm.capture.timeperframe = {numerator, denominator};
    EXPECT_EQ(error(formats.s_parm(parameters)), 0);
    EXPECT_EQ(parameters.parm.capture.timeperframe.numerator, 1u);
    return parameters.parm.capture.timeperframe.denominator;
  };
  EXPECT_EQ(set(1, 60), 60u);
  EXPECT_EQ(parameters.parm.capture.capability, unsigned{V4L2_CAP_TIMEPERFRAME});
  EXPECT_EQ(parameters.parm.capture.capturemode, 0u) << "no high-quality mode";
  EXPECT_EQ(parameters.parm.capture.extendedmode, 0u);
  EXPECT_EQ(parameters.parm.capture.readbuffers, 0u) << "no read()";
  for (const auto reserved : parameters.parm.capture.reserved) EXPECT_EQ(reserved, 0u);
  EXPECT_EQ(set(0, 0), default_rate);
  EXPECT_EQ(set(1, 60), 60u);
  EXPECT_EQ(set(0, 60), default_rate);
  EXPECT_EQ(set(1, 60), 60u);
  EXPECT_EQ(set(1, 0), default_rate);
  EXPECT_EQ(set(1, 60), 60u);
  v4l2_format format = ask(V4L2_PIX_FMT_NV12, 1920, 1080);
  ASSERT_EQ(error(formats.s_fmt(format)), 0);
  std::memset(&parameters, 0xa5, sizeof parameters);
  parameters.type = formats.type();
  ASSERT_EQ(error(formats.g_parm(parameters)), 0);
  EXPECT_EQ(parameters.parm.capture.timeperframe.denominator, 30u) << "no faster at this size";
  EXPECT_EQ(parameters.parm.capture.readbuffers, 0u);
}

TEST_P(CameraFormats, HasNoRectanglesButItsBounds) {
  for (const auto& size : frame_sizes) {
    v4l2_format format = ask(V4L2_PIX_FMT_NV12, size.width, size.height);
    ASSERT_EQ(error(formats.s_fmt(format)), 0);
    for (const std::uint32_t type : {V4L2_BUF_TYPE_VIDEO_CAPTURE, V4L2_BUF_TYPE_VIDEO_CAPTURE_MPLANE}) {
      for (std::uint32_t target = 0; target < 0x110; ++target) {
        v4l2_selection selection;
        std::memset(&selection, 0xa5, sizeof selection);
        selection.type = type;
        selection.target = target;
        if (target != V4L2_SEL_TGT_CROP_DEFAULT && target != V4L2_SEL_TGT_CROP_BOUNDS) {
          EXPECT_EQ(error(formats.g_selection(selection)), EINVAL) << target;
          continue;
        }
        ASSERT_EQ(error(formats.g_selection(selection)), 0) << target;
        EXPECT_EQ(selection.type, type);
        EXPECT_EQ(selection.r.left, 0);
        EXPECT_EQ(selection.r.top, 0);
        EXPECT_EQ(selection.r.width, size.width);
        EXPECT_EQ(selection.r.height, size.height);
        for (const auto reserved : selection.reserved) EXPECT_EQ(reserved, 0u);
      }
    }
  }
  v4l2_selection selection{};
  selection.type = V4L2_BUF_TYPE_VIDEO_OUTPUT;
  selection.target = V4L2_SEL_TGT_CROP_BOUNDS;
  EXPECT_EQ(error(formats.g_selection(selection)), EINVAL);
}

}  // namespace
}  // namespace vumedia::backends::camera
