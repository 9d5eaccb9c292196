// The client's half of V4L2's stateful decoder protocol ("Memory-to-Memory Stateful Video Decoder Interface"
// in the kernel's documentation): bitstream in, source changes answered, seeks by STREAMOFF, drained at the
// end.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include <vumedia/core/result.hpp>

#include "bitstream.hpp"
#include "commands.hpp"
#include "device.hpp"
#include "picture.hpp"
#include "queue.hpp"

namespace ctl {

class Decoder {
 public:
  using Consume = std::function<vumedia::Outcome<>(const Picture&)>;

  // `fourcc`: of the frames; 0 for the first that the device offers and we can read.
  Decoder(Device& device, Bitstream& bitstream, std::uint32_t fourcc);

  // One jump on the way. run() fails if the stream ends before it.
  void seek(const Seek& seek) noexcept { seek_ = seek; }

  // Decodes everything. `consume` gets each frame in display order, cropped, valid during the call.
  [[nodiscard]] vumedia::Outcome<> run(const Consume& consume);

  // After run().
  [[nodiscard]] std::uint32_t frame_format() const noexcept { return layout_.fourcc; }
  [[nodiscard]] std::uint64_t damaged_frames() const noexcept { return damaged_frames_; }
  [[nodiscard]] std::uint64_t damaged_packets() const noexcept { return damaged_packets_; }
  [[nodiscard]] std::uint64_t resolution_changes() const noexcept { return changes_; }
  // Frames of before a seek that came behind it, and were dropped.
  [[nodiscard]] std::uint64_t stale_frames() const noexcept { return stale_frames_; }

 private:
  [[nodiscard]] vumedia::Outcome<> start_output();
  // Queues packets as long as there are buffers for them; asks to drain behind the last.
  [[nodiscard]] vumedia::Outcome<> feed();
  [[nodiscard]] vumedia::Outcome<> drain();
  // To what seek_ says: OUTPUT stops and starts, and the next packet is a key frame.
  [[nodiscard]] vumedia::Outcome<> jump();
  // Events that came before both queues, or OUTPUT alone, were stopped.
  [[nodiscard]] vumedia::Outcome<> settle(bool capture_stopped);
  // For the resolution that the bitstream has now.
  [[nodiscard]] vumedia::Outcome<> restart_capture();
  [[nodiscard]] vumedia::Outcome<> choose_frame_format(v4l2_format& format);
  [[nodiscard]] Rectangle visible_rectangle();
  [[nodiscard]] std::uint32_t needed_buffers();
  [[nodiscard]] vumedia::Outcome<> handle(const Event& event, const Consume& consume);
  [[nodiscard]] vumedia::Outcome<> take_frame(const vumedia::v4l2::Buffer& buffer, const Consume& consume);

  Device& device_;
  Bitstream& bitstream_;
  std::uint32_t wanted_;
  Queue output_;
  Queue capture_;
  std::vector<std::uint32_t> free_output_;
  const AVPacket* packet_ = nullptr;  // read, but not queued yet
  std::uint64_t packets_ = 0;         // also the time stamp of the next, in microseconds
  std::uint64_t first_packet_ = 0;    // since the seek
  std::uint64_t frames_ = 0;
  std::optional<Seek> seek_;
  bool seek_is_due_ = false;
  bool input_ended_ = false;
  bool draining_ = false;
  bool finished_ = false;
  bool change_pending_ = false;  // a source change was told, the last buffer before it has not come
  bool last_seen_ = false;       // the last buffer came, what it was the last of is not known
  Layout layout_;
  Rectangle visible_;
  std::uint64_t damaged_frames_ = 0;
  std::uint64_t damaged_packets_ = 0;
  std::uint64_t stale_frames_ = 0;
  std::uint64_t changes_ = 0;
};

}  // namespace ctl
