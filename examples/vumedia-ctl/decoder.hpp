// The client's half of V4L2's stateful decoder protocol ("Memory-to-Memory Stateful Video Decoder Interface"
// in the kernel's documentation): it feeds the bitstream, handles source changes, seeks by STREAMOFF, and
// drains at the end.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include <vumedia/core/result.hpp>

#include "bitstream.hpp"
#include "commands.hpp"
#include "device.hpp"
#include "picture.hpp"
#include "positions.hpp"
#include "queue.hpp"

namespace ctl {

// What is known about a frame in addition to its samples.
struct FrameNote {
  std::uint64_t packet = 0;       // the number of its packet (Bitstream::number())
  bool damaged = false;           // according to the device
  std::optional<double> seconds;  // when it is shown, if the container says
};

class Decoder {
 public:
  using Consume = std::function<vumedia::Outcome<>(const Picture&, const FrameNote&)>;

  // `fourcc`: the format of the frames; 0 for the first that the device offers and we can read.
  Decoder(Device& device, Bitstream& bitstream, std::uint32_t fourcc);

  // Requests one jump during the decode. run() fails if the stream ends before it.
  void seek(const Seek& seek) noexcept { seek_ = seek; }

  // Decodes everything. `consume` gets each frame in display order, cropped, valid during the call. Ends
  // without a frame if the device refuses all packets or finds no picture in them.
  [[nodiscard]] vumedia::Outcome<> run(const Consume& consume);

  // Valid after run().
  [[nodiscard]] std::uint32_t frame_format() const noexcept { return layout_.fourcc; }
  [[nodiscard]] std::uint64_t packets() const noexcept { return packets_; }
  // Frames that the device marked as damaged, by their position among those that came; packets that it
  // refused, by their position in decoding order. Both count from 0.
  [[nodiscard]] const Positions& damaged_frames() const noexcept { return damaged_frames_; }
  [[nodiscard]] const Positions& refused_packets() const noexcept { return refused_packets_; }
  // Whether the device refused the packet with this number (Bitstream::number()). May also be called during
  // run().
  [[nodiscard]] bool refused(std::uint64_t packet) const noexcept {
    return refused_numbers_.contains(packet);
  }
  [[nodiscard]] std::uint64_t resolution_changes() const noexcept { return changes_; }
  // Frames from before a seek that came after it, and were dropped.
  [[nodiscard]] std::uint64_t stale_frames() const noexcept { return stale_frames_; }
  // Frames that the container wants decoded but not shown, such as those before the start of an edit.
  [[nodiscard]] std::uint64_t hidden_frames() const noexcept { return hidden_frames_; }

 private:
  [[nodiscard]] vumedia::Outcome<> start_output();
  // Queues packets as long as there are buffers for them; starts a drain after the last.
  [[nodiscard]] vumedia::Outcome<> feed();
  // A free OUTPUT buffer for that many bytes, a new and larger one if there is none; nothing while it has to
  // be waited for.
  [[nodiscard]] vumedia::Outcome<std::optional<std::uint32_t>> find_room(std::size_t size);
  [[nodiscard]] vumedia::Outcome<> drain();
  // Whether nothing is left to wait for except a drain.
  [[nodiscard]] bool all_returned() const noexcept {
    return input_ended_ && packet_ == nullptr && free_output_.size() == output_.size();
  }
  // Performs the jump in seek_: OUTPUT stops and starts, and the next packet is a key frame.
  [[nodiscard]] vumedia::Outcome<> jump();
  // Handles events that came before both queues, or OUTPUT alone, were stopped.
  [[nodiscard]] vumedia::Outcome<> settle(bool capture_stopped);
  // Sets up CAPTURE for the bitstream's current resolution.
  [[nodiscard]] vumedia::Outcome<> restart_capture();
  [[nodiscard]] vumedia::Outcome<> choose_frame_format(v4l2_format& format);
  [[nodiscard]] Rectangle visible_rectangle();
  [[nodiscard]] std::uint32_t needed_buffers();
  [[nodiscard]] vumedia::Outcome<> handle(const Event& event, const Consume& consume);
  [[nodiscard]] bool is_hopeless() const noexcept;
  void take_packet(const vumedia::v4l2::Buffer& buffer);
  [[nodiscard]] vumedia::Outcome<> take_frame(const vumedia::v4l2::Buffer& buffer, const Consume& consume);

  Device& device_;
  Bitstream& bitstream_;
  std::uint32_t wanted_;
  Queue output_;
  Queue capture_;
  std::vector<std::uint32_t> free_output_;
  const AVPacket* packet_ = nullptr;  // read, but not queued yet
  std::uint64_t packets_ = 0;         // queued
  std::uint64_t first_number_ = 0;    // of packets since the seek
  std::uint64_t frames_ = 0;
  // The contents of the OUTPUT buffers: the packet's position and its number, which is also its time stamp.
  struct Queued {
    std::uint64_t place = 0;
    std::uint64_t number = 0;
  };
  std::vector<Queued> queued_;
  // When recent packets are shown, each at its number modulo their count. No decoder holds that many
  // pictures.
  struct Shown {
    std::uint64_t number = 0;
    std::optional<double> seconds;
  };
  std::array<Shown, 256> shown_{};
  std::optional<Seek> seek_;
  bool seek_is_due_ = false;
  bool input_ended_ = false;
  bool draining_ = false;
  bool finished_ = false;
  bool change_pending_ = false;   // a source change was reported, the last buffer before it has not come
  bool last_seen_ = false;        // the last buffer came, but it is not known what ended with it
  bool last_was_latest_ = false;  // no frame has come since
  bool end_told_ = false;         // by V4L2_EVENT_EOS, since the drain began
  bool picture_known_ = false;    // a source change was reported, or a frame has come
  Layout layout_;
  Rectangle visible_;
  Positions damaged_frames_;
  Positions refused_packets_;
  Positions refused_numbers_;
  Positions hidden_numbers_;  // packets whose frames are not to be shown
  std::uint64_t stale_frames_ = 0;
  std::uint64_t hidden_frames_ = 0;
  std::uint64_t changes_ = 0;
};

}  // namespace ctl
