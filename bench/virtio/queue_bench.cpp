// A queue from both ends: what one chain costs from the available to the used ring, depending on its shape
// and on the number of memory regions, and what translating one address costs.
#include <array>
#include <cstdlib>
#include <memory>
#include <vector>

#include <benchmark/benchmark.h>

#include <vumedia/virtio/driver_queue.hpp>
#include <vumedia/virtio/queue.hpp>

#include "support/guest_ram.hpp"

namespace {

using namespace vumedia;
using virtio::Piece;
using vumedia::test::RamFile;

constexpr std::uint16_t queue_size = 256;

// RAM in `count` regions as a frontend lists it, with the rings in the first: QEMU has one or two for RAM and
// others for shared memory mappings, at most eight.
struct Ram {
  explicit Ram(std::int64_t count) {
    for (std::int64_t i = 0; i < count; ++i)
      files.push_back(std::make_unique<RamFile>(static_cast<std::uint64_t>(i) << 32, 1 << 20));
    std::vector<memory::RegionSpec> specs;
    for (const auto& file : files) specs.push_back(file->spec());
    auto made = memory::GuestMemory::create(std::move(specs));
    if (!made) std::abort();
    table = *made;
  }
  std::vector<std::unique_ptr<RamFile>> files;
  std::shared_ptr<const memory::GuestMemory> table;
};

// One chain at a time, as the virtio-media driver sends commands: it is offered, popped, its payload is read
// and answered, it is pushed, flushed and taken back.
void round_trip(benchmark::State& state, bool indirect, bool event_idx, bool spread) {
  Ram ram(state.range(1));
  virtio::DriverQueue driver(ram.files[0]->data(), {0}, queue_size, event_idx);
  virtio::Queue device;
  if (!device.set_size(queue_size)) std::abort();
  device.set_addresses(driver.descriptors(), driver.available(), driver.used());
  device.set_event_idx(event_idx);
  if (!device.start(*ram.table)) std::abort();

  std::vector<Piece> pieces;
  const auto count = state.range(0);
  for (std::int64_t i = 0; i < count; ++i) {
    const std::uint64_t region = spread ? static_cast<std::uint64_t>(i % state.range(1)) << 32 : 0;
    pieces.push_back({{region + 0x8'0000 + static_cast<std::uint64_t>(i) * 0x1000}, 208, i >= count / 2});
  }
  std::array<std::byte, 208> payload{};
  for (auto _ : state) {
    if (!driver.add(pieces, indirect)) std::abort();
    benchmark::DoNotOptimize(driver.publish());
    auto chain = device.pop(*ram.table);
    if (!chain || !chain->reader().read_bytes(payload) || !chain->writer().write_bytes(payload)) std::abort();
    if (!device.push(*ram.table, chain->head(), 208)) std::abort();
    benchmark::DoNotOptimize(device.flush(*ram.table));
    if (!driver.pop_used()) std::abort();
    if (event_idx) benchmark::DoNotOptimize(driver.enable_interrupts());
  }
}

// Only the device's half, in batches: pop, push, and one flush for each batch.
void batch(benchmark::State& state) {
  Ram ram(1);
  virtio::DriverQueue driver(ram.files[0]->data(), {0}, queue_size, true);
  virtio::Queue device;
  if (!device.set_size(queue_size)) std::abort();
  device.set_addresses(driver.descriptors(), driver.available(), driver.used());
  device.set_event_idx(true);
  if (!device.start(*ram.table)) std::abort();
  const std::array<Piece, 2> pieces{{{{0x8'0000}, 64, false}, {{0x9'0000}, 64, true}}};
  for (auto _ : state) {
    state.PauseTiming();
    for (int i = 0; i < queue_size / 2; ++i)
      if (!driver.add(pieces)) std::abort();
    benchmark::DoNotOptimize(driver.publish());
    state.ResumeTiming();
    while (auto chain = device.pop(*ram.table))
      if (!device.push(*ram.table, chain->head(), 64)) std::abort();
    benchmark::DoNotOptimize(device.flush(*ram.table));
    state.PauseTiming();
    while (true) {
      const auto used = driver.pop_used();
      if (!used) std::abort();
      if (!*used) break;
    }
    state.ResumeTiming();
  }
  state.SetItemsProcessed(state.iterations() * (queue_size / 2));
}

void translate(benchmark::State& state) {
  Ram ram(state.range(0));
  std::uint64_t at = 0;
  for (auto _ : state) {
    benchmark::DoNotOptimize(
        ram.table->contiguous({(at % static_cast<std::uint64_t>(state.range(0))) << 32}, 4096));
    ++at;
  }
}

BENCHMARK_CAPTURE(round_trip, direct, false, false, false)->ArgsProduct({{2, 4}, {1, 8}});
BENCHMARK_CAPTURE(round_trip, direct_event_idx, false, true, false)->ArgsProduct({{2, 4}, {1, 8}});
BENCHMARK_CAPTURE(round_trip, indirect_event_idx, true, true, false)->ArgsProduct({{2, 4}, {1, 8}});
BENCHMARK_CAPTURE(round_trip, spread_over_regions, false, true, true)->Args({4, 8});
BENCHMARK(batch);
BENCHMARK(translate)->Arg(1)->Arg(2)->Arg(8)->Arg(64)->Arg(509);

}  // namespace
