// What a client reads from a hostile device: used rings, answers and events in the shared memory are
// anything, and come at any time. The client does not read beyond its memory, does not believe a chain or a
// length that it has not offered, and ends in bounded work.
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include <linux/videodev2.h>

#include <vumedia/client/guest.hpp>
#include <vumedia/core/mapping.hpp>
#include <vumedia/memory/shm_region.hpp>
#include <vumedia/virtio/driver_queue.hpp>

#include "fuzz/clock.hpp"
#include "fuzz/input.hpp"
#include "fuzz/loop.hpp"

namespace vumedia::fuzz {
namespace {

namespace tag = v4l2::tag;
namespace wire = media::wire;

// A device that does as the input says whenever its client waits or rings.
class Device {
 public:
  static constexpr std::uint64_t guest = 0x10'0000, shm_bytes = 1 << 16;

  explicit Device(Input& input) : input_(input) {}

  std::span<std::byte> create(std::size_t size) {
    // The same for every input, because it is large.
    static const auto file = std::move(*make_sealed_memfd("fuzz", size));
    static const Mapping memory = std::move(*Mapping::map(file.get(), 0, *align_up(size, page_size)));
    require(memory.size() >= size, "a client's memory has one size");
    std::memset(memory.data(), 0, size);
    ram_ = memory.bytes().first(size);
    return ram_;
  }
  void start(std::span<const virtio::DriverQueue> queues) {
    for (std::size_t i = 0; i < queues.size() && i < 2; ++i) queues_[i] = &queues[i];
    used_ = {};
    seen_ = {};
  }

  // False: it is gone.
  bool act() {
    require(++acts_ < 20'000, "a client's work is bounded by its device's");
    for (std::uint32_t i = 1 + input_.below(4); i > 0; --i) {
      switch (input_.below(12)) {
        case 0:
          return input_.byte() < 0xf0;
        case 1:
          scribble();
          break;
        case 2:
          return_chain(1, true);
          break;
        case 3:
          return_chain(input_.below(2), false);
          break;
        case 4:
          set_used_index(input_.below(2), input_.take<std::uint16_t>());
          break;
        default:
          return_chain(0, true);
      }
    }
    return true;
  }

 private:
  static std::uint64_t offset(const virtio::DriverQueue&, memory::GuestAddress address) {
    return address.value - guest;
  }
  template <class T>
  [[nodiscard]] T load(std::uint64_t at) const {
    T value{};
    if (at <= ram_.size() - sizeof value) std::memcpy(&value, ram_.data() + at, sizeof value);
    return value;
  }
  template <class T>
  void store(std::uint64_t at, const T& value) {
    if (at <= ram_.size() - sizeof value) std::memcpy(ram_.data() + at, &value, sizeof value);
  }
  void set_used_index(std::size_t q, std::uint16_t index) {
    if (queues_[q] == nullptr) return;
    used_[q] = index;
    store(offset(*queues_[q], queues_[q]->used()) + virtio::ring::index, index);
  }
  // The next chain that the client has offered; with an answer, or under another name.
  void return_chain(std::size_t q, bool honest) {
    if (queues_[q] == nullptr) return;
    const virtio::DriverQueue& queue = *queues_[q];
    const std::uint64_t available = offset(queue, queue.available()), used = offset(queue, queue.used());
    virtio::UsedElement element{input_.take<std::uint32_t>(), input_.take<std::uint32_t>()};
    if (honest) {
      if (load<std::uint16_t>(available + virtio::ring::index) == seen_[q]) return;
      const auto head =
          load<std::uint16_t>(available + virtio::ring::elements + 2U * (seen_[q]++ & (queue.size() - 1U)));
      element.id = head;
      element.length = answer(queue, head, element.length);
    } else {
      element.id %= 40;
      element.length %= 2000;
    }
    store(used + virtio::ring::elements + 8U * (used_[q] & (queue.size() - 1U)), element);
    set_used_index(q, static_cast<std::uint16_t>(used_[q] + 1));
  }
  // Fills the writable part, more or less as a device would. Returns the length that it states.
  std::uint32_t answer(const virtio::DriverQueue& queue, std::uint16_t head, std::uint32_t lie) {
    std::uint16_t index = head;
    for (int i = 0; i < 8; ++i) {
      const auto d = load<virtio::Descriptor>(offset(queue, queue.descriptors()) + 16U * index);
      if ((d.flags & virtio::desc_f_write) != 0) {
        const std::uint64_t at = d.address - guest;
        const std::uint8_t how = input_.byte();
        std::uint32_t length = d.length;
        if ((how & 7) == 7) length = lie % (d.length + 2);
        if ((how & 0x38) == 0x38)
          store(at, input_.byte());
        else if (d.length >= 4)
          store(at, std::uint32_t{0});
        const auto more = input_.bytes(input_.below(64));
        // A status stays 0 more often than not.
        if (d.length >= 8 + more.size() && at + 8 + more.size() <= ram_.size())
          std::memcpy(ram_.data() + at + 8, more.data(), more.size());
        if (&queue == queues_[1]) {
          store(at, std::uint32_t{input_.below(4)});
          store(at + 4, std::uint32_t{input_.below(3)});
        }
        return how == 0xff ? lie : length;
      }
      if ((d.flags & virtio::desc_f_next) == 0) break;
      index = d.next;
    }
    return 0;
  }
  void scribble() {
    const std::uint32_t at = input_.take<std::uint16_t>() * 2U % static_cast<std::uint32_t>(ram_.size() - 16);
    const auto bytes = input_.bytes(16);
    std::memcpy(ram_.data() + at, bytes.data(), bytes.size());
  }

  Input& input_;
  std::span<std::byte> ram_;
  std::array<const virtio::DriverQueue*, 2> queues_{};
  std::array<std::uint16_t, 2> used_{}, seen_{};
  int acts_ = 0;
};

// A client::Transport to it.
class Link {
 public:
  using SharedMemory = std::span<std::byte>;
  Link(Device& device, Input& input) : device_(&device), input_(&input) {}

  [[nodiscard]] Outcome<> negotiate(std::span<std::byte> config) {
    input_->fill(config);
    event_idx_ = input_->flag();
    shm_.resize(Device::shm_bytes);
    return {};
  }
  [[nodiscard]] bool event_idx() const noexcept { return event_idx_; }
  [[nodiscard]] std::uint64_t shm_size() const noexcept { return shm_.size(); }
  [[nodiscard]] Outcome<std::span<std::byte>> create_memory(std::size_t size) {
    return device_->create(size);
  }
  [[nodiscard]] memory::GuestAddress guest_base() const noexcept { return {Device::guest}; }
  [[nodiscard]] Outcome<> start(std::span<const virtio::DriverQueue> queues) {
    device_->start(queues);
    return {};
  }
  void kick(std::uint16_t) noexcept { gone_ = !device_->act() || gone_; }
  [[nodiscard]] Outcome<> poll() { return wait({}); }
  [[nodiscard]] Outcome<> wait(io::TimePoint until) {
    gone_ = !device_->act() || gone_;
    if (gone_) return std::unexpected(Error{"gone", EPIPE});
    // Nothing comes any more: the time is up.
    if (input_->empty() && until != io::TimePoint{}) set_clock(until);
    return {};
  }
  [[nodiscard]] SharedMemory shared_memory(memory::ShmOffset offset, std::uint64_t length) noexcept {
    if (length == 0 || !range_fits(offset.value, length, shm_.size())) return {};
    return std::span(shm_).subspan(offset.value, length);
  }
  [[nodiscard]] Outcome<> reset() { return {}; }

 private:
  Device* device_;
  Input* input_;
  std::vector<std::byte> shm_;
  bool event_idx_ = false, gone_ = false;
};
using Guest = client::BasicGuest<Link>;

class Client {
 public:
  explicit Client(Input& input) : input_(input), device_(input) {}

  void run() {
    auto attached = Guest::attach(Link(device_, input_), {.user_memory = 1 << 16});
    require(attached.has_value(), "a client attaches");
    Guest& guest = **attached;
    for (int step = 0; step < 60 && !input_.empty(); ++step) {
      const bool was_broken = guest.error().code != 0;
      const int result = act(guest, input_.below(14));
      require(!was_broken || result != 0, "after a failure of the transport every call fails");
      require(result < 4096 && result >= 0, "an error is an errno");
    }
  }

 private:
  template <class T>
  static int code(const Result<T>& result) {
    return result ? 0 : result.error().value;
  }
  int act(Guest& guest, std::uint32_t what) {
    const std::uint32_t session = input_.below(3);
    switch (what) {
      case 0:
        return code(guest.open());
      case 1:
        return code(guest.close(session));
      case 2: {
        const auto mapped = guest.mmap(session, 0);
        if (mapped) std::memset(mapped->memory.data(), 1, mapped->memory.size());
        return code(mapped);
      }
      case 3:
        return code(guest.munmap({0}));
      case 4: {
        v4l2_format format{};
        return code(guest.ioctl<tag::G_FMT>(session, format));
      }
      case 5:
      case 6: {
        v4l2::BufferPayload payload{};
        v4l2_buffer& head = payload.buffer.head;
        head.type = input_.flag() ? V4L2_BUF_TYPE_VIDEO_CAPTURE_MPLANE : V4L2_BUF_TYPE_VIDEO_CAPTURE;
        head.length = input_.below(10);
        if (what == 5) return code(guest.ioctl<tag::QUERYBUF>(session, payload));
        if (input_.flag()) {
          head.memory = V4L2_MEMORY_USERPTR;
          head.m.userptr = reinterpret_cast<unsigned long>(guest.user_memory().data());
          for (auto& plane : payload.buffer.planes) plane.m.userptr = head.m.userptr;
        }
        return code(guest.ioctl<tag::QBUF>(session, payload));
      }
      case 7: {
        std::array<std::byte, 40> text{};
        v4l2::ExtControls payload{};
        payload.controls.resize(input_.below(4));
        for (auto& control : payload.controls) {
          control.size = input_.below(2) * static_cast<std::uint32_t>(text.size());
          if (control.size > 0) control.ptr = text.data();
        }
        payload.head.count = static_cast<std::uint32_t>(payload.controls.size());
        const auto before = payload.controls;
        const int result = code(guest.ioctl<tag::G_EXT_CTRLS>(session, payload));
        require(payload.controls.size() == before.size() && payload.head.count == before.size(),
                "a device does not change how many controls there are");
        for (std::size_t i = 0; i < before.size(); ++i)
          require(before[i].size == 0 || payload.controls[i].ptr == before[i].ptr,
                  "nor where their memory is");
        return result;
      }
      case 8: {
        v4l2_queryctrl query{};
        return code(guest.ioctl<tag::QUERYCTRL>(session, query));
      }
      case 9: {
        tag::BufferType type = 1;
        return code(guest.ioctl<tag::STREAMON>(session, type));
      }
      case 10: {
        std::array<std::byte, 64> command{}, answer{};
        input_.fill(command);
        const std::size_t room = input_.below(65);
        const auto length =
            guest.command(std::span(command).first(input_.below(65)), std::span(answer).first(room));
        require(!length || *length <= room, "an answer is not longer than its room");
        return length ? 0 : length.error().value;
      }
      case 11:
        if (input_.below(4) != 0) return 1;
        // A reset does not make what has failed whole again.
        static_cast<void>(guest.reset());
        return 1;
      default: {
        const auto event = guest.wait_event(std::chrono::milliseconds(input_.below(2)));
        // Those that came before a failure are told first.
        return event ? (guest.error().code != 0 ? guest.error().code : 0) : event.error().value;
      }
    }
  }

  Input& input_;
  Device device_;
};

}  // namespace
}  // namespace vumedia::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace vumedia::fuzz;
  Input input(data, size);
  Client(input).run();
  return 0;
}
