// Nodes that are not cameras: output, VBI, software radio, metadata, touch, and radio.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <linux/videodev2.h>

#include "proxy.hpp"
#include "stream.hpp"
#include "vivid.hpp"

namespace vumedia::vivid::test {
namespace {

template <class File>
void set_input(File& file, std::uint32_t index) {
  tag::Index input = index;
  EXPECT_EQ(file.template ioctl<tag::S_INPUT>(input), 0);
}

// One node of a freshly loaded driver, through the proxy.
class Kinds : public testing::Test {
 protected:
  void serve(const std::string& name, const std::string& options = "n_devs=1") {
    driver.emplace(options);
    path = node("vivid-000-" + name);
    device.emplace(path);
    guest = device->connect(1 << 20);
    ASSERT_TRUE(guest);
  }
  // The same again with all of the driver's state as at the beginning.
  void start_over(const std::string& name) {
    guest.reset();
    device.reset();
    driver.reset();
    serve(name);
  }
  ~Kinds() override {
    guest.reset();
    device.reset();
  }

  std::optional<Driver> driver;
  std::string path;
  std::optional<Served> device;
  std::optional<ProxyGuest> guest;
};

// -- Output

struct Way {
  const char* name;
  const char* options;
  std::uint32_t capture, output;
  std::uint32_t memory;
  friend std::ostream& operator<<(std::ostream& out, const Way& way) { return out << way.name; }
};

class Output : public testing::TestWithParam<Way> {};

// A guest's output through one proxy arrives unchanged where vivid's HDMI output is looped to its input: at
// the node, and through a second proxy.
TEST_P(Output, FramesArriveAtTheOtherEnd) {
  const Way& way = GetParam();
  const Driver driver(way.options);
  const Served sink(node("vivid-000-vid-out")), source(node("vivid-000-vid-cap"));
  auto sink_guest = sink.connect(8 << 20), source_guest = source.connect();
  ASSERT_TRUE(sink_guest && source_guest);
  ProxyFile output(*sink_guest), camera(*source_guest);

  tag::Index hdmi_output = 1, hdmi_input = 3;
  ASSERT_EQ(output.ioctl<tag::S_OUTPUT>(hdmi_output), 0);
  ASSERT_EQ(camera.ioctl<tag::S_INPUT>(hdmi_input), 0);
  v4l2_enum_dv_timings small{};
  small.index = 0;  // 640x480
  ASSERT_EQ(output.ioctl<tag::ENUM_DV_TIMINGS>(small), 0);
  ASSERT_EQ(output.ioctl<tag::S_DV_TIMINGS>(small.timings), 0);
  ASSERT_EQ(camera.ioctl<tag::S_DV_TIMINGS>(small.timings), 0);
  v4l2_format out_format{}, in_format{};
  out_format.type = way.output;
  in_format.type = way.capture;
  ASSERT_EQ(output.ioctl<tag::G_FMT>(out_format), 0);
  const bool planes = v4l2::is_multiplanar(way.output);
  (planes ? out_format.fmt.pix_mp.pixelformat : out_format.fmt.pix.pixelformat) = V4L2_PIX_FMT_YUYV;
  ASSERT_EQ(output.ioctl<tag::S_FMT>(out_format), 0);
  ASSERT_EQ(camera.ioctl<tag::G_FMT>(in_format), 0);
  (planes ? in_format.fmt.pix_mp.pixelformat : in_format.fmt.pix.pixelformat) = V4L2_PIX_FMT_YUYV;
  if (planes) {
    in_format.fmt.pix_mp.width = out_format.fmt.pix_mp.width;
    in_format.fmt.pix_mp.height = out_format.fmt.pix_mp.height;
    in_format.fmt.pix_mp.colorspace = out_format.fmt.pix_mp.colorspace;
  } else {
    in_format.fmt.pix.width = out_format.fmt.pix.width;
    in_format.fmt.pix.height = out_format.fmt.pix.height;
    in_format.fmt.pix.colorspace = out_format.fmt.pix.colorspace;
  }
  ASSERT_EQ(camera.ioctl<tag::S_FMT>(in_format), 0);
  set_control(camera, cid::osd_text_mode, 2);
  set_control(camera, cid::loop_video, 1);

  // One picture in all buffers.
  const std::size_t size =
      planes ? out_format.fmt.pix_mp.plane_fmt[0].sizeimage : out_format.fmt.pix.sizeimage;
  const std::size_t pixels = std::size_t{640} * 480 * 2;
  ASSERT_GE(size, pixels);
  std::vector<std::byte> picture(size);
  for (std::size_t i = 0; i < size; ++i) picture[i] = static_cast<std::byte>(16 + (i * 7 + i / 1280) % 200);
  const auto paint = [&](std::span<std::byte> memory) {
    ASSERT_GE(memory.size(), size);
    std::ranges::copy(picture, memory.begin());
  };
  std::optional<Stream<ProxyFile>> stream;
  constexpr std::uint32_t count = 4;
  const auto queue_user = [&](std::uint32_t index) {
    auto payload = make_buffer(way.output, index, V4L2_MEMORY_USERPTR);
    const std::size_t stride = *align_up(size, page_size);
    const auto memory = (*sink_guest)->user_memory().subspan(index * stride, size);
    paint(memory);
    payload.buffer.head.field = V4L2_FIELD_NONE;
    const auto pointer = reinterpret_cast<std::uintptr_t>(memory.data());
    if (planes) {
      payload.buffer.head.length = 1;
      payload.buffer.planes[0].m.userptr = pointer;
      payload.buffer.planes[0].length = payload.buffer.planes[0].bytesused = static_cast<std::uint32_t>(size);
    } else {
      payload.buffer.head.m.userptr = pointer;
      payload.buffer.head.length = payload.buffer.head.bytesused = static_cast<std::uint32_t>(size);
    }
    return output.ioctl<tag::QBUF>(payload);
  };
  if (way.memory == V4L2_MEMORY_MMAP) {
    stream.emplace(output, way.output, count);
    for (std::size_t i = 0; i < stream->size(); ++i) paint(stream->memory(i)[0]);
    stream->queue_all();
    ASSERT_EQ(stream->start(), 0);
  } else {
    ASSERT_EQ(request_buffers(output, way.output, count, V4L2_MEMORY_USERPTR), static_cast<int>(count));
    for (std::uint32_t i = 0; i < count; ++i) ASSERT_EQ(queue_user(i), 0);
    tag::BufferType type = way.output;
    ASSERT_EQ(output.ioctl<tag::STREAMON>(type), 0);
  }
  const auto keep_going = [&] {
    const auto buffer = output.dequeue(way.output);
    ASSERT_TRUE(buffer);
    EXPECT_EQ(
        way.memory == V4L2_MEMORY_MMAP ? stream->queue(buffer->head.index) : queue_user(buffer->head.index),
        0);
  };
  keep_going();
  keep_going();

  {
    Stream<ProxyFile> incoming(camera, way.capture);
    incoming.queue_all();
    ASSERT_EQ(incoming.start(), 0);
    // The first frames may be from before, while there was no output.
    bool equal = false;
    for (int i = 0; i < 30 && !equal; ++i) {
      const auto frame = incoming.next();
      ASSERT_TRUE(frame);
      // If vivid puts other bytes before the picture, it reports it.
      const std::size_t offset = planes ? frame->buffer.planes[0].data_offset : 0;
      ASSERT_GE(frame->planes[0].size(), offset + pixels);
      equal = std::memcmp(frame->planes[0].data() + offset, picture.data(), pixels) == 0;
      keep_going();
    }
    EXPECT_TRUE(equal) << "no frame came in as it went out";
  }
  NodeFile direct(node("vivid-000-vid-cap"));
  const auto frame = capture_one(direct, way.capture);
  ASSERT_TRUE(frame);
  if (way.memory != V4L2_MEMORY_MMAP) {
    tag::BufferType type = way.output;
    EXPECT_EQ(output.ioctl<tag::STREAMOFF>(type), 0);
  }
}

INSTANTIATE_TEST_SUITE_P(
    Ways, Output,
    testing::Values(Way{"single_mmap", "n_devs=1", V4L2_BUF_TYPE_VIDEO_CAPTURE, V4L2_BUF_TYPE_VIDEO_OUTPUT,
                        V4L2_MEMORY_MMAP},
                    Way{"single_userptr", "n_devs=1", V4L2_BUF_TYPE_VIDEO_CAPTURE, V4L2_BUF_TYPE_VIDEO_OUTPUT,
                        V4L2_MEMORY_USERPTR},
                    Way{"multiplanar_mmap", "n_devs=1 multiplanar=2", V4L2_BUF_TYPE_VIDEO_CAPTURE_MPLANE,
                        V4L2_BUF_TYPE_VIDEO_OUTPUT_MPLANE, V4L2_MEMORY_MMAP},
                    Way{"multiplanar_userptr", "n_devs=1 multiplanar=2", V4L2_BUF_TYPE_VIDEO_CAPTURE_MPLANE,
                        V4L2_BUF_TYPE_VIDEO_OUTPUT_MPLANE, V4L2_MEMORY_USERPTR}),
    [](const auto& way) { return std::string(way.param.name); });

// -- VBI

// A few buffers by their sequence number, because vivid's VBI lines contain a frame count.
template <class File>
std::map<std::uint32_t, std::vector<std::byte>> some_buffers(File& file, std::uint32_t type) {
  std::map<std::uint32_t, std::vector<std::byte>> found;
  Stream<File> stream(file, type);
  stream.queue_all();
  EXPECT_EQ(stream.start(), 0);
  for (int i = 0; i < 8; ++i) {
    auto frame = stream.next();
    if (!frame) break;
    found[frame->buffer.head.sequence] = std::move(frame->planes.at(0));
  }
  return found;
}

TEST_F(Kinds, VbiLinesEqualThoseOfTheNode) {
  serve("vbi-cap");
  ProxyFile proxied(*guest);
  set_input(proxied, 1);
  const auto compare = [&](std::uint32_t type) {
    std::map<std::uint32_t, std::vector<std::byte>> wanted;
    {
      NodeFile direct(path);
      v4l2_format format{};
      format.type = type;
      if (type == V4L2_BUF_TYPE_SLICED_VBI_CAPTURE) format.fmt.sliced.service_set = V4L2_SLICED_VBI_525;
      ASSERT_EQ(direct.ioctl<tag::S_FMT>(format), 0);
      wanted = some_buffers(direct, type);
    }
    v4l2_format format{};
    format.type = type;
    if (type == V4L2_BUF_TYPE_SLICED_VBI_CAPTURE) format.fmt.sliced.service_set = V4L2_SLICED_VBI_525;
    ASSERT_EQ(proxied.ioctl<tag::S_FMT>(format), 0);
    const auto got = some_buffers(proxied, type);
    std::size_t compared = 0;
    for (const auto& [sequence, bytes] : got) {
      EXPECT_FALSE(bytes.empty());
      const auto same = wanted.find(sequence);
      if (same == wanted.end()) continue;
      ++compared;
      EXPECT_EQ(bytes, same->second) << "of sequence " << sequence;
    }
    EXPECT_GE(compared, 1u) << "no two buffers were of the same time";
  };
  {
    SCOPED_TRACE("raw");
    compare(V4L2_BUF_TYPE_VBI_CAPTURE);
  }
  SCOPED_TRACE("sliced");
  compare(V4L2_BUF_TYPE_SLICED_VBI_CAPTURE);
}

TEST_F(Kinds, VbiIsPutOut) {
  serve("vbi-out");
  ProxyFile proxied(*guest);
  for (const std::uint32_t type : {V4L2_BUF_TYPE_SLICED_VBI_OUTPUT, V4L2_BUF_TYPE_VBI_OUTPUT}) {
    SCOPED_TRACE(type);
    v4l2_format format{};
    format.type = type;
    if (type == V4L2_BUF_TYPE_SLICED_VBI_OUTPUT) format.fmt.sliced.service_set = V4L2_SLICED_VBI_525;
    ASSERT_EQ(proxied.ioctl<tag::S_FMT>(format), 0);
    Stream<ProxyFile> stream(proxied, type);
    for (std::size_t i = 0; i < stream.size(); ++i) std::ranges::fill(stream.memory(i)[0], std::byte{0});
    stream.queue_all();
    ASSERT_EQ(stream.start(), 0);
    for (std::uint32_t i = 0; i < 6; ++i) {
      const auto buffer = stream.dequeue();
      ASSERT_TRUE(buffer);
      EXPECT_EQ(buffer->head.index, i % stream.size());
      EXPECT_EQ(stream.queue(buffer->head.index), 0);
    }
  }
}

// -- Software radio

// The samples continue where the last stream since the driver was loaded ended: they are equal after each
// loading.
TEST_F(Kinds, RadioSamplesEqualThoseOfTheNode) {
  serve("sdr-cap");
  std::optional<Frame> wanted;
  {
    NodeFile direct(path);
    wanted = capture_one(direct, V4L2_BUF_TYPE_SDR_CAPTURE);
  }
  start_over("sdr-cap");
  ProxyFile proxied(*guest);
  const auto got = capture_one(proxied, V4L2_BUF_TYPE_SDR_CAPTURE);
  ASSERT_TRUE(wanted && got);
  ASSERT_FALSE(got->planes[0].empty());
  EXPECT_EQ(got->planes[0], wanted->planes[0]);
}

// -- Metadata

TEST_F(Kinds, MetadataIsCaptured) {
  serve("meta-cap");
  ProxyFile proxied(*guest);
  v4l2_format format{};
  format.type = V4L2_BUF_TYPE_META_CAPTURE;
  ASSERT_EQ(proxied.ioctl<tag::G_FMT>(format), 0);
  Stream<ProxyFile> stream(proxied, V4L2_BUF_TYPE_META_CAPTURE);
  stream.queue_all();
  ASSERT_EQ(stream.start(), 0);
  for (std::uint32_t i = 0; i < 6; ++i) {
    const auto frame = stream.next();
    ASSERT_TRUE(frame);
    EXPECT_GT(frame->planes[0].size(), 0u);
    EXPECT_LE(frame->planes[0].size(), format.fmt.meta.buffersize);
  }
}

// vivid's metadata output sets the picture of its camera: its first two words are brightness and contrast.
TEST_F(Kinds, MetadataPutOutIsObeyed) {
  serve("meta-out");
  ProxyFile proxied(*guest);
  Stream<ProxyFile> stream(proxied, V4L2_BUF_TYPE_META_OUTPUT);
  for (std::size_t i = 0; i < stream.size(); ++i) {
    const std::uint16_t words[] = {171, 99, 128, 0};
    std::memcpy(stream.memory(i)[0].data(), words, std::min(sizeof words, stream.memory(i)[0].size()));
  }
  stream.queue_all();
  ASSERT_EQ(stream.start(), 0);
  ASSERT_TRUE(stream.dequeue());
  NodeFile camera(node("vivid-000-vid-cap"));
  v4l2_control brightness{V4L2_CID_BRIGHTNESS, 0}, contrast{V4L2_CID_CONTRAST, 0};
  EXPECT_EQ(camera.ioctl<tag::G_CTRL>(brightness), 0);
  EXPECT_EQ(camera.ioctl<tag::G_CTRL>(contrast), 0);
  EXPECT_EQ(brightness.value, 171);
  EXPECT_EQ(contrast.value, 99);
}

// -- Touch

TEST_F(Kinds, TouchFramesAreCaptured) {
  serve("touch-cap");
  ProxyFile proxied(*guest);
  v4l2_format format{};
  format.type = V4L2_BUF_TYPE_VIDEO_CAPTURE;
  ASSERT_EQ(proxied.ioctl<tag::G_FMT>(format), 0);
  EXPECT_EQ(format.fmt.pix.pixelformat, V4L2_TCH_FMT_DELTA_TD16);
  Stream<ProxyFile> stream(proxied, V4L2_BUF_TYPE_VIDEO_CAPTURE);
  stream.queue_all();
  ASSERT_EQ(stream.start(), 0);
  for (std::uint32_t i = 0; i < 6; ++i) {
    const auto frame = stream.next();
    ASSERT_TRUE(frame);
    EXPECT_EQ(frame->planes[0].size(), format.fmt.pix.sizeimage);
  }
}

// -- Radio, which is tuned and not streamed

TEST_F(Kinds, ARadioIsTuned) {
  serve("rad-rx");
  ProxyFile proxied(*guest);
  NodeFile direct(path);
  v4l2_frequency frequency{};
  frequency.type = V4L2_TUNER_RADIO;
  frequency.frequency = 16u * 99'500;  // 99.5 MHz in units of 62.5 Hz
  ASSERT_EQ(proxied.ioctl<tag::S_FREQUENCY>(frequency), 0);
  v4l2_frequency got{};
  got.type = V4L2_TUNER_RADIO;
  ASSERT_EQ(direct.ioctl<tag::G_FREQUENCY>(got), 0);
  EXPECT_EQ(got.frequency, frequency.frequency);

  v4l2_tuner tuner{};
  ASSERT_EQ(proxied.ioctl<tag::G_TUNER>(tuner), 0);
  tuner.audmode = V4L2_TUNER_MODE_MONO;
  EXPECT_EQ(proxied.ioctl<tag::S_TUNER>(tuner), 0);
  v4l2_tuner direct_tuner{};
  ASSERT_EQ(direct.ioctl<tag::G_TUNER>(direct_tuner), 0);
  EXPECT_EQ(direct_tuner.audmode, std::uint32_t{V4L2_TUNER_MODE_MONO});

  // The same search from the same place ends at the same station.
  v4l2_hw_freq_seek seek{};
  seek.type = V4L2_TUNER_RADIO;
  seek.seek_upward = 1;
  auto seek_direct = seek;
  ASSERT_EQ(proxied.ioctl<tag::S_HW_FREQ_SEEK>(seek), 0);
  ASSERT_EQ(proxied.ioctl<tag::G_FREQUENCY>(got), 0);
  const std::uint32_t found = got.frequency;
  ASSERT_EQ(direct.ioctl<tag::S_FREQUENCY>(frequency), 0);
  // For a caller that waits for it.
  ASSERT_EQ(::fcntl(direct.fd(), F_SETFL, 0), 0);
  ASSERT_EQ(direct.ioctl<tag::S_HW_FREQ_SEEK>(seek_direct), 0);
  ASSERT_EQ(direct.ioctl<tag::G_FREQUENCY>(got), 0);
  EXPECT_EQ(got.frequency, found);
  EXPECT_EQ(request_buffers(proxied, V4L2_BUF_TYPE_VIDEO_CAPTURE, 2),
            request_buffers(direct, V4L2_BUF_TYPE_VIDEO_CAPTURE, 2));
}

TEST_F(Kinds, ATransmitterIsSetUp) {
  serve("rad-tx");
  ProxyFile proxied(*guest);
  NodeFile direct(path);
  v4l2_modulator modulator{};
  ASSERT_EQ(proxied.ioctl<tag::G_MODULATOR>(modulator), 0);
  modulator.txsubchans = V4L2_TUNER_SUB_MONO;
  EXPECT_EQ(proxied.ioctl<tag::S_MODULATOR>(modulator), 0);
  v4l2_modulator got{};
  ASSERT_EQ(direct.ioctl<tag::G_MODULATOR>(got), 0);
  EXPECT_EQ(got.txsubchans & V4L2_TUNER_SUB_STEREO, 0u);
  // A string control of another class.
  std::vector<char> name(9);
  std::memcpy(name.data(), "Radio  1", 8);
  v4l2::ExtControls payload{};
  v4l2_ext_control control{};
  control.id = V4L2_CID_RDS_TX_PS_NAME;
  control.size = static_cast<std::uint32_t>(name.size());
  control.ptr = name.data();
  payload.head.count = 1;
  payload.controls = {control};
  EXPECT_EQ(proxied.ioctl<tag::S_EXT_CTRLS>(payload), 0);
  std::vector<char> read(9);
  control.ptr = read.data();
  payload.controls = {control};
  EXPECT_EQ(direct.ioctl<tag::G_EXT_CTRLS>(payload), 0);
  EXPECT_EQ(read, name);
}

}  // namespace
}  // namespace vumedia::vivid::test
