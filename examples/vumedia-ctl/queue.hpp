// One V4L2 queue as a program uses it: buffers are requested, mapped, queued and returned.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include <linux/videodev2.h>

#include <vumedia/core/result.hpp>

#include "device.hpp"

namespace ctl {

class Queue {
 public:
  Queue(Device& device, std::uint32_t type) : device_(&device), type_(type) {}

  [[nodiscard]] std::uint32_t type() const noexcept { return type_; }
  [[nodiscard]] std::size_t size() const noexcept { return buffers_.size(); }
  [[nodiscard]] bool streaming() const noexcept { return streaming_; }

  // Requests and maps about `count` buffers; the device decides how many.
  [[nodiscard]] vumedia::Outcome<> allocate(std::uint32_t count);
  // One more buffer, with `bytes` or more in its first plane. Returns its index. Not every device can do
  // that.
  [[nodiscard]] vumedia::Outcome<std::uint32_t> add(std::uint32_t bytes);
  [[nodiscard]] vumedia::Outcome<> start();
  [[nodiscard]] vumedia::Outcome<> stop();
  // Unmaps the buffers and frees them.
  [[nodiscard]] vumedia::Outcome<> release();

  // The memory of a buffer, with one span for each plane.
  [[nodiscard]] std::span<const std::span<std::byte>> memory(std::uint32_t index) const {
    return {buffers_[index].planes.data(), buffers_[index].count};
  }
  // CAPTURE: an empty buffer.
  [[nodiscard]] vumedia::Outcome<> queue(std::uint32_t index) { return queue(index, 0, 0); }
  // OUTPUT: `bytes` in the first plane, and the time stamp that comes back with the frame made from them.
  [[nodiscard]] vumedia::Outcome<> queue(std::uint32_t index, std::uint32_t bytes,
                                         std::uint64_t microseconds);

  // The filled part of each plane according to a DQBUF event, checked against the buffer. Fails for an index
  // that does not exist.
  struct Filled {
    std::array<std::span<const std::byte>, VIDEO_MAX_PLANES> planes{};
    std::size_t count = 0;
    [[nodiscard]] std::span<const std::span<const std::byte>> memory() const {
      return {planes.data(), count};
    }
    [[nodiscard]] bool empty() const noexcept { return count == 0 || planes[0].empty(); }
  };
  [[nodiscard]] vumedia::Outcome<Filled> filled(const vumedia::v4l2::Buffer& buffer) const;

 private:
  struct Mapped {
    std::array<std::span<std::byte>, VIDEO_MAX_PLANES> planes{};
    std::size_t count = 0;
  };
  [[nodiscard]] bool multiplanar() const noexcept { return vumedia::v4l2::is_multiplanar(type_); }
  [[nodiscard]] vumedia::Outcome<> map(std::uint32_t index);
  [[nodiscard]] vumedia::v4l2::Buffer make_buffer(std::uint32_t index) const;

  Device* device_;
  std::uint32_t type_;
  std::vector<Mapped> buffers_;
  bool streaming_ = false;
};

}  // namespace ctl
