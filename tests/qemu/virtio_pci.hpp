// The driver's half of virtio over PCI (VIRTIO 1.4, 4.1) for a QEMU machine: a client::Transport.
//
// Rings and buffers are in the machine's memory, which is mapped here; registers and shared memory are
// reached through qtest. wait() waits for the interrupt, INTx or MSI-X, so a device that raises none is
// noticed.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <vumedia/core/checked.hpp>
#include <vumedia/core/result.hpp>
#include <vumedia/io/reactor.hpp>
#include <vumedia/media/wire.hpp>
#include <vumedia/memory/address.hpp>
#include <vumedia/vhost_user/wire.hpp>
#include <vumedia/virtio/driver_queue.hpp>

#include "qemu/machine.hpp"
#include "qemu/pci.hpp"

namespace vumedia::qemu_test {

enum class Interrupt { intx, msix };

// A piece of a BAR: what a guest's driver would map.
class BarRange {
 public:
  BarRange() = default;
  BarRange(QtestClient& qtest, std::uint64_t address, std::uint64_t size) noexcept
      : qtest_(&qtest), address_(address), size_(size) {}

  [[nodiscard]] bool empty() const noexcept { return size_ == 0; }
  [[nodiscard]] std::uint64_t size() const noexcept { return size_; }
  // Within the range; anything else is EFAULT.
  [[nodiscard]] Outcome<> read(std::uint64_t offset, std::span<std::byte> out) const {
    if (!range_fits(offset, out.size(), size_))
      return std::unexpected(Error{"read outside of a mapping", EFAULT});
    return qtest_->read(address_ + offset, out);
  }
  [[nodiscard]] Outcome<> write(std::uint64_t offset, std::span<const std::byte> bytes) const {
    if (!range_fits(offset, bytes.size(), size_))
      return std::unexpected(Error{"write outside of a mapping", EFAULT});
    return qtest_->write(address_ + offset, bytes);
  }

 private:
  QtestClient* qtest_ = nullptr;
  std::uint64_t address_ = 0;
  std::uint64_t size_ = 0;
};

class VirtioPciTransport {
 public:
  using SharedMemory = BarRange;

  // What the driver uses if it is offered.
  static constexpr std::uint64_t all_features = vhost_user::feature::version_1 |
                                                vhost_user::feature::ring_indirect_desc |
                                                vhost_user::feature::ring_event_idx;

  // The machine outlives the transport.
  VirtioPciTransport(Machine& machine, Interrupt interrupt, std::uint64_t features = all_features) noexcept
      : machine_(&machine), pci_(machine.qtest(), Machine::slot), interrupt_(interrupt), wanted_(features) {}

  [[nodiscard]] Outcome<> negotiate(std::span<std::byte> config);
  [[nodiscard]] bool event_idx() const noexcept {
    return (features_ & vhost_user::feature::ring_event_idx) != 0;
  }
  [[nodiscard]] std::uint64_t shm_size() const noexcept { return shm_.size; }
  [[nodiscard]] Outcome<std::span<std::byte>> create_memory(std::size_t size) {
    if (!range_fits(memory_at, size, Machine::memory_size))
      return failure("the machine has no %zu bytes left", size);
    const auto memory = machine_->memory().subspan(memory_at, size);
    std::ranges::fill(memory, std::byte{0});
    return memory;
  }
  [[nodiscard]] memory::GuestAddress guest_base() const noexcept { return {memory_at}; }
  [[nodiscard]] Outcome<> start(std::span<const virtio::DriverQueue> queues);
  // A failure is reported where its answer is needed.
  void kick(std::uint16_t queue) noexcept {
    static_cast<void>(machine_->qtest().write16(doorbells_[queue], queue));
  }
  [[nodiscard]] Outcome<> poll() { return machine_->qtest().listen({}); }
  [[nodiscard]] Outcome<> wait(io::TimePoint until);
  [[nodiscard]] BarRange shared_memory(memory::ShmOffset offset, std::uint64_t length) const noexcept {
    if (!range_fits(offset.value, length, shm_.size)) return {};
    return {machine_->qtest(), shm_.address + offset.value, length};
  }
  // Writes status 0, waits until the device shows it, and comes back to FEATURES_OK.
  [[nodiscard]] Outcome<> reset();

  // The device's configuration space as it is read by accesses of one byte.
  [[nodiscard]] Outcome<> read_config(std::uint32_t offset, std::span<std::byte> out);
  [[nodiscard]] Outcome<std::uint8_t> status() {
    return machine_->qtest().read8(common_.address + device_status);
  }
  // Interrupts taken so far.
  [[nodiscard]] std::uint64_t interrupts() const noexcept { return interrupts_; }
  [[nodiscard]] Machine& machine() noexcept { return *machine_; }

 private:
  // The layout of the machine: memory for the guest, a word to which MSI-X messages are written, and room for
  // BARs that nothing else in this machine uses.
  static constexpr std::uint64_t memory_at = std::uint64_t{16} << 20;
  static constexpr std::uint64_t message_at = std::uint64_t{15} << 20;
  static constexpr std::uint32_t message = 0x4d5349;
  static constexpr std::uint64_t low_bars = 0xe000'0000;
  static constexpr std::uint64_t high_bars = 0x1'0000'0000;

  // Registers of the common configuration structure.
  enum : std::uint32_t {
    device_feature_select = 0x00,
    device_feature = 0x04,
    driver_feature_select = 0x08,
    driver_feature = 0x0c,
    config_msix_vector = 0x10,
    num_queues = 0x12,
    device_status = 0x14,
    queue_select = 0x16,
    queue_size = 0x18,
    queue_msix_vector = 0x1a,
    queue_enable = 0x1c,
    queue_notify_off = 0x1e,
    queue_desc = 0x20,
    queue_driver = 0x28,
    queue_device = 0x30,
  };
  enum : std::uint8_t { acknowledge = 1, driver = 2, driver_ok = 4, features_ok = 8 };

  struct Structure {
    std::uint64_t address = 0;
    std::uint64_t size = 0;
  };

  [[nodiscard]] Outcome<> find_device();
  [[nodiscard]] Outcome<> find_structure(std::uint32_t capability);
  [[nodiscard]] Outcome<> set_up_interrupt();
  [[nodiscard]] Outcome<> agree_on_features();
  [[nodiscard]] Outcome<> start_queue(std::uint16_t index, const virtio::DriverQueue& queue);
  [[nodiscard]] Outcome<> set_status(std::uint8_t status) {
    return machine_->qtest().write8(common_.address + device_status, status);
  }
  [[nodiscard]] Outcome<> set64(std::uint32_t offset, std::uint64_t value) {
    auto& qtest = machine_->qtest();
    if (auto done = qtest.write32(common_.address + offset, static_cast<std::uint32_t>(value)); !done)
      return done;
    return qtest.write32(common_.address + offset + 4, static_cast<std::uint32_t>(value >> 32));
  }
  [[nodiscard]] std::atomic_ref<std::uint32_t> message_word() const noexcept {
    // message_at is aligned, and nothing else is there.
    return std::atomic_ref(*reinterpret_cast<std::uint32_t*>(machine_->memory().data() + message_at));
  }

  Machine* machine_;
  PciDevice pci_;
  Interrupt interrupt_;
  std::uint64_t wanted_;
  Structure common_, notify_, isr_, device_, shm_;
  std::uint32_t notify_multiplier_ = 0;
  std::uint64_t features_ = 0;
  std::array<std::uint64_t, media::wire::queue_count> doorbells_{};
  std::uint64_t interrupts_ = 0;
};

inline Outcome<> VirtioPciTransport::negotiate(std::span<std::byte> config) {
  if (auto done = find_device(); !done) return done;
  // A driver's first act is a reset.
  if (auto done = set_status(0); !done) return done;
  if (auto done = agree_on_features(); !done) return done;
  return read_config(0, config);
}

inline Outcome<> VirtioPciTransport::find_device() {
  const auto ids = pci_.read32(0);
  if (!ids) return std::unexpected(ids.error());
  if ((*ids & 0xffff) != 0x1af4 || *ids >> 16 < 0x1040)
    return failure("slot %u holds 0x%08x, no modern virtio device", Machine::slot, *ids);
  // This comes first: without bus mastering the device could not write to the rings, and QEMU revokes
  // DRIVER_OK from a device that loses it.
  if (auto done = pci_.enable(low_bars, high_bars); !done) return done;
  const auto structures = pci_.capabilities(0x09);
  if (!structures) return std::unexpected(structures.error());
  for (const std::uint32_t at : *structures) {
    if (auto done = find_structure(at); !done) return done;
  }
  if (common_.size < 0x38 || notify_.size == 0 || isr_.size == 0 || device_.size == 0)
    return failure("the device lacks one of virtio's structures");
  return set_up_interrupt();
}

// A virtio_pci_cap: type @3, bar @4, id @5, offset @8, length @12; upper halves @16 and @20 where they are 64
// bits.
inline Outcome<> VirtioPciTransport::find_structure(std::uint32_t capability) {
  std::array<std::uint32_t, 6> words{};
  for (std::uint32_t i = 0; i < words.size(); ++i) {
    const auto word = pci_.read32(capability + 4 * i);
    if (!word) return std::unexpected(word.error());
    words[i] = *word;
  }
  const std::uint32_t type = words[0] >> 24, id = (words[1] >> 8) & 0xff;
  Structure* structure = nullptr;
  if (type == 1) structure = &common_;
  if (type == 2) structure = &notify_, notify_multiplier_ = words[4];
  if (type == 3) structure = &isr_;
  if (type == 4) structure = &device_;
  const bool is_shm = type == 8 && id == media::wire::mmap_region;
  if (is_shm) structure = &shm_;
  // The first of a kind is the one that the device prefers.
  if (structure == nullptr || structure->size != 0) return {};
  std::uint64_t offset = words[2], length = words[3];
  if (is_shm) offset |= std::uint64_t{words[4]} << 32, length |= std::uint64_t{words[5]} << 32;
  const PciDevice::Bar& bar = pci_.bar(words[1] & 0xff);
  if (!range_fits(offset, length, bar.size))
    return failure("virtio structure %u does not fit its BAR %u", type, words[1] & 0xff);
  *structure = {bar.address + offset, length};
  return {};
}

inline Outcome<> VirtioPciTransport::set_up_interrupt() {
  if (interrupt_ == Interrupt::intx) return machine_->qtest().intercept_interrupts("ioapic");
  const auto found = pci_.capabilities(0x11);
  if (!found) return std::unexpected(found.error());
  if (found->empty()) return failure("the device has no MSI-X");
  const std::uint32_t at = found->front();
  const auto table = pci_.read32(at + 4);
  if (!table) return std::unexpected(table.error());
  const PciDevice::Bar& bar = pci_.bar(*table & 7);
  const std::uint64_t entry = bar.address + (*table & ~7u);
  auto& qtest = machine_->qtest();
  // One vector for everything. Its message is the write of a word, here to memory that we check.
  const std::uint32_t words[] = {static_cast<std::uint32_t>(message_at), 0, message, 0};
  for (std::uint32_t i = 0; i < 4; ++i) {
    if (auto done = qtest.write32(entry + 4 * i, words[i]); !done) return done;
  }
  constexpr std::uint16_t enable = 1u << 15;
  return pci_.write16(at + 2, enable);
}

inline Outcome<> VirtioPciTransport::agree_on_features() {
  auto& qtest = machine_->qtest();
  if (auto done = set_status(acknowledge); !done) return done;
  if (auto done = set_status(acknowledge | driver); !done) return done;
  std::uint64_t offered = 0;
  for (std::uint32_t half = 0; half < 2; ++half) {
    if (auto done = qtest.write32(common_.address + device_feature_select, half); !done) return done;
    const auto bits = qtest.read32(common_.address + device_feature);
    if (!bits) return std::unexpected(bits.error());
    offered |= std::uint64_t{*bits} << (32 * half);
  }
  features_ = offered & wanted_;
  if ((features_ & vhost_user::feature::version_1) == 0)
    return failure("the device is not a VIRTIO 1 device");
  for (std::uint32_t half = 0; half < 2; ++half) {
    if (auto done = qtest.write32(common_.address + driver_feature_select, half); !done) return done;
    const auto bits = static_cast<std::uint32_t>(features_ >> (32 * half));
    if (auto done = qtest.write32(common_.address + driver_feature, bits); !done) return done;
  }
  if (auto done = set_status(acknowledge | driver | features_ok); !done) return done;
  const auto now = status();
  if (!now) return std::unexpected(now.error());
  if ((*now & features_ok) == 0)
    return failure("the device refuses the features 0x%llx", static_cast<unsigned long long>(features_));
  return {};
}

inline Outcome<> VirtioPciTransport::start(std::span<const virtio::DriverQueue> queues) {
  if (interrupt_ == Interrupt::msix) {
    message_word() = 0;
    if (auto done = machine_->qtest().write16(common_.address + config_msix_vector, 0); !done) return done;
  }
  for (std::uint16_t i = 0; i < queues.size(); ++i) {
    if (auto done = start_queue(i, queues[i]); !done) return done;
  }
  return set_status(acknowledge | driver | features_ok | driver_ok);
}

inline Outcome<> VirtioPciTransport::start_queue(std::uint16_t index, const virtio::DriverQueue& queue) {
  auto& qtest = machine_->qtest();
  const std::uint64_t base = common_.address;
  if (auto done = qtest.write16(base + queue_select, index); !done) return done;
  const auto most = qtest.read16(base + queue_size);
  if (!most) return std::unexpected(most.error());
  if (*most < queue.size()) return failure("queue %u takes only %u buffers", index, *most);
  if (auto done = qtest.write16(base + queue_size, queue.size()); !done) return done;
  if (interrupt_ == Interrupt::msix) {
    if (auto done = qtest.write16(base + queue_msix_vector, 0); !done) return done;
    const auto taken = qtest.read16(base + queue_msix_vector);
    if (!taken) return std::unexpected(taken.error());
    if (*taken != 0) return failure("the device has no interrupt vector for queue %u", index);
  }
  if (auto done = set64(queue_desc, queue.descriptors().value); !done) return done;
  if (auto done = set64(queue_driver, queue.available().value); !done) return done;
  if (auto done = set64(queue_device, queue.used().value); !done) return done;
  const auto doorbell = qtest.read16(base + queue_notify_off);
  if (!doorbell) return std::unexpected(doorbell.error());
  doorbells_[index] = notify_.address + std::uint64_t{*doorbell} * notify_multiplier_;
  return qtest.write16(base + queue_enable, 1);
}

inline Outcome<> VirtioPciTransport::wait(io::TimePoint until) {
  auto& qtest = machine_->qtest();
  if (interrupt_ == Interrupt::intx) {
    if (!qtest.interrupt_pending()) {
      if (auto done = qtest.listen(until); !done || !qtest.interrupt_pending()) return done;
    }
    ++interrupts_;
    // Reading it lowers the line; the queues show the rest.
    const auto isr = qtest.read8(isr_.address);
    if (!isr) return std::unexpected(isr.error());
    return {};
  }
  // A write to memory wakes nobody up, so it is polled.
  while (message_word().exchange(0) == 0) {
    const auto now = io::Clock::now();
    if (now >= until) return {};
    if (auto done = qtest.listen(std::min(until, now + std::chrono::milliseconds(1))); !done) return done;
  }
  ++interrupts_;
  return {};
}

inline Outcome<> VirtioPciTransport::reset() {
  if (auto done = set_status(0); !done) return done;
  const io::TimePoint until = io::Clock::now() + qemu_patience;
  for (;;) {
    const auto now = status();
    if (!now) return std::unexpected(now.error());
    if (*now == 0) return agree_on_features();
    if (io::Clock::now() >= until) return failure("the device does not come out of its reset");
    std::this_thread::yield();
  }
}

inline Outcome<> VirtioPciTransport::read_config(std::uint32_t offset, std::span<std::byte> out) {
  if (!range_fits(offset, out.size(), device_.size)) return failure("the configuration space is too short");
  for (std::uint32_t i = 0; i < out.size(); ++i) {
    const auto byte = machine_->qtest().read8(device_.address + offset + i);
    if (!byte) return std::unexpected(byte.error());
    out[i] = std::byte{*byte};
  }
  return {};
}

}  // namespace vumedia::qemu_test
