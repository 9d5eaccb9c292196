// Rules on a stateful decoder that decodes a stream: the first source change, and frames.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include <vumedia/client/compliance/decoder_client.hpp>
#include <vumedia/client/compliance/decoder_setup.hpp>
#include <vumedia/client/compliance/rule.hpp>

namespace vumedia::client::compliance::detail::decoder {

// Runs `check(client)` with a client for the run's stream.
template <class Check>
inline Finding with_stream(Subject& s, Check check) {
  const CodedStream* stream = nullptr;
  if (auto found = find_stream(s, stream)) return found;
  Client client(s, *stream);
  return check(client);
}

// OUTPUT alone, up to the first source change.
inline Finding parse(Client& client) {
  client.follows_changes = false;
  if (auto found = client.start_output()) return found;
  return client.run([&] { return client.change_pending(); });
}

// -- Initialization

inline Finding source_change_is_first(Subject& s) {
  return with_stream(s, [](Client& client) -> Finding {
    if (auto found = parse(client)) return found;
    if (client.looks().front().changes == V4L2_EVENT_SRC_CH_RESOLUTION) return passed();
    return failed("the first source change has changes 0x%x", client.looks().front().changes);
  });
}

inline Finding format_is_the_streams(Subject& s) {
  return with_stream(s, [&](Client& client) -> Finding {
    if (auto found = parse(client)) return found;
    const Client::Look told = client.looks().front();
    Client::Look now;
    if (auto found = client.look(now)) return found;
    const Pixels& pixels = now.pixels;
    if (pixels.width != told.pixels.width || pixels.height != told.pixels.height)
      return failed("CAPTURE was %ux%u at the source change, but is now %ux%u", told.pixels.width,
                    told.pixels.height, pixels.width, pixels.height);
    if (!is_listed(list_formats(s, client.capture().type()), pixels.fourcc))
      return failed("CAPTURE is %s, which is not listed", fourcc_name(pixels.fourcc).c_str());
    std::uint64_t bytes = 0;
    for (const Pixels::Plane& plane : pixels.used_planes()) bytes += plane.size;
    if (pixels.width == 0 || pixels.height == 0 || bytes < std::uint64_t{pixels.width} * pixels.height)
      return failed("CAPTURE has %ux%u pixels in %llu bytes", pixels.width, pixels.height,
                    static_cast<unsigned long long>(bytes));
    return passed();
  });
}

// -- Capture setup

[[nodiscard]] inline bool lies_in(const v4l2_rect& inner, const v4l2_rect& outer) noexcept {
  const auto end = [](std::int32_t at, std::uint32_t length) { return std::int64_t{at} + length; };
  return inner.left >= outer.left && inner.top >= outer.top &&
         end(inner.left, inner.width) <= end(outer.left, outer.width) &&
         end(inner.top, inner.height) <= end(outer.top, outer.height);
}

inline Finding selections_fit(Subject& s) {
  return with_stream(s, [&](Client& client) -> Finding {
    if (auto found = parse(client)) return found;
    v4l2_rect rectangles[6]{};
    constexpr std::uint32_t targets[] = {
        V4L2_SEL_TGT_CROP,    V4L2_SEL_TGT_CROP_DEFAULT,    V4L2_SEL_TGT_CROP_BOUNDS,
        V4L2_SEL_TGT_COMPOSE, V4L2_SEL_TGT_COMPOSE_DEFAULT, V4L2_SEL_TGT_COMPOSE_BOUNDS};
    for (std::size_t i = 0; i < std::size(targets); ++i) {
      v4l2_selection selection{};
      selection.type = V4L2_BUF_TYPE_VIDEO_CAPTURE;
      selection.target = targets[i];
      if (auto found = s.want<tag::G_SELECTION>(selection, "of CAPTURE")) return found;
      rectangles[i] = selection.r;
      if (selection.r.width == 0 || selection.r.height == 0)
        return failed("selection target 0x%x is %ux%u", targets[i], selection.r.width, selection.r.height);
    }
    const auto& [crop, crop_default, crop_bounds, compose, compose_default, compose_bounds] = rectangles;
    if (!lies_in(crop_default, crop_bounds) || !lies_in(crop, crop_bounds))
      return failed("CROP of %ux%u or its default of %ux%u does not lie in its bounds, %ux%u", crop.width,
                    crop.height, crop_default.width, crop_default.height, crop_bounds.width,
                    crop_bounds.height);
    const Pixels& pixels = client.looks().front().pixels;
    const v4l2_rect frame{0, 0, pixels.width, pixels.height};
    if (!lies_in(compose, frame) || !lies_in(compose_default, frame) || !lies_in(compose, compose_bounds))
      return failed("COMPOSE of %ux%u at %d,%d does not lie in the frame of %ux%u", compose.width,
                    compose.height, compose.left, compose.top, frame.width, frame.height);
    return passed();
  });
}

inline Finding raw_format_can_be_chosen(Subject& s) {
  return with_stream(s, [&](Client& client) -> Finding {
    if (auto found = parse(client)) return found;
    for (const v4l2_fmtdesc& each : list_formats(s, client.capture().type())) {
      v4l2_format format{};
      format.type = client.capture().type();
      if (auto found = s.expect<tag::G_FMT>(format, 0, "of CAPTURE")) return found;
      set_fourcc(format, each.pixelformat);
      if (auto found = s.expect<tag::S_FMT>(format, 0, "of CAPTURE")) return found;
      v4l2_format after{};
      after.type = format.type;
      if (auto found = s.expect<tag::G_FMT>(after, 0, "of CAPTURE")) return found;
      if (pixels_of(format).fourcc != each.pixelformat || pixels_of(after).fourcc != each.pixelformat)
        return failed("S_FMT of CAPTURE to %s, which is listed, became %s",
                      fourcc_name(each.pixelformat).c_str(), fourcc_name(pixels_of(after).fourcc).c_str());
    }
    return passed();
  });
}

inline Finding least_buffers_suffice(Subject& s) {
  return with_stream(s, [](Client& client) -> Finding {
    client.extra = 0;
    return client.play();
  });
}

// -- Decoding

inline Finding stream_is_decoded(Subject& s) {
  return with_stream(s, [](Client& client) -> Finding {
    if (auto found = client.play()) return found;
    if (client.pictures() == 0) return failed("%zu units gave no frame", client.fed());
    for (const Client::Frame& frame : client.frames()) {
      if ((frame.flags & V4L2_BUF_FLAG_ERROR) != 0)
        return failed("the frame with time stamp %lld is flagged ERROR", static_cast<long long>(frame.stamp));
    }
    return passed();
  });
}

inline Finding output_comes_back(Subject& s) {
  return with_stream(s, [](Client& client) -> Finding {
    if (auto found = client.play()) return found;
    if (auto found = client.run([&] { return client.all_returned(); })) return found;
    if (client.returned().size() != client.fed())
      return failed("%zu OUTPUT buffers were queued, %zu came back", client.fed(), client.returned().size());
    std::vector<std::int64_t> stamps;
    for (const Client::Returned& each : client.returned()) stamps.push_back(each.stamp);
    std::ranges::sort(stamps);
    for (std::size_t i = 0; i < stamps.size(); ++i) {
      const std::int64_t queued = client.first_stamp() + static_cast<std::int64_t>(i) * Client::stamp_step;
      if (stamps[i] != queued)
        return failed("no OUTPUT buffer came back with its time stamp %lld", static_cast<long long>(queued));
    }
    return passed();
  });
}

inline Finding stamps_are_of_output(Subject& s) {
  return with_stream(s, [](Client& client) -> Finding {
    if (auto found = client.play()) return found;
    for (const Client::Frame& frame : client.frames()) {
      if (frame.empty) continue;
      const std::int64_t place = frame.stamp - client.first_stamp();
      if (place < 0 || place % Client::stamp_step != 0 ||
          place / Client::stamp_step >= static_cast<std::int64_t>(client.fed()))
        return failed("a frame has the time stamp %lld, which no OUTPUT buffer had",
                      static_cast<long long>(frame.stamp));
    }
    return passed();
  });
}

inline Finding frames_are_numbered(Subject& s) {
  return with_stream(s, [](Client& client) -> Finding {
    if (auto found = client.play()) return found;
    const Client::Frame* last = nullptr;
    for (const Client::Frame& frame : client.frames()) {
      const bool follows = last != nullptr && last->starts == frame.starts;
      if (follows && frame.sequence != last->sequence + 1)
        return failed("CAPTURE buffer number %u comes after number %u", frame.sequence, last->sequence);
      last = &frame;
    }
    return passed();
  });
}

inline Finding frames_are_filled(Subject& s) {
  return with_stream(s, [](Client& client) -> Finding {
    if (auto found = client.play()) return found;
    for (const Client::Frame& frame : client.frames()) {
      if (!frame.fits) return failed("a CAPTURE buffer has more bytes used than its planes have");
      if (frame.empty && (frame.flags & V4L2_BUF_FLAG_LAST) == 0)
        return failed("an empty CAPTURE buffer came that is not flagged LAST");
    }
    return passed();
  });
}

inline Finding one_at_a_time(Subject& s) {
  return with_stream(s, [&](Client& client) -> Finding {
    client.most_at_once = 1;
    if (auto found = client.start_output(1)) return found;
    if (auto found = client.feed_all()) return found;
    return client.drain();
  });
}

inline Finding garbage_is_survived(Subject& s) {
  return with_stream(s, [&](Client& client) -> Finding {
    client.garbage_at = s.settings().stream->units.size() / 2;
    if (auto found = client.play()) return found;
    // A decoder may handle what follows as it likes, but it must not stop there.
    if (client.pictures() == 0)
      return failed("a stream with %s in the middle gave no frame", "700 bytes of nonsense");
    return client.run([&] { return client.all_returned(); });
  });
}

inline Finding garbage_alone_comes_back(Subject& s) {
  return with_stream(s, [&](Client& client) -> Finding {
    client.garbage_at = 0;
    client.most_at_once = 1;
    if (auto found = client.start_output()) return found;
    // The rest of the stream waits for the nonsense to come back.
    return client.run([&] { return !client.returned().empty(); });
  });
}

inline Finding capture_may_pause(Subject& s) {
  return with_stream(s, [&](Client& client) -> Finding {
    if (auto found = client.start_output()) return found;
    if (auto found = client.run([&] { return client.pictures() >= 1 || client.drained(); })) return found;
    if (client.change_pending()) return not_applicable("the resolution changes too early in the stream");
    if (auto found = client.stop(client.capture())) return found;
    if (auto found = client.queue_capture()) return found;
    if (auto found = client.start(client.capture())) return found;
    if (auto found = client.feed_all()) return found;
    if (auto found = client.drain()) return found;
    for (const Client::Frame& frame : client.frames()) {
      if (frame.starts > 1 && !frame.empty) return passed();
    }
    return failed("after a restart of CAPTURE no frame came");
  });
}

inline constexpr const char* setup_section =
    "V4L2 API, Memory-to-Memory Stateful Video Decoder Interface, Capture Setup";
inline constexpr const char* decoding_section =
    "V4L2 API, Memory-to-Memory Stateful Video Decoder Interface, Decoding";

inline constexpr Rule stream_rules[] = {
    {"decoding/source-change", "the beginning of a stream brings a source change event for the resolution",
     initialization_section, Scope::decoder, source_change_is_first},
    {"decoding/format", "after the source change CAPTURE has a listed format that holds the frames",
     setup_section, Scope::decoder, format_is_the_streams},
    {"decoding/selections", "the visible rectangle lies within the coded picture and within the frame",
     setup_section, Scope::decoder, selections_fit},
    {"decoding/raw-choice", "CAPTURE can be set to each format that it lists", setup_section, Scope::decoder,
     raw_format_can_be_chosen},
    {"decoding/least-buffers", "a stream is decoded with as many CAPTURE buffers as the control demands",
     setup_section, Scope::decoder, least_buffers_suffice},
    {"decoding/frames", "a stream gives frames, and none of them is flagged ERROR", decoding_section,
     Scope::decoder, stream_is_decoded},
    {"decoding/output-returned", "each OUTPUT buffer comes back once, with its time stamp", decoding_section,
     Scope::decoder, output_comes_back},
    {"decoding/stamps", "each frame has the time stamp of an OUTPUT buffer", decoding_section, Scope::decoder,
     stamps_are_of_output},
    {"decoding/sequence", "CAPTURE buffers are numbered without gaps",
     "V4L2 API, struct v4l2_buffer, sequence", Scope::decoder, frames_are_numbered},
    {"decoding/filled", "only a buffer flagged LAST may be empty, and none has more bytes than its planes",
     drain_section, Scope::decoder, frames_are_filled},
    {"decoding/one-at-a-time", "a client that queues one OUTPUT buffer at a time gets to the end",
     decoding_section, Scope::decoder, one_at_a_time},
    {"decoding/nonsense-amid", "nonsense in a stream does not stop the decoder", decoding_section,
     Scope::decoder, garbage_is_survived},
    {"decoding/nonsense-first", "an OUTPUT buffer of nonsense comes back even before the stream begins",
     initialization_section, Scope::decoder, garbage_alone_comes_back},
    {"decoding/capture-restart", "CAPTURE can stop and start in the middle of a stream", decoding_section,
     Scope::decoder, capture_may_pause},
};

}  // namespace vumedia::client::compliance::detail::decoder
