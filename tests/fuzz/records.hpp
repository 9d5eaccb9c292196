// An input of the decoder's target: steps of a client, of which most are a packet. What mutates an input, or
// makes one from a clip, works on these rather than on bytes.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace vumedia::fuzz {

struct Record {
  enum Kind : std::uint8_t { packet, seek, drain, restart_capture, other_stream, count };
  std::uint8_t kind = packet;
  std::vector<std::uint8_t> bytes;
};

// A byte for the codec and one for options, then the records: kind, length in two bytes, bytes. A length that
// is too long ends with the input.
struct Records {
  static constexpr std::size_t most = 64;

  std::uint8_t codec = 0, options = 0;
  std::vector<Record> records;

  static Records read(std::span<const std::uint8_t> input) {
    Records all;
    if (input.size() < 2) return all;
    all.codec = input[0];
    all.options = input[1];
    for (input = input.subspan(2); input.size() >= 3 && all.records.size() < most;) {
      const std::size_t length =
          std::min<std::size_t>(input[1] + std::size_t{256} * input[2], input.size() - 3);
      const auto bytes = input.subspan(3, length);
      all.records.push_back(
          {static_cast<std::uint8_t>(input[0] % Record::count), {bytes.begin(), bytes.end()}});
      input = input.subspan(3 + length);
    }
    return all;
  }
  [[nodiscard]] std::vector<std::uint8_t> write() const {
    std::vector<std::uint8_t> out{codec, options};
    for (const Record& record : records) {
      const std::size_t length = std::min<std::size_t>(record.bytes.size(), 0xffff);
      out.push_back(record.kind);
      out.push_back(static_cast<std::uint8_t>(length));
      out.push_back(static_cast<std::uint8_t>(length >> 8));
      out.insert(out.end(), record.bytes.begin(), record.bytes.begin() + static_cast<std::ptrdiff_t>(length));
    }
    return out;
  }
};

// Where units begin in a packet with start codes: behind each 00 00 01. Only the beginning, if there are
// none.
[[nodiscard]] inline std::vector<std::size_t> units_of(std::span<const std::uint8_t> bytes) {
  std::vector<std::size_t> units{0};
  for (std::size_t i = 0; i + 3 < bytes.size(); ++i) {
    if (bytes[i] == 0 && bytes[i + 1] == 0 && bytes[i + 2] == 1 && i != 0) units.push_back(i);
  }
  return units;
}

}  // namespace vumedia::fuzz
