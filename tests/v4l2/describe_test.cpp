// Descriptions of payloads.
#include <cstdint>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <vumedia/v4l2/describe.hpp>

namespace vumedia::v4l2::test {
namespace {

template <class Tag>
std::string words(const typename Tag::Payload& payload) {
  return describe_payload(Tag::number, &payload);
}

TEST(Describe, FormatsByTheirType) {
  v4l2_format format{};
  format.type = V4L2_BUF_TYPE_VIDEO_CAPTURE;
  format.fmt.pix.width = 640;
  format.fmt.pix.height = 480;
  format.fmt.pix.pixelformat = V4L2_PIX_FMT_NV12;
  format.fmt.pix.field = V4L2_FIELD_NONE;
  format.fmt.pix.bytesperline = 640;
  format.fmt.pix.sizeimage = 460800;
  format.fmt.pix.colorspace = V4L2_COLORSPACE_REC709;
  EXPECT_EQ(words<tag::S_FMT>(format),
            "{type=V4L2_BUF_TYPE_VIDEO_CAPTURE, fmt.pix={width=640, height=480, pixelformat='NV12', "
            "field=V4L2_FIELD_NONE, bytesperline=640, sizeimage=460800, colorspace=V4L2_COLORSPACE_REC709, "
            "flags=0, "
            "ycbcr_enc=V4L2_YCBCR_ENC_DEFAULT, quantization=V4L2_QUANTIZATION_DEFAULT, "
            "xfer_func=V4L2_XFER_FUNC_DEFAULT}}");

  format = {};
  format.type = V4L2_BUF_TYPE_VIDEO_OUTPUT_MPLANE;
  format.fmt.pix_mp.width = 16;
  format.fmt.pix_mp.num_planes = 2;
  format.fmt.pix_mp.plane_fmt[0].sizeimage = 7;
  format.fmt.pix_mp.plane_fmt[1].bytesperline = 9;
  const std::string text = words<tag::G_FMT>(format);
  EXPECT_NE(text.find("fmt.pix_mp.plane_fmt=[{sizeimage=7, bytesperline=0}, {sizeimage=0, bytesperline=9}]}"),
            std::string::npos)
      << text;
  EXPECT_EQ(text.find("fmt.pix="), std::string::npos);

  format = {};
  format.type = 77;
  EXPECT_EQ(words<tag::TRY_FMT>(format), "{type=0x4d}");
}

TEST(Describe, NumbersThatAreAllThereIs) {
  EXPECT_EQ(words<tag::STREAMON>(V4L2_BUF_TYPE_VIDEO_OUTPUT), "V4L2_BUF_TYPE_VIDEO_OUTPUT");
  EXPECT_EQ(words<tag::G_INPUT>(3), "3");
  EXPECT_EQ(words<tag::OVERLAY>(-1), "-1");
  EXPECT_EQ(words<tag::S_STD>(V4L2_STD_PAL_B), "0x1");
  EXPECT_EQ(words<tag::G_PRIORITY>(V4L2_PRIORITY_RECORD), "V4L2_PRIORITY_RECORD");
  const v4l2_control control{.id = V4L2_CID_BRIGHTNESS, .value = -5};
  EXPECT_EQ(words<tag::S_CTRL>(control), "{id=V4L2_CID_BRIGHTNESS, value=-5}");
}

TEST(Describe, BitsByNameAndTheRestAsANumber) {
  v4l2_requestbuffers request{};
  request.count = 4;
  request.type = V4L2_BUF_TYPE_VIDEO_CAPTURE;
  request.memory = V4L2_MEMORY_MMAP;
  request.capabilities = V4L2_BUF_CAP_SUPPORTS_MMAP | V4L2_BUF_CAP_SUPPORTS_USERPTR | 0x80000000;
  EXPECT_EQ(words<tag::REQBUFS>(request),
            "{count=4, type=V4L2_BUF_TYPE_VIDEO_CAPTURE, memory=V4L2_MEMORY_MMAP, "
            "capabilities=V4L2_BUF_CAP_SUPPORTS_MMAP|V4L2_BUF_CAP_SUPPORTS_USERPTR|0x80000000, flags=0}");
}

TEST(Describe, BuffersWithTheirMemory) {
  BufferPayload payload{};
  v4l2_buffer& head = payload.buffer.head;
  head.type = V4L2_BUF_TYPE_VIDEO_CAPTURE;
  head.memory = V4L2_MEMORY_MMAP;
  head.m.offset = 0x3000;
  head.flags = V4L2_BUF_FLAG_LAST;
  head.timestamp = {.tv_sec = 1, .tv_usec = 2};
  EXPECT_EQ(
      words<tag::QBUF>(payload),
      "{index=0, type=V4L2_BUF_TYPE_VIDEO_CAPTURE, bytesused=0, flags=V4L2_BUF_FLAG_LAST, "
      "field=V4L2_FIELD_ANY, timestamp={tv_sec=1, tv_usec=2}, sequence=0, memory=V4L2_MEMORY_MMAP, length=0, "
      "m.offset=0x3000}");
  head.memory = V4L2_MEMORY_USERPTR;
  head.m.userptr = 0x7fff12345678;
  EXPECT_NE(words<tag::QBUF>(payload).find("m.userptr=0x7fff12345678}"), std::string::npos);

  head.type = V4L2_BUF_TYPE_VIDEO_CAPTURE_MPLANE;
  head.memory = V4L2_MEMORY_DMABUF;
  head.length = 1;
  payload.buffer.planes[0].bytesused = 12;
  payload.buffer.planes[0].m.fd = 5;
  const std::string planes = "m.planes=[{bytesused=12, length=0, data_offset=0, m.fd=5}]}";
  EXPECT_NE(words<tag::QUERYBUF>(payload).find(planes), std::string::npos);
  EXPECT_NE(describe_payload(_IOC_NR(VIDIOC_DQBUF), &payload.buffer).find(planes), std::string::npos);
}

TEST(Describe, ControlsAndEvents) {
  ExtControls controls{};
  controls.head.count = 2;
  controls.head.error_idx = 1;
  controls.controls.resize(2);
  controls.controls[0].id = V4L2_CID_HFLIP;
  controls.controls[0].value64 = 1;
  controls.controls[1].id = 0x123;
  controls.controls[1].size = 40;
  EXPECT_EQ(words<tag::S_EXT_CTRLS>(controls),
            "{which=V4L2_CTRL_WHICH_CUR_VAL, count=2, error_idx=1, controls=[{id=V4L2_CID_HFLIP, value=1}, "
            "{id=0x123, size=40}]}");
  controls.controls.resize(1000);
  EXPECT_LT(words<tag::S_EXT_CTRLS>(controls).size(), 1000u) << "a long list is cut";

  v4l2_event event{};
  event.type = V4L2_EVENT_SOURCE_CHANGE;
  event.u.src_change.changes = V4L2_EVENT_SRC_CH_RESOLUTION;
  EXPECT_NE(describe_payload(_IOC_NR(VIDIOC_DQEVENT), &event)
                .find("u.src_change={changes=V4L2_EVENT_SRC_CH_RESOLUTION}}"),
            std::string::npos);
}

TEST(Describe, NothingThatAGuestWroteEscapesItsQuotes) {
  v4l2_fmtdesc format{};
  std::memset(format.description, 'x', sizeof format.description);  // no end
  std::memcpy(format.description, "a\"\n\\\x1b[31m", 9);
  format.pixelformat = v4l2_fourcc('A', '\n', 'B', 'C');
  const std::string text = words<tag::ENUM_FMT>(format);
  EXPECT_NE(text.find("description=\"a\\x22\\x0a\\x5c\\x1b[31mxxx"), std::string::npos) << text;
  EXPECT_NE(text.find("pixelformat=0x43420a41"), std::string::npos) << text;
  format.pixelformat = v4l2_fourcc_be('A', 'R', '1', '5');
  EXPECT_NE(words<tag::ENUM_FMT>(format).find("pixelformat='AR15-BE'"), std::string::npos);
}

// Every ioctl of the table, with whatever a guest may have put there: printable, with balanced brackets, of
// limited length.
TEST(Describe, AnyBytes) {
  std::mt19937 engine(7);
  const auto dice = [&engine] { return static_cast<std::uint32_t>(engine()); };
  const auto check = [](const std::string& text) {
    EXPECT_LT(text.size(), 8000u);
    for (const char c : text) ASSERT_TRUE(c >= ' ' && c <= '~') << text;
    // Text in quotes comes from the guest.
    int depth = 0;
    char quote = 0;
    for (const char c : text) {
      if (quote != 0) {
        if (c == quote) quote = 0;
      } else if (c == '"' || c == '\'') {
        quote = c;
      } else {
        depth += c == '{' ? 1 : c == '}' ? -1 : 0;
      }
    }
    EXPECT_TRUE(depth == 0 && quote == 0) << text;
  };
  with_ioctl_tags([&]<class... Tags>() {
    const auto roll = [&]<class Tag>(Tag) {
      for (int i = 0; i < 20; ++i) {
        typename Tag::Wire wire{};
        for (std::size_t at = 0; at < sizeof wire; ++at) {
          const auto byte = static_cast<unsigned char>(dice());
          std::memcpy(reinterpret_cast<unsigned char*>(&wire) + at, &byte, 1);
        }
        // Usually a valid type, or the unions would not be reached.
        if (i % 4 != 0 && sizeof wire > 4) {
          const std::uint32_t type = dice() % 16;
          std::memcpy(&wire, &type, sizeof type);
        }
        if constexpr (std::same_as<typename Tag::Payload, BufferPayload>) {
          BufferPayload payload{};
          payload.buffer.head = wire;
          payload.buffer.head.type = dice() % 16;
          payload.buffer.head.memory = dice() % 6;
          check(words<Tag>(payload));
        } else if constexpr (std::same_as<typename Tag::Payload, ExtControls>) {
          ExtControls payload{};
          payload.head = wire;
          payload.controls.resize(dice() % 40);
          check(words<Tag>(payload));
        } else {
          check(words<Tag>(wire));
        }
      }
    };
    (roll(Tags{}), ...);
  });
  EXPECT_EQ(describe_payload(200, nullptr), "{}");
}

// Values that the installed kernel header may not have yet.
TEST(Describe, KnowsTheLimitsOfControls) {
  ExtControls request{};
  request.head.which = ctrl_which_max_val;
  EXPECT_NE(words<tag::G_EXT_CTRLS>(request).find("which=V4L2_CTRL_WHICH_MAX_VAL"), std::string::npos);
  v4l2_query_ext_ctrl query{};
  query.flags = ctrl_flag_has_which_min_max | V4L2_CTRL_FLAG_READ_ONLY;
  EXPECT_NE(words<tag::QUERY_EXT_CTRL>(query).find("V4L2_CTRL_FLAG_HAS_WHICH_MIN_MAX"), std::string::npos);
}

}  // namespace
}  // namespace vumedia::v4l2::test
