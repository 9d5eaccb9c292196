// Every query of a node has the same answer through the proxy, byte by byte, and the same errno.
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include <gtest/gtest.h>
#include <linux/videodev2.h>

#include "proxy.hpp"
#include "stream.hpp"
#include "vivid.hpp"

namespace vumedia::vivid::test {
namespace {

struct Answer {
  std::string question;
  std::string answer;
};

template <class T>
std::string hex(const T& value) {
  constexpr std::string_view digits = "0123456789abcdef";
  std::string text;
  for (const std::byte byte : std::as_bytes(std::span(&value, 1))) {
    text += digits[std::to_integer<unsigned>(byte >> 4)];
    text += digits[std::to_integer<unsigned>(byte & std::byte{15})];
  }
  return text;
}

// What the guest is intentionally not told: buffers and blocks that do not reach it.
template <class Tag>
void forget_what_stays_behind(typename Tag::Payload& payload) {
  using Payload = typename Tag::Payload;
  if constexpr (std::same_as<Payload, v4l2_requestbuffers> || std::same_as<Payload, v4l2_create_buffers>)
    payload.capabilities &= ~std::uint32_t{V4L2_BUF_CAP_SUPPORTS_DMABUF | V4L2_BUF_CAP_SUPPORTS_REQUESTS};
  if constexpr (std::same_as<Payload, v4l2_tuner> || std::same_as<Payload, v4l2_modulator>)
    payload.capability &= ~std::uint32_t{V4L2_TUNER_CAP_RDS_BLOCK_IO};
}

// Queries a file and records its answers.
template <class File>
class Interview {
 public:
  explicit Interview(File& file) : file_(file) {}

  // 0 or the errno.
  template <class Tag>
  int ask(const std::string& question, typename Tag::Payload& payload) {
    const int error = file_.template ioctl<Tag>(payload);
    if (error == 0) forget_what_stays_behind<Tag>(payload);
    std::string answer = "errno " + std::to_string(error);
    if constexpr (v4l2::carries_output<Tag> && std::is_trivially_copyable_v<typename Tag::Payload>) {
      if (error == 0) answer = hex(payload);
    }
    answers.push_back({std::string(Tag::name) + " " + question, std::move(answer)});
    return error;
  }
  template <class Tag>
  int ask(typename Tag::Payload payload = {}) {
    return ask<Tag>("", payload);
  }
  // Index 0 and up, until there is an error.
  template <class Tag>
  void enumerate(typename Tag::Payload first = {}, const std::string& of = "", std::uint32_t limit = 200) {
    for (std::uint32_t index = 0; index < limit; ++index) {
      typename Tag::Payload payload = first;
      payload.index = index;
      if (ask<Tag>(of + "[" + std::to_string(index) + "]", payload) != 0) return;
    }
  }

  std::vector<Answer> answers;

 private:
  File& file_;
};

constexpr std::array buffer_types{
    std::uint32_t{0},
    std::uint32_t{V4L2_BUF_TYPE_VIDEO_CAPTURE},
    std::uint32_t{V4L2_BUF_TYPE_VIDEO_OUTPUT},
    std::uint32_t{V4L2_BUF_TYPE_VBI_CAPTURE},
    std::uint32_t{V4L2_BUF_TYPE_VBI_OUTPUT},
    std::uint32_t{V4L2_BUF_TYPE_SLICED_VBI_CAPTURE},
    std::uint32_t{V4L2_BUF_TYPE_SLICED_VBI_OUTPUT},
    std::uint32_t{V4L2_BUF_TYPE_VIDEO_CAPTURE_MPLANE},
    std::uint32_t{V4L2_BUF_TYPE_VIDEO_OUTPUT_MPLANE},
    std::uint32_t{V4L2_BUF_TYPE_SDR_CAPTURE},
    std::uint32_t{V4L2_BUF_TYPE_SDR_OUTPUT},
    std::uint32_t{V4L2_BUF_TYPE_META_CAPTURE},
    std::uint32_t{V4L2_BUF_TYPE_META_OUTPUT},
    std::uint32_t{15},
};

// For one queue; for a type that the node does not have, only whether it says so.
template <class File>
void ask_of_queue(Interview<File>& interview, std::uint32_t type) {
  const std::string of = "type " + std::to_string(type);
  v4l2_requestbuffers none{};
  none.type = type;
  none.memory = V4L2_MEMORY_MMAP;
  interview.template ask<tag::REQBUFS>(of, none);
  v4l2_format format{};
  format.type = type;
  if (interview.template ask<tag::G_FMT>(of, format) != 0) return;
  if (!v4l2::is_multiplanar(type)) {
    format.fmt.pix.width = 1283;
    format.fmt.pix.height = 7;
  }
  interview.template ask<tag::TRY_FMT>(of, format);
  v4l2_streamparm parameters{};
  parameters.type = type;
  interview.template ask<tag::G_PARM>(of, parameters);
  v4l2_cropcap cropcap{};
  cropcap.type = type;
  interview.template ask<tag::CROPCAP>(of, cropcap);
  v4l2_crop crop{};
  crop.type = type;
  interview.template ask<tag::G_CROP>(of, crop);
  for (const std::uint32_t target : std::initializer_list<std::uint32_t>{
           V4L2_SEL_TGT_CROP, V4L2_SEL_TGT_CROP_DEFAULT, V4L2_SEL_TGT_CROP_BOUNDS, V4L2_SEL_TGT_COMPOSE,
           V4L2_SEL_TGT_COMPOSE_PADDED}) {
    v4l2_selection selection{};
    selection.type = type;
    selection.target = target;
    interview.template ask<tag::G_SELECTION>(of + " target " + std::to_string(target), selection);
  }
  v4l2_sliced_vbi_cap sliced{};
  sliced.type = type;
  interview.template ask<tag::G_SLICED_VBI_CAP>(of, sliced);
}

template <class File>
void ask_of_formats(Interview<File>& interview) {
  for (const std::uint32_t type : buffer_types) {
    v4l2_fmtdesc description{};
    description.type = type;
    interview.template enumerate<tag::ENUM_FMT>(description, "type " + std::to_string(type));
  }
  for (const std::uint32_t format : {V4L2_PIX_FMT_YUYV, V4L2_PIX_FMT_NV12M, V4L2_PIX_FMT_H264}) {
    const std::string of = "format " + std::to_string(format);
    v4l2_frmsizeenum size{};
    size.pixel_format = format;
    interview.template enumerate<tag::ENUM_FRAMESIZES>(size, of);
    v4l2_frmivalenum interval{};
    interval.pixel_format = format;
    interval.width = 640;
    interval.height = 360;
    interview.template enumerate<tag::ENUM_FRAMEINTERVALS>(interval, of);
  }
}

template <class File>
void ask_of_inputs(Interview<File>& interview) {
  interview.template enumerate<tag::ENUMINPUT>();
  interview.template enumerate<tag::ENUMOUTPUT>();
  interview.template ask<tag::G_INPUT>();
  interview.template ask<tag::G_OUTPUT>();
  interview.template enumerate<tag::ENUMSTD>();
  interview.template ask<tag::G_STD>();
  interview.template ask<tag::QUERYSTD>();
  interview.template enumerate<tag::ENUM_DV_TIMINGS>();
  interview.template ask<tag::DV_TIMINGS_CAP>();
  interview.template ask<tag::G_DV_TIMINGS>();
  interview.template ask<tag::QUERY_DV_TIMINGS>();
  interview.template enumerate<tag::ENUMAUDIO>();
  interview.template ask<tag::G_AUDIO>();
  interview.template enumerate<tag::ENUMAUDOUT>();
  interview.template ask<tag::G_AUDOUT>();
  for (std::uint32_t index = 0; index < 2; ++index) {
    const std::string of = std::to_string(index);
    v4l2_tuner tuner{};
    tuner.index = index;
    interview.template ask<tag::G_TUNER>(of, tuner);
    v4l2_modulator modulator{};
    modulator.index = index;
    interview.template ask<tag::G_MODULATOR>(of, modulator);
    for (const std::uint32_t type : {V4L2_TUNER_RADIO, V4L2_TUNER_ANALOG_TV, V4L2_TUNER_SDR, V4L2_TUNER_RF}) {
      v4l2_frequency frequency{};
      frequency.tuner = index;
      frequency.type = type;
      interview.template ask<tag::G_FREQUENCY>(of, frequency);
      v4l2_frequency_band band{};
      band.tuner = index;
      band.type = type;
      interview.template enumerate<tag::ENUM_FREQ_BANDS>(band, of + " type " + std::to_string(type));
    }
  }
  interview.template ask<tag::G_PRIORITY>();
  interview.template ask<tag::G_ENC_INDEX>();
  interview.template ask<tag::TRY_ENCODER_CMD>();
  interview.template ask<tag::TRY_DECODER_CMD>();
}

template <class File>
void ask_of_controls(Interview<File>& interview) {
  for (const std::uint32_t next :
       {V4L2_CTRL_FLAG_NEXT_CTRL, V4L2_CTRL_FLAG_NEXT_CTRL | V4L2_CTRL_FLAG_NEXT_COMPOUND}) {
    for (std::uint32_t id = 0;;) {
      v4l2_query_ext_ctrl query{};
      query.id = id | next;
      if (interview.template ask<tag::QUERY_EXT_CTRL>("after " + std::to_string(id), query) != 0) break;
      id = query.id;
      if (next != V4L2_CTRL_FLAG_NEXT_CTRL) continue;
      v4l2_queryctrl old{};
      old.id = id;
      interview.template ask<tag::QUERYCTRL>("", old);
      // A volatile value differs each time.
      if ((query.flags & V4L2_CTRL_FLAG_VOLATILE) == 0) {
        v4l2_control value{};
        value.id = id;
        interview.template ask<tag::G_CTRL>(std::to_string(id), value);
      }
      if (query.type != V4L2_CTRL_TYPE_MENU && query.type != V4L2_CTRL_TYPE_INTEGER_MENU) continue;
      for (std::uint32_t item = 0;
           item <= std::min<std::uint64_t>(static_cast<std::uint64_t>(query.maximum), 20) + 1; ++item) {
        v4l2_querymenu menu{};
        menu.id = id;
        menu.index = item;
        interview.template ask<tag::QUERYMENU>(std::to_string(id) + " item " + std::to_string(item), menu);
      }
    }
  }
}

// Requests that no file accepts, or not now.
template <class File>
void ask_for_errors(Interview<File>& interview, std::uint32_t type) {
  tag::BufferType wrong_type = 99, right_type = type;
  interview.template ask<tag::STREAMON>("of no type", wrong_type);
  interview.template ask<tag::STREAMON>("without buffers", right_type);
  auto buffer = make_buffer(type, 0);
  interview.template ask<tag::QBUF>("without buffers", buffer);
  interview.template ask<tag::QUERYBUF>("without buffers", buffer);
  interview.template ask<tag::PREPARE_BUF>("without buffers", buffer);
  v4l2_requestbuffers request{};
  request.type = 77;
  request.memory = V4L2_MEMORY_MMAP;
  request.count = 2;
  interview.template ask<tag::REQBUFS>("of no type", request);
  // A radio's refusal is different: it has no buffers at all.
  request.type = type;
  request.memory = 9;
  interview.template ask<tag::REQBUFS>("of no memory", request);
  for (const std::uint32_t memory : {0u, 9u}) {
    buffer = make_buffer(type, 0, memory);
    interview.template ask<tag::QBUF>("of memory " + std::to_string(memory), buffer);
    interview.template ask<tag::PREPARE_BUF>("of memory " + std::to_string(memory), buffer);
  }
  v4l2_create_buffers create{};
  create.memory = 9;
  create.format.type = type;
  create.count = 1;
  interview.template ask<tag::CREATE_BUFS>("of no memory", create);
  create = {};
  create.memory = V4L2_MEMORY_MMAP;
  create.format.type = 99;
  create.count = 1;
  interview.template ask<tag::CREATE_BUFS>("of no type", create);
  v4l2_format format{};
  format.type = 99;
  interview.template ask<tag::S_FMT>("of no type", format);
  tag::Index index = 99;
  interview.template ask<tag::S_INPUT>("99", index);
  interview.template ask<tag::S_OUTPUT>("99", index);
  v4l2_std_id standard = 0;
  interview.template ask<tag::S_STD>("of none", standard);
  v4l2_dv_timings timings{};
  interview.template ask<tag::S_DV_TIMINGS>("of nothing", timings);
  v4l2_control control{};
  control.id = 1;
  interview.template ask<tag::S_CTRL>("unknown", control);
  interview.template ask<tag::G_CTRL>("unknown", control);
  control.id = 0x0098f90c;  // the read-only integer
  interview.template ask<tag::S_CTRL>("read-only", control);
  v4l2_event_subscription subscription{};
  for (const std::uint32_t event : {0u, 1u, 2u, 3u, 4u, 5u, 6u, 99u}) {
    subscription.type = event;
    interview.template ask<tag::SUBSCRIBE_EVENT>("event " + std::to_string(event), subscription);
    interview.template ask<tag::UNSUBSCRIBE_EVENT>("event " + std::to_string(event), subscription);
  }
  v4l2_frequency frequency{};
  frequency.tuner = 7;
  interview.template ask<tag::S_FREQUENCY>("of no tuner", frequency);
  v4l2_hw_freq_seek seek{};
  seek.tuner = 7;
  interview.template ask<tag::S_HW_FREQ_SEEK>("of no tuner", seek);
  v4l2_tuner tuner{};
  tuner.index = 7;
  interview.template ask<tag::S_TUNER>("of no tuner", tuner);
  v4l2_selection selection{};
  selection.type = type;
  selection.target = 0x77;
  interview.template ask<tag::S_SELECTION>("of no target", selection);
  std::uint32_t priority = 99;
  interview.template ask<tag::S_PRIORITY>("99", priority);
}

// One kind of node, and the type of its queue, if it has one.
struct Kind {
  const char* name;
  std::uint32_t type;
  bool multiplanar = false;
  bool has_controls = false;  // that others have not
  friend std::ostream& operator<<(std::ostream& out, const Kind& kind) { return out << kind.name; }
};

class Description : public testing::TestWithParam<Kind> {
 protected:
  template <class Questions>
  static void expect_same(NodeFile& direct, ProxyFile& proxied, Questions&& questions, std::size_t at_least) {
    Interview<NodeFile> wanted(direct);
    questions(wanted);
    Interview<ProxyFile> got(proxied);
    questions(got);
    EXPECT_GE(wanted.answers.size(), at_least);
    ASSERT_EQ(wanted.answers.size(), got.answers.size());
    for (std::size_t i = 0; i < wanted.answers.size(); ++i) {
      EXPECT_EQ(wanted.answers[i].question, got.answers[i].question);
      EXPECT_EQ(wanted.answers[i].answer, got.answers[i].answer) << wanted.answers[i].question;
    }
  }
};

TEST_P(Description, IsTheNodes) {
  const Driver driver(GetParam().multiplanar ? "n_devs=1 multiplanar=2" : "n_devs=1");
  const std::string path = node("vivid-000-" + std::string(GetParam().name));
  const Served device(path);
  auto guest = device.connect();
  ASSERT_TRUE(guest);
  ProxyFile proxied(*guest);
  NodeFile direct(path);

  if (GetParam().has_controls)
    expect_same(direct, proxied, [](auto& interview) { ask_of_controls(interview); }, 40);
  // Invalid requests do not change the node.
  expect_same(direct, proxied, [](auto& interview) { ask_for_errors(interview, GetParam().type); }, 30);
  expect_same(direct, proxied, [](auto& interview) { ask_of_formats(interview); }, 15);
  const bool has_inputs = std::string_view(GetParam().name) == "vid-cap";
  for (tag::Index input = 0; input < (has_inputs ? 4u : 1u); ++input) {
    SCOPED_TRACE("input " + std::to_string(input));
    if (has_inputs) {
      tag::Index set = input;
      ASSERT_EQ(proxied.ioctl<tag::S_INPUT>(set), 0);
    }
    expect_same(
        direct, proxied,
        [](auto& interview) {
          for (const std::uint32_t type : buffer_types) ask_of_queue(interview, type);
          ask_of_inputs(interview);
        },
        50);
  }
}

INSTANTIATE_TEST_SUITE_P(
    OfEveryKind, Description,
    testing::Values(Kind{"vid-cap", V4L2_BUF_TYPE_VIDEO_CAPTURE, false, true},
                    Kind{"vid-cap", V4L2_BUF_TYPE_VIDEO_CAPTURE_MPLANE, true},
                    Kind{"vid-out", V4L2_BUF_TYPE_VIDEO_OUTPUT, false, true},
                    Kind{"vbi-cap", V4L2_BUF_TYPE_VBI_CAPTURE}, Kind{"vbi-out", V4L2_BUF_TYPE_VBI_OUTPUT},
                    Kind{"rad-rx", 0}, Kind{"rad-tx", 0, false, true},
                    Kind{"sdr-cap", V4L2_BUF_TYPE_SDR_CAPTURE}, Kind{"meta-cap", V4L2_BUF_TYPE_META_CAPTURE},
                    Kind{"meta-out", V4L2_BUF_TYPE_META_OUTPUT},
                    Kind{"touch-cap", V4L2_BUF_TYPE_VIDEO_CAPTURE}),
    [](const auto& kind) {
      std::string name = kind.param.name + std::string(kind.param.multiplanar ? "-multiplanar" : "");
      std::ranges::replace(name, '-', '_');
      return name;
    });

// What the protocol cannot carry is refused like an ioctl that a device does not have.
TEST(DescriptionOfWhatIsNotCarried, IsRefused) {
  const Driver driver;
  const Served device(node("vivid-000-vid-cap"));
  auto guest = device.connect();
  ASSERT_TRUE(guest);
  ProxyFile camera(*guest);
  v4l2_exportbuffer exported{};
  exported.type = V4L2_BUF_TYPE_VIDEO_CAPTURE;
  EXPECT_EQ(camera.ioctl<tag::EXPBUF>(exported), ENOTTY);
  v4l2_edid edid{};
  EXPECT_EQ(camera.ioctl<tag::G_EDID>(edid), ENOTTY);
  EXPECT_EQ(camera.ioctl<tag::S_EDID>(edid), ENOTTY);
  v4l2_dbg_register debug{};
  EXPECT_EQ(camera.ioctl<tag::DBG_G_REGISTER>(debug), ENOTTY);
  v4l2_framebuffer framebuffer{};
  EXPECT_EQ(camera.ioctl<tag::G_FBUF>(framebuffer), ENOTTY);
  std::int32_t on = 1;
  EXPECT_EQ(camera.ioctl<tag::OVERLAY>(on), ENOTTY);
  EXPECT_EQ(request_buffers(camera, V4L2_BUF_TYPE_VIDEO_CAPTURE, 2, V4L2_MEMORY_DMABUF), -EINVAL);
}

}  // namespace
}  // namespace vumedia::vivid::test
