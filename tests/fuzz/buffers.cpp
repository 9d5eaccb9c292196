// A buffer queue beside a naive model of it: which buffers exist and in whose hands each is, in which order
// they were queued, what a client may do when, and that no memory is given out twice.
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include <linux/videodev2.h>

#include <vumedia/memory/arena.hpp>
#include <vumedia/v4l2/buffer_queue.hpp>

#include "fuzz/input.hpp"

namespace vumedia::fuzz {
namespace {

using namespace v4l2;

[[nodiscard]] int code(const Result<>& result) {
  return result ? 0 : result.error().value;
}

class Client {
 public:
  explicit Client(Input& input) : input_(input), options_(options(input)), queue_(options_) {}

  void run() {
    for (int step = 0; step < 400 && !input_.empty(); ++step) {
      act(input_.below(16));
      compare();
    }
    queue_.release();
    model_.fill(std::nullopt);
    order_.clear();
    held_.clear();
    require(arenas_.used_bytes() == 0, "memory that nobody holds is free");
  }

 private:
  static constexpr std::uint32_t total = 256 * page_size;
  enum class Hands : std::uint8_t { guest, prepared, queued, device };
  struct Buffer {
    Hands hands = Hands::guest;
    std::array<std::shared_ptr<memory::Block>, 2> blocks;
    std::byte mark{};
  };

  static BufferQueueOptions options(Input& input) {
    constexpr std::uint32_t types[] = {V4L2_BUF_TYPE_VIDEO_CAPTURE, V4L2_BUF_TYPE_VIDEO_OUTPUT,
                                       V4L2_BUF_TYPE_VIDEO_CAPTURE_MPLANE, V4L2_BUF_TYPE_VIDEO_OUTPUT_MPLANE};
    BufferQueueOptions options{.type = input.pick(types)};
    options.min_buffers = input.below(4);
    options.min_queued = input.below(3);
    options.max_buffers = 1 + input.below(64);
    options.max_length = 64 * page_size;
    options.copies_timestamps = input.flag();
    // As the queue sees to it itself.
    options.min_buffers = std::min(options.min_buffers, options.max_buffers);
    return options;
  }
  [[nodiscard]] bool multiplanar() const { return is_multiplanar(options_.type); }
  [[nodiscard]] std::vector<std::uint32_t> sizes() {
    std::vector<std::uint32_t> sizes{1 + input_.below(9000)};
    if (multiplanar()) sizes.push_back(1 + input_.below(9000));
    return sizes;
  }
  [[nodiscard]] std::uint32_t type() { return input_.byte() < 0xf0 ? options_.type : input_.below(16); }
  [[nodiscard]] std::uint32_t memory() { return input_.byte() < 0xe8 ? V4L2_MEMORY_MMAP : input_.below(6); }
  [[nodiscard]] std::uint32_t index() {
    return input_.byte() < 0xf0 ? input_.below(8) : input_.take<std::uint32_t>();
  }
  [[nodiscard]] std::optional<Buffer>* find(std::uint32_t index) {
    return index < model_.size() && model_[index] ? &model_[index] : nullptr;
  }
  [[nodiscard]] std::uint32_t count() const {
    return static_cast<std::uint32_t>(
        std::ranges::count_if(model_, [](const auto& each) { return each.has_value(); }));
  }

  void act(std::uint32_t what) {
    switch (what) {
      case 0:
        return reqbufs();
      case 1:
        return create();
      case 2:
        return remove();
      case 3:
      case 4:
      case 5:
        return hand_over(true);
      case 6:
        return hand_over(false);
      case 7:
        return stream_on();
      case 8:
        return stream_off();
      case 9:
      case 10:
        return take();
      case 11:
      case 12:
        return complete();
      case 13:
        return give_back();
      case 14:
        return map();
      default:
        if (input_.flag())
          held_.clear();
        else if (input_.below(8) == 0)
          set_error();
    }
  }

  // -- The guest

  void reqbufs() {
    v4l2_requestbuffers request{};
    request.count = input_.byte() < 0xf0 ? input_.below(12) : input_.take<std::uint32_t>();
    request.type = type();
    request.memory = memory();
    const std::uint32_t wanted = std::clamp(request.count, options_.min_buffers, options_.max_buffers);
    const bool valid = request.type == options_.type && request.memory == V4L2_MEMORY_MMAP;
    const bool frees = request.count == 0;
    const int got = code(queue_.reqbufs(request, sizes(), arenas_));
    if (!valid) return require(got == EINVAL, "REQBUFS is for this queue");
    if (streaming_) return require(got == EBUSY, "REQBUFS is not for a queue that streams");
    if (frees || count() != 0) cancel();
    model_.fill(std::nullopt);
    if (frees) return require(got == 0, "buffers can be freed");
    if (got == ENOMEM) return require(queue_.count() == 0, "without memory there are no buffers");
    require(got == 0 || (wanted == 0 && got == ENOMEM), "REQBUFS succeeds, or has no memory");
    require(request.count <= wanted && request.count >= std::max(options_.min_buffers, 1U),
            "as many as are wanted");
    for (std::uint32_t i = 0; i < request.count; ++i) add(i);
  }
  void create() {
    v4l2_create_buffers request{};
    request.count = input_.below(6);
    request.memory = memory();
    request.format.type = type();
    const auto least = sizes();
    std::vector<std::uint32_t> wanted;
    for (const std::uint32_t size : least)
      wanted.push_back(size + input_.below(3) * 4000 - (input_.byte() >= 0xf0));
    if (multiplanar()) {
      request.format.fmt.pix_mp.num_planes = 2;
      for (std::size_t p = 0; p < 2; ++p) request.format.fmt.pix_mp.plane_fmt[p].sizeimage = wanted[p];
    } else {
      request.format.fmt.pix.sizeimage = wanted[0];
    }
    const std::uint32_t asked = request.count;
    const int got = code(queue_.create_bufs(request, least, arenas_));
    if (got != 0) return;
    require(request.memory == V4L2_MEMORY_MMAP && request.format.type == options_.type,
            "CREATE_BUFS is for this queue");
    if (asked == 0) return require(request.index == count(), "CREATE_BUFS says how many there are");
    for (std::size_t p = 0; p < least.size(); ++p)
      require(wanted[p] >= least[p] && wanted[p] <= options_.max_length, "a buffer holds a picture");
    require(request.count > 0 && request.count <= asked, "CREATE_BUFS makes as many as are wanted");
    for (std::uint32_t i = request.index; i < request.index + request.count; ++i) add(i);
  }
  void remove() {
    const RemoveBuffers request{index(), input_.below(6), type(), {}};
    const int got = code(queue_.remove_bufs(request));
    if (request.type != options_.type) return require(got == EINVAL, "REMOVE_BUFS is for this queue");
    int expected = 0;
    for (std::uint64_t i = request.index; i < std::uint64_t{request.index} + request.count && expected == 0;
         ++i) {
      const auto* const buffer = i < model_.size() ? find(static_cast<std::uint32_t>(i)) : nullptr;
      if (buffer == nullptr)
        expected = EINVAL;
      else if ((*buffer)->hands == Hands::queued || (*buffer)->hands == Hands::device)
        expected = EBUSY;
    }
    // Whether all exist is not always asked first.
    require((got == 0) == (expected == 0), "buffers that exist and are not queued can be removed");
    if (got != 0) return;
    for (std::uint32_t i = 0; i < request.count; ++i) model_[request.index + i].reset();
  }
  [[nodiscard]] BufferPayload payload(std::uint32_t index) {
    BufferPayload payload{};
    payload.serial = ++serial_;
    v4l2_buffer& head = payload.buffer.head;
    head.index = index;
    head.type = type();
    head.memory = memory();
    if (input_.byte() >= 0xf0) head.flags = input_.take<std::uint32_t>();
    if (is_multiplanar(head.type))
      head.length = payload.sent.planes = input_.byte() < 0xf0 ? 2 : input_.below(9);
    if (input_.byte() >= 0xe0)
      head.bytesused = payload.buffer.planes[0].bytesused = input_.take<std::uint16_t>();
    if (input_.byte() >= 0xf0) payload.buffer.planes[0].data_offset = input_.take<std::uint16_t>();
    return payload;
  }
  void hand_over(bool queue) {
    const std::uint32_t which = index();
    BufferPayload sent = payload(which);
    const v4l2_buffer head = sent.buffer.head;
    const int got = code(queue ? queue_.qbuf(sent) : queue_.prepare_buf(sent));
    auto* const buffer = find(which);
    const bool may = buffer != nullptr && head.type == options_.type && head.memory == V4L2_MEMORY_MMAP &&
                     ((*buffer)->hands == Hands::guest || (queue && (*buffer)->hands == Hands::prepared));
    if (got != 0) {
      // A client that says nothing about the contents can only fail for this.
      const bool plain = head.flags == 0 && head.bytesused == 0 && sent.buffer.planes[0].data_offset == 0 &&
                         (!multiplanar() || sent.sent.planes >= 2);
      return require(!may || !plain || failed_, "a buffer of the guest's can be queued");
    }
    require(may && !failed_, "what is queued was the guest's");
    require(((sent.buffer.head.flags & V4L2_BUF_FLAG_QUEUED) != 0) == queue, "flags tell where a buffer is");
    (*buffer)->hands = queue ? Hands::queued : Hands::prepared;
    if (queue) order_.push_back(which);
    if (queue && streaming_ && order_.size() >= options_.min_queued) started_ = true;
  }
  void stream_on() {
    const std::uint32_t of = type();
    const int got = code(queue_.stream_on(of));
    const bool may = of == options_.type && (streaming_ || (count() > 0 && count() >= options_.min_queued));
    require(got == (may ? 0 : EINVAL), "STREAMON needs buffers");
    if (!may || streaming_) return;
    streaming_ = true;
    started_ = started_ || order_.size() >= options_.min_queued;
  }
  void stream_off() {
    const std::uint32_t of = type();
    const int got = code(queue_.stream_off(of));
    require(got == (of == options_.type ? 0 : EINVAL), "STREAMOFF is for this queue");
    if (got == 0) cancel();
  }
  void cancel() {
    streaming_ = started_ = failed_ = false;
    order_.clear();
    for (auto& buffer : model_) {
      if (buffer) buffer->hands = Hands::guest;
    }
  }
  void map() {
    const std::uint32_t which = input_.below(8), plane = input_.below(3);
    v4l2::BufferPayload sent = payload(which);
    const std::uint32_t offset = which * 8 * static_cast<std::uint32_t>(page_size) +
                                 plane * static_cast<std::uint32_t>(page_size) + (input_.byte() >= 0xf0);
    auto found = queue_.mappable(offset);
    const auto* const buffer = find(which);
    require(found.has_value() ==
                (buffer != nullptr && plane < (multiplanar() ? 2U : 1U) && offset % page_size == 0),
            "each plane has its offset");
    if (found && held_.size() < 16) held_.push_back(std::move(*found));
  }

  // -- The device

  void take() {
    const auto taken = queue_.take_next();
    require(taken.has_value() == !order_.empty(), "a buffer that is queued can be taken");
    if (!taken) return;
    require(*taken == order_.front(), "buffers come in the order in which they were queued");
    order_.pop_front();
    model_[*taken]->hands = Hands::device;
  }
  void complete() {
    const std::uint32_t which = index();
    const BufferQueue::Completion done{.bytesused = {input_.take<std::uint16_t>(), 7},
                                       .error = input_.flag()};
    const auto event = queue_.complete(which, done);
    auto* const buffer = find(which);
    require(event.has_value() == (buffer != nullptr && (*buffer)->hands == Hands::device),
            "a buffer that the device has is completed, once");
    if (!event) return;
    require(event->head.index == which, "a buffer comes back under its index");
    require((event->head.flags & V4L2_BUF_FLAG_QUEUED) == 0, "a buffer that comes back is the guest's");
    const std::uint32_t used = multiplanar() ? event->planes[0].bytesused : event->head.bytesused;
    const std::uint32_t length = multiplanar() ? event->planes[0].length : event->head.length;
    require(used <= length, "no more is used than there is");
    (*buffer)->hands = Hands::guest;
  }
  void give_back() {
    const std::uint32_t which = index();
    queue_.give_back(which);
    auto* const buffer = find(which);
    if (buffer == nullptr || (*buffer)->hands != Hands::device) return;
    (*buffer)->hands = Hands::queued;
    order_.push_front(which);
  }
  void set_error() {
    queue_.set_error();
    failed_ = true;
  }

  // -- What holds at any time

  void add(std::uint32_t index) {
    require(index < options_.max_buffers && !model_[index], "a new buffer has an index that was free");
    Buffer buffer;
    buffer.mark = std::byte{++mark_};
    for (std::uint32_t p = 0; p < (multiplanar() ? 2U : 1U); ++p) {
      buffer.blocks[p] = queue_.plane(index, p);
      require(buffer.blocks[p] != nullptr, "a plane has memory");
      const auto bytes = buffer.blocks[p]->bytes();
      require(std::ranges::all_of(bytes, [](std::byte byte) { return byte == std::byte{}; }),
              "new memory is zero");
      bytes.front() = bytes.back() = buffer.mark;
    }
    model_[index] = std::move(buffer);
  }
  void compare() {
    require(queue_.count() == count(), "as many buffers exist as were made");
    require(queue_.queued_count() == order_.size(), "as many are queued as were");
    require(queue_.streaming() == streaming_ && queue_.started() == started_,
            "it streams when it was told to");
    require(arenas_.used_bytes() <= total, "memory has a limit");
    for (std::uint32_t i = 0; i < model_.size(); ++i) {
      const auto* const slot = queue_.slot(i);
      require((slot != nullptr) == model_[i].has_value(), "the same buffers exist");
      if (slot == nullptr) continue;
      const auto hands = static_cast<Hands>(static_cast<std::uint8_t>(slot->state));
      require(hands == model_[i]->hands, "each buffer is in the same hands");
      for (const auto& block : model_[i]->blocks) {
        if (block != nullptr)
          require(block->bytes().front() == model_[i]->mark && block->bytes().back() == model_[i]->mark,
                  "memory belongs to one buffer");
      }
    }
  }

  Input& input_;
  const BufferQueueOptions options_;
  memory::Arenas arenas_{{.arena_size = 64 * page_size, .total_bytes = total}};
  BufferQueue queue_;
  std::array<std::optional<Buffer>, BufferIndexFifo::capacity> model_;
  std::deque<std::uint32_t> order_;
  std::vector<memory::Mappable> held_;
  bool streaming_ = false, started_ = false, failed_ = false;
  std::uint8_t mark_ = 0;
  std::uint64_t serial_ = 0;
};

}  // namespace
}  // namespace vumedia::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace vumedia::fuzz;
  const Balance balance;
  Input input(data, size);
  Client(input).run();
  return 0;
}
