// A camera and a driver that does what drivers do, in any order, beside a model of what it has: which files
// are open, in whose hands each buffer is, what is mapped where. No buffer is lost or comes twice, no event
// is of a file that is closed, and what is mapped is the file's own.
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <iterator>
#include <map>
#include <set>
#include <span>
#include <utility>
#include <vector>

#include <linux/videodev2.h>

#include <vumedia/backends/camera.hpp>
#include <vumedia/backends/test_pattern/source.hpp>
#include <vumedia/v4l2/ioctl_table.hpp>

#include "fuzz/guest.hpp"
#include "fuzz/input.hpp"
#include "fuzz/loop.hpp"

namespace vumedia::fuzz {
namespace {

namespace tag = v4l2::tag;

// A camera with the controls of the test pattern, whose frames cost nothing: they begin with their number.
struct SmallSource : backends::test_pattern::PatternSource {
  static constexpr std::uint32_t formats[] = {V4L2_PIX_FMT_GREY, V4L2_PIX_FMT_YUYV};
  static constexpr v4l2_fract interval{1, 30};
  static constexpr backends::camera::FrameSize sizes[] = {{64, 64, {&interval, 1}}, {32, 32, {&interval, 1}}};

  [[nodiscard]] backends::camera::Modes modes() const noexcept { return {formats, sizes}; }
  [[nodiscard]] Result<> fill(const backends::camera::Frame& frame) {
    std::memcpy(frame.planes[0], &frame.number, sizeof frame.number);
    return {};
  }
};
using Guest = FuzzGuest<backends::Camera<SmallSource>>;

constexpr std::uint32_t type = V4L2_BUF_TYPE_VIDEO_CAPTURE;

class Driver {
 public:
  Driver(Loop& loop, Input& input) : input_(input), guest_(loop, false) {
    guest_.on_event = [this](std::span<const std::byte> event) { came(event); };
    guest_.lend_events(2);
  }

  void run() {
    for (int step = 0; step < 200 && !input_.empty(); ++step) act(input_.below(16));
    all_come_back();
    // Whatever is open, mapped and queued ends with the device.
    if (!input_.flag()) return;
    while (!files_.empty()) close(files_.begin()->first);
    require(guest_.device().session_count() == 0, "files that are closed are gone");
  }

 private:
  struct File {
    // By index: how often it is to come back. More than once if the driver queues it while the event that
    // gives it back waits for room, which the driver cannot know.
    std::map<std::uint32_t, int> queued;
    std::map<std::uint32_t, std::uint32_t> offsets;
    std::map<std::uint32_t, std::uint64_t> addresses;  // where they were mapped last
    bool streaming = false;
    bool failed = false;
    std::int64_t sequence = -1;
    std::set<std::uint32_t> subscribed;
  };
  struct Mapped {
    std::uint64_t length = 0;
    int count = 0;
  };

  void act(std::uint32_t what) {
    if (what == 0 || files_.empty()) return open();
    const auto file = std::next(files_.begin(), input_.byte() % static_cast<std::ptrdiff_t>(files_.size()));
    const std::uint32_t id = file->first;
    switch (what) {
      case 1:
        return close(id);
      case 2:
        return reqbufs(id, file->second, input_.below(6));
      case 3:
      case 4:
      case 5:
        return queue(id, file->second, input_.below(6));
      case 6:
        if (file->second.queued.empty()) {
          reqbufs(id, file->second, 4);
          for (std::uint32_t i = 0; i < 4; ++i) queue(id, file->second, i);
        }
        return stream(id, file->second, true);
      case 7:
        return stream(id, file->second, false);
      case 8:
      case 9:
      case 10:
        guest_.advance();
        guest_.take_events();
        return;
      case 11:
        return guest_.lend_events(1 + input_.below(4));
      case 12:
        return map(id, file->second);
      case 13:
        return unmap();
      case 14:
        return query(id, file->second, input_.below(6));
      default:
        return rarely(id, file->second);
    }
  }

  // -- Commands

  struct Reply {
    int status = -1;
    Bytes bytes;  // behind the status
  };
  Reply command(const Bytes& bytes, std::size_t room) {
    Reply reply;
    require(guest_.send(bytes, room), "one command has room");
    guest_.finish([&](const Guest::Answer& answer) {
      if (answer.bytes.size() >= sizeof(wire::virtio_media_resp_header)) {
        reply.status = static_cast<int>(read_as<wire::virtio_media_resp_header>(answer.bytes).status);
        reply.bytes.assign(answer.bytes.begin() + sizeof(wire::virtio_media_resp_header), answer.bytes.end());
      }
    });
    return reply;
  }
  template <class Tag>
  int ioctl(std::uint32_t session, typename Tag::Wire& payload) {
    Bytes bytes;
    append(bytes, wire::virtio_media_cmd_ioctl{{wire::cmd_ioctl, 0}, session, Tag::number});
    if (v4l2::carries_input<Tag>) append(bytes, payload);
    const Reply reply = command(
        bytes, sizeof(wire::virtio_media_resp_ioctl) + (v4l2::carries_output<Tag> ? sizeof payload : 0));
    if (reply.status == 0 && v4l2::carries_output<Tag>) {
      require(reply.bytes.size() == sizeof payload, "an answer has its payload");
      payload = read_as<typename Tag::Wire>(reply.bytes);
    }
    return reply.status;
  }

  void open() {
    Bytes bytes;
    append(bytes, wire::virtio_media_cmd_open{{wire::cmd_open, 0}});
    const Reply reply = command(bytes, sizeof(wire::virtio_media_resp_open));
    if (files_.size() == max_sessions) return require(reply.status == ENFILE, "files have a limit");
    require(reply.status == 0, "a file can be opened");
    files_[read_as<std::uint32_t>(reply.bytes)] = {};
    require(guest_.device().session_count() == files_.size(), "as many files are open as were opened");
  }
  void close(std::uint32_t id) {
    Bytes bytes;
    append(bytes, wire::virtio_media_cmd_close{{wire::cmd_close, 0}, id, 0});
    command(bytes, 0);
    files_.erase(id);
    require(guest_.device().session_count() == files_.size(), "a file that is closed is gone");
  }
  void reqbufs(std::uint32_t id, File& file, std::uint32_t asked) {
    v4l2_requestbuffers request{};
    request.count = asked;
    request.type = type;
    request.memory = V4L2_MEMORY_MMAP;
    const int status = ioctl<tag::REQBUFS>(id, request);
    if (file.failed) return require(status != 0, "a file that has failed stays so");
    if (status == EBUSY)
      return require(file.streaming || others_have_buffers(id), "only what is in use is busy");
    if (status != 0) return require(status == ENOMEM, "REQBUFS can only lack memory");
    require(!file.streaming, "REQBUFS is not for a file that streams");
    file.queued.clear();
    file.offsets.clear();
    file.addresses.clear();
    for (std::uint32_t i = 0; asked != 0 && i < request.count; ++i) file.queued[i] = 0;
  }
  [[nodiscard]] bool others_have_buffers(std::uint32_t id) const {
    return std::ranges::any_of(
        files_, [&](const auto& other) { return other.first != id && !other.second.queued.empty(); });
  }
  void queue(std::uint32_t id, File& file, std::uint32_t index) {
    v4l2_buffer buffer{};
    buffer.index = index;
    buffer.type = type;
    buffer.memory = V4L2_MEMORY_MMAP;
    // The event of a buffer that is filled at once comes before the answer.
    const bool had = file.queued.contains(index);
    const bool was = had && file.queued[index] != 0;
    if (had) ++file.queued[index];
    const int status = ioctl<tag::QBUF>(id, buffer);
    if (status != 0) {
      if (had && file.queued[index] != 0) --file.queued[index];
      return require(!had || was || file.failed, "a buffer of the guest's can be queued");
    }
    require(had, "what is queued exists");
  }
  void stream(std::uint32_t id, File& file, bool on) {
    tag::BufferType of = type;
    const int status = on ? ioctl<tag::STREAMON>(id, of) : ioctl<tag::STREAMOFF>(id, of);
    if (status != 0)
      return require(file.failed || others_have_buffers(id) || (on && file.queued.empty()),
                     "a queue can be started and stopped");
    if (on && !file.streaming) file.sequence = -1;
    file.streaming = on;
    if (on) return;
    // Events of before have been taken; more do not come.
    for (auto& [index, queued] : file.queued) queued = 0;
  }
  void query(std::uint32_t id, File& file, std::uint32_t index) {
    v4l2_buffer buffer{};
    buffer.index = index;
    buffer.type = type;
    const int status = ioctl<tag::QUERYBUF>(id, buffer);
    if (!file.queued.contains(index)) return;
    if (status != 0) return require(file.failed, "a buffer that exists can be queried");
    file.offsets[index] = buffer.m.offset;
    if ((buffer.flags & V4L2_BUF_FLAG_QUEUED) != 0)
      require(file.queued[index] != 0, "a buffer of the guest's is not queued");
  }
  void map(std::uint32_t id, File& file) {
    if (file.offsets.empty()) return;
    const auto offset =
        std::next(file.offsets.begin(), input_.byte() % static_cast<std::ptrdiff_t>(file.offsets.size()));
    Bytes bytes;
    append(bytes, wire::virtio_media_cmd_mmap{{wire::cmd_mmap, 0}, id, wire::mmap_flag_rw, offset->second});
    const Reply reply = command(bytes, sizeof(wire::virtio_media_resp_mmap));
    if (reply.status != 0) return require(file.failed || reply.status == ENOMEM, "a buffer can be mapped");
    const auto address = read_as<std::uint64_t>(reply.bytes);
    const auto length = read_as<std::uint64_t>(std::span(reply.bytes).subspan(8));
    require(guest_.host().frontend.at(address, length) != nullptr, "what is mapped can be seen");
    for (const auto& [other, mapped] : mapped_)
      require(other == address || other + mapped.length <= address || address + length <= other,
              "mappings do not overlap");
    Mapped& mapped = mapped_[address];
    require(mapped.count == 0 || mapped.length == length, "a buffer keeps its length");
    mapped = {length, mapped.count + 1};
    file.addresses[offset->first] = address;
  }
  void unmap() {
    std::uint64_t address = input_.take<std::uint16_t>() * page_size;
    if (!mapped_.empty() && input_.below(8) != 0)
      address =
          std::next(mapped_.begin(), input_.byte() % static_cast<std::ptrdiff_t>(mapped_.size()))->first;
    Bytes bytes;
    append(bytes, wire::virtio_media_cmd_munmap{{wire::cmd_munmap, 0}, address});
    const Reply reply = command(bytes, sizeof(wire::virtio_media_resp_munmap));
    const auto mapped = mapped_.find(address);
    require((reply.status == 0) == (mapped != mapped_.end()),
            "what is mapped can be unmapped, as often as it was mapped");
    if (mapped != mapped_.end() && --mapped->second.count == 0) mapped_.erase(mapped);
  }
  void rarely(std::uint32_t id, File& file) {
    switch (input_.below(6)) {
      case 0:
        guest_.reset(input_.flag());
        files_.clear();
        mapped_.clear();
        guest_.lend_events();
        return;
      case 1:
        return all_come_back();
      case 2: {
        v4l2_event_subscription subscription{};
        subscription.type = V4L2_EVENT_CTRL;
        subscription.id = V4L2_CID_BRIGHTNESS;
        subscription.flags = input_.below(4);
        // The initial event comes before the answer.
        file.subscribed.insert(subscription.id);
        static_cast<void>(ioctl<tag::SUBSCRIBE_EVENT>(id, subscription));
        return;
      }
      case 3: {
        v4l2_control control{V4L2_CID_BRIGHTNESS, input_.byte()};
        static_cast<void>(ioctl<tag::S_CTRL>(id, control));
        return;
      }
      case 4: {
        v4l2_format format{};
        format.type = type;
        format.fmt.pix = {32, 32, V4L2_PIX_FMT_YUYV, 0, 0, 0, 0, 0, 0, {}, 0, 0};
        const int status = ioctl<tag::S_FMT>(id, format);
        if (status == 0) require(!file.streaming, "a format does not change under its buffers");
        return;
      }
      default:
        guest_.host().replace_memory();
    }
  }

  // -- Events

  void came(std::span<const std::byte> bytes) {
    if (bytes.empty()) return;
    const auto head = read_as<wire::virtio_media_event_header>(bytes);
    const auto found = files_.find(head.session_id);
    // One that is being opened.
    if (found == files_.end()) return;
    File& file = found->second;
    if (head.event == wire::event_error) file.failed = true;
    if (head.event == wire::event_event) {
      const auto event = read_as<wire::virtio_media_event_event>(bytes);
      require(event.event.type == V4L2_EVENT_CTRL && file.subscribed.contains(event.event.id),
              "events were subscribed to");
    }
    if (head.event != wire::event_dqbuf) return;
    const auto event = read_as<wire::virtio_media_event_dqbuf>(bytes);
    const auto buffer = file.queued.find(event.buffer.index);
    require(buffer != file.queued.end() && buffer->second-- > 0, "a buffer comes back once");
    require(event.buffer.bytesused <= event.buffer.length, "no more is used than there is");
    require(std::int64_t{event.buffer.sequence} > file.sequence, "frames have their order");
    file.sequence = event.buffer.sequence;
    const auto place = file.addresses.find(event.buffer.index);
    if (place == file.addresses.end() || !mapped_.contains(place->second) || event.buffer.bytesused == 0)
      return;
    // It may have its next frame already.
    if (buffer->second != 0) return;
    const std::byte* const frame = guest_.host().frontend.at(place->second, sizeof(std::uint32_t));
    require(
        frame != nullptr && read_as<std::uint32_t>({frame, sizeof(std::uint32_t)}) == event.buffer.sequence,
        "a buffer that is mapped shows its frame");
  }
  // Time passes, and the driver lends what it should.
  void all_come_back() {
    const auto waits = [&] {
      return std::ranges::any_of(files_, [](const auto& file) {
        return file.second.streaming && !file.second.failed &&
               std::ranges::any_of(file.second.queued, [](const auto& buffer) { return buffer.second > 0; });
      });
    };
    for (int i = 0; i < 64 && waits(); ++i) {
      guest_.lend_events();
      guest_.advance();
      guest_.take_events();
    }
    require(!waits(), "no buffer is lost");
  }

  Input& input_;
  Guest guest_;
  std::map<std::uint32_t, File> files_;
  std::map<std::uint64_t, Mapped> mapped_;
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
