// A virtio::Host in one process with its guest: for tests, benchmarks and fuzzers of devices.
//
// Guest memory is a real memfd, the rings are real, and DriverQueue is the driver. Kicks are either calls of
// process(), or real event fds that a reactor reads. Frontend plays the frontend's part of shared memory, and
// is as strict as the strictest VMM.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <sys/stat.h>

#include <vumedia/core/fd.hpp>
#include <vumedia/core/log.hpp>
#include <vumedia/core/mapping.hpp>
#include <vumedia/core/result.hpp>
#include <vumedia/io/reactor.hpp>
#include <vumedia/memory/guest_memory.hpp>
#include <vumedia/virtio/concepts.hpp>
#include <vumedia/virtio/driver_queue.hpp>
#include <vumedia/virtio/queue.hpp>

#include "support/guest_ram.hpp"

namespace vumedia::test {

// What a frontend has mapped in shared memory region 0. Ranges must be whole pages; they must be free to be
// mapped, and must exactly match a map to be unmapped. Mapped files are readable here as they are in the
// guest.
class Frontend {
 public:
  struct Request {
    bool map = false;
    std::uint64_t offset = 0;
    std::uint64_t length = 0;
    friend bool operator==(const Request&, const Request&) = default;
  };

  Result<> map(const virtio::ShmMapping& mapping) {
    requests.push_back({true, mapping.offset.value, mapping.length});
    if (!is_aligned(mapping.offset.value | mapping.length | mapping.fd_offset, page_size) ||
        mapping.length == 0)
      return fail(EINVAL);
    // The size of a device's buffers cannot be determined; they are either mapped or not.
    struct stat status{};
    if (::fstat(mapping.fd, &status) != 0) return fail(errno);
    if (S_ISREG(status.st_mode) &&
        !range_fits(mapping.fd_offset, mapping.length, static_cast<std::uint64_t>(status.st_size)))
      return fail(EINVAL);
    for (const auto& [offset, range] : ranges) {
      if (mapping.offset.value < offset + range.size() && offset < mapping.offset.value + mapping.length)
        return fail(EEXIST);
    }
    auto range = Mapping::map(mapping.fd, mapping.fd_offset, mapping.length,
                              mapping.writable ? PROT_READ | PROT_WRITE : PROT_READ);
    if (!range) return std::unexpected(range.error());
    ranges.emplace(mapping.offset.value, std::move(*range));
    return {};
  }
  Result<> unmap(const virtio::ShmMapping& mapping) {
    requests.push_back({false, mapping.offset.value, mapping.length});
    const auto range = ranges.find(mapping.offset.value);
    if (range == ranges.end() || range->second.size() != mapping.length) return fail(ENOENT);
    ranges.erase(range);
    return {};
  }

  // What the guest sees at `address`, if `length` bytes are mapped there.
  std::byte* at(std::uint64_t address, std::uint64_t length) {
    auto range = ranges.upper_bound(address);
    if (range == ranges.begin()) return nullptr;
    --range;
    if (!range_fits(address - range->first, length, range->second.size())) return nullptr;
    return range->second.data() + (address - range->first);
  }

  std::map<std::uint64_t, Mapping> ranges;
  std::vector<Request> requests;
};

struct EmbeddedOptions {
  std::uint16_t queue_size = 64;
  std::uint64_t memory_size = std::uint64_t{4} << 20;
  bool event_idx = true;
  bool shm = true;
  bool hold_shm_answers = false;  // until answer_shm()
  bool event_fds = false;         // kicks and calls are event fds; else process() and counters
  Log log = {};
};

template <io::Reactor R>
class EmbeddedHost {
 public:
  static constexpr std::uint64_t guest_base = 0x1000'0000;
  static constexpr std::uint16_t queue_count = 2;

  explicit EmbeddedHost(R& reactor, EmbeddedOptions settings = {})
      : options(settings),
        reactor_(reactor),
        ram_(must(make_sealed_memfd("guest", options.memory_size))),
        view_(must(Mapping::map(ram_.get(), 0, options.memory_size))),
        memory_(make_memory()),
        drivers_{driver(0), driver(1)} {
    free_ = ring_bytes() * queue_count;
    for (std::uint16_t index = 0; index < queue_count; ++index) {
      Side& side = sides_[index];
      if (options.event_fds) {
        side.kick = must(make_event_fd());
        side.call = must(make_event_fd());
        side.notifier.emplace(must(reactor_.make_notifier(must(side.call.duplicate()))));
      }
      start(index, 0);
    }
  }
  EmbeddedHost(const EmbeddedHost&) = delete;
  EmbeddedHost& operator=(const EmbeddedHost&) = delete;
  ~EmbeddedHost() { detach(); }

  // -- virtio::Host

  const std::shared_ptr<const memory::GuestMemory>& memory() const { return memory_; }
  virtio::Queue& queue(std::uint16_t index) { return sides_[index].queue; }
  bool queue_running(std::uint16_t index) const { return sides_[index].running; }
  void flush(std::uint16_t index) {
    Side& side = sides_[index];
    if (!side.queue.flush(*memory_)) return;
    ++side.calls;
    if (side.notifier) side.notifier->signal();
  }
  void queue_failed(std::uint16_t index, Error error) {
    sides_[index].running = false;
    errors.push_back(std::move(error.message));
  }
  bool has_shm() const { return options.shm; }
  void shm_map(virtio::ShmOperation& operation, const virtio::ShmMapping& mapping) {
    if (refuse_shm != 0) return operation.complete(fail(refuse_shm));
    started(operation, frontend.map(mapping));
  }
  void shm_unmap(virtio::ShmOperation& operation, const virtio::ShmMapping& mapping) {
    if (refuse_shm != 0) return operation.complete(fail(refuse_shm));
    started(operation, frontend.unmap(mapping));
  }
  void shm_abandon(virtio::ShmOperation& operation) {
    std::erase_if(held, [&](const auto& answer) { return answer.first == &operation; });
  }
  const Log& log() const { return options.log; }
  void poll(io::Operation& operation, int fd, unsigned events) { reactor_.poll(operation, fd, events); }
  void timer(io::Operation& operation, io::TimePoint deadline) { reactor_.timer(operation, deadline); }
  void cancel(io::Operation& operation) { reactor_.cancel(operation); }
  std::shared_ptr<io::Inbox> inbox() { return reactor_.inbox(); }

  // -- The transport's side

  // With event fds, kicks reach `device` from now on, while the reactor runs.
  template <class D>
  void attach(D& device) {
    for (std::uint16_t index = 0; index < queue_count; ++index) {
      Side& side = sides_[index];
      side.device = &device;
      side.index = index;
      side.process = [](void* target, std::uint16_t i) { static_cast<D*>(target)->process(i); };
      if (options.event_fds) arm(side);
    }
  }
  void detach() {
    for (Side& side : sides_) reactor_.cancel(side);
  }

  void start(std::uint16_t index, std::uint16_t base) {
    virtio::Queue& queue = sides_[index].queue;
    const virtio::DriverQueue& driver = drivers_[index];
    must(queue.set_size(driver.size()));
    queue.set_addresses(driver.descriptors(), driver.available(), driver.used());
    queue.set_event_idx(options.event_idx);
    queue.set_base(base);
    must(queue.start(*memory_));
    sides_[index].running = true;
  }

  // Stops the queues as GET_VRING_BASE does. False if chains stay in flight (but the device is told anyway).
  template <class D>
  bool stop(D& device) {
    for (std::uint16_t index = 0; index < queue_count; ++index) device.stop(index);
    bool idle = true;
    for (std::uint16_t index = 0; index < queue_count; ++index) {
      idle = idle && device.in_flight(index) == 0;
      sides_[index].running = false;
    }
    return idle;
  }
  void resume() {
    for (Side& side : sides_) side.running = true;
  }
  // The driver resets the device and starts again with empty rings.
  template <class D>
  void reset(D& device) {
    static_cast<void>(stop(device));
    device.reset();
    for (std::uint16_t index = 0; index < queue_count; ++index) {
      sides_[index].queue.stop();
      drivers_[index].reset();
      start(index, 0);
    }
  }

  // Another table with the same memory, at other addresses here, and `more_memory`.
  void replace_memory() { memory_ = make_memory(); }

  // Gives the oldest held answer to the device.
  void answer_shm() {
    const auto [operation, result] = held.front();
    held.erase(held.begin());
    operation->complete(result);
  }

  // -- The driver's side

  virtio::DriverQueue& driver_queue(std::uint16_t index) { return drivers_[index]; }
  int kick_fd(std::uint16_t index) const { return sides_[index].kick.get(); }
  int call_fd(std::uint16_t index) const { return sides_[index].call.get(); }
  std::uint64_t calls(std::uint16_t index) const { return sides_[index].calls; }

  // A piece of guest memory that nobody else uses, zeroed.
  memory::GuestAddress allocate(std::uint64_t size) {
    const std::uint64_t at = free_;
    free_ += (size + 63) & ~std::uint64_t{63};
    if (free_ > options.memory_size) std::abort();
    return {guest_base + at};
  }
  std::byte* bytes(memory::GuestAddress address) { return view_.data() + (address.value - guest_base); }

  EmbeddedOptions options;
  Frontend frontend;
  std::vector<std::pair<virtio::ShmOperation*, Result<>>> held;
  int refuse_shm = 0;  // maps and unmaps do not reach the frontend, for this reason
  std::vector<std::string> errors;
  // In addition to its own memory, from the next replace_memory() on. Borrowed.
  std::vector<const RamFile*> more_memory;

 private:
  struct Side final : io::Operation {
    Side() : Operation(on_kick) {}
    static void on_kick(io::Operation& operation, std::int32_t) noexcept {
      auto& side = static_cast<Side&>(operation);
      side.host->arm(side);
      side.process(side.device, side.index);
    }

    EmbeddedHost* host = nullptr;
    virtio::Queue queue;
    OwnedFd kick;
    OwnedFd call;
    std::optional<typename R::Notifier> notifier;
    std::uint64_t kick_count = 0;
    std::uint64_t calls = 0;
    void* device = nullptr;
    void (*process)(void* device, std::uint16_t index) = nullptr;
    std::uint16_t index = 0;
    bool running = false;
  };

  template <class T>
  static T must(Result<T> result) {
    if (!result) std::abort();
    if constexpr (!std::is_void_v<T>) return std::move(*result);
  }
  std::uint64_t ring_bytes() const {
    return (virtio::DriverQueue::bytes(options.queue_size) + page_size - 1) & ~(page_size - 1);
  }
  virtio::DriverQueue driver(std::uint16_t index) {
    const std::uint64_t offset = ring_bytes() * index;
    return {view_.data() + offset, {guest_base + offset}, options.queue_size, options.event_idx};
  }
  std::shared_ptr<const memory::GuestMemory> make_memory() {
    std::vector<memory::RegionSpec> regions;
    regions.push_back({{guest_base}, {0x7000'0000'0000}, options.memory_size, 0, must(ram_.duplicate())});
    for (const RamFile* file : more_memory) regions.push_back(file->spec());
    auto table = memory::GuestMemory::create(std::move(regions));
    if (!table) std::abort();
    return *table;
  }
  void arm(Side& side) {
    side.host = this;
    reactor_.read(side, side.kick.get(), std::as_writable_bytes(std::span(&side.kick_count, 1)));
  }
  void started(virtio::ShmOperation& operation, Result<> result) {
    if (options.hold_shm_answers) {
      held.emplace_back(&operation, result);
    } else {
      operation.complete(result);
    }
  }

  R& reactor_;
  OwnedFd ram_;
  Mapping view_;
  std::shared_ptr<const memory::GuestMemory> memory_;
  std::array<virtio::DriverQueue, queue_count> drivers_;
  std::array<Side, queue_count> sides_;
  std::uint64_t free_ = 0;
};

// One of several hosts that a loop serves, like a vhost-user session: devices share the loop's turns.
template <io::Reactor Reactor>
class SharedLoopHost : public EmbeddedHost<Reactor> {
 public:
  SharedLoopHost(Reactor& reactor, EmbeddedOptions settings)
      : EmbeddedHost<Reactor>(reactor, settings), loop_(reactor) {}
  io::Turn& turn() noexcept { return loop_.turn(); }

 private:
  Reactor& loop_;
};

}  // namespace vumedia::test
