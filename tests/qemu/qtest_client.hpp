// A client of QEMU's qtest protocol, in which the test replaces the machine's processor. Lines of text go
// over a socket, one command and one answer at a time; between them come lines that report interrupts.
#pragma once

#include <algorithm>
#include <array>
#include <bitset>
#include <cerrno>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include <vumedia/core/fd.hpp>
#include <vumedia/core/result.hpp>
#include <vumedia/io/reactor.hpp>

#include "qemu/line_channel.hpp"

namespace vumedia::qemu_test {

// Addresses are the machine's physical ones. The first failure ends the connection: every later call fails,
// too.
class QtestClient {
 public:
  explicit QtestClient(OwnedFd socket) noexcept : channel_(std::move(socket)) {}

  [[nodiscard]] Outcome<> write8(std::uint64_t at, std::uint8_t value) { return tell("writeb", at, value); }
  [[nodiscard]] Outcome<> write16(std::uint64_t at, std::uint16_t value) { return tell("writew", at, value); }
  [[nodiscard]] Outcome<> write32(std::uint64_t at, std::uint32_t value) { return tell("writel", at, value); }
  [[nodiscard]] Outcome<> write64(std::uint64_t at, std::uint64_t value) { return tell("writeq", at, value); }
  [[nodiscard]] Outcome<std::uint8_t> read8(std::uint64_t at) { return ask<std::uint8_t>("readb", at); }
  [[nodiscard]] Outcome<std::uint16_t> read16(std::uint64_t at) { return ask<std::uint16_t>("readw", at); }
  [[nodiscard]] Outcome<std::uint32_t> read32(std::uint64_t at) { return ask<std::uint32_t>("readl", at); }
  [[nodiscard]] Outcome<> out8(std::uint16_t port, std::uint8_t value) { return tell("outb", port, value); }
  [[nodiscard]] Outcome<> out16(std::uint16_t port, std::uint16_t value) { return tell("outw", port, value); }
  [[nodiscard]] Outcome<> out32(std::uint16_t port, std::uint32_t value) { return tell("outl", port, value); }
  [[nodiscard]] Outcome<std::uint32_t> in32(std::uint16_t port) { return ask<std::uint32_t>("inl", port); }

  // Blocks of memory.
  [[nodiscard]] Outcome<> read(std::uint64_t at, std::span<std::byte> out);
  [[nodiscard]] Outcome<> write(std::uint64_t at, std::span<const std::byte> bytes);

  // From here on the input lines of the interrupt controller at this path are reported to us instead of it.
  [[nodiscard]] Outcome<> intercept_interrupts(const std::string& controller) {
    return done(command("irq_intercept_in " + controller));
  }
  // Whether a line is raised, as far as QEMU has reported.
  [[nodiscard]] bool interrupt_pending() const noexcept { return raised_.any(); }
  // How often a line was raised.
  [[nodiscard]] std::uint64_t interrupts() const noexcept { return interrupts_; }

  // Reads what QEMU has sent by itself, and waits for it until `until`.
  [[nodiscard]] Outcome<> listen(io::TimePoint until);

 private:
  static constexpr std::size_t lines = 64;  // of an interrupt controller, at most

  [[nodiscard]] Outcome<> tell(const char* name, std::uint64_t at, std::uint64_t value) {
    return done(command(format_text("%s 0x%llx 0x%llx", name, static_cast<unsigned long long>(at),
                                    static_cast<unsigned long long>(value))));
  }
  template <class T>
  [[nodiscard]] Outcome<T> ask(const char* name, std::uint64_t at) {
    const auto answer = command(format_text("%s 0x%llx", name, static_cast<unsigned long long>(at)));
    if (!answer) return std::unexpected(answer.error());
    const auto value = number(*answer, 16);
    if (!value) return broken("no number in the answer '" + *answer + "'");
    return static_cast<T>(*value);
  }
  [[nodiscard]] static Outcome<> done(const Outcome<std::string>& answer) {
    if (!answer) return std::unexpected(answer.error());
    return {};
  }
  // The text after "OK".
  [[nodiscard]] Outcome<std::string> command(const std::string& text);
  // True if the line reports an interrupt.
  bool take_interrupt(std::string_view line);
  [[nodiscard]] static std::optional<std::uint64_t> number(std::string_view text, int base) {
    if (base == 16 && text.starts_with("0x")) text.remove_prefix(2);
    std::uint64_t value = 0;
    const auto end = text.data() + text.size();
    const auto [at, error] = std::from_chars(text.data(), end, value, base);
    if (error != std::errc() || at != end) return std::nullopt;
    return value;
  }
  std::unexpected<Error> broken(const std::string& message, int code = EPROTO) {
    return channel_.broken("qtest: " + message, code);
  }

  LineChannel channel_;
  std::bitset<lines> raised_;
  std::uint64_t interrupts_ = 0;
};

namespace base64 {

inline constexpr std::string_view digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

[[nodiscard]] inline std::string encode(std::span<const std::byte> bytes) {
  std::string text;
  text.reserve((bytes.size() + 2) / 3 * 4);
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    std::uint32_t group = 0;
    const std::size_t there = std::min<std::size_t>(3, bytes.size() - i);
    for (std::size_t j = 0; j < 3; ++j)
      group = (group << 8) | (j < there ? std::to_integer<std::uint32_t>(bytes[i + j]) : 0);
    for (std::size_t j = 0; j < 4; ++j) text += j <= there ? digits[(group >> (18 - 6 * j)) & 63] : '=';
  }
  return text;
}

// False unless the text stands for exactly as many bytes as `out` takes.
[[nodiscard]] inline bool decode(std::string_view text, std::span<std::byte> out) noexcept {
  constexpr auto values = [] {
    std::array<std::int8_t, 256> table{};
    table.fill(-1);
    for (std::size_t i = 0; i < digits.size(); ++i)
      table[static_cast<unsigned char>(digits[i])] = static_cast<std::int8_t>(i);
    return table;
  }();
  while (text.ends_with('=')) text.remove_suffix(1);
  std::uint32_t bits = 0;
  int count = 0;
  std::size_t at = 0;
  for (const char digit : text) {
    const int value = values[static_cast<unsigned char>(digit)];
    if (value < 0) return false;
    bits = (bits << 6) | static_cast<std::uint32_t>(value);
    if ((count += 6) < 8) continue;
    count -= 8;
    if (at == out.size()) return false;
    out[at++] = static_cast<std::byte>(bits >> count);
  }
  return at == out.size();
}

}  // namespace base64

inline Outcome<> QtestClient::read(std::uint64_t at, std::span<std::byte> out) {
  if (out.empty()) return {};
  const auto answer =
      command(format_text("b64read 0x%llx 0x%zx", static_cast<unsigned long long>(at), out.size()));
  if (!answer) return std::unexpected(answer.error());
  if (!base64::decode(*answer, out)) return broken("b64read answered with other bytes than asked");
  return {};
}

inline Outcome<> QtestClient::write(std::uint64_t at, std::span<const std::byte> bytes) {
  if (bytes.empty()) return {};
  return done(
      command(format_text("b64write 0x%llx 0x%zx ", static_cast<unsigned long long>(at), bytes.size()) +
              base64::encode(bytes)));
}

inline Outcome<std::string> QtestClient::command(const std::string& text) {
  if (auto sent = channel_.send(text + '\n'); !sent) return std::unexpected(std::move(sent.error()));
  const io::TimePoint until = io::Clock::now() + qemu_patience;
  for (;;) {
    auto line = channel_.next(until);
    if (!line) return std::unexpected(std::move(line.error()));
    if (!*line) return broken("QEMU does not answer", ETIMEDOUT);
    if (take_interrupt(**line)) continue;
    if (**line == "OK") return std::string();
    if ((*line)->starts_with("OK ")) return (*line)->substr(3);
    return broken("'" + text.substr(0, 60) + "' got '" + (*line)->substr(0, 200) + "'");
  }
}

inline Outcome<> QtestClient::listen(io::TimePoint until) {
  for (;;) {
    auto line = channel_.next(until);
    if (!line) return std::unexpected(std::move(line.error()));
    if (!*line) return {};
    if (!take_interrupt(**line)) return broken("'" + (*line)->substr(0, 200) + "' answers nothing");
    until = {};
  }
}

inline bool QtestClient::take_interrupt(std::string_view line) {
  for (const bool up : {true, false}) {
    const std::string_view start = up ? "IRQ raise " : "IRQ lower ";
    if (!line.starts_with(start)) continue;
    const auto index = number(line.substr(start.size()), 10);
    if (!index || *index >= lines) return false;
    if (up && !raised_[*index]) ++interrupts_;
    raised_[*index] = up;
    return true;
  }
  return false;
}

}  // namespace vumedia::qemu_test
