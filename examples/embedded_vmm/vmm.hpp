// The part of a virtual machine monitor that a media device needs: a virtio::Host on the VMM's own memory,
// queues and event loop. Here the loop is poll(2); there is no socket and no thread, and nothing in the
// library runs by itself.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <utility>
#include <vector>

#include <poll.h>
#include <sys/mman.h>

#include <vumedia/core/mapping.hpp>
#include <vumedia/io/operation.hpp>
#include <vumedia/memory/guest_memory.hpp>
#include <vumedia/virtio/concepts.hpp>

class Vmm {
 public:
  static constexpr std::uint64_t ram_base = 0x4000'0000, ram_size = 1 << 20;

  Vmm() = default;
  // False, with a line on stderr, if the host lacks something.
  bool start() {
    auto file = vumedia::make_sealed_memfd("guest-ram", ram_size);
    if (!file) return complain("guest memory", file.error().value);
    auto view = vumedia::Mapping::map(file->get(), 0, ram_size);
    if (!view) return complain("guest memory", view.error().value);
    ram_ = std::move(*view);
    std::vector<vumedia::memory::RegionSpec> regions;
    regions.push_back({{ram_base}, {0}, ram_size, 0, std::move(*file)});
    auto table = vumedia::memory::GuestMemory::create(std::move(regions));
    if (!table) return complain(table.error().message.c_str(), table.error().code);
    memory_ = std::move(*table);
    auto inbox = vumedia::io::Inbox::create();
    if (!inbox) return complain("event fd", inbox.error().value);
    inbox_ = std::move(*inbox);
    return true;
  }

  // Reserves the addresses of the device's shared memory region, as a VMM reserves a BAR for it.
  bool make_window(std::uint64_t size) {
    void* const window = ::mmap(nullptr, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (window == MAP_FAILED) return complain("shared memory window", errno);
    window_ = static_cast<std::byte*>(window);
    window_size_ = size;
    return true;
  }
  ~Vmm() {
    if (inbox_) inbox_->close();
    if (window_ != nullptr) ::munmap(window_, window_size_);
  }
  Vmm(const Vmm&) = delete;
  Vmm& operator=(const Vmm&) = delete;

  std::byte* ram(vumedia::memory::GuestAddress address) { return ram_.data() + (address.value - ram_base); }
  std::byte* window(std::uint64_t offset) { return window_ + offset; }

  // -- virtio::Host

  const std::shared_ptr<const vumedia::memory::GuestMemory>& memory() const { return memory_; }
  vumedia::virtio::Queue& queue(std::uint16_t index) { return queues_[index]; }
  bool queue_running(std::uint16_t index) const { return queues_[index].started(); }
  // A VMM with a guest would inject an interrupt here; this one's guest looks at the used ring after each
  // turn.
  void flush(std::uint16_t index) { static_cast<void>(queues_[index].flush(*memory_)); }
  void queue_failed(std::uint16_t index, const vumedia::Error& error) {
    std::fprintf(stderr, "queue %u: %s\n", unsigned{index}, error.message.c_str());
    queues_[index].stop();
  }
  bool has_shm() const { return window_ != nullptr; }
  // The file appears in the window at once, so the operation completes within the call.
  void shm_map(vumedia::virtio::ShmOperation& operation, const vumedia::virtio::ShmMapping& mapping) {
    operation.complete(
        put(mapping, mapping.fd, mapping.writable ? PROT_READ | PROT_WRITE : PROT_READ, MAP_SHARED));
  }
  void shm_unmap(vumedia::virtio::ShmOperation& operation, const vumedia::virtio::ShmMapping& mapping) {
    operation.complete(put(mapping, -1, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE));
  }
  void shm_abandon(vumedia::virtio::ShmOperation&) {}
  const vumedia::Log& log() const { return log_; }

  // -- io::Loop, for the device's timers and descriptors

  void poll(vumedia::io::Operation& operation, int fd, unsigned events) {
    add({&operation, {fd, static_cast<short>(events), 0}, {}, false});
  }
  void timer(vumedia::io::Operation& operation, vumedia::io::TimePoint deadline) {
    add({&operation, {-1, 0, 0}, deadline, true});
  }
  void cancel(vumedia::io::Operation& operation) {
    std::erase_if(waiting_, [&](const Waiting& waiting) { return waiting.operation == &operation; });
    vumedia::io::OperationAccess::state(operation) = vumedia::io::OperationAccess::State::idle;
  }
  std::shared_ptr<vumedia::io::Inbox> inbox() { return inbox_; }

  // One turn of the loop: waits for the next event and handles it.
  void turn() {
    int timeout = -1;
    const auto now = vumedia::io::Clock::now();
    std::vector<pollfd> fds{{inbox_->fd(), POLLIN, 0}};
    for (const Waiting& waiting : waiting_) {
      fds.push_back(waiting.fd);
      if (!waiting.is_timer) continue;
      const auto left = std::chrono::ceil<std::chrono::milliseconds>(waiting.deadline - now).count();
      const int bounded = static_cast<int>(std::clamp<std::int64_t>(left, 0, 60'000));
      timeout = timeout < 0 ? bounded : std::min(timeout, bounded);
    }
    if (::poll(fds.data(), fds.size(), timeout) < 0) return;
    if (fds[0].revents != 0) inbox_->run();
    for (std::size_t i = 1; i < fds.size(); ++i) {
      if (fds[i].revents == 0) continue;
      complete([&](const Waiting& waiting) { return !waiting.is_timer && waiting.fd.fd == fds[i].fd; },
               fds[i].revents);
    }
    const auto after = vumedia::io::Clock::now();
    while (
        complete([&](const Waiting& waiting) { return waiting.is_timer && waiting.deadline <= after; }, 0)) {
    }
  }

 private:
  struct Waiting {
    vumedia::io::Operation* operation;
    pollfd fd;
    vumedia::io::TimePoint deadline;
    bool is_timer;
  };

  static bool complain(const char* what, int error) {
    std::fprintf(stderr, "%s: error %d\n", what, error);
    return false;
  }
  void add(const Waiting& waiting) {
    vumedia::io::OperationAccess::state(*waiting.operation) = vumedia::io::OperationAccess::State::submitted;
    waiting_.push_back(waiting);
  }
  // Runs the handler of the first operation for which `happened` holds; it may start and cancel others.
  template <class Happened>
  bool complete(Happened happened, int result) {
    const auto found = std::ranges::find_if(waiting_, happened);
    if (found == waiting_.end()) return false;
    vumedia::io::Operation& operation = *found->operation;
    waiting_.erase(found);
    vumedia::io::OperationAccess::state(operation) = vumedia::io::OperationAccess::State::idle;
    vumedia::io::OperationAccess::invoke(operation, result);
    return true;
  }
  vumedia::Result<> put(const vumedia::virtio::ShmMapping& mapping, int fd, int protection, int flags) {
    if (!vumedia::range_fits(mapping.offset.value, mapping.length, window_size_))
      return vumedia::fail(EINVAL);
    void* const at = window_ + mapping.offset.value;
    if (::mmap(at, mapping.length, protection, flags | MAP_FIXED, fd,
               static_cast<off_t>(mapping.fd_offset)) == MAP_FAILED)
      return vumedia::fail(errno);
    return {};
  }

  vumedia::Mapping ram_;
  std::shared_ptr<const vumedia::memory::GuestMemory> memory_;
  std::array<vumedia::virtio::Queue, 2> queues_;
  std::shared_ptr<vumedia::io::Inbox> inbox_;
  std::vector<Waiting> waiting_;
  std::byte* window_ = nullptr;
  std::uint64_t window_size_ = 0;
  vumedia::Log log_;
};
