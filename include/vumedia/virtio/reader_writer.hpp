// Typed, bounded access to the readable and the writable part of a descriptor chain.
//
// A driver may split its bytes into descriptors wherever it likes (VIRTIO 1.4, 2.7.4: message framing), so a
// struct may lie in several segments. Readers and Writers are small values: a copy is a bookmark.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <span>
#include <type_traits>

#include <vumedia/core/result.hpp>

namespace vumedia::virtio {

/// A piece of a chain, or of any other memory that is not contiguous.
using Segment = std::span<std::byte>;

namespace detail {

// The walk through segments that Reader and Writer share. Invariant: `size_` is what all remaining segments
// hold, so a request within it always ends within the segments.
template <class Byte>
class Cursor {
 public:
  Cursor() = default;
  explicit Cursor(std::span<const Segment> segments) noexcept : next_(segments.data()) {
    for (const Segment& segment : segments) size_ += segment.size();
  }
  Cursor(std::span<const Segment> segments, std::size_t size) noexcept
      : next_(segments.data()), size_(size) {}
  explicit Cursor(std::span<Byte> single) noexcept
      : left_(single.size()), data_(single.data()), size_(single.size()) {}

  [[nodiscard]] std::size_t size() const noexcept { return size_; }

  // Whether the next `count` > 0 bytes exist and are contiguous, for take(). After an empty segment it may
  // say no although they are: callers have another way.
  [[nodiscard, gnu::always_inline]] bool contiguous(std::size_t count) noexcept {
    if (count > size_) return false;
    if (left_ == 0) advance();
    return count <= left_;
  }
  // Advances by `count` bytes, which contiguous() has found.
  [[nodiscard, gnu::always_inline]] Byte* take(std::size_t count) noexcept {
    Byte* const piece = data_;
    data_ += count;
    left_ -= count;
    size_ -= count;
    return piece;
  }

  // Calls `f(Byte* piece, std::size_t length)` over the next `count` <= size() bytes, and advances past them.
  template <class F>
  void for_each(std::size_t count, F&& f) noexcept {
    while (count > 0) {
      while (left_ == 0) advance();
      const std::size_t length = std::min(count, left_);
      f(take(length), length);
      count -= length;
    }
  }

  // Ends the cursor `count` <= size() bytes from here.
  void limit(std::size_t count) noexcept { size_ = count; }

 private:
  // Requires `size_` > 0, so that another segment follows.
  [[gnu::always_inline]] void advance() noexcept {
    data_ = next_->data();
    left_ = next_->size();
    ++next_;
  }

  const Segment* next_ = nullptr;
  std::size_t left_ = 0;  // in the current segment; more than size_ where limit() has cut that
  Byte* data_ = nullptr;
  std::size_t size_ = 0;
};

// The driver can change its memory while we look at it. `value` is a copy; without this the compiler would be
// free to read the original a second time instead.
template <class T>
inline void pin_copy(T& value) noexcept {
  asm volatile("" : "+m"(value));
}

// The bytes of `value`. std::as_bytes would need a span of T first, and compiling one more kind of span costs
// more than everything else that is done for a wire struct.
template <class T>
[[nodiscard]] std::span<const std::byte> bytes_of(const T& value) noexcept {
  return {reinterpret_cast<const std::byte*>(&value), sizeof(T)};
}
template <class T>
[[nodiscard]] std::span<std::byte> writable_bytes_of(T& value) noexcept {
  return {reinterpret_cast<std::byte*>(&value), sizeof(T)};
}

}  // namespace detail

/// What a T must be to travel as its bytes.
template <class T>
concept Wire = std::is_trivially_copyable_v<T> && !std::is_pointer_v<T> && !std::is_const_v<T>;

/// Reads from the front. A failed call consumes nothing.
///
/// Bytes that are not contiguous are read (and written, below) by a separate function with a copy of the
/// cursor: a cursor whose address is never taken can live in registers.
class Reader {
 public:
  /// Reads nothing.
  Reader() = default;
  /// Reads all of `segments`, which outlive it.
  explicit Reader(std::span<const Segment> segments) noexcept : cursor_(segments) {}
  /// `size` is the sum of the segments' sizes, for callers that know it.
  Reader(std::span<const Segment> segments, std::size_t size) noexcept : cursor_(segments, size) {}
  /// Reads all of `bytes`, which outlive it.
  explicit Reader(std::span<const std::byte> bytes) noexcept : cursor_(bytes) {}

  /// Bytes that were not read yet.
  [[nodiscard]] std::size_t remaining() const noexcept { return cursor_.size(); }

  /// ENODATA if fewer than sizeof(T) bytes remain.
  template <Wire T>
    requires std::is_default_constructible_v<T>
  [[nodiscard]] Result<T> read() noexcept {
    Result<T> value(std::in_place);
    if (auto done = read_to(*value); !done) return std::unexpected(done.error());
    return value;
  }

  /// The same, into a struct that is there already; it stays as it is on failure.
  template <Wire T>
  [[nodiscard, gnu::always_inline]] Result<> read_to(T& value) noexcept {
    if (cursor_.contiguous(sizeof(T))) [[likely]] {
      std::memcpy(&value, cursor_.take(sizeof(T)), sizeof(T));
      detail::pin_copy(value);
      return {};
    }
    Reader scattered = *this;
    const auto done = scattered.gather(detail::writable_bytes_of(value));
    *this = scattered;
    return done;
  }

  /// Fills `bytes`, or ENODATA.
  [[nodiscard]] Result<> read_bytes(std::span<std::byte> bytes) noexcept { return gather(bytes); }

  /// Skips `count` bytes, or ENODATA.
  [[nodiscard]] Result<> skip(std::size_t count) noexcept {
    if (count > remaining()) return fail(ENODATA);
    cursor_.for_each(count, [](const std::byte*, std::size_t) {});
    return {};
  }

  /// A reader of only the next `count` bytes, which this one skips; or ENODATA.
  [[nodiscard]] Result<Reader> take(std::size_t count) noexcept {
    Reader part = *this;
    if (auto done = skip(count); !done) return std::unexpected(done.error());
    part.cursor_.limit(count);
    return part;
  }

 private:
  [[gnu::noinline]] Result<> gather(std::span<std::byte> bytes) noexcept {
    if (bytes.size() > remaining()) return fail(ENODATA);
    std::byte* to = bytes.data();
    cursor_.for_each(bytes.size(), [&](const std::byte* piece, std::size_t length) {
      std::memcpy(to, piece, length);
      to += length;
    });
    // Like pin_copy, for a range.
    asm volatile("" : : "r"(bytes.data()) : "memory");
    return {};
  }

  detail::Cursor<const std::byte> cursor_;
};

/// Writes from the front. A failed call writes nothing.
class Writer {
 public:
  /// Has no room.
  Writer() = default;
  /// Writes into `segments`, which outlive it.
  explicit Writer(std::span<const Segment> segments) noexcept : cursor_(segments) {}
  /// `size` is the sum of the segments' sizes, for callers that know it.
  Writer(std::span<const Segment> segments, std::size_t size) noexcept : cursor_(segments, size) {}
  /// Writes into `bytes`, which outlive it.
  explicit Writer(std::span<std::byte> bytes) noexcept : cursor_(bytes) {}

  /// Bytes that there is room for yet.
  [[nodiscard]] std::size_t remaining() const noexcept { return cursor_.size(); }
  /// Bytes written so far: what a used element reports.
  [[nodiscard]] std::size_t written() const noexcept { return written_; }

  /// ENOSPC if fewer than sizeof(T) bytes remain. Padding travels too: `value` should have been zeroed as a
  /// whole.
  template <Wire T>
  [[nodiscard, gnu::always_inline]] Result<> write(const T& value) noexcept {
    if (cursor_.contiguous(sizeof(T))) [[likely]] {
      std::memcpy(cursor_.take(sizeof(T)), &value, sizeof(T));
      written_ += sizeof(T);
      return {};
    }
    Writer scattered = *this;
    const auto done = scattered.write_bytes(detail::bytes_of(value));
    *this = scattered;
    return done;
  }

  /// All of `bytes`, or ENOSPC.
  [[nodiscard, gnu::noinline]] Result<> write_bytes(std::span<const std::byte> bytes) noexcept {
    if (bytes.size() > remaining()) return fail(ENOSPC);
    const std::byte* from = bytes.data();
    cursor_.for_each(bytes.size(), [&](std::byte* piece, std::size_t length) {
      std::memcpy(piece, from, length);
      from += length;
    });
    written_ += bytes.size();
    return {};
  }

  /// `count` zeros, or ENOSPC.
  [[nodiscard]] Result<> write_zeros(std::size_t count) noexcept {
    if (count > remaining()) return fail(ENOSPC);
    cursor_.for_each(count, [](std::byte* piece, std::size_t length) { std::memset(piece, 0, length); });
    written_ += count;
    return {};
  }

 private:
  detail::Cursor<std::byte> cursor_;
  std::size_t written_ = 0;
};

}  // namespace vumedia::virtio
