// Each compliance rule on stateful decoders notices the fault that is seeded for it.
#include <cstdint>
#include <map>
#include <memory>
#include <vector>

#include <vumedia/backends/ffmpeg_decoder.hpp>

#include "client/compliance_faults.hpp"
#include "client/ffmpeg_streams.hpp"

namespace vumedia::client::test {
namespace {

namespace tag = v4l2::tag;
using vumedia::test::after, vumedia::test::before, vumedia::test::mistakes, vumedia::test::on_dqbuf,
    vumedia::test::on_event;
using vumedia::test::Fault, vumedia::test::IoctlCall;

// The history of a file, which its fault may need.
struct Life {
  bool streamed = false;  // OUTPUT, ever
  bool capture_on = false;
  bool change_pending = false;  // reported while CAPTURE streamed
  bool stopping = false;
  bool drained = false;  // and not resumed
  bool drained_once = false;
  bool last_came = false;        // since CAPTURE started
  bool sought = false;           // OUTPUT was stopped
  bool stopped_drained = false;  // a queue was stopped after a drain
  bool broken_off = false;       // CAPTURE was stopped before any LAST
  bool capture_set = false;      // S_FMT of CAPTURE
  std::uint32_t starts = 0;      // of CAPTURE
  std::uint32_t queued = 0;      // OUTPUT buffers, ever
  std::uint32_t queued_since_drain = 0;
  std::uint32_t output_wanted = 0, capture_wanted = 0;  // by the last REQBUFS
  std::uint32_t last_index = 0;                         // of the buffer flagged LAST
  std::uint32_t least = 0;                              // as the control was read last
};

// Hooks that are given the history of the file.
struct LifeHooks {
  std::function<void(IoctlCall& call, Life& life)> ioctl = {};  // forwards, if it wants to
  std::function<int(v4l2::Buffer& buffer, Life& life)> dqbuf = {};
  std::function<int(v4l2_event& event, Life& life)> event = {};
};

void note(const IoctlCall& call, Life& life) {
  if (!call.result) return;
  if (call.is<tag::STREAMON>()) {
    if (v4l2::is_output(call.payload<tag::STREAMON>())) {
      life.streamed = true;
    } else {
      life.capture_on = true;
      life.last_came = false;
      ++life.starts;
    }
  } else if (call.is<tag::STREAMOFF>()) {
    const bool output = v4l2::is_output(call.payload<tag::STREAMOFF>());
    life.stopped_drained = life.drained;
    life.broken_off = !output && !life.last_came;
    if (output) life.sought = true;
    if (!output) life.capture_on = life.change_pending = false;
    life.drained = life.stopping = false;
  } else if (call.is<tag::DECODER_CMD>()) {
    life.stopping = call.payload<tag::DECODER_CMD>().cmd == V4L2_DEC_CMD_STOP;
    life.drained = false;
  } else if (call.is<tag::QBUF>() && v4l2::is_output(call.payload<tag::QBUF>().buffer.head.type)) {
    ++life.queued;
    ++life.queued_since_drain;
  } else if (call.is<tag::S_FMT>() && !v4l2::is_output(call.payload<tag::S_FMT>().type)) {
    life.capture_set = true;
  } else if (call.is<tag::G_CTRL>()) {
    life.least = static_cast<std::uint32_t>(call.payload<tag::G_CTRL>().value);
  }
}

Fault with_life(LifeHooks hooks) {
  const auto lives = std::make_shared<std::map<std::uint32_t, Life>>();
  Fault fault;
  fault.open = [lives](std::uint32_t session, Result<>&) { (*lives)[session] = {}; };
  fault.ioctl = [lives, hook = hooks.ioctl](IoctlCall& call) {
    Life& life = (*lives)[call.context.session_id()];
    if (call.is<tag::REQBUFS>()) {
      const auto& request = call.payload<tag::REQBUFS>();
      (v4l2::is_output(request.type) ? life.output_wanted : life.capture_wanted) = request.count;
    }
    if (hook) {
      hook(call, life);
    } else {
      call.forward();
    }
    note(call, life);
  };
  fault.dqbuf = [lives, hook = hooks.dqbuf](std::uint32_t session, v4l2::Buffer& buffer) {
    Life& life = (*lives)[session];
    const int times = hook ? hook(buffer, life) : 1;
    if ((buffer.head.flags & V4L2_BUF_FLAG_LAST) != 0 && !v4l2::is_output(buffer.head.type)) {
      life.last_came = true;
      life.last_index = buffer.head.index;
      if (!life.change_pending) {
        life.drained = life.drained_once = true;
        life.queued_since_drain = 0;
      }
    }
    return times;
  };
  fault.event = [lives, hook = hooks.event](std::uint32_t session, v4l2_event& event) {
    Life& life = (*lives)[session];
    const int times = hook ? hook(event, life) : 1;
    if (event.type == V4L2_EVENT_SOURCE_CHANGE && life.capture_on) life.change_pending = true;
    return times;
  };
  return fault;
}

// Refuses calls for which `when(call, life)` holds, with EINVAL.
template <class Tag, class When>
Fault refuses_when(When when) {
  return with_life({.ioctl = [when](IoctlCall& call, Life& life) {
    if (call.is<Tag>() && when(call.payload<Tag>(), life)) {
      call.result = fail(EINVAL);
    } else {
      call.forward();
    }
  }});
}
template <class Tag, class Alter>
Fault alters(Alter alter) {
  return with_life({.ioctl = [alter](IoctlCall& call, Life& life) {
    call.forward();
    if (call.is<Tag>()) alter(call.payload<Tag>(), life);
  }});
}
// How often a buffer of CAPTURE, or of OUTPUT, is sent.
template <class Tell>
Fault on_capture(Tell tell) {
  return with_life({.dqbuf = [tell](v4l2::Buffer& buffer, Life& life) {
    return v4l2::is_output(buffer.head.type) ? 1 : tell(buffer, life);
  }});
}
template <class Tell>
Fault on_output(Tell tell) {
  return with_life({.dqbuf = [tell](v4l2::Buffer& buffer, Life& life) {
    return v4l2::is_output(buffer.head.type) ? tell(buffer, life) : 1;
  }});
}

[[nodiscard]] bool is_picture(const v4l2::Buffer& buffer) {
  return buffer.planes[0].bytesused != 0;
}
// compliance::decoder::Client gives such time stamps to data that is not part of the stream.
[[nodiscard]] bool is_nonsense(const v4l2::Buffer& buffer) {
  return buffer.head.timestamp.tv_usec % 1000 == 500;
}
void set_size_image(v4l2_format& format, std::uint32_t size) {
  format.fmt.pix_mp.plane_fmt[0].sizeimage = size;
}

// ---- Before a stream

const SeededFault setup_faults[] = {
    {"decoder/coded-formats",
     [] {
       return after<tag::ENUM_FMT>([](v4l2_fmtdesc& format, Result<>&) {
         if (v4l2::is_output(format.type) && format.index == 1) format.flags = 0;
       });
     }},
    {"decoder/raw-formats",
     [] {
       return after<tag::ENUM_FMT>([](v4l2_fmtdesc& format, Result<>&) {
         if (!v4l2::is_output(format.type)) format.flags |= V4L2_FMT_FLAG_COMPRESSED;
       });
     }},
    {"decoder/coded-list-stays",
     [] {
       return refuses_when<tag::ENUM_FMT>([](const v4l2_fmtdesc& format, const Life& life) {
         return v4l2::is_output(format.type) && format.index > 0 && life.capture_set;
       });
     }},
    {"decoder/frame-sizes",
     [] {
       return after<tag::ENUM_FRAMESIZES>([](v4l2_frmsizeenum& size, Result<>&) {
         size.type = V4L2_FRMSIZE_TYPE_STEPWISE;
         size.stepwise = {};
       });
     }},
    {"decoder/output-decides-capture",
     [] {
       return alters<tag::G_FMT>([](v4l2_format& format, const Life& life) {
         if (!v4l2::is_output(format.type) && !life.streamed) format.fmt.pix_mp.width = 16;
       });
     }},
    {"decoder/coded-size",
     [] {
       return after<tag::S_FMT>([](v4l2_format& format, Result<>&) {
         if (v4l2::is_output(format.type)) set_size_image(format, 0);
       });
     }},
    {"decoder/capture-adjusts",
     [] {
       return vumedia::test::instead<tag::S_FMT>([](IoctlCall& call) {
         const v4l2_format& format = call.payload<tag::S_FMT>();
         const std::uint32_t wanted = format.fmt.pix_mp.pixelformat;
         call.forward();
         if (!v4l2::is_output(format.type) && format.fmt.pix_mp.pixelformat != wanted)
           call.result = fail(EINVAL);
       });
     }},
    {"decoder/files-apart",
     [] {
       Fault fault;
       fault.ioctl = [last = v4l2_format{}](IoctlCall& call) mutable {
         call.forward();
         if (!call.result) return;
         if (call.is<tag::S_FMT>() && v4l2::is_output(call.payload<tag::S_FMT>().type))
           last = call.payload<tag::S_FMT>();
         if (call.is<tag::G_FMT>() && call.payload<tag::G_FMT>().type == last.type)
           call.payload<tag::G_FMT>() = last;
       };
       return fault;
     }},
    {"decoder/format-busy", [] { return mistakes<tag::S_FMT>(EBUSY, 0); }},
    {"decoder/output-alone",
     [] {
       return refuses_when<tag::STREAMON>(
           [](std::uint32_t type, const Life& life) { return v4l2::is_output(type) && life.queued == 0; });
     }},
    {"decoder/copies-stamps",
     [] {
       return after<tag::QUERYBUF>([](v4l2::BufferPayload& payload, Result<>&) {
         payload.buffer.head.flags &= ~std::uint32_t{V4L2_BUF_FLAG_TIMESTAMP_MASK};
         payload.buffer.head.flags |= V4L2_BUF_FLAG_TIMESTAMP_MONOTONIC;
       });
     }},
    {"decoder/min-buffers",
     [] {
       return alters<tag::G_CTRL>([](v4l2_control& control, const Life& life) {
         if (!life.streamed) control.value = 0;
       });
     }},
    {"decoder/subscriptions",
     [] {
       return refuses_when<tag::SUBSCRIBE_EVENT>(
           [](const v4l2_event_subscription& one, const Life&) { return one.type == V4L2_EVENT_EOS; });
     }},
    {"decoder/commands", [] { return mistakes<tag::TRY_DECODER_CMD>(EINVAL, 0); }},
    {"decoder/idle-stop",
     [] {
       return refuses_when<tag::DECODER_CMD>([](const v4l2_decoder_cmd& command, const Life& life) {
         return command.cmd == V4L2_DEC_CMD_STOP && !life.streamed;
       });
     }},
    {"decoder/idle-start",
     [] {
       return refuses_when<tag::DECODER_CMD>([](const v4l2_decoder_cmd& command, const Life& life) {
         return command.cmd == V4L2_DEC_CMD_START && !life.streamed;
       });
     }},
};

// ---- At work

const SeededFault decoding_faults[] = {
    {"decoding/source-change",
     [] {
       return on_event([](std::uint32_t, v4l2_event& event) {
         if (event.type == V4L2_EVENT_SOURCE_CHANGE) event.u.src_change.changes = 0;
         return 1;
       });
     }},
    {"decoding/format",
     [] {
       return alters<tag::G_FMT>([](v4l2_format& format, const Life& life) {
         if (!v4l2::is_output(format.type) && life.streamed) set_size_image(format, 16);
       });
     }},
    {"decoding/selections",
     [] {
       return after<tag::G_SELECTION>([](v4l2_selection& selection, Result<>&) {
         if (selection.target == V4L2_SEL_TGT_COMPOSE) selection.r.width += 4096;
       });
     }},
    {"decoding/raw-choice",
     [] {
       return before<tag::S_FMT>([](v4l2_format& format) {
         if (!v4l2::is_output(format.type)) format.fmt.pix_mp.pixelformat = V4L2_PIX_FMT_NV12;
       });
     }},
    {"decoding/least-buffers",
     [] {
       return refuses_when<tag::QBUF>([](const v4l2::BufferPayload& payload, const Life& life) {
         return !v4l2::is_output(payload.buffer.head.type) && life.capture_wanted == life.least;
       });
     }},
    {"decoding/frames",
     [] {
       return on_capture([](v4l2::Buffer& buffer, const Life&) {
         if (is_picture(buffer)) buffer.head.flags |= V4L2_BUF_FLAG_ERROR;
         return 1;
       });
     }},
    {"decoding/output-returned",
     [] {
       return on_output([](v4l2::Buffer& buffer, const Life&) {
         buffer.head.timestamp.tv_usec = 999;
         return 1;
       });
     }},
    {"decoding/stamps",
     [] {
       return on_capture([](v4l2::Buffer& buffer, const Life&) {
         buffer.head.timestamp.tv_usec += 7;
         return 1;
       });
     }},
    {"decoding/sequence",
     [] {
       return on_capture([](v4l2::Buffer& buffer, const Life&) {
         buffer.head.sequence = 5;
         return 1;
       });
     }},
    {"decoding/filled",
     [] {
       return on_capture([](v4l2::Buffer& buffer, const Life&) {
         if (is_picture(buffer)) buffer.planes[0].bytesused = 0x7fffffff;
         return 1;
       });
     }},
    {"decoding/one-at-a-time",
     [] {
       return on_output([](v4l2::Buffer&, const Life& life) { return life.output_wanted == 1 ? 2 : 1; });
     }},
    {"decoding/nonsense-amid",
     [] {
       return refuses_when<tag::QBUF>([](const v4l2::BufferPayload& payload, const Life& life) {
         return is_nonsense(payload.buffer) && life.capture_on;
       });
     }},
    {"decoding/nonsense-first",
     [] {
       return refuses_when<tag::QBUF>([](const v4l2::BufferPayload& payload, const Life& life) {
         return is_nonsense(payload.buffer) && !life.capture_on;
       });
     }},
    {"decoding/capture-restart",
     [] {
       return refuses_when<tag::STREAMON>(
           [](std::uint32_t type, const Life& life) { return !v4l2::is_output(type) && life.broken_off; });
     }},
};

// Returns a buffer as soon as it is queued after a drain.
template <class About>
Fault returns_at_once(About about) {
  return with_life({.ioctl = [about](IoctlCall& call, Life& life) {
    const bool drained = life.drained;
    call.forward();
    if (!call.is<tag::QBUF>() || !call.result || !drained) return;
    v4l2::Buffer buffer = call.payload<tag::QBUF>().buffer;
    if (!about(buffer.head, life)) return;
    buffer.planes[0].bytesused = 1;
    call.context.send_dqbuf(buffer);
  }});
}

const SeededFault drain_faults[] = {
    // Frames that the client queues again before it has seen LAST are not affected.
    {"drain/last",
     [] {
       return returns_at_once([](const v4l2_buffer& buffer, const Life& life) {
         return !v4l2::is_output(buffer.type) && buffer.index == life.last_index;
       });
     }},
    {"drain/stopped",
     [] {
       return returns_at_once(
           [](const v4l2_buffer& buffer, const Life&) { return v4l2::is_output(buffer.type); });
     }},
    // Draining with nothing queued needs a START before it.
    {"drain/start",
     [] {
       return refuses_when<tag::DECODER_CMD>([](const v4l2_decoder_cmd& command, const Life& life) {
         return command.cmd == V4L2_DEC_CMD_START && life.drained;
       });
     },
     {"drain/of-nothing"}},
    {"drain/capture-restart",
     [] {
       return refuses_when<tag::STREAMON>([](std::uint32_t type, const Life& life) {
         return !v4l2::is_output(type) && life.stopped_drained;
       });
     }},
    {"drain/output-restart",
     [] {
       return refuses_when<tag::STREAMON>([](std::uint32_t type, const Life& life) {
         return v4l2::is_output(type) && life.stopped_drained;
       });
     }},
    {"drain/of-nothing",
     [] {
       return refuses_when<tag::DECODER_CMD>([](const v4l2_decoder_cmd& command, const Life& life) {
         return command.cmd == V4L2_DEC_CMD_STOP && life.drained_once && life.queued_since_drain == 0;
       });
     }},
    {"drain/busy", [] { return mistakes<tag::DECODER_CMD>(EBUSY, 0); }},
};

// Something that does not come has to be waited for, so no other rule is run.
const SeededFault missing_faults[] = {
    {"drain/eos",
     [] {
       return on_event([](std::uint32_t, v4l2_event& event) { return event.type == V4L2_EVENT_EOS ? 0 : 1; });
     }},
};

// Frames after a seek look as if they were from before it.
Fault forgets_seek(bool with_capture) {
  return on_capture([with_capture](v4l2::Buffer& buffer, const Life& life) {
    if (life.sought && (life.starts > 1) == with_capture) buffer.head.timestamp = {0, 1};
    return 1;
  });
}

const SeededFault seek_faults[] = {
    {"seek/output", [] { return forgets_seek(false); }},
    {"seek/both", [] { return forgets_seek(true); }},
};

// Always what the first source change showed.
Fault shows_old_format() {
  struct Old {
    v4l2_format format{};
    v4l2_selection selection{};
  };
  const auto old = std::make_shared<Old>();
  return with_life({.ioctl = [old](IoctlCall& call, Life& life) {
    call.forward();
    if (!call.result || !life.streamed) return;
    if (call.is<tag::G_FMT>() && !v4l2::is_output(call.payload<tag::G_FMT>().type)) {
      if (old->format.type == 0) old->format = call.payload<tag::G_FMT>();
      call.payload<tag::G_FMT>() = old->format;
    }
    if (call.is<tag::G_SELECTION>()) {
      if (old->selection.type == 0) old->selection = call.payload<tag::G_SELECTION>();
      call.payload<tag::G_SELECTION>() = old->selection;
    }
  }});
}

const SeededFault change_faults[] = {
    {"change/told",
     [] {
       return with_life({.event = [](v4l2_event& event, Life& life) {
         if (event.type == V4L2_EVENT_SOURCE_CHANGE && life.capture_on) event.u.src_change.changes = 0;
         return 1;
       }});
     }},
    {"change/shows", shows_old_format},
    {"change/order",
     [] {
       return on_capture([](v4l2::Buffer& buffer, const Life& life) {
         if (life.starts > 1) buffer.head.timestamp = {0, 1000};
         return 1;
       });
     }},
    {"change/every-part",
     [] {
       return on_capture([](v4l2::Buffer& buffer, const Life& life) {
         if (life.starts == 2) buffer.planes[0].bytesused = 0;
         return 1;
       });
     }},
};

std::unique_ptr<vumedia::test::EmbeddedGuest> make_decoder(Fault fault) {
  return guest_of_faulty<backends::FfmpegDecoder>(std::move(fault));
}

constexpr std::chrono::milliseconds decoder_patience{300};

const FaultTable decoder_tables[] = {
    {"setup", make_decoder, setup_faults, nullptr, long_patience},
    {"decoding", make_decoder, decoding_faults, steady_stream, long_patience},
    {"drain", make_decoder, drain_faults, steady_stream, long_patience},
    {"missing", make_decoder, missing_faults, steady_stream, decoder_patience, true},
    {"seek", make_decoder, seek_faults, steady_stream, long_patience},
    {"change", make_decoder, change_faults, changing_stream, long_patience},
};

class DecoderFaultsOf : public testing::TestWithParam<const FaultTable*> {};

TEST_P(DecoderFaultsOf, AreNoticedByTheirRules) {
  check_faults(*GetParam());
}

INSTANTIATE_TEST_SUITE_P(Decoder, DecoderFaultsOf, testing::ValuesIn([] {
                           std::vector<const FaultTable*> all;
                           for (const FaultTable& table : decoder_tables) all.push_back(&table);
                           return all;
                         }()),
                         [](const auto& one) { return std::string(one.param->device); });

TEST(DecoderFaults, AreThereForEveryRule) {
  EXPECT_EQ(rules_without_fault(
                decoder_tables,
                [](const compliance::Rule& rule) { return rule.scope == compliance::Scope::decoder; }),
            "");
}

}  // namespace
}  // namespace vumedia::client::test
