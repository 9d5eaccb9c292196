// The smallest virtio::Device: queue 0 answers each chain with the bytes that it brought, at once or when a
// test says so; queue 1 keeps its buffers until there is something to send, as an event queue does.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include <vumedia/virtio/concepts.hpp>

namespace vumedia::vhost_user::test {

// State that a test reads and changes.
struct EchoState {
  bool hold = false;  // keep chains of queue 0 in flight
  std::vector<std::uint16_t> held;
  std::vector<std::uint16_t> processed;  // indices, call by call
  std::vector<std::uint16_t> stopped;
  int resets = 0;
  int alive = 0;
  std::vector<int> shm_results;  // errnos, in the order in which they came
};

template <virtio::Host Host>
class EchoDevice {
 public:
  static constexpr std::uint32_t device_id = 48;
  static constexpr std::uint16_t queue_count = 2;
  static constexpr std::uint64_t feature_bit = 1;

  EchoDevice(Host& host, EchoState& state) : host_(host), state_(state) {
    for (std::size_t i = 0; i < config_.size(); ++i) config_[i] = static_cast<std::byte>(i);
    ++state_.alive;
  }
  EchoDevice(const EchoDevice&) = delete;
  EchoDevice& operator=(const EchoDevice&) = delete;
  ~EchoDevice() {
    for (auto& operation : operations_) host_.shm_abandon(*operation);
    --state_.alive;
  }

  [[nodiscard]] std::uint64_t features() const noexcept { return feature_bit; }
  [[nodiscard]] std::span<const std::byte> config() const noexcept { return config_; }
  [[nodiscard]] std::span<const std::uint64_t> shm_regions() const noexcept { return regions_; }

  void process(std::uint16_t index) noexcept {
    state_.processed.push_back(index);
    if (index != 0) return;
    auto& queue = host_.queue(0);
    while (true) {
      auto popped = queue.pop(*host_.memory());
      if (popped.failed()) return host_.queue_failed(0, Error{virtio::to_string(popped.error), EINVAL});
      if (!popped) {
        // Buffers that came before the driver knew that we want to be notified.
        if (queue.enable_notifications(*host_.memory())) continue;
        break;
      }
      if (state_.hold) {
        state_.held.push_back(popped->head());
        continue;
      }
      auto reader = popped->reader();
      auto writer = popped->writer();
      std::array<std::byte, 64> bytes;
      const auto part =
          std::span(bytes).first(std::min({reader.remaining(), writer.remaining(), bytes.size()}));
      static_cast<void>(reader.read_bytes(part));
      static_cast<void>(writer.write_bytes(part));
      static_cast<void>(
          queue.push(*host_.memory(), popped->head(), static_cast<std::uint32_t>(writer.written())));
    }
    host_.flush(0);
  }

  void stop(std::uint16_t index) noexcept { state_.stopped.push_back(index); }
  [[nodiscard]] std::uint32_t in_flight(std::uint16_t index) const noexcept {
    return index == 0 ? static_cast<std::uint32_t>(state_.held.size()) : 0;
  }
  void reset() noexcept {
    ++state_.resets;
    state_.held.clear();
  }

  // Returns the held chains, empty.
  void release() noexcept {
    for (const auto head : state_.held) static_cast<void>(host_.queue(0).push(*host_.memory(), head, 0));
    state_.held.clear();
    host_.flush(0);
  }
  // Fills a buffer of queue 1 with `value`. False if there is none.
  bool tell(std::byte value) noexcept {
    if (!host_.queue_running(1)) return false;
    auto popped = host_.queue(1).pop(*host_.memory());
    if (!popped) return false;
    auto writer = popped->writer();
    static_cast<void>(writer.write(value));
    static_cast<void>(host_.queue(1).push(*host_.memory(), popped->head(), 1));
    host_.flush(1);
    return true;
  }
  void map(const virtio::ShmMapping& mapping) { host_.shm_map(operation(), mapping); }
  void unmap(const virtio::ShmMapping& mapping) { host_.shm_unmap(operation(), mapping); }
  // Gives up all pending maps and unmaps.
  void abandon() {
    for (auto& operation : operations_) host_.shm_abandon(*operation);
  }

 private:
  struct Operation final : virtio::ShmOperation {
    explicit Operation(EchoState& shared)
        : ShmOperation([](ShmOperation& self, Result<> result) noexcept {
            static_cast<Operation&>(self).state.shm_results.push_back(result ? 0 : result.error().value);
          }),
          state(shared) {}
    EchoState& state;
  };
  virtio::ShmOperation& operation() {
    operations_.push_back(std::make_unique<Operation>(state_));
    return *operations_.back();
  }

  Host& host_;
  EchoState& state_;
  std::array<std::byte, 40> config_{};
  std::array<std::uint64_t, 1> regions_{std::uint64_t{1} << 26};
  std::vector<std::unique_ptr<Operation>> operations_;
};

}  // namespace vumedia::vhost_user::test
