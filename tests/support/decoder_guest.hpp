// A V4L2 program that decodes: it uses the ioctls of the stateful decoder interface on a media::Device with
// real rings. Several may share a machine, each with an open file of its own.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <numeric>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <linux/videodev2.h>

#include <vumedia/backends/ffmpeg_decoder.hpp>

#include "support/engine_client.hpp"
#include "support/media_file.hpp"
#include "support/media_guest.hpp"

namespace vumedia::test {

class DecoderGuest {
 public:
  using Guest = MediaGuest<backends::FfmpegDecoder>;

  struct Buffer {
    std::uint64_t address = 0;  // in shared memory
    std::uint32_t length = 0;
    std::uint32_t offset = 0;  // mem_offset
    bool queued = false;
    // USERPTR: its ranges, and the program's name for it.
    std::vector<v4l2::GuestRange> ranges;
    std::uint64_t pointer = 0;
  };
  // How the memory of USERPTR buffers is laid out: in one piece; in one that begins at an odd address; in
  // pages in no order; or in pieces that no mapping can put side by side.
  enum class Pages : std::uint8_t { whole, unaligned, scattered, split };
  struct Frame {
    std::string md5;
    timeval timestamp{};
    std::uint32_t flags = 0;
    std::uint32_t sequence = 0;
    v4l2_rect visible{};
    std::uint32_t fourcc = 0;
    std::uint32_t field = 0;
  };

  explicit DecoderGuest(backends::FfmpegDecoderOptions options = {},
                        std::uint32_t raw_fourcc = V4L2_PIX_FMT_YUV420)
      : DecoderGuest(std::make_shared<Machine>(std::move(options)), raw_fourcc) {
    guest.lend_event_buffers(16);
    session = guest.open();
  }
  // Another program in the machine of `other`.
  struct Beside {
    const DecoderGuest& other;
  };
  explicit DecoderGuest(Beside place) : DecoderGuest(place.other.machine_, place.other.raw_fourcc_) {
    session = guest.open();
  }
  DecoderGuest(const DecoderGuest&) = delete;
  DecoderGuest& operator=(const DecoderGuest&) = delete;
  ~DecoderGuest() { std::erase(machine_->programs, this); }

  template <class Tag>
  int ioctl(typename Tag::Wire& payload) {
    return guest.ioctl<Tag>(session, payload);
  }

  // QUERYBUF, QBUF and PREPARE_BUF, with the buffer followed by a plane if the API has planes, and then by
  // the ranges of its memory.
  template <class Tag>
  int buffer_ioctl(v4l2_buffer& buffer, v4l2_plane& plane, const std::vector<v4l2::GuestRange>& ranges = {}) {
    Bytes command = Guest::ioctl_command(session, Tag::number);
    if (multiplanar_) buffer.length = 1;
    const Bytes tail = multiplanar_ ? bytes_of(buffer, plane) : bytes_of(buffer);
    command.insert(command.end(), tail.begin(), tail.end());
    for (const auto& range : ranges) {
      const Bytes wire_range = bytes_of(range.start.value, range.length, std::uint32_t{0});
      command.insert(command.end(), wire_range.begin(), wire_range.end());
    }
    const Reply reply = guest.command(command, 8 + tail.size());
    if (reply.status() == 0) {
      buffer = reply.as<v4l2_buffer>(8);
      if (multiplanar_) plane = reply.as<v4l2_plane>(8 + sizeof buffer);
    }
    return reply.status();
  }

  int set_coded_format(std::uint32_t fourcc, std::uint32_t size_image = 1u << 20) {
    v4l2_format format{};
    format.type = output_type;
    if (multiplanar_) {
      format.fmt.pix_mp.pixelformat = fourcc;
      format.fmt.pix_mp.num_planes = 1;
      format.fmt.pix_mp.plane_fmt[0].sizeimage = size_image;
    } else {
      format.fmt.pix.pixelformat = fourcc;
      format.fmt.pix.sizeimage = size_image;
    }
    return ioctl<v4l2::tag::S_FMT>(format);
  }

  struct Raw {
    ffmpeg::Layout layout;
    std::uint32_t fourcc = 0;
    std::uint32_t size_image = 0;
    std::uint32_t quantization = 0;
    std::uint32_t field = 0;
  };
  Raw get_raw_format() {
    v4l2_format format{};
    format.type = capture_type;
    EXPECT_EQ(ioctl<v4l2::tag::G_FMT>(format), 0);
    if (!multiplanar_) {
      const auto& pix = format.fmt.pix;
      return {layout_told(pix.pixelformat, pix.width, pix.height, pix.bytesperline), pix.pixelformat,
              pix.sizeimage, pix.quantization, pix.field};
    }
    const auto& pix = format.fmt.pix_mp;
    const v4l2_plane_pix_format plane = pix.plane_fmt[0];
    return {layout_told(pix.pixelformat, pix.width, pix.height, plane.bytesperline), pix.pixelformat,
            plane.sizeimage, pix.quantization, pix.field};
  }
  int set_raw_format(std::uint32_t fourcc) {
    v4l2_format format{};
    format.type = capture_type;
    (multiplanar_ ? format.fmt.pix_mp.pixelformat : format.fmt.pix.pixelformat) = fourcc;
    return ioctl<v4l2::tag::S_FMT>(format);
  }
  v4l2_rect get_visible(std::uint32_t target = V4L2_SEL_TGT_COMPOSE) {
    v4l2_selection selection{};
    selection.type = V4L2_BUF_TYPE_VIDEO_CAPTURE;
    selection.target = target;
    EXPECT_EQ(ioctl<v4l2::tag::G_SELECTION>(selection), 0);
    return selection.r;
  }
  int get_control(std::uint32_t id) {
    v4l2_control control{};
    control.id = id;
    EXPECT_EQ(ioctl<v4l2::tag::G_CTRL>(control), 0);
    return control.value;
  }
  int subscribe(std::uint32_t type, std::uint32_t id = 0) {
    v4l2_event_subscription subscription{};
    subscription.type = type;
    subscription.id = id;
    return ioctl<v4l2::tag::SUBSCRIBE_EVENT>(subscription);
  }
  int stream(std::uint32_t type, bool on) {
    return on ? ioctl<v4l2::tag::STREAMON>(type) : ioctl<v4l2::tag::STREAMOFF>(type);
  }
  int command(std::uint32_t cmd) {
    v4l2_decoder_cmd decoder_cmd{};
    decoder_cmd.cmd = cmd;
    return ioctl<v4l2::tag::DECODER_CMD>(decoder_cmd);
  }

  int request(std::uint32_t type, std::uint32_t count) {
    for (auto& buffer : buffers(type)) {
      if (buffer.ranges.empty()) {
        EXPECT_EQ(guest.munmap(buffer.address), 0);
      }
    }
    buffers(type).clear();
    v4l2_requestbuffers request{};
    request.type = type;
    request.memory = memory_kind;
    request.count = count;
    const int status = ioctl<v4l2::tag::REQBUFS>(request);
    for (std::uint32_t i = 0; status == 0 && i < request.count; ++i) add_buffer(type, i);
    return status;
  }
  // CREATE_BUFS: `count` more, of `size` bytes each.
  int create(std::uint32_t type, std::uint32_t count, std::uint32_t size) {
    v4l2_create_buffers request{};
    request.count = count;
    request.memory = memory_kind;
    request.format.type = type;
    EXPECT_EQ(ioctl<v4l2::tag::G_FMT>(request.format), 0);
    if (multiplanar_) {
      request.format.fmt.pix_mp.plane_fmt[0].sizeimage = size;
    } else {
      request.format.fmt.pix.sizeimage = size;
    }
    const int status = ioctl<v4l2::tag::CREATE_BUFS>(request);
    for (std::uint32_t i = 0; status == 0 && i < request.count; ++i) add_buffer(type, request.index + i);
    return status;
  }
  // For a MMAP buffer.
  std::byte* memory(const Buffer& buffer) { return guest.host.frontend.at(buffer.address, buffer.length); }
  void write(const Buffer& buffer, std::span<const std::uint8_t> bytes) {
    EXPECT_LE(bytes.size(), buffer.length);
    if (bytes.empty()) return;
    if (buffer.ranges.empty()) {
      std::memcpy(memory(buffer), bytes.data(), bytes.size());
      return;
    }
    for (const auto& range : buffer.ranges) {
      const std::size_t part = std::min<std::size_t>(range.length, bytes.size());
      if (part != 0) std::memcpy(guest.host.bytes(range.start), bytes.data(), part);
      bytes = bytes.subspan(part);
    }
  }
  std::vector<std::uint8_t> read(const Buffer& buffer) {
    std::vector<std::uint8_t> all;
    const auto append = [&](const std::byte* from, std::size_t size) {
      const auto* const bytes = reinterpret_cast<const std::uint8_t*>(from);
      all.insert(all.end(), bytes, bytes + size);
    };
    if (buffer.ranges.empty()) append(memory(buffer), buffer.length);
    for (const auto& range : buffer.ranges) append(guest.host.bytes(range.start), range.length);
    return all;
  }
  std::vector<Buffer>& buffers(std::uint32_t type) { return type == output_type ? coded : raw; }

  int queue(std::uint32_t type, std::uint32_t index, std::uint32_t bytes_used = 0, std::int64_t stamp = 0) {
    v4l2_buffer buffer = empty_buffer(type, index);
    buffer.timestamp = {.tv_sec = stamp / 1000000, .tv_usec = stamp % 1000000};
    v4l2_plane plane{};
    (multiplanar_ ? plane.bytesused : buffer.bytesused) = bytes_used;
    Buffer& mine = buffers(type)[index];
    if (rotates && type == capture_type && !mine.ranges.empty()) {
      if (spare_.ranges.empty()) spare_ = make_user_memory(mine.length);
      std::swap(mine.ranges, spare_.ranges);
      std::swap(mine.pointer, spare_.pointer);
    }
    if (!mine.ranges.empty()) {
      (multiplanar_ ? plane.length : buffer.length) = mine.length;
      (multiplanar_ ? plane.m.userptr : buffer.m.userptr) = mine.pointer;
    }
    const int status = buffer_ioctl<v4l2::tag::QBUF>(buffer, plane, mine.ranges);
    if (status == 0) {
      mine.queued = true;
      if (!mine.ranges.empty()) {
        EXPECT_EQ(multiplanar_ ? plane.m.userptr : buffer.m.userptr, mine.pointer);
      }
    }
    return status;
  }

  // Format, buffers and STREAMON of OUTPUT, and events.
  void start(const Clip& clip, std::uint32_t count = 4) {
    EXPECT_EQ(subscribe(V4L2_EVENT_SOURCE_CHANGE), 0);
    EXPECT_EQ(subscribe(V4L2_EVENT_EOS), 0);
    EXPECT_EQ(set_coded_format(fourcc_of(clip.codec)), 0);
    EXPECT_EQ(request(output_type, count), 0);
    EXPECT_EQ(stream(output_type, true), 0);
  }
  // What a program does after V4L2_EVENT_SOURCE_CHANGE.
  void start_capture(std::uint32_t extra = 2) {
    v4l2_format format{};
    format.type = capture_type;
    EXPECT_EQ(ioctl<v4l2::tag::G_FMT>(format), 0);
    (multiplanar_ ? format.fmt.pix_mp.pixelformat : format.fmt.pix.pixelformat) = raw_fourcc_;
    EXPECT_EQ(ioctl<v4l2::tag::S_FMT>(format), 0);
    in_force = get_raw_format();
    visible = get_visible();
    const auto least = static_cast<std::uint32_t>(get_control(V4L2_CID_MIN_BUFFERS_FOR_CAPTURE));
    const auto count = capture_count != 0 ? capture_count : least + extra;
    EXPECT_EQ(request(capture_type, count), 0);
    for (std::uint32_t i = 0; i < raw.size(); ++i) EXPECT_EQ(queue(capture_type, i), 0);
    EXPECT_EQ(stream(capture_type, true), 0);
    capture_on = true;
    last_seen = false;
  }
  void restart_capture() {
    EXPECT_EQ(stream(capture_type, false), 0);
    EXPECT_EQ(request(capture_type, 0), 0);
    start_capture();
  }

  bool send(std::span<const std::uint8_t> bytes, std::int64_t stamp) {
    std::optional<std::uint32_t> index;
    if (!run_until([&] {
          for (std::uint32_t i = 0; i < coded.size() && !index; ++i) {
            if (!coded[i].queued) index = i;
          }
          return index.has_value();
        })) {
      return false;
    }
    write(coded[*index], bytes);
    return queue(output_type, *index, static_cast<std::uint32_t>(bytes.size()), stamp) == 0;
  }

  bool play(const Clip& clip, std::int64_t first_stamp = 1000) {
    for (const auto& unit : clip.units) {
      if (!send(unit.bytes, first_stamp)) return false;
      first_stamp += 1000;
    }
    return true;
  }
  // Drains until LAST and the end have come. CAPTURE must stream for that.
  bool finish() {
    ended = false;
    if (!run_until([&] { return capture_on; })) return false;
    if (command(V4L2_DEC_CMD_STOP) != 0) return false;
    return run_until([&] { return ended && last_seen; });
  }

  // What a program does to seek; afterwards it owns all its OUTPUT buffers again.
  void stop_output() {
    EXPECT_EQ(stream(output_type, false), 0);
    take_events();
    for (auto& buffer : coded) buffer.queued = false;
  }
  // Queues the CAPTURE buffers that the program owns.
  void queue_all() {
    for (std::uint32_t i = 0; i < raw.size(); ++i) {
      if (!raw[i].queued) {
        EXPECT_EQ(queue(capture_type, i), 0);
      }
    }
  }
  [[nodiscard]] static bool is_free(const Buffer& buffer) { return !buffer.queued; }

  // Runs the loop until `done()`. All programs of the machine take their events in the meantime.
  bool run_until(const std::function<bool()>& done) {
    return guest.run_until([&] {
      take_events();
      return done();
    });
  }
  void take_events() {
    while (const auto event = guest.take_event()) {
      guest.lend_event_buffers(1);
      const auto header = event->as<wire::virtio_media_event_header>();
      const auto program = std::ranges::find(machine_->programs, header.session_id,
                                             [](const DecoderGuest* one) { return one->session; });
      if (program == machine_->programs.end()) {
        ADD_FAILURE() << "an event for session " << header.session_id;
      } else if (header.event == wire::event_dqbuf) {
        (*program)->on_dqbuf(event->as<wire::virtio_media_event_dqbuf>());
      } else if (header.event == wire::event_event) {
        (*program)->on_event(event->as<wire::virtio_media_event_event>().event);
      } else {
        ADD_FAILURE() << "event " << header.event;
      }
    }
  }

 private:
  struct Machine {
    explicit Machine(backends::FfmpegDecoderOptions options)
        : multiplanar(options.session.multiplanar),
          guest(EmbeddedOptions{.memory_size = std::uint64_t{128} << 20}, media::DeviceOptions{},
                std::move(options)) {}
    const bool multiplanar;
    Guest guest;
    std::vector<DecoderGuest*> programs;
  };
  DecoderGuest(std::shared_ptr<Machine> machine, std::uint32_t raw_fourcc)
      : machine_(std::move(machine)),
        multiplanar_(machine_->multiplanar),
        output_type(multiplanar_ ? V4L2_BUF_TYPE_VIDEO_OUTPUT_MPLANE : V4L2_BUF_TYPE_VIDEO_OUTPUT),
        capture_type(multiplanar_ ? V4L2_BUF_TYPE_VIDEO_CAPTURE_MPLANE : V4L2_BUF_TYPE_VIDEO_CAPTURE),
        guest(machine_->guest),
        raw_fourcc_(raw_fourcc) {
    machine_->programs.push_back(this);
  }

  const std::shared_ptr<Machine> machine_;
  const bool multiplanar_;

 public:
  const std::uint32_t output_type;
  const std::uint32_t capture_type;
  Guest& guest;
  std::uint32_t session = 0;
  std::vector<Buffer> coded;
  std::vector<Buffer> raw;
  std::vector<Frame> frames;
  std::vector<std::string> log;  // what came, in order: "coded", "raw", "last", "change", "end"
  Raw in_force;
  v4l2_rect visible{};
  std::size_t damaged = 0;  // OUTPUT buffers
  std::size_t changes = 0;
  std::size_t bad_frames = 0;
  bool capture_on = false;
  bool follow_changes = true;
  bool queues_again = true;  // CAPTURE buffers, as soon as they come
  std::uint32_t memory_kind = V4L2_MEMORY_MMAP;
  Pages pages = Pages::whole;  // of USERPTR buffers
  bool rotates =
      false;  // CAPTURE: each index has different memory each time, and the memory a different index
  std::uint32_t capture_count = 0;  // of buffers; 0: what the device needs and some more
  bool last_seen = false;
  bool ended = false;
  bool change_pending = false;
  Md5 total;

 private:
  // Maps buffer `index`, and tracks it from here on.
  void add_buffer(std::uint32_t type, std::uint32_t index) {
    v4l2_buffer buffer = empty_buffer(type, index);
    v4l2_plane plane{};
    EXPECT_EQ(buffer_ioctl<v4l2::tag::QUERYBUF>(buffer, plane), 0);
    const std::uint32_t length = multiplanar_ ? plane.length : buffer.length;
    auto& all = buffers(type);
    all.resize(std::max<std::size_t>(all.size(), index + std::size_t{1}));
    if (memory_kind == V4L2_MEMORY_USERPTR) {
      all[index] = make_user_memory(length);
      return;
    }
    const std::uint32_t offset = multiplanar_ ? plane.m.mem_offset : buffer.m.offset;
    const auto mapped = guest.mmap(session, offset);
    EXPECT_EQ(mapped.hdr.status, 0u);
    EXPECT_EQ(mapped.len, length);
    all[index].address = mapped.driver_addr;
    all[index].length = length;
    all[index].offset = offset;
  }
  // A program's own memory, with known bytes before and after it.
  Buffer make_user_memory(std::uint32_t length) {
    Buffer buffer;
    buffer.length = length;
    const std::uint64_t count = (length + page_size - 1) / page_size;
    const std::uint64_t base =
        (guest.host.allocate((count + 3) * page_size).value + page_size - 1) / page_size * page_size;
    const auto piece = [](std::uint64_t start, std::uint64_t size) {
      return v4l2::GuestRange{{start}, static_cast<std::uint32_t>(size)};
    };
    if (pages == Pages::whole || pages == Pages::unaligned) {
      buffer.ranges.push_back(piece(base + (pages == Pages::whole ? 0 : 24), length));
    } else {
      // Page i of the buffer is the guest's page i * step: each is used once, because step and count have no
      // common divisor.
      std::uint64_t step = count / 2 + 1;
      while (std::gcd(step, count) != 1) ++step;
      const std::uint64_t piece_size = pages == Pages::split ? page_size / 2 : page_size;
      for (std::uint64_t i = 0, left = length; left > 0; ++i) {
        const std::uint64_t at = i * piece_size / page_size * step % count * page_size;
        // The halves of a page are swapped.
        const std::uint64_t half = pages == Pages::split ? (1 - i % 2) * piece_size : 0;
        const std::uint64_t size = std::min(piece_size, left);
        buffer.ranges.push_back(piece(base + at + half, size));
        left -= size;
      }
    }
    buffer.pointer = 0x5555'0000'0000 + base;
    return buffer;
  }
  v4l2_buffer empty_buffer(std::uint32_t type, std::uint32_t index) const {
    v4l2_buffer buffer{};
    buffer.type = type;
    buffer.index = index;
    buffer.memory = memory_kind;
    return buffer;
  }
  void on_event(const v4l2_event& event) {
    if (event.type == V4L2_EVENT_EOS) {
      ended = true;
      log.emplace_back("end");
    }
    if (event.type != V4L2_EVENT_SOURCE_CHANGE) return;
    EXPECT_EQ(event.u.src_change.changes, std::uint32_t{V4L2_EVENT_SRC_CH_RESOLUTION});
    ++changes;
    log.emplace_back("change");
    change_pending = true;
    if (follow_changes && !capture_on) {
      change_pending = false;
      start_capture();
    }
  }
  void on_dqbuf(const wire::virtio_media_event_dqbuf& dqbuf) {
    const v4l2_buffer& buffer = dqbuf.buffer;
    auto& all = buffers(buffer.type);
    ASSERT_LT(buffer.index, all.size());
    EXPECT_TRUE(all[buffer.index].queued);
    all[buffer.index].queued = false;
    if (buffer.type == output_type) {
      log.emplace_back("coded");
      if (buffer.flags & V4L2_BUF_FLAG_ERROR) ++damaged;
      return;
    }
    ASSERT_EQ(buffer.type, capture_type);
    EXPECT_FALSE(last_seen) << "a buffer came after the last one";
    log.emplace_back((buffer.flags & V4L2_BUF_FLAG_LAST) != 0 ? "last" : "raw");
    if (buffer.flags & V4L2_BUF_FLAG_ERROR) ++bad_frames;
    const std::uint32_t used = multiplanar_ ? dqbuf.planes[0].bytesused : buffer.bytesused;
    if (used != 0) {
      EXPECT_EQ(used, in_force.layout.payload());
      const ffmpeg::Rectangle rectangle{static_cast<std::uint32_t>(visible.left),
                                        static_cast<std::uint32_t>(visible.top), visible.width,
                                        visible.height};
      const auto picture = read(all[buffer.index]);
      const auto samples = visible_samples(in_force.layout, rectangle, in_force.fourcc, picture.data());
      total.update(samples.data(), samples.size());
      frames.push_back({md5_of(samples), buffer.timestamp, buffer.flags, buffer.sequence, visible,
                        in_force.fourcc, buffer.field});
    }
    if ((buffer.flags & V4L2_BUF_FLAG_LAST) == 0) {
      if (queues_again) {
        EXPECT_EQ(queue(capture_type, buffer.index), 0);
      }
      return;
    }
    last_seen = true;
    if (follow_changes && change_pending) {
      change_pending = false;
      restart_capture();
    }
  }

  const std::uint32_t raw_fourcc_;
  Buffer spare_;  // where rotating memory rests
};

// The checksums of the frames, in order.
[[nodiscard]] inline std::vector<std::string> md5s(const DecoderGuest& guest) {
  std::vector<std::string> all;
  for (const auto& frame : guest.frames) all.push_back(frame.md5);
  return all;
}

// The time stamps of the frames' units, in microseconds.
[[nodiscard]] inline std::vector<std::int64_t> stamps(const DecoderGuest& guest) {
  std::vector<std::int64_t> all;
  for (const auto& frame : guest.frames)
    all.push_back(frame.timestamp.tv_sec * 1'000'000 + frame.timestamp.tv_usec);
  return all;
}

// Units [first, end) of a clip.
[[nodiscard]] inline Clip slice(const Clip& clip, std::size_t first, std::size_t end) {
  Clip part;
  part.codec = clip.codec;
  part.units.assign(clip.units.begin() + static_cast<std::ptrdiff_t>(first),
                    clip.units.begin() + static_cast<std::ptrdiff_t>(end));
  return part;
}

// Tests that run once for each of V4L2's two APIs for video buffers.
class DecoderApiTest : public testing::TestWithParam<bool> {
 protected:
  [[nodiscard]] static backends::FfmpegDecoderOptions options() {
    backends::FfmpegDecoderOptions options;
    options.session.multiplanar = GetParam();
    return options;
  }
};
#define VUMEDIA_FOR_BOTH_APIS(suite)                                                 \
  INSTANTIATE_TEST_SUITE_P(Apis, suite, testing::Bool(), [](const auto& parameter) { \
    return std::string(parameter.param ? "multiplanar" : "singleplanar");            \
  })

}  // namespace vumedia::test
