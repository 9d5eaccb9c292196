// Command chains with valid framing and hostile contents: a camera is given commands whose sessions, numbers,
// payloads, guest ranges and lengths are anything, whole or cut, several at a time.
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <iterator>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

#include <linux/videodev2.h>

#include <vumedia/backends/test_pattern.hpp>
#include <vumedia/v4l2/ioctl_table.hpp>
#include <vumedia/v4l2/payload.hpp>

#include "fuzz/guest.hpp"
#include "fuzz/input.hpp"
#include "fuzz/loop.hpp"

namespace vumedia::fuzz {
namespace {

using Guest = FuzzGuest<backends::TestPattern>;
namespace tag = v4l2::tag;

// Bytes that travel with each ioctl, there and back, planes and lists apart.
struct Sizes {
  std::size_t in = 0, out = 0;
};
constexpr auto sizes = [] {
  std::array<Sizes, v4l2::ioctl_limit> all{};
  v4l2::with_ioctl_tags([&]<class... Tags>() {
    ((all[Tags::number] = {v4l2::carries_input<Tags> ? sizeof(typename Tags::Wire) : 0,
                           v4l2::carries_output<Tags> ? sizeof(typename Tags::Wire) : 0}),
     ...);
  });
  return all;
}();

// Those that a camera has.
constexpr std::uint32_t known[] = {tag::ENUM_FMT::number,
                                   tag::G_FMT::number,
                                   tag::S_FMT::number,
                                   tag::TRY_FMT::number,
                                   tag::REQBUFS::number,
                                   tag::QUERYBUF::number,
                                   tag::QBUF::number,
                                   tag::QBUF::number,
                                   tag::STREAMON::number,
                                   tag::STREAMOFF::number,
                                   tag::G_PARM::number,
                                   tag::S_PARM::number,
                                   tag::G_CTRL::number,
                                   tag::S_CTRL::number,
                                   tag::QUERYCTRL::number,
                                   tag::QUERYMENU::number,
                                   tag::QUERY_EXT_CTRL::number,
                                   tag::G_EXT_CTRLS::number,
                                   tag::S_EXT_CTRLS::number,
                                   tag::TRY_EXT_CTRLS::number,
                                   tag::SUBSCRIBE_EVENT::number,
                                   tag::UNSUBSCRIBE_EVENT::number,
                                   tag::CREATE_BUFS::number,
                                   tag::PREPARE_BUF::number,
                                   tag::REMOVE_BUFS::number,
                                   tag::ENUM_FRAMESIZES::number,
                                   tag::ENUM_FRAMEINTERVALS::number,
                                   tag::G_INPUT::number,
                                   tag::S_INPUT::number,
                                   tag::ENUMINPUT::number,
                                   tag::G_PRIORITY::number,
                                   tag::S_PRIORITY::number};

constexpr std::uint32_t control_ids[] = {
    V4L2_CID_BRIGHTNESS,   V4L2_CID_CONTRAST,   V4L2_CID_SATURATION,        V4L2_CID_HUE,
    V4L2_CID_GAIN,         V4L2_CID_AUTOGAIN,   V4L2_CID_EXPOSURE,          V4L2_CID_HFLIP,
    V4L2_CID_TEST_PATTERN, V4L2_CID_USER_CLASS, V4L2_CID_USER_BASE | 0x1000};

class Driver {
 public:
  Driver(Loop& loop, Input& input)
      : input_(input), multiplanar_(input.flag()), guest_(loop, input.flag(), options(multiplanar_)) {}

  void run() {
    open();
    for (int step = 0; step < 150 && !input_.empty(); ++step) act(input_.below(16));
    guest_.finish([](const auto&) {});
    if (input_.flag()) guest_.reset(true);
  }

 private:
  static backends::TestPatternOptions options(bool multiplanar) {
    backends::TestPatternOptions options;
    options.multiplanar = multiplanar;
    return options;
  }
  void act(std::uint32_t what) {
    switch (what) {
      case 0:
        return open();
      case 1:
        return close();
      case 2:
        return mmap();
      case 3:
        return munmap();
      case 4:
        guest_.lend_events();
        guest_.take_answers(learn_);
        return;
      case 5:
        return guest_.advance();
      case 6:
        return guest_.answer_shm();
      case 7:
        return send(bytes_of_input(40), input_.below(64));
      case 8:
        if (input_.below(4) == 3) return guest_.reset(input_.flag());
        return stream_up();
      default:
        return ioctl();
    }
  }

  [[nodiscard]] Bytes bytes_of_input(std::size_t most) {
    const auto bytes = input_.bytes(input_.below(static_cast<std::uint32_t>(most)));
    return {bytes.begin(), bytes.end()};
  }
  [[nodiscard]] std::uint32_t session() {
    const std::uint8_t choice = input_.byte();
    if (choice >= 0xf8 || guest_.sessions().empty()) return choice;
    return *std::next(guest_.sessions().begin(),
                      choice % static_cast<std::ptrdiff_t>(guest_.sessions().size()));
  }
  [[nodiscard]] std::uint32_t type() {
    const std::uint8_t choice = input_.byte();
    if (choice >= 0xf0) return choice - 0xf0U;
    return multiplanar_ ? V4L2_BUF_TYPE_VIDEO_CAPTURE_MPLANE : V4L2_BUF_TYPE_VIDEO_CAPTURE;
  }
  [[nodiscard]] std::uint32_t memory() {
    return input_.below(4) != 0 ? V4L2_MEMORY_MMAP : 1 + input_.below(4);
  }

  // Changed in a place or cut, as a rule not; sent in pieces; with others, or at once.
  void send(Bytes command, std::size_t room) {
    const std::uint8_t how = input_.byte();
    if ((how & 0x1c) == 0x1c && !command.empty())
      command[input_.below(static_cast<std::uint32_t>(command.size()))] = input_.take<std::byte>();
    if ((how & 0xe0) == 0xe0) command.resize(std::min<std::size_t>(command.size(), input_.below(300)));
    if ((how & 0xe0) == 0xc0) room = input_.below(300);
    std::array<std::size_t, 3> cuts{};
    if ((how & 2) != 0) {
      for (std::size_t& cut : cuts) cut = input_.below(128);
      std::ranges::sort(cuts);
    }
    guest_.send(command, room, cuts, (how & 0x20) != 0);
    if ((how & 1) != 0) return;
    guest_.kick();
    guest_.take_answers(learn_);
  }

  void open() {
    Bytes command;
    append(command, wire::virtio_media_cmd_open{{wire::cmd_open, 0}});
    send(std::move(command), sizeof(wire::virtio_media_resp_open));
  }
  void close() {
    Bytes command;
    append(command, wire::virtio_media_cmd_close{{wire::cmd_close, 0}, session(), 0});
    send(std::move(command), 0);
  }
  void mmap() {
    Bytes command;
    append(command, wire::virtio_media_cmd_mmap{{wire::cmd_mmap, 0},
                                                session(),
                                                input_.byte(),
                                                offsets_[input_.below(8)] + (input_.byte() >= 0xf0)});
    send(std::move(command), sizeof(wire::virtio_media_resp_mmap));
  }
  void munmap() {
    Bytes command;
    append(command, wire::virtio_media_cmd_munmap{{wire::cmd_munmap, 0},
                                                  addresses_[input_.below(8)] + (input_.byte() >= 0xf0)});
    send(std::move(command), sizeof(wire::virtio_media_resp_munmap));
  }
  void ioctl() {
    const std::uint8_t choice = input_.byte();
    const std::uint32_t number = choice < 0xe8 ? known[choice % std::size(known)] : input_.byte();
    Bytes command;
    append(command, wire::virtio_media_cmd_ioctl{{wire::cmd_ioctl, 0}, session(), number});
    const Sizes size = number < sizes.size() ? sizes[number] : Sizes{};
    std::size_t room = sizeof(wire::virtio_media_resp_ioctl) + size.out;
    switch (number) {
      case tag::QUERYBUF::number:
      case tag::QBUF::number:
      case tag::PREPARE_BUF::number:
        room += buffer(command);
        break;
      case tag::G_EXT_CTRLS::number:
      case tag::S_EXT_CTRLS::number:
      case tag::TRY_EXT_CTRLS::number:
        room += controls(command);
        break;
      default:
        payload(command, number, size.in);
    }
    send(std::move(command), room);
  }

  // What a camera needs to deliver frames and events, as a client should do it.
  void stream_up() {
    if (guest_.sessions().empty()) open();
    if (guest_.sessions().empty()) return;
    const std::uint32_t id = session();
    const std::uint32_t of = multiplanar_ ? V4L2_BUF_TYPE_VIDEO_CAPTURE_MPLANE : V4L2_BUF_TYPE_VIDEO_CAPTURE;
    v4l2_format format{};
    format.type = of;
    format.fmt.pix.width = 320;
    format.fmt.pix.height = 240;
    format.fmt.pix.pixelformat = V4L2_PIX_FMT_YUYV;
    plainly<tag::S_FMT>(id, format);
    plainly<tag::SUBSCRIBE_EVENT>(id, v4l2_event_subscription{V4L2_EVENT_CTRL, V4L2_CID_BRIGHTNESS, 3, {}});
    plainly<tag::REQBUFS>(id, v4l2_requestbuffers{4, of, V4L2_MEMORY_MMAP, 0, 0, {}});
    for (std::uint32_t index = 0; index < 4; ++index) {
      v4l2_buffer buffer{};
      buffer.index = index;
      buffer.type = of;
      buffer.memory = V4L2_MEMORY_MMAP;
      buffer.length = 1;
      plainly<tag::QUERYBUF>(id, buffer);
      plainly<tag::QBUF>(id, buffer);
    }
    plainly<tag::STREAMON>(id, of);
    guest_.lend_events();
  }
  template <class Tag>
  void plainly(std::uint32_t id, const typename Tag::Wire& payload) {
    constexpr bool has_planes = std::is_same_v<typename Tag::Wire, v4l2_buffer>;
    Bytes command;
    append(command, wire::virtio_media_cmd_ioctl{{wire::cmd_ioctl, 0}, id, Tag::number});
    append(command, payload);
    if (has_planes && multiplanar_) append(command, v4l2_plane{});
    const std::size_t room =
        v4l2::carries_output<Tag> ? command.size() - sizeof(wire::virtio_media_cmd_ioctl) : 0;
    guest_.send(command, sizeof(wire::virtio_media_resp_ioctl) + room);
    guest_.kick();
    guest_.take_answers(learn_);
  }

  // -- Payloads, to which the input adds

  void payload(Bytes& command, std::uint32_t number, std::size_t size) {
    Bytes bytes;
    switch (number) {
      case tag::G_FMT::number:
      case tag::S_FMT::number:
      case tag::TRY_FMT::number: {
        v4l2_format format{};
        format.type = type();
        constexpr std::uint32_t pixels[] = {V4L2_PIX_FMT_RGB24, V4L2_PIX_FMT_YUYV, V4L2_PIX_FMT_NV12,
                                            V4L2_PIX_FMT_NV12M, 0};
        format.fmt.pix.width = input_.take<std::uint16_t>();
        format.fmt.pix.height = input_.take<std::uint16_t>();
        format.fmt.pix.pixelformat = input_.pick(pixels);
        append(bytes, format);
        break;
      }
      case tag::REQBUFS::number:
        append(bytes, v4l2_requestbuffers{input_.below(8), type(), memory(), 0, 0, {}});
        break;
      case tag::CREATE_BUFS::number: {
        v4l2_create_buffers create{};
        create.count = input_.below(6);
        create.memory = memory();
        create.format.type = type();
        create.format.fmt.pix.width = 640;
        create.format.fmt.pix.height = 480;
        create.format.fmt.pix.sizeimage = 460800U * input_.below(9) + input_.byte();
        append(bytes, create);
        break;
      }
      case tag::REMOVE_BUFS::number:
        append(bytes, v4l2::RemoveBuffers{input_.below(8), input_.below(8), type(), {}});
        break;
      case tag::G_CTRL::number:
      case tag::S_CTRL::number:
        append(bytes, v4l2_control{input_.pick(control_ids), input_.take<std::int16_t>()});
        break;
      case tag::SUBSCRIBE_EVENT::number:
      case tag::UNSUBSCRIBE_EVENT::number:
        append(bytes,
               v4l2_event_subscription{input_.below(5), input_.pick(control_ids), input_.below(4), {}});
        break;
      default:
        append(bytes, type());
    }
    bytes.resize(size);
    // The rest is the input's.
    if (size > sizeof(std::uint32_t) && input_.below(4) == 0) {
      const std::size_t at = input_.below(static_cast<std::uint32_t>(size));
      input_.fill(std::span(bytes).subspan(at, std::min<std::size_t>(size - at, 1 + input_.below(24))));
    }
    command.insert(command.end(), bytes.begin(), bytes.end());
  }
  // Guest ranges that cover `length`, or nearly.
  void list(Bytes& command, std::uint32_t length) {
    std::uint32_t left = length;
    for (int i = 0; i < 200 && left > 0; ++i) {
      const std::uint8_t how = input_.byte();
      std::uint32_t part = how >= 0x80 ? left : std::min<std::uint32_t>(left, 4096U * (1U + how % 16));
      if (how == 0x7f) part = input_.take<std::uint32_t>();
      const std::uint64_t start =
          how == 0x7e ? input_.take<std::uint64_t>()
                      : guest_.user().value + input_.below(64) * 4096U + (how % 4 == 3 ? how : 0U);
      append(command, start);
      append(command, part);
      append(command, std::uint32_t{0});
      left -= std::min(left, part);
    }
  }
  // Returns the bytes of its answer behind the struct.
  std::size_t buffer(Bytes& command) {
    v4l2_buffer head{};
    head.index = input_.below(8);
    head.type = type();
    head.memory = memory();
    head.flags = input_.byte() >= 0xf0 ? input_.take<std::uint32_t>() : 0;
    const bool multiplanar = v4l2::is_multiplanar(head.type);
    head.length = multiplanar ? input_.below(10) : 460'800 + 512 * input_.below(2000);
    if (head.memory == V4L2_MEMORY_USERPTR) head.m.userptr = 4096;
    append(command, head);
    std::vector<std::uint32_t> lengths;
    if (multiplanar) {
      for (std::uint32_t i = 0; i < head.length; ++i) {
        v4l2_plane plane{};
        plane.length = 38'400 + 512 * input_.below(2000);
        plane.m.userptr = 4096;
        append(command, plane);
        lengths.push_back(plane.length);
      }
    } else {
      lengths.push_back(head.length);
    }
    if (head.memory == V4L2_MEMORY_USERPTR) {
      for (const std::uint32_t length : lengths) list(command, length);
    }
    return multiplanar ? head.length * sizeof(v4l2_plane) : 0;
  }
  std::size_t controls(Bytes& command) {
    v4l2_ext_controls head{};
    head.which = input_.byte() >= 0xc0 ? input_.below(4) << 28 | input_.byte() : 0;
    head.count = input_.byte() >= 0xf8 ? input_.take<std::uint32_t>() : input_.below(6);
    append(command, head);
    const std::uint32_t sent = std::min<std::uint32_t>(head.count, 8);
    std::vector<std::uint32_t> lengths;
    for (std::uint32_t i = 0; i < sent; ++i) {
      v4l2_ext_control control{};
      control.id = input_.pick(control_ids);
      control.size = input_.byte() >= 0xe0 ? input_.below(64) : 0;
      control.value64 = input_.take<std::int16_t>();
      append(command, control);
      lengths.push_back(control.size);
    }
    for (const std::uint32_t length : lengths) list(command, length);
    return sent * sizeof(v4l2_ext_control);
  }

  // From answers: where buffers are.
  void learn(const Guest::Answer& answer) {
    const auto command = read_as<wire::virtio_media_cmd_ioctl>(answer.command);
    if (answer.command.size() < sizeof command ||
        read_as<wire::virtio_media_resp_header>(answer.bytes).status != 0)
      return;
    if (command.hdr.cmd == wire::cmd_mmap && answer.bytes.size() == sizeof(wire::virtio_media_resp_mmap)) {
      const auto mapped = read_as<wire::virtio_media_resp_mmap>(answer.bytes);
      // A VMM may not be told of it yet, where answers are held; else the guest can see it.
      require(guest_.host().frontend.at(mapped.driver_addr, mapped.len) != nullptr,
              "what is mapped can be seen");
      addresses_[next_address_++ % addresses_.size()] = mapped.driver_addr;
    }
    if (command.hdr.cmd == wire::cmd_ioctl && command.code == tag::QUERYBUF::number &&
        answer.bytes.size() >= sizeof(wire::virtio_media_resp_ioctl) + sizeof(v4l2_buffer)) {
      const std::span<const std::byte> bytes(answer.bytes);
      const auto head = read_as<v4l2_buffer>(bytes.subspan(sizeof(wire::virtio_media_resp_ioctl)));
      const auto plane =
          read_as<v4l2_plane>(bytes.subspan(sizeof(wire::virtio_media_resp_ioctl) + sizeof head));
      offsets_[next_offset_++ % offsets_.size()] =
          v4l2::is_multiplanar(head.type) ? plane.m.mem_offset : head.m.offset;
    }
  }

  Input& input_;
  bool multiplanar_;
  Guest guest_;
  const std::function<void(const Guest::Answer&)> learn_ = [this](const Guest::Answer& answer) {
    learn(answer);
  };
  std::array<std::uint32_t, 8> offsets_{};
  std::array<std::uint64_t, 8> addresses_{};
  std::size_t next_offset_ = 0, next_address_ = 0;
};

}  // namespace
}  // namespace vumedia::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace vumedia::fuzz;
  static Loop loop;
  const Balance balance;
  {
    Input input(data, size);
    Driver(loop, input).run();
  }
  loop.settle();
  require(loop.pending() == 0, "a device leaves nothing to be waited for");
  return 0;
}
