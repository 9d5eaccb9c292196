// What firmware and operating system do before a driver of a PCI device can work: configuration space, base
// addresses, capabilities (PCI Local Bus Specification 3.0, 6.1, 6.2.5 and 6.7).
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include <vumedia/core/checked.hpp>
#include <vumedia/core/result.hpp>

#include "qemu/qtest_client.hpp"

namespace vumedia::qemu_test {

// One function of bus 0, through the configuration ports of a PC.
class PciDevice {
 public:
  PciDevice(QtestClient& qtest, unsigned slot) noexcept : qtest_(&qtest), slot_(slot) {}

  // `offset` is a multiple of the width.
  [[nodiscard]] Outcome<std::uint32_t> read32(std::uint32_t offset) {
    if (auto done = qtest_->out32(address_port, address(offset)); !done) return std::unexpected(done.error());
    return qtest_->in32(data_port);
  }
  [[nodiscard]] Outcome<std::uint16_t> read16(std::uint32_t offset) {
    const auto word = read32(offset & ~3u);
    if (!word) return std::unexpected(word.error());
    return static_cast<std::uint16_t>(*word >> (8 * (offset & 2)));
  }
  [[nodiscard]] Outcome<std::uint8_t> read8(std::uint32_t offset) {
    const auto word = read32(offset & ~3u);
    if (!word) return std::unexpected(word.error());
    return static_cast<std::uint8_t>(*word >> (8 * (offset & 3)));
  }
  [[nodiscard]] Outcome<> write32(std::uint32_t offset, std::uint32_t value) {
    if (auto done = qtest_->out32(address_port, address(offset)); !done) return done;
    return qtest_->out32(data_port, value);
  }
  [[nodiscard]] Outcome<> write16(std::uint32_t offset, std::uint16_t value) {
    if (auto done = qtest_->out32(address_port, address(offset)); !done) return done;
    return qtest_->out16(static_cast<std::uint16_t>(data_port + (offset & 2)), value);
  }

  struct Bar {
    std::uint64_t address = 0;
    std::uint64_t size = 0;  // 0: there is none
  };
  // Gives every memory BAR an address, 32-bit ones from `low` and 64-bit ones from `high` on, then lets the
  // device answer at them and reach memory.
  [[nodiscard]] Outcome<> enable(std::uint64_t low, std::uint64_t high);
  [[nodiscard]] const Bar& bar(unsigned index) const noexcept { return bars_[index % bars_.size()]; }

  // Where the capabilities with this id are in configuration space, in order.
  [[nodiscard]] Outcome<std::vector<std::uint32_t>> capabilities(std::uint8_t id);

 private:
  static constexpr std::uint16_t address_port = 0xcf8;
  static constexpr std::uint16_t data_port = 0xcfc;
  static constexpr std::uint32_t command = 0x04, first_bar = 0x10, first_capability = 0x34;
  static constexpr std::uint16_t command_memory = 2, command_master = 4;

  [[nodiscard]] std::uint32_t address(std::uint32_t offset) const noexcept {
    return 0x80000000u | (slot_ << 11) | (offset & 0xfc);
  }
  // The bits of a BAR that stay when all are set.
  [[nodiscard]] Outcome<std::uint32_t> probe(std::uint32_t offset) {
    if (auto done = write32(offset, ~0u); !done) return std::unexpected(done.error());
    return read32(offset);
  }

  QtestClient* qtest_;
  unsigned slot_;
  std::array<Bar, 6> bars_{};
};

inline Outcome<> PciDevice::enable(std::uint64_t low, std::uint64_t high) {
  for (std::uint32_t i = 0; i < bars_.size(); ++i) {
    const std::uint32_t offset = first_bar + 4 * i;
    const auto bits = probe(offset);
    if (!bits) return std::unexpected(bits.error());
    if (*bits == 0 || (*bits & 1) != 0) continue;  // none, or a port BAR
    const bool wide = (*bits & 6) == 4;
    std::uint64_t mask = (*bits & ~15u) | 0xffffffff'00000000;
    if (wide) {
      const auto upper = probe(offset + 4);
      if (!upper) return std::unexpected(upper.error());
      mask = (std::uint64_t{*upper} << 32) | (*bits & ~15u);
    }
    const std::uint64_t size = ~mask + 1;
    if (!is_power_of_two(size))
      return failure("BAR %u has a size of 0x%llx", i, static_cast<unsigned long long>(size));
    std::uint64_t& next = wide ? high : low;
    next = align_up(next, size).value_or(0);
    bars_[i] = {next, size};
    if (auto done = write32(offset, static_cast<std::uint32_t>(next)); !done) return done;
    if (wide) {
      if (auto done = write32(offset + 4, static_cast<std::uint32_t>(next >> 32)); !done) return done;
    }
    next += size;
    if (wide) ++i;
  }
  auto now = read16(command);
  if (!now) return std::unexpected(now.error());
  return write16(command, static_cast<std::uint16_t>(*now | command_memory | command_master));
}

inline Outcome<std::vector<std::uint32_t>> PciDevice::capabilities(std::uint8_t id) {
  std::vector<std::uint32_t> found;
  auto at = read8(first_capability);
  // There is room for 48 of them; more mean a loop.
  for (int count = 0; at && *at >= 0x40 && count < 48; ++count) {
    const auto head = read16(*at & 0xfcu);
    if (!head) return std::unexpected(head.error());
    if ((*head & 0xff) == id) found.push_back(*at & 0xfcu);
    at = static_cast<std::uint8_t>(*head >> 8);
  }
  if (!at) return std::unexpected(at.error());
  return found;
}

}  // namespace vumedia::qemu_test
