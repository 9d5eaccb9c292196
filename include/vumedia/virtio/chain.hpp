// A descriptor chain that was taken from a queue: VIRTIO 1.4, 2.7.5 and 2.7.13.
#pragma once

#include <cstdint>
#include <span>

#include <vumedia/virtio/reader_writer.hpp>

namespace vumedia::virtio {

/// What a driver can do wrong with a queue. Each error leaves the queue as it was: the device must stop
/// serving it.
enum class ChainError : std::uint8_t {
  none,
  avail_index_jump,         ///< the available index is more than the queue size ahead of ours
  head_out_of_range,        ///< the available ring names a descriptor that the table does not have
  head_in_flight,           ///< it names a chain that the device has not given back
  next_out_of_range,        ///< a descriptor's next one is not in its table
  loop,                     ///< more descriptors than their table has
  too_long,                 ///< more descriptors than the queue size, including those of an indirect table
  nested_indirect,          ///< an indirect table refers to another
  indirect_with_next,       ///< a descriptor is both indirect and continued
  indirect_not_negotiated,  ///< an indirect table without VIRTIO_F_INDIRECT_DESC
  bad_indirect_size,        ///< an indirect table of zero, or of a fractional number of descriptors
  readable_after_writable,  ///< a device-readable descriptor after a device-writable one
  outside_memory,           ///< a buffer or an indirect table that is not guest memory
  length_overflow,          ///< more than 2^32 - 1 bytes in all
  too_many_segments,        ///< buffers that cross more regions than any real table has
  ring_outside_memory,      ///< the rings are no longer in guest memory: the table was replaced
};

/// The error in words, for a log line.
[[nodiscard]] constexpr const char* to_string(ChainError error) noexcept {
  switch (error) {
    case ChainError::none:
      return "no error";
    case ChainError::avail_index_jump:
      return "available index jumps by more than the queue size";
    case ChainError::head_out_of_range:
      return "head of a chain is not in the descriptor table";
    case ChainError::head_in_flight:
      return "chain is made available while it is in flight";
    case ChainError::next_out_of_range:
      return "next descriptor is not in its table";
    case ChainError::loop:
      return "descriptors form a loop";
    case ChainError::too_long:
      return "chain is longer than the queue size";
    case ChainError::nested_indirect:
      return "indirect table inside an indirect table";
    case ChainError::indirect_with_next:
      return "indirect descriptor has a next one";
    case ChainError::indirect_not_negotiated:
      return "indirect descriptor without the feature";
    case ChainError::bad_indirect_size:
      return "indirect table is not a whole number of descriptors";
    case ChainError::readable_after_writable:
      return "readable descriptor after a writable one";
    case ChainError::outside_memory:
      return "descriptor points outside guest memory";
    case ChainError::length_overflow:
      return "chain holds more than 2^32 - 1 bytes";
    case ChainError::too_many_segments:
      return "chain crosses too many memory regions";
    case ChainError::ring_outside_memory:
      return "rings are not in guest memory";
  }
  return "unknown error";
}

/// The buffers of one chain in this process's address space, readable ones first. It belongs to its Queue and
/// is valid until the next pop; the bytes are, as long as the GuestMemory it was popped with lives. Whoever
/// is given one only reads it.
class Chain {
 public:
  Chain() = default;
  /// A chain that was taken before; `segments` are a copy of its own.
  Chain(const Chain& taken, std::span<const Segment> segments) noexcept
      : segments_(segments.data()),
        first_writable_(segments.data() + taken.readable().size()),
        end_(segments.data() + segments.size()),
        readable_size_(taken.readable_size_),
        writable_size_(taken.writable_size_),
        head_(taken.head_) {}

  /// Names the chain in Queue::push.
  [[nodiscard]] std::uint16_t head() const noexcept { return head_; }

  /// What the device reads.
  [[nodiscard]] std::span<const Segment> readable() const noexcept { return {segments_, first_writable_}; }
  /// All of them, readable ones first.
  [[nodiscard]] std::span<const Segment> segments() const noexcept { return {segments_, end_}; }
  /// What the device writes.
  [[nodiscard]] std::span<const Segment> writable() const noexcept { return {first_writable_, end_}; }
  /// Bytes in all; they fit 32 bits, as the used ring needs.
  ///@{
  [[nodiscard]] std::uint32_t readable_size() const noexcept { return readable_size_; }
  [[nodiscard]] std::uint32_t writable_size() const noexcept { return writable_size_; }
  ///@}

  /// From the beginning of what is readable, or writable.
  ///@{
  [[nodiscard]] Reader reader() const noexcept { return {readable(), readable_size_}; }
  [[nodiscard]] Writer writer() const noexcept { return {writable(), writable_size_}; }
  ///@}

  // The rest is for the queue that fills it, as it follows the descriptors, and for nobody else.

  /// Where its segments begin. The calls come in the order in which they stand here.
  void use(const Segment* segments) noexcept { segments_ = segments; }
  /// Its head, which names it in Queue::push.
  void begin(std::uint16_t head) noexcept { head_ = head; }
  /// Where the writable segments begin, after `size` bytes.
  void begin_writable(const Segment* first, std::uint32_t size) noexcept {
    first_writable_ = first;
    readable_size_ = size;
  }
  /// The end of all segments, after `size` bytes, those before the writable ones included.
  void end(const Segment* end, std::uint32_t size) noexcept {
    end_ = end;
    writable_size_ = size - readable_size_;
  }

 private:
  const Segment* segments_ = nullptr;
  const Segment* first_writable_ = nullptr;
  const Segment* end_ = nullptr;
  std::uint32_t readable_size_ = 0;
  std::uint32_t writable_size_ = 0;
  std::uint16_t head_ = 0;
};

/// What Queue::pop found: a chain, nothing, or a driver that broke the rules.
struct [[nodiscard]] PopResult {
  Chain* chain = nullptr;  ///< the queue's; null if there is none
  /// What the driver has done wrong, if there is no chain for that reason.
  ChainError error = ChainError::none;

  /// Whether there is a chain.
  [[nodiscard]] explicit operator bool() const noexcept { return chain != nullptr; }
  /// Whether the driver has made nothing available.
  [[nodiscard]] bool empty() const noexcept { return chain == nullptr && error == ChainError::none; }
  /// Whether the driver has broken the rules: the queue cannot be served any more.
  [[nodiscard]] bool failed() const noexcept { return error != ChainError::none; }
  /// The chain, which there must be.
  ///@{
  Chain* operator->() const noexcept { return chain; }
  Chain& operator*() const noexcept { return *chain; }
  ///@}
};

}  // namespace vumedia::virtio
