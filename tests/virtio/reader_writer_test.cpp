#include <array>
#include <cstdint>
#include <cstring>
#include <numeric>
#include <random>
#include <vector>

#include <gtest/gtest.h>

#include <vumedia/virtio/reader_writer.hpp>

namespace vumedia::virtio::test {
namespace {

struct Header {
  std::uint32_t kind;
  std::uint16_t flags;
  std::uint16_t size;
  std::uint64_t address;
  friend bool operator==(const Header&, const Header&) = default;
};
constexpr Header sample{0x11223344, 0x5566, 0x7788, 0x99aabbccddeeff00};

std::vector<std::byte> counting(std::size_t size) {
  std::vector<std::byte> bytes(size);
  for (std::size_t i = 0; i < size; ++i) bytes[i] = static_cast<std::byte>(i);
  return bytes;
}

// `bytes` cut at random places, with some empty pieces.
std::vector<Segment> cut(std::span<std::byte> bytes, std::mt19937& random) {
  std::vector<Segment> segments;
  while (!bytes.empty()) {
    const std::size_t length = std::min<std::size_t>(random() % 9, bytes.size());
    segments.push_back(bytes.first(length));
    bytes = bytes.subspan(length);
  }
  return segments;
}

TEST(Reader, DefaultReadsNothing) {
  Reader reader;
  EXPECT_EQ(reader.remaining(), 0u);
  EXPECT_EQ(reader.read<std::uint8_t>().error(), Errno{ENODATA});
  EXPECT_TRUE(reader.read_bytes({}));
  EXPECT_TRUE(reader.skip(0));
  EXPECT_TRUE(Reader(std::span<const Segment>()).skip(0));
}

TEST(Reader, ReadsAStructWhereverItIsSplit) {
  std::array<std::byte, sizeof sample> bytes;
  std::memcpy(bytes.data(), &sample, sizeof sample);
  for (std::size_t first = 0; first <= bytes.size(); ++first) {
    for (std::size_t second = first; second <= bytes.size(); ++second) {
      const std::span<std::byte> all(bytes);
      const std::array segments{all.first(first), all.subspan(first, second - first), all.subspan(second)};
      Reader reader{std::span<const Segment>(segments)};
      EXPECT_EQ(reader.remaining(), sizeof sample);
      EXPECT_EQ(reader.read<Header>(), sample) << first << ' ' << second;
      EXPECT_EQ(reader.remaining(), 0u);
    }
  }
}

TEST(Reader, AFailedReadConsumesNothing) {
  auto bytes = counting(10);
  Reader reader{std::span<const std::byte>(bytes)};
  ASSERT_TRUE(reader.skip(3));
  Header untouched = sample;
  EXPECT_EQ(reader.read_to(untouched), Result<>(fail(ENODATA)));
  EXPECT_EQ(untouched, sample);
  EXPECT_EQ(reader.skip(8), Result<>(fail(ENODATA)));
  std::array<std::byte, 8> eight{};
  EXPECT_EQ(reader.read_bytes(eight), Result<>(fail(ENODATA)));
  EXPECT_EQ(reader.take(8).error(), Errno{ENODATA});
  EXPECT_EQ(reader.remaining(), 7u);
  EXPECT_EQ(reader.read<std::uint8_t>(), std::uint8_t{3});
}

TEST(Reader, TakesAPart) {
  std::mt19937 random(3);
  auto bytes = counting(40);
  const auto segments = cut(bytes, random);
  Reader reader{std::span<const Segment>(segments)};
  ASSERT_TRUE(reader.skip(5));
  auto part = reader.take(10);
  ASSERT_TRUE(part);
  EXPECT_EQ(part->remaining(), 10u);
  EXPECT_EQ(reader.remaining(), 25u);
  EXPECT_EQ(reader.read<std::uint8_t>(), std::uint8_t{15});
  ASSERT_TRUE(part->skip(9));
  EXPECT_EQ(part->read<std::uint16_t>().error(), Errno{ENODATA}) << "the segment goes on, the part does not";
  EXPECT_EQ(part->read<std::uint8_t>(), std::uint8_t{14});
  EXPECT_EQ(part->read<std::uint8_t>().error(), Errno{ENODATA});
}

TEST(Reader, ACopyIsABookmark) {
  auto bytes = counting(8);
  Reader reader{std::span<const std::byte>(bytes)};
  ASSERT_TRUE(reader.skip(2));
  Reader before = reader;
  EXPECT_EQ(reader.read<std::uint8_t>(), std::uint8_t{2});
  EXPECT_EQ(before.read<std::uint8_t>(), std::uint8_t{2});
}

TEST(Reader, AgreesWithAContiguousCopy) {
  std::mt19937 random(11);
  for (int round = 0; round < 300; ++round) {
    auto bytes = counting(random() % 200);
    const auto segments = cut(bytes, random);
    Reader reader{std::span<const Segment>(segments)};
    std::size_t at = 0;
    for (int step = 0; step < 40; ++step) {
      const std::size_t left = bytes.size() - at;
      ASSERT_EQ(reader.remaining(), left);
      switch (random() % 3) {
        case 0: {
          const auto got = reader.read<Header>();
          ASSERT_EQ(got.has_value(), left >= sizeof(Header));
          if (!got) break;
          ASSERT_EQ(std::memcmp(&*got, bytes.data() + at, sizeof(Header)), 0);
          at += sizeof(Header);
          break;
        }
        case 1: {
          std::vector<std::byte> to(random() % 30);
          const bool fits = to.size() <= left;
          ASSERT_EQ(reader.read_bytes(to).has_value(), fits);
          if (!fits) break;
          ASSERT_TRUE(std::equal(to.begin(), to.end(), bytes.begin() + static_cast<std::ptrdiff_t>(at)));
          at += to.size();
          break;
        }
        default: {
          const std::size_t count = random() % 20;
          ASSERT_EQ(reader.skip(count).has_value(), count <= left);
          if (count <= left) at += count;
        }
      }
    }
  }
}

TEST(Writer, DefaultHasNoRoom) {
  Writer writer;
  EXPECT_EQ(writer.remaining(), 0u);
  EXPECT_EQ(writer.write(std::uint8_t{1}), Result<>(fail(ENOSPC)));
  EXPECT_TRUE(writer.write_bytes({}));
  EXPECT_EQ(writer.written(), 0u);
}

TEST(Writer, WritesAStructWhereverItIsSplit) {
  for (std::size_t first = 0; first <= sizeof sample; ++first) {
    std::array<std::byte, sizeof sample> bytes{};
    const std::span<std::byte> all(bytes);
    const std::array segments{all.first(first), all.subspan(first)};
    Writer writer{std::span<const Segment>(segments)};
    ASSERT_TRUE(writer.write(sample));
    EXPECT_EQ(std::memcmp(bytes.data(), &sample, sizeof sample), 0) << first;
    EXPECT_EQ(writer.written(), sizeof sample);
    EXPECT_EQ(writer.remaining(), 0u);
  }
}

TEST(Writer, AFailedWriteWritesNothing) {
  std::array<std::byte, 10> bytes{};
  Writer writer{std::span<std::byte>(bytes)};
  EXPECT_EQ(writer.write(sample), Result<>(fail(ENOSPC)));
  EXPECT_EQ(writer.write_zeros(11), Result<>(fail(ENOSPC)));
  EXPECT_EQ(writer.write_bytes(counting(11)), Result<>(fail(ENOSPC)));
  EXPECT_EQ(writer.written(), 0u);
  EXPECT_EQ(writer.remaining(), 10u);
  EXPECT_EQ(bytes, (std::array<std::byte, 10>{}));
}

TEST(Writer, AgreesWithAContiguousCopy) {
  std::mt19937 random(12);
  for (int round = 0; round < 300; ++round) {
    std::vector<std::byte> bytes(random() % 200, std::byte{0xee});
    auto expected = bytes;
    const auto segments = cut(bytes, random);
    Writer writer{std::span<const Segment>(segments)};
    std::size_t at = 0;
    for (int step = 0; step < 40; ++step) {
      const std::size_t left = bytes.size() - at;
      ASSERT_EQ(writer.remaining(), left);
      ASSERT_EQ(writer.written(), at);
      const std::size_t count = random() % 30;
      switch (random() % 3) {
        case 0:
          ASSERT_EQ(writer.write(sample).has_value(), left >= sizeof sample);
          if (left < sizeof sample) break;
          std::memcpy(expected.data() + at, &sample, sizeof sample);
          at += sizeof sample;
          break;
        case 1:
          ASSERT_EQ(writer.write_zeros(count).has_value(), count <= left);
          if (count > left) break;
          std::fill_n(expected.begin() + static_cast<std::ptrdiff_t>(at), count, std::byte{0});
          at += count;
          break;
        default: {
          const auto from = counting(count);
          ASSERT_EQ(writer.write_bytes(from).has_value(), count <= left);
          if (count > left) break;
          std::copy(from.begin(), from.end(), expected.begin() + static_cast<std::ptrdiff_t>(at));
          at += count;
        }
      }
    }
    ASSERT_EQ(bytes, expected);
  }
}

}  // namespace
}  // namespace vumedia::virtio::test
