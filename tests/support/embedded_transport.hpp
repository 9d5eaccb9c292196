// A client::Transport whose device lives in the same process and on the same thread: With it a BasicGuest is
// like the guest of a device built into a VMM. Kicks call the device, and waiting runs the loop, so nothing
// happens without the guest's involvement.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include <vumedia/client/guest.hpp>
#include <vumedia/client/transport.hpp>
#include <vumedia/io/uring_reactor.hpp>
#include <vumedia/media/device.hpp>
#include <vumedia/virtio/ring_layout.hpp>

#include "support/device_options.hpp"
#include "support/embedded_host.hpp"

namespace vumedia::test {

class EmbeddedTransport {
 public:
  using Host = EmbeddedHost<io::UringReactor>;
  using SharedMemory = std::span<std::byte>;

  // A device with backend B, constructed from `arguments`. One type for all of them, so that a guest is
  // compiled once.
  template <class B, class... Arguments>
  [[nodiscard]] static EmbeddedTransport over(const media::DeviceOptions& options, Arguments&&... arguments) {
    using Device = media::Device<B, Host>;
    EmbeddedTransport transport;
    State& state = *transport.state_;
    Device* const device = new Device(state.host, patient(options), std::forward<Arguments>(arguments)...);
    state.device = {device, [](void* object) { delete static_cast<Device*>(object); }};
    state.config = device->config();
    state.shm_size = device->shm_regions()[0];
    state.process = [](void* object, std::uint16_t queue) { static_cast<Device*>(object)->process(queue); };
    state.reset = [](void* object) {
      auto& target = *static_cast<Device*>(object);
      for (std::uint16_t queue = 0; queue < Host::queue_count; ++queue) target.stop(queue);
      target.reset();
    };
    state.sessions = [](void* object) { return static_cast<Device*>(object)->session_count(); };
    return transport;
  }
  template <class B>
  [[nodiscard]] static EmbeddedTransport over() {
    return over<B>(media::DeviceOptions{});
  }

  // -- client::Transport

  [[nodiscard]] Outcome<> negotiate(std::span<std::byte> config) {
    if (config.size() != state_->config.size()) return failure("the configuration has another size");
    std::memcpy(config.data(), state_->config.data(), config.size());
    return {};
  }
  [[nodiscard]] bool event_idx() const noexcept { return state_->host.options.event_idx; }
  [[nodiscard]] std::uint64_t shm_size() const noexcept { return state_->shm_size; }
  [[nodiscard]] Outcome<std::span<std::byte>> create_memory(std::size_t size) {
    const auto at = state_->host.allocate(size + page_size).value;
    state_->base = {(at + page_size - 1) & ~(page_size - 1)};
    return std::span(state_->host.bytes(state_->base), size);
  }
  [[nodiscard]] memory::GuestAddress guest_base() const noexcept { return state_->base; }
  [[nodiscard]] Outcome<> start(std::span<const virtio::DriverQueue> queues) {
    for (std::uint16_t index = 0; index < queues.size(); ++index) {
      const virtio::DriverQueue& driver = queues[index];
      virtio::Queue& queue = state_->host.queue(index);
      queue.stop();
      if (!queue.set_size(driver.size())) return failure("queue %u has no size that can be", index);
      queue.set_addresses(driver.descriptors(), driver.available(), driver.used());
      queue.set_event_idx(event_idx());
      queue.set_base(0);
      if (!queue.start(*state_->host.memory())) return failure("queue %u cannot start", index);
    }
    descriptors_ = queues[media::wire::commandq].descriptors();
    available_ = queues[media::wire::commandq].available();
    queue_size_ = queues[media::wire::commandq].size();
    state_->host.resume();
    for (std::uint16_t index = 0; index < queues.size(); ++index) kick(index);
    return {};
  }
  void kick(std::uint16_t queue) noexcept {
    if (queue == media::wire::commandq && (tamper.before || tamper.after)) return kick_tampered();
    state_->process(state_->device.get(), queue);
  }
  [[nodiscard]] Outcome<> poll() {
    state_->reactor->run_once(false);
    return {};
  }
  [[nodiscard]] Outcome<> wait(io::TimePoint until) {
    Waker waker;
    state_->reactor->timer(waker, until);
    state_->reactor->run_once(true);
    state_->reactor->cancel(waker);
    return {};
  }
  [[nodiscard]] SharedMemory shared_memory(memory::ShmOffset offset, std::uint64_t length) const noexcept {
    std::byte* const data = state_->host.frontend.at(offset.value, length);
    return data != nullptr ? std::span(data, length) : SharedMemory();
  }
  [[nodiscard]] Outcome<> reset() {
    state_->reset(state_->device.get());
    // Does what a VMM does when its guest resets the device.
    state_->host.frontend.ranges.clear();
    return {};
  }

  // -- For tests

  // Hooks between guest and device, which make the device do what no backend can make it do. `before` may
  // alter a command, `after` its answer and the reported length, if the device answers at once.
  struct Tamper {
    std::function<void(Host& host, std::span<std::byte> command)> before;
    std::function<void(Host& host, std::span<const std::byte> sent, std::span<std::byte> answer)> after;
  };
  Tamper tamper;

  [[nodiscard]] Host& host() noexcept { return state_->host; }
  [[nodiscard]] std::uint32_t session_count() const { return state_->sessions(state_->device.get()); }
  template <class B>
  [[nodiscard]] media::Device<B, Host>& device() noexcept {
    return *static_cast<media::Device<B, Host>*>(state_->device.get());
  }

 private:
  struct Waker final : io::Operation {
    Waker() : Operation([](io::Operation&, std::int32_t) noexcept {}) {}
  };
  struct State {
    State() : reactor(make_reactor()), host(*reactor, options()) {}

    static EmbeddedOptions options() {
      EmbeddedOptions options;
      options.memory_size = std::uint64_t{96} << 20;  // a guest's, with room for its own buffers
      return options;
    }
    static std::unique_ptr<io::UringReactor> make_reactor() {
      auto made = io::UringReactor::create();
      if (!made) std::abort();
      return std::move(*made);
    }

    std::unique_ptr<io::UringReactor> reactor;
    Host host;
    std::unique_ptr<void, void (*)(void*)> device{nullptr, nullptr};
    std::span<const std::byte> config;
    std::uint64_t shm_size = 0;
    memory::GuestAddress base{};
    void (*process)(void*, std::uint16_t) = nullptr;
    void (*reset)(void*) = nullptr;
    std::uint32_t (*sessions)(void*) = nullptr;
  };

  EmbeddedTransport() : state_(std::make_unique<State>()) {}

  // A guest puts one command on its queue at a time, in one readable piece and one for the answer.
  void kick_tampered() {
    Host& host = state_->host;
    const auto load = [&host](std::uint64_t address, auto& value) {
      std::memcpy(&value, host.bytes({address}), sizeof value);
    };
    std::uint16_t available = 0, head = 0;
    load(available_.value + virtio::ring::index, available);
    const std::uint32_t slot = static_cast<std::uint16_t>(available - 1) % queue_size_;
    load(available_.value + virtio::ring::elements + std::size_t{2} * slot, head);
    std::span<std::byte> command, answer;
    for (std::uint16_t next = head;;) {
      virtio::Descriptor descriptor;
      load(descriptors_.value + std::size_t{16} * next, descriptor);
      const std::span<std::byte> piece(host.bytes({descriptor.address}), descriptor.length);
      ((descriptor.flags & virtio::desc_f_write) != 0 ? answer : command) = piece;
      if ((descriptor.flags & virtio::desc_f_next) == 0) break;
      next = descriptor.next;
    }
    const std::vector<std::byte> sent(command.begin(), command.end());
    if (tamper.before) tamper.before(host, command);
    state_->process(state_->device.get(), media::wire::commandq);
    if (tamper.after) tamper.after(host, sent, answer);
  }

  std::unique_ptr<State> state_;
  // For the command queue.
  memory::GuestAddress descriptors_{}, available_{};
  std::uint32_t queue_size_ = 1;
};
static_assert(client::Transport<EmbeddedTransport>);

using EmbeddedGuest = client::BasicGuest<EmbeddedTransport>;

}  // namespace vumedia::test
