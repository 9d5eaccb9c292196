// Rules on what ends or redirects the work of a stateful decoder: drains, seeks, changes of resolution.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include <vumedia/client/compliance/decoder_client.hpp>
#include <vumedia/client/compliance/decoder_stream.hpp>
#include <vumedia/client/compliance/rule.hpp>

namespace vumedia::client::compliance::detail::decoder {

// -- Drain

// Events of one file keep their order, so an event that has not come before the first event of a new
// subscription has not been sent.
inline Finding settle(Subject& s) {
  v4l2_event_subscription subscription{};
  subscription.type = V4L2_EVENT_CTRL;
  subscription.id = V4L2_CID_MIN_BUFFERS_FOR_CAPTURE;
  subscription.flags = V4L2_EVENT_SUB_FL_SEND_INITIAL;
  if (auto found = s.expect<tag::SUBSCRIBE_EVENT>(subscription, 0, "to V4L2_CID_MIN_BUFFERS_FOR_CAPTURE"))
    return found;
  v4l2_event event{};
  return s.next_event(s.session(), V4L2_EVENT_CTRL, event);
}

inline Finding last_is_last(Subject& s) {
  return with_stream(s, [&](Client& client) -> Finding {
    if (auto found = client.play()) return found;
    const auto last = [](const Client::Frame& frame) { return (frame.flags & V4L2_BUF_FLAG_LAST) != 0; };
    if (!last(client.frames().back())) return failed("the last buffer of a drain is not flagged LAST");
    if (auto found = client.queue_capture()) return found;
    if (auto found = settle(s)) return found;
    if (const std::size_t more = s.buffers_waiting(client.capture().type()); more != 0)
      return failed("%zu CAPTURE buffers came after the one flagged LAST", more);
    return passed();
  });
}

inline Finding drain_has_its_event(Subject& s) {
  return with_stream(s, [](Client& client) -> Finding {
    client.needs_eos = true;
    return client.play();
  });
}

inline Finding stopped_takes_buffers(Subject& s) {
  return with_stream(s, [&](Client& client) -> Finding {
    if (auto found = client.play()) return found;
    if (auto found = client.run([&] { return client.all_returned(); })) return found;
    if (auto found = client.queue_output(0, s.settings().stream->units[0], 1)) return found;
    if (auto found = settle(s)) return found;
    if (s.buffers_waiting(client.output().type()) == 0) return passed();
    return failed("a decoder that is stopped processed an OUTPUT buffer");
  });
}

// Restarts a drained decoder with `resume(client)`, and has it decode the stream once more.
template <class Resume>
inline Finding decode_again(Client& client, Resume resume) {
  if (auto found = client.play()) return found;
  const std::size_t before = client.pictures();
  if (auto found = resume()) return found;
  client.rewind();
  if (auto found = client.feed_all()) return found;
  if (auto found = client.drain()) return found;
  if (client.pictures() > before) return passed();
  return failed("decoding did not continue: %zu frames before, none after", before);
}

inline Finding start_resumes(Subject& s) {
  return with_stream(s, [&](Client& client) {
    return decode_again(client, [&] {
      if (auto found = client.command(V4L2_DEC_CMD_START)) return found;
      return client.queue_capture();
    });
  });
}

inline Finding capture_restart_resumes(Subject& s) {
  return with_stream(s, [&](Client& client) {
    return decode_again(client, [&] {
      if (auto found = client.stop(client.capture())) return found;
      if (auto found = client.queue_capture()) return found;
      return client.start(client.capture());
    });
  });
}

inline Finding output_restart_resumes(Subject& s) {
  return with_stream(s, [&](Client& client) {
    return decode_again(client, [&] {
      if (auto found = client.stop(client.output())) return found;
      if (auto found = client.start(client.output())) return found;
      return client.queue_capture();
    });
  });
}

inline Finding nothing_is_drained_too(Subject& s) {
  return with_stream(s, [&](Client& client) -> Finding {
    if (auto found = client.play()) return found;
    const std::size_t before = client.pictures();
    if (auto found = client.command(V4L2_DEC_CMD_START)) return found;
    if (auto found = client.queue_capture()) return found;
    if (auto found = client.drain()) return found;
    if (client.pictures() == before) return passed();
    return failed("a drain with nothing queued gave %zu frames", client.pictures() - before);
  });
}

inline Finding drain_is_busy(Subject& s) {
  return with_stream(s, [&](Client& client) -> Finding {
    // Without a CAPTURE buffer queued a drain cannot end.
    client.queues_again = false;
    client.most_at_once = 2;
    if (auto found = client.start_output()) return found;
    if (auto found = client.run([&] { return client.capture_on(); })) return found;
    if (auto found = client.command(V4L2_DEC_CMD_STOP)) return found;
    for (const std::uint32_t cmd : {std::uint32_t{V4L2_DEC_CMD_STOP}, std::uint32_t{V4L2_DEC_CMD_START}}) {
      v4l2_decoder_cmd again{};
      again.cmd = cmd;
      if (auto found = s.expect<tag::DECODER_CMD>(again, EBUSY, "during a drain")) return found;
    }
    return passed();
  });
}

// -- Seek

// Frames of the units queued from `stamp` on.
[[nodiscard]] inline std::size_t frames_since(const Client& client, std::int64_t stamp) {
  return static_cast<std::size_t>(std::ranges::count_if(
      client.frames(), [stamp](const Client::Frame& frame) { return !frame.empty && frame.stamp >= stamp; }));
}

inline Finding seek(Subject& s, bool both) {
  return with_stream(s, [&](Client& client) -> Finding {
    if (auto found = client.start_output()) return found;
    if (auto found = client.run([&] { return client.pictures() >= 1 || client.drained(); })) return found;
    if (client.change_pending()) return not_applicable("the resolution changes too early in the stream");
    if (auto found = client.stop(client.output())) return found;
    if (const std::size_t late = s.buffers_waiting(client.output().type()); late != 0)
      return failed("%zu OUTPUT buffers came back after STREAMOFF", late);
    if (both) {
      if (auto found = client.stop(client.capture())) return found;
    }
    client.rewind();
    if (auto found = client.start(client.output())) return found;
    if (both) {
      if (auto found = client.queue_capture()) return found;
      if (auto found = client.start(client.capture())) return found;
    }
    if (auto found = client.feed_all()) return found;
    if (auto found = client.drain()) return found;
    if (frames_since(client, client.first_stamp()) > 0) return passed();
    return failed("%zu units were queued after a seek, but gave no frame", client.fed());
  });
}
inline Finding seek_by_output(Subject& s) {
  return seek(s, false);
}
inline Finding seek_by_both(Subject& s) {
  return seek(s, true);
}

// -- Dynamic resolution change

// A decoded stream that changes its resolution.
template <class Check>
inline Finding with_changes(Subject& s, Check check) {
  return with_stream(s, [&](Client& client) -> Finding {
    if (auto found = client.play()) return found;
    if (client.looks().size() < 2) return not_applicable("the stream has only one resolution");
    return check(client);
  });
}

inline Finding changes_are_told(Subject& s) {
  return with_changes(s, [](Client& client) -> Finding {
    for (const Client::Look& look : client.looks()) {
      if ((look.changes & V4L2_EVENT_SRC_CH_RESOLUTION) == 0)
        return failed("a source change has changes 0x%x", look.changes);
    }
    return passed();
  });
}

inline Finding changes_show(Subject& s) {
  return with_changes(s, [](Client& client) -> Finding {
    const auto same = [](const Client::Look& one, const Client::Look& other) {
      return one.pixels.width == other.pixels.width && one.pixels.height == other.pixels.height &&
             one.pixels.fourcc == other.pixels.fourcc && one.buffers == other.buffers &&
             one.visible.width == other.visible.width && one.visible.height == other.visible.height;
    };
    for (std::size_t i = 1; i < client.looks().size(); ++i) {
      if (!same(client.looks()[i - 1], client.looks()[i])) continue;
      return failed("a source change was reported, but CAPTURE is %ux%u as before",
                    client.looks()[i].pixels.width, client.looks()[i].pixels.height);
    }
    return passed();
  });
}

inline Finding frames_keep_to_their_side(Subject& s) {
  return with_changes(s, [](Client& client) -> Finding {
    std::int64_t before = 0, latest = 0;
    std::uint32_t starts = 0;
    for (const Client::Frame& frame : client.frames()) {
      if (frame.starts != starts) before = latest;
      starts = frame.starts;
      if (frame.empty) continue;
      if (frame.stamp < before)
        return failed(
            "a frame with time stamp %lld came after a change of resolution, and one with %lld before it",
            static_cast<long long>(frame.stamp), static_cast<long long>(before));
      latest = std::max(latest, frame.stamp);
    }
    return passed();
  });
}

inline Finding no_frame_is_lost(Subject& s) {
  return with_changes(s, [](Client& client) -> Finding {
    // Each part of the stream has frames, including the last one.
    std::vector<std::size_t> pictures(client.looks().size() + 1);
    for (const Client::Frame& frame : client.frames()) {
      if (!frame.empty) ++pictures[std::min<std::size_t>(frame.starts, client.looks().size())];
    }
    for (std::size_t i = 1; i < pictures.size(); ++i) {
      if (pictures[i] == 0) return failed("part %zu of the stream gave no frame", i);
    }
    return passed();
  });
}

inline constexpr const char* seek_section =
    "V4L2 API, Memory-to-Memory Stateful Video Decoder Interface, Seek";
inline constexpr const char* change_section =
    "V4L2 API, Memory-to-Memory Stateful Video Decoder Interface, Dynamic Resolution Change";

inline constexpr Rule drain_rules[] = {
    {"drain/last", "a drain ends with a buffer flagged LAST, and nothing comes after it", drain_section,
     Scope::decoder, last_is_last},
    {"drain/eos", "a drain brings V4L2_EVENT_EOS to whoever subscribed to it", drain_section, Scope::decoder,
     drain_has_its_event},
    {"drain/stopped", "a stopped decoder takes OUTPUT buffers, but does not process them", drain_section,
     Scope::decoder, stopped_takes_buffers},
    {"drain/start", "START after a drain resumes decoding", drain_section, Scope::decoder, start_resumes},
    {"drain/capture-restart", "stopping and starting CAPTURE after a drain resumes decoding", drain_section,
     Scope::decoder, capture_restart_resumes},
    {"drain/output-restart", "stopping and starting OUTPUT after a drain starts over", drain_section,
     Scope::decoder, output_restart_resumes},
    {"drain/of-nothing", "a drain with nothing queued also ends", drain_section, Scope::decoder,
     nothing_is_drained_too},
    {"drain/busy", "STOP and START are EBUSY during a drain", drain_section, Scope::decoder, drain_is_busy},
};

inline constexpr Rule seek_rules[] = {
    {"seek/output", "stopping and starting OUTPUT seeks: what is queued then is decoded", seek_section,
     Scope::decoder, seek_by_output},
    {"seek/both", "stopping and starting both queues seeks at once", seek_section, Scope::decoder,
     seek_by_both},
};

inline constexpr Rule change_rules[] = {
    {"change/told", "each change of resolution brings a source change event for the resolution",
     change_section, Scope::decoder, changes_are_told},
    {"change/shows", "after a source change CAPTURE has a different format, rectangle or number of buffers",
     change_section, Scope::decoder, changes_show},
    {"change/order", "frames from before a change come before its LAST, others after it", change_section,
     Scope::decoder, frames_keep_to_their_side},
    {"change/every-part", "each part of a stream whose resolution changes gives frames", change_section,
     Scope::decoder, no_frame_is_lost},
};

}  // namespace vumedia::client::compliance::detail::decoder
