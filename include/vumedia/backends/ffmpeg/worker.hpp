// The worker's side of a decoding engine: decodes what the client queues, and delivers it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>
#include <variant>

#include <vumedia/backends/ffmpeg/capture_slots.hpp>
#include <vumedia/backends/ffmpeg/codec.hpp>
#include <vumedia/backends/ffmpeg/engine_options.hpp>
#include <vumedia/backends/ffmpeg/engine_state.hpp>
#include <vumedia/backends/ffmpeg/events.hpp>
#include <vumedia/backends/ffmpeg/picture.hpp>
#include <vumedia/backends/ffmpeg/picture_decoder.hpp>
#include <vumedia/backends/ffmpeg/picture_splitter.hpp>
#include <vumedia/core/log.hpp>

namespace vumedia::backends::ffmpeg {

/// Lives on the thread that it works on.
class Worker {
 public:
  /// `shared` and `options` outlive it.
  Worker(SharedState& shared, const EngineOptions& options, Log log)
      : shared_(shared), decoder_(shared, options, log) {}

  /// Works until the engine is closed.
  void run() {
    Access state = shared_.lock();
    while (!state->phase().closed()) {
      if (step(state) == Step::wait && !state->phase().closed()) state.wait();
    }
  }

 private:
  using Access = SharedState::Access;
  using Output = PictureDecoder::Output;
  enum class Step : std::uint8_t { again, wait };

  // A coded buffer that is being decoded, picture by picture.
  struct AtHand {
    CodedBufferDone done;
    Stamp stamp;
    std::uint64_t serial = 0;  // of the picture before it
    const CodedFormat* format = nullptr;
    Packet packet;       // none: nothing (more) can be taken from it
    std::size_t at = 0;  // where the next picture begins
    // Begins a sequence, and waits for the pictures of the previous one, which the decoder is still
    // outputting.
    Packet next;
  };

  [[nodiscard]] Step step(Access& state) {
    if (state->start_is_due()) {
      begin(state);
      return Step::again;
    }
    if (state->phase().last_is_due()) return state->deliver_last() ? Step::again : Step::wait;
    if (!state->phase().decoding()) return Step::wait;
    if (decoder_.output() == Output::frame) return deliver(state);
    if (decoder_.output() == Output::may_follow) {
      receive(state);
    } else if (state->feeds() && at_hand_) {
      decode(state);
    } else if (state->has_coded()) {
      take(state);
    } else {
      return Step::wait;
    }
    return Step::again;
  }

  // Drops everything from before.
  void begin(Access& state) {
    const Start start = state->take_start();
    state.without([&] {
      draining_.reset();
      at_hand_.reset();
      if (start == Start::stream) splitter_ = {};
      decoder_.begin(start);
    });
    state->begun();
  }

  void take(Access& state) {
    auto coded = state->take_coded();
    if (const auto* const mark = std::get_if<EngineState::DrainMark>(&coded.entry)) {
      draining_ = mark->drain;
      return state.without([&] { decoder_.drain(); });
    }
    auto& buffer = *std::get_if<CodedBuffer>(&coded.entry);
    at_hand_.emplace(AtHand{.done = {buffer.index, false},
                            .stamp = buffer.stamp,
                            .serial = state->picture().serial(),
                            .format = coded.format,
                            .packet = nullptr,
                            .next = nullptr});
    state.without([&] {
      // An empty packet would begin a drain.
      if (!buffer.bytes.empty()) {
        at_hand_->packet = decoder_.copy(buffer.bytes);
        if (!at_hand_->packet) at_hand_->done.damaged = true;
      }
      buffer.owner.reset();
    });
  }

  // Decodes the next picture of the buffer at hand.
  void decode(Access& state) {
    AtHand& hand = *at_hand_;
    if (hand.next) hand.serial = state->picture().serial();
    std::optional<CodedBufferDone> done;
    const std::uint64_t serial = hand.serial;
    state.without([&] {
      if (!next_picture(hand)) return;
      if (Packet packet = std::move(hand.next);
          packet && !decoder_.decode(*hand.format, hand.stamp, std::move(packet)))
        hand.done.damaged = true;
      if (hand.packet) return;
      done = hand.done;
      at_hand_.reset();
    });
    if (done) state->give_back(*done, serial);
  }

  // Puts the next picture into `hand.next`, if there is one. False if it has to wait for the sequence before
  // it.
  [[nodiscard]] bool next_picture(AtHand& hand) {
    if (hand.next) {
      decoder_.begin_sequence();
    } else if (hand.packet) {
      hand.next = cut_picture(hand);
      if (hand.next && decoder_.ends_sequence(*hand.format, *hand.next)) return false;
    }
    return true;
  }

  // Takes the next picture from the buffer. None if there is no memory, which is logged.
  [[nodiscard]] Packet cut_picture(AtHand& hand) {
    const auto all = bytes_of(*hand.packet);
    const auto rest = all.subspan(hand.at);
    const auto part = rest.first(splitter_.first(hand.format->codec, rest));
    // Parsers read past the end, where there must be zeros.
    Packet picture = part.size() == all.size() ? std::move(hand.packet) : decoder_.copy(part);
    if (!picture) hand.done.damaged = true;
    hand.at += part.size();
    if (part.size() == rest.size()) hand.packet.reset();
    return picture;
  }

  void receive(Access& state) {
    state.without([&] { (void)decoder_.receive(); });
    if (draining_ && decoder_.output() == Output::needs_packet) state->end_of_frames(*draining_);
  }

  // Delivers the decoder's frame, if the client is ready for it.
  [[nodiscard]] Step deliver(Access& state) {
    const AVFrame& frame = decoder_.frame();
    const Picture picture = decoder_.picture();
    PictureState& known = state->picture();
    if (known.is_news(picture)) {
      state->announce(picture, decoder_.traits());
    } else if (const auto change = known.notice(picture, decoder_.traits().min_buffers)) {
      state->push(*change);
    }
    if (!known.streaming()) return Step::wait;
    if (!known.fits()) {
      state->reach_change();
      return Step::again;
    }
    const Layout& layout = known.setup().layout;
    const auto bytes = static_cast<std::uint32_t>(layout.payload());
    std::optional<std::uint32_t> index;
    if (lies_as(frame, layout)) index = state->slots().take_rendered(frame.data[0]);
    if (index) {
      ++state->deliveries().in_place;
    } else {
      auto target = state->slots().take_free(bytes);
      if (!target) return Step::wait;
      index = copy_out(state, std::move(*target));
      if (!index) return Step::again;
      ++state->deliveries().copied;
    }
    state->push(decoder_.done(*index, bytes, picture.field));
    state.without([&] { decoder_.drop_frame(); });
    return Step::again;
  }

  // Copies the frame to `target`. Nothing if the loop has stopped one of the queues in the meantime.
  [[nodiscard]] std::optional<std::uint32_t> copy_out(Access& state, CaptureSlots::Target target) {
    const std::uint64_t epoch = state->capture_epoch();
    const CaptureSetup setup = state->picture().setup();
    state.without([&] {
      // The frame was decoded elsewhere and has to be copied: the guest's buffers were lent out or did not
      // exist yet, their format is not libavcodec's, or the decoder uses its own memory.
      copy_frame(decoder_.frame(), setup, reinterpret_cast<std::uint8_t*>(target.data));
      decoder_.touched();
    });
    const bool stopped = epoch != state->capture_epoch();
    const bool dropped = state->start_is_due();
    const std::uint32_t index = target.index;
    // A seek does not affect CAPTURE: the buffer is still queued by the guest.
    state->slots().give_back(target, !stopped && dropped);
    if (stopped || dropped) return std::nullopt;
    return index;
  }

  SharedState& shared_;
  PictureDecoder decoder_;
  PictureSplitter splitter_;
  std::optional<AtHand> at_hand_;
  std::optional<Phase::Drain> draining_;  // the one that the decoder is at
};

}  // namespace vumedia::backends::ffmpeg
