// A split queue in guest memory that an input writes as it likes, beside a naive reader of the specification:
// both find the same chains or the same errors, in a bounded number of steps and pieces.
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include <vumedia/memory/guest_memory.hpp>
#include <vumedia/virtio/queue.hpp>

#include "fuzz/input.hpp"
#include "fuzz/naive_chain.hpp"
#include "support/guest_ram.hpp"

namespace vumedia::fuzz {
namespace {

using namespace virtio;

// Regions that touch, one that does not, and tables with and without some of them.
struct World {
  static constexpr std::uint64_t base = 0x1'0000;
  static constexpr std::uint64_t used_offset = 0x1800, available_offset = 0x1000, tables_offset = 0x3e00;

  vumedia::test::RamFile first{base, 0x4000}, second{0x1'4000, 0x1000}, third{0x1'5000, 0x1000},
      apart{0x1'8000, 0x1000};
  std::vector<std::shared_ptr<const memory::GuestMemory>> tables{
      vumedia::test::make_table({&first, &second, &third, &apart}),
      vumedia::test::make_table({&first, &second, &third, &apart}),
      vumedia::test::make_table({&first, &apart}), vumedia::test::make_table({&second, &third})};

  // In the input's own terms: an offset into all of them, one behind the other.
  [[nodiscard]] std::span<std::byte> at(std::uint32_t offset) const {
    for (const vumedia::test::RamFile* file : {&first, &second, &third, &apart}) {
      if (offset < file->size()) return {file->data() + offset, file->size() - offset};
      offset -= static_cast<std::uint32_t>(file->size());
    }
    return {};
  }
  static constexpr std::uint32_t bytes = 0x7000;
  void clear() const {
    for (const vumedia::test::RamFile* file : {&first, &second, &third, &apart})
      std::memset(file->data(), 0, file->size());
  }
};

class Driver {
 public:
  Driver(World& world, Input& input) : world_(world), input_(input) {
    world_.clear();
    size_ = 1U << input_.below(6);
    event_idx_ = input_.flag();
    indirect_ = input_.below(8) != 0;
    queue_.set_event_idx(event_idx_);
    queue_.set_indirect(indirect_);
    require(queue_.set_size(size_).has_value(), "a power of two is a size");
    const std::uint64_t odd = input_.below(32) == 0 ? input_.byte() : 0;
    queue_.set_addresses({World::base + (odd & 0xf0)}, {World::base + World::available_offset + (odd & 6)},
                         {World::base + World::used_offset + (odd & 12)});
    descriptors_ = odd & 0xf0;
    available_ = World::available_offset + (odd & 6);
    used_ = World::used_offset + (odd & 12);
    start();
  }

  void run() {
    for (int step = 0; step < 400 && !input_.empty(); ++step) {
      act(input_.below(16));
      require(queue_.in_flight() == static_cast<std::uint32_t>(std::ranges::count(taken_, true)),
              "what is in flight was popped and not pushed");
      require(queue_.in_flight() <= size_, "no more is in flight than the queue has");
    }
  }

 private:
  [[nodiscard]] const memory::GuestMemory& memory() const { return *world_.tables[table_]; }
  [[nodiscard]] NaiveReader reader() const {
    std::vector<NaiveReader::Region> regions;
    for (const vumedia::test::RamFile* file : {&world_.first, &world_.second, &world_.third, &world_.apart}) {
      // Where the table itself has mapped it.
      if (const std::byte* const data = memory().contiguous({file->guest()}, file->size()))
        regions.push_back({file->guest(), {data, file->size()}});
    }
    return NaiveReader(std::move(regions));
  }
  void start() {
    const bool there = memory().contiguous({World::base}, 0x4000) != nullptr;
    const auto started = queue_.start(memory());
    require(started.has_value() == there, "a queue starts where its rings are in memory");
    std::ranges::fill(taken_, false);
  }

  void act(std::uint32_t what) {
    switch (what) {
      case 0:
      case 1:
        return describe(World::base + descriptors_ + 16 * input_.below(size_));
      case 2:
        return describe(World::base + World::tables_offset + (input_.below(64) * 16) +
                        (input_.byte() >= 0xf0 ? 8 : 0));
      case 3:
      case 4:
      case 5:
        return offer();
      case 6:
      case 7:
      case 8:
        return pop();
      case 9:
        return push();
      case 10:
        return flush();
      case 11:
        if (input_.flag())
          queue_.disable_notifications(memory());
        else
          static_cast<void>(queue_.enable_notifications(memory()));
        return;
      case 12:
        return undo();
      case 13: {
        table_ = input_.below(static_cast<std::uint32_t>(world_.tables.size()));
        return;
      }
      case 14: {
        const auto to = world_.at(input_.below(World::bytes));
        const auto from = input_.bytes(1 + input_.below(16));
        std::memcpy(to.data(), from.data(), std::min(from.size(), to.size()));
        return;
      }
      default:
        restart();
    }
  }

  // -- The driver

  [[nodiscard]] std::span<std::byte> guest(std::uint64_t address) const {
    return world_.at(static_cast<std::uint32_t>(address - World::base));
  }
  void store(std::uint64_t offset, std::uint16_t value) const {
    std::memcpy(world_.first.data() + offset, &value, sizeof value);
  }
  [[nodiscard]] std::uint16_t load(std::uint64_t offset) const {
    std::uint16_t value;
    std::memcpy(&value, world_.first.data() + offset, sizeof value);
    return value;
  }
  void describe(std::uint64_t address) {
    Descriptor d;
    const std::uint8_t how = input_.byte();
    d.address =
        (how & 7) == 7 ? input_.take<std::uint64_t>() : 0x1'2f00 + input_.take<std::uint16_t>() % 0x6300;
    d.length = (how & 0x38) == 0x38 ? input_.take<std::uint32_t>() : input_.take<std::uint16_t>() % 0x1800;
    const std::uint8_t flags = input_.byte();
    d.flags = flags < 0xf0 ? flags & 3 : flags;
    d.next = static_cast<std::uint16_t>(input_.byte() % (size_ + 1));
    if ((how & 0xc0) == 0xc0) {
      d.flags = desc_f_indirect;
      d.address = World::base + World::tables_offset + 16 * input_.below(64);
      d.length = 16 * input_.below(80);
    }
    std::array<std::byte, 16> bytes;
    std::memcpy(bytes.data(), &d, sizeof d);
    // A table may lie across the border of two regions.
    for (std::uint64_t i = 0; i < bytes.size(); ++i) guest(address + i)[0] = bytes[i];
  }
  void offer() {
    const std::uint16_t index = load(available_ + ring::index);
    const std::uint8_t head = input_.byte();
    store(available_ + ring::elements + 2 * (index & (size_ - 1)),
          head < 0xf8 ? static_cast<std::uint16_t>(head & (size_ - 1)) : head);
    store(available_ + ring::index, static_cast<std::uint16_t>(index + 1));
  }

  // -- The device

  [[nodiscard]] bool bound() const {
    return queue_.started() && memory().contiguous({World::base}, 0x4000) != nullptr;
  }

  void pop() {
    const std::uint16_t base = queue_.base();
    const std::uint32_t in_flight = queue_.in_flight();
    const std::uint16_t index = load(available_ + ring::index);
    const std::uint16_t head = load(available_ + ring::elements + 2 * (base & (size_ - 1)));
    const PopResult popped = queue_.pop(memory());
    if (!popped) {
      require(queue_.base() == base && queue_.in_flight() == in_flight,
              "what fails leaves the queue as it was");
      if (!queue_.started()) return require(popped.empty(), "a queue that is stopped has nothing");
      if (!bound()) return require(popped.error == ChainError::ring_outside_memory, "rings are in memory");
      if (popped.empty()) return;
    }
    if (popped.error == ChainError::avail_index_jump)
      return require(static_cast<std::uint16_t>(index - base) > size_, "the index jumps");
    if (popped.error == ChainError::head_out_of_range)
      return require(head >= size_, "the head is out of range");
    if (popped.error == ChainError::head_in_flight) return require(taken_[head], "the head is in flight");
    require(head < size_ && !taken_[head], "a head comes once");
    const NaiveReader naive = reader();
    const NaiveChain expected = naive.chain(World::base + descriptors_, size_, head, indirect_);
    require(expected.steps <= 2 * std::size_t{size_} + 1, "a walk has bounded steps");
    if (popped.error == ChainError::too_many_segments)
      return require(expected.pieces > 64, "a chain is refused for pieces if it has many");
    require(popped.error == expected.error, "both find the same error");
    if (!popped) return;

    require(popped->head() == head, "a chain has its head");
    require(popped->segments().size() <= size_ + std::size_t{64}, "a chain has bounded pieces");
    std::vector<Range> readable, writable;
    naive.name(popped->readable(), readable);
    naive.name(popped->writable(), writable);
    require(readable == expected.readable && writable == expected.writable, "both find the same bytes");
    require(popped->readable_size() == size_of(readable) && popped->writable_size() == size_of(writable),
            "sizes are those of the bytes");
    taken_[head] = true;
    last_ = head;
    if (input_.below(4) == 0) use(*popped);
  }
  static std::uint64_t size_of(const std::vector<Range>& ranges) {
    std::uint64_t size = 0;
    for (const Range& range : ranges) size += range.length;
    return size;
  }
  // Buffers may lie on each other, and on the rings.
  void use(const Chain& chain) {
    Reader reader = chain.reader();
    std::array<std::byte, 100> some;
    const auto part = std::span(some).first(std::min(reader.remaining(), some.size()));
    require(reader.read_bytes(part).has_value(), "what is there can be read");
    require(reader.skip(reader.remaining()).has_value() && reader.remaining() == 0, "and skipped");
    require(!reader.read<std::uint8_t>().has_value(), "there is no more");
    Writer writer = chain.writer();
    const std::size_t room = std::min<std::size_t>(writer.remaining(), input_.below(200));
    require(writer.write_zeros(room).has_value() && writer.written() == room, "what has room can be written");
    require(!writer.write_zeros(writer.remaining() + 1).has_value(), "there is no more room");
  }
  void push() {
    const std::uint16_t head = input_.below(4) != 0 ? last_ : input_.byte();
    const bool was = queue_.started() && head < size_ && taken_[head];
    const auto pushed = queue_.push(memory(), head, 7);
    require(pushed.has_value() == (was && bound()), "what is in flight can be pushed, once");
    if (pushed) taken_[head] = false;
  }
  void flush() {
    const std::uint16_t before = load(used_ + ring::index);
    static_cast<void>(queue_.flush(memory()));
    if (!bound()) require(load(used_ + ring::index) == before, "without its memory a ring is not written");
  }
  void undo() {
    const std::uint16_t base = queue_.base();
    if (!queue_.undo_pop()) return require(queue_.base() == base, "nothing is undone");
    require(taken_[last_] && queue_.base() == static_cast<std::uint16_t>(base - 1), "the last pop is undone");
    taken_[last_] = false;
  }
  void restart() {
    switch (input_.below(3)) {
      case 0:
        queue_.reset_in_flight();
        break;
      case 1:
        queue_.stop();
        break;
      default:
        queue_.stop();
        queue_.set_base(input_.take<std::uint16_t>());
        return start();
    }
    std::ranges::fill(taken_, false);
  }

  World& world_;
  Input& input_;
  Queue queue_;
  std::uint32_t size_ = 0, table_ = 0;
  std::uint64_t descriptors_ = 0, available_ = 0, used_ = 0;
  bool event_idx_ = false, indirect_ = true;
  std::array<bool, 256> taken_{};
  std::uint16_t last_ = 0;
};

}  // namespace
}  // namespace vumedia::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace vumedia::fuzz;
  static World world;
  Input input(data, size);
  Driver(world, input).run();
  return 0;
}
