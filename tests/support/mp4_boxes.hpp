// Takes MP4 files (ISO/IEC 14496-12) apart and puts them together, for files that no available program
// writes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

namespace vumedia::test::mp4 {

using Bytes = std::vector<std::byte>;

inline std::uint32_t read_word(std::span<const std::byte> bytes, std::size_t at) {
  std::uint32_t word = 0;
  for (std::size_t i = 0; i < 4; ++i) word = word << 8 | std::to_integer<std::uint32_t>(bytes[at + i]);
  return word;
}
inline void add_word(Bytes& bytes, std::uint32_t word) {
  for (int shift = 24; shift >= 0; shift -= 8) bytes.push_back(static_cast<std::byte>(word >> shift & 0xff));
}
inline void add(Bytes& bytes, std::span<const std::byte> more) {
  bytes.insert(bytes.end(), more.begin(), more.end());
}

// The box at a path such as {"moov", "trak"}, with its header of 8 bytes; empty if there is none.
inline std::span<const std::byte> find(std::span<const std::byte> within,
                                       std::initializer_list<std::string_view> path) {
  std::span<const std::byte> box = within;
  for (const std::string_view type : path) {
    std::span<const std::byte> rest = box.data() == within.data() ? box : box.subspan(8);
    box = {};
    while (rest.size() >= 8 && box.empty()) {
      const std::size_t size = read_word(rest, 0);
      if (size < 8 || size > rest.size()) return {};
      const std::string_view name(reinterpret_cast<const char*>(rest.data()) + 4, 4);
      if (name == type) box = rest.first(size);
      rest = rest.subspan(size);
    }
    if (box.empty()) return {};
  }
  return box;
}

inline Bytes make(std::string_view type, std::initializer_list<std::span<const std::byte>> parts) {
  Bytes box;
  std::size_t size = 8;
  for (const auto& part : parts) size += part.size();
  add_word(box, static_cast<std::uint32_t>(size));
  add(box, std::as_bytes(std::span(type)));
  for (const auto& part : parts) add(box, part);
  return box;
}

// A box of words after its version and flags, which are 0.
inline Bytes make_table(std::string_view type, std::initializer_list<std::uint32_t> words,
                        std::span<const std::byte> rest = {}) {
  Bytes content;
  add_word(content, 0);
  for (const std::uint32_t word : words) add_word(content, word);
  add(content, rest);
  return make(type, {content});
}

// The first track of two files, each one chunk, as one track with a sample entry for each. Empty unless they
// look like files with one video stream from the ffmpeg program.
inline Bytes join(std::span<const std::byte> first, std::span<const std::byte> second) {
  struct Part {
    std::span<const std::byte> entry, sizes, data;
    std::uint32_t count = 0;
  };
  const auto part_of = [](std::span<const std::byte> file) -> std::optional<Part> {
    const auto stsd = find(file, {"moov", "trak", "mdia", "minf", "stbl", "stsd"});
    const auto stsz = find(file, {"moov", "trak", "mdia", "minf", "stbl", "stsz"});
    const auto mdat = find(file, {"mdat"});
    if (stsd.size() < 16 || stsz.size() < 20 || mdat.size() < 8) return std::nullopt;
    Part part{stsd.subspan(16), stsz.subspan(20), {}, read_word(stsz, 16)};
    std::size_t bytes = 0;
    for (std::uint32_t i = 0; i < part.count; ++i) bytes += read_word(part.sizes, std::size_t{4} * i);
    if (bytes + 8 > mdat.size()) return std::nullopt;
    part.data = mdat.subspan(8, bytes);
    return part;
  };
  const auto a = part_of(first);
  const auto b = part_of(second);
  if (!a || !b) return {};
  const auto old = [&first](std::initializer_list<std::string_view> path) { return find(first, path); };
  const auto movie = [&](std::uint32_t base) {
    const auto chunk = static_cast<std::uint32_t>(a->data.size());
    Bytes entries(a->entry.begin(), a->entry.end()), sizes(a->sizes.begin(), a->sizes.end());
    add(entries, b->entry);
    add(sizes, b->sizes);
    const Bytes table =
        make("stbl", {make_table("stsd", {2}, entries), make_table("stts", {1, a->count + b->count, 512}),
                      make_table("stsc", {2, 1, a->count, 1, 2, b->count, 2}),
                      make_table("stsz", {0, a->count + b->count}, sizes),
                      make_table("stco", {2, base, base + chunk})});
    const Bytes information = make("minf", {old({"moov", "trak", "mdia", "minf", "vmhd"}),
                                            old({"moov", "trak", "mdia", "minf", "dinf"}), table});
    const Bytes media = make(
        "mdia", {old({"moov", "trak", "mdia", "mdhd"}), old({"moov", "trak", "mdia", "hdlr"}), information});
    const Bytes track = make("trak", {old({"moov", "trak", "tkhd"}), media});
    return make("moov", {old({"moov", "mvhd"}), track});
  };
  Bytes file(old({"ftyp"}).begin(), old({"ftyp"}).end());
  add(file, movie(static_cast<std::uint32_t>(file.size() + movie(0).size() + 8)));
  add(file, make("mdat", {a->data, b->data}));
  return file;
}

}  // namespace vumedia::test::mp4
