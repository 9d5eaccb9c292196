// What the parts of a device stand on, for tests of them without the device: a host with real queues, and
// their driver.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include <vumedia/io/uring_reactor.hpp>
#include <vumedia/media/answers.hpp>
#include <vumedia/media/count.hpp>
#include <vumedia/media/interrupts.hpp>
#include <vumedia/media/statistics.hpp>
#include <vumedia/media/trace.hpp>
#include <vumedia/media/turns.hpp>
#include <vumedia/media/wire.hpp>
#include <vumedia/virtio/chain.hpp>
#include <vumedia/virtio/driver_queue.hpp>

#include "support/embedded_host.hpp"
#include "support/patience.hpp"

namespace vumedia::media::test {

// Of a backend, what is counted.
struct Counts {
  Statistics& statistics() { return counted; }
  Statistics counted;
};

struct Parts {
  using Host = vumedia::test::EmbeddedHost<io::UringReactor>;

  explicit Parts(vumedia::test::EmbeddedOptions options = {},
                 std::chrono::milliseconds timeout = vumedia::test::patience)
      : host(*reactor, options), answers(host, interrupts, Count<Counts>(counts), timeout) {}

  // Puts a chain on the command queue, with `readable` and `room` bytes, and takes it from there as a device
  // does. It is valid until the next one.
  virtio::Chain& pop(std::span<const std::byte> readable, std::uint32_t room) {
    std::vector<virtio::Piece> pieces;
    if (!readable.empty()) {
      const auto at = host.allocate(readable.size());
      std::memcpy(host.bytes(at), readable.data(), readable.size());
      pieces.push_back({at, static_cast<std::uint32_t>(readable.size()), false});
    }
    const auto answer = room != 0 ? host.allocate(room) : memory::GuestAddress{};
    if (room != 0) pieces.push_back({answer, room, true});
    const auto head = host.driver_queue(wire::commandq).add(pieces);
    if (!head) std::abort();
    static_cast<void>(host.driver_queue(wire::commandq).publish());
    writable_[*head] = answer;
    const auto popped = host.queue(wire::commandq).pop(*host.memory());
    if (!popped) std::abort();
    return *popped;
  }
  virtio::Chain& pop(std::uint32_t room = 8) {
    constexpr std::byte readable[16]{};
    return pop(readable, room);
  }

  struct Given {
    std::uint16_t head = 0;
    std::uint32_t length = 0;
    std::uint32_t status = 0;  // the first number in it
    std::byte* bytes = nullptr;
  };
  // The next answer that the driver has got.
  std::optional<Given> take() {
    const auto used = host.driver_queue(wire::commandq).pop_used();
    EXPECT_TRUE(used.has_value());
    if (!used || !*used) return std::nullopt;
    Given given{(*used)->head, (*used)->length, 0, nullptr};
    if (given.length >= sizeof given.status) {
      given.bytes = host.bytes(writable_[given.head]);
      std::memcpy(&given.status, given.bytes, sizeof given.status);
    }
    return given;
  }
  // Its status; -1 if there is none.
  int status() {
    const auto given = take();
    return given ? static_cast<int>(given->status) : -1;
  }

  // Runs the loop until `done()`, or until patience ends.
  bool run_until(const std::function<bool()>& done) {
    struct Waker final : io::Operation {
      Waker() : Operation([](io::Operation&, std::int32_t) noexcept {}) {}
    } waker;
    const auto deadline = io::Clock::now() + vumedia::test::patience;
    bool finished = done();
    while (!finished && io::Clock::now() < deadline) {
      if (!waker.pending()) reactor->timer(waker, io::Clock::now() + std::chrono::milliseconds(1));
      reactor->run_once(true);
      finished = done();
    }
    reactor->cancel(waker);
    return finished;
  }

  std::unique_ptr<io::UringReactor> reactor = [] {
    auto made = io::UringReactor::create();
    if (!made) std::abort();
    return std::move(*made);
  }();
  Host host;
  Counts counts;
  const Trace trace{host.log(), nullptr};
  std::function<void()> resumed = [] {};
  Turns<Host> turns{host, [](void* self) noexcept { static_cast<Parts*>(self)->resumed(); }, this};
  Interrupts<Host> interrupts{host};
  Answers<Host, Counts> answers;

 private:
  std::map<std::uint16_t, memory::GuestAddress> writable_;
};

}  // namespace vumedia::media::test
