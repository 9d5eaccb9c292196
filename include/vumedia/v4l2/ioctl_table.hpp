// Every V4L2 ioctl that virtio-media carries (VIRTIO 1.4, 5.22.6.3), written down once.
//
// A command names an ioctl only by the number field of its _IO* macro; the table gives its direction and
// payload. Each ioctl is a tag type, so that a backend is a set of overloads and dispatch is decided at
// compile time.
//
// The numbers are those of video device nodes. VIDIOC_SUBDEV_* reuses them for other payloads, which the
// number alone cannot tell apart, so sub-device ioctls are not carried.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include <boost/hana/tuple.hpp>
#include <boost/hana/type.hpp>
#include <linux/videodev2.h>

namespace vumedia::v4l2 {

// The direction in which the payload travels, in the kernel's terms: _IO, _IOR (after the response), _IOW
// (after the command), _IOWR.
enum class Direction : std::uint8_t { none = 0, write = 1, read = 2, read_write = 3 };

// payload.hpp: payloads that cannot travel as one plain struct.
struct BufferPayload;
struct ExtControls;

// VIDIOC_REMOVE_BUFS (Linux 6.10); with the layout of struct v4l2_remove_buffers, which older headers lack.
struct RemoveBuffers {
  std::uint32_t index;
  std::uint32_t count;
  std::uint32_t type;
  std::uint32_t reserved[13];
};
static_assert(sizeof(RemoveBuffers) == 64);

// The contents of a tag. `Wire` is the struct of the kernel header that travels first (and that, with the
// number, makes up the ioctl's code). `Payload` is what a backend is given: the same struct unless planes,
// controls or guest ranges follow it.
template <std::uint32_t Number, Direction Way, class WireType, class PayloadType = WireType>
struct Ioctl {
  static constexpr std::uint32_t number = Number;
  static constexpr Direction direction = Way;
  using Wire = WireType;
  using Payload = PayloadType;

  // The code as ioctl(2) takes it, and as a proxy passes it to the kernel.
  static constexpr unsigned long code = _IOC(static_cast<unsigned long>(Way), 'V', Number, sizeof(Wire));
};

// Whether a payload follows the command, or the response.
template <class Tag>
inline constexpr bool carries_input =
    Tag::direction == Direction::write || Tag::direction == Direction::read_write;
template <class Tag>
inline constexpr bool carries_output =
    Tag::direction == Direction::read || Tag::direction == Direction::read_write;

namespace tag {

// Wire structs that are a plain number: buffer types and indices are unsigned, as V4L2 documents them.
using Index = std::uint32_t;
using BufferType = std::uint32_t;

#define VUMEDIA_IOCTL(NAME, NUMBER, DIRECTION, ...)                      \
  struct NAME final : Ioctl<NUMBER, Direction::DIRECTION, __VA_ARGS__> { \
    static constexpr const char* name = "VIDIOC_" #NAME;                 \
  };                                                                     \
  static_assert(NAME::code == VIDIOC_##NAME, "VIDIOC_" #NAME " differs from the kernel's")

VUMEDIA_IOCTL(ENUM_FMT, 2, read_write, v4l2_fmtdesc);
VUMEDIA_IOCTL(G_FMT, 4, read_write, v4l2_format);
VUMEDIA_IOCTL(S_FMT, 5, read_write, v4l2_format);
VUMEDIA_IOCTL(REQBUFS, 8, read_write, v4l2_requestbuffers);
VUMEDIA_IOCTL(QUERYBUF, 9, read_write, v4l2_buffer, BufferPayload);
VUMEDIA_IOCTL(G_FBUF, 10, read, v4l2_framebuffer);
VUMEDIA_IOCTL(S_FBUF, 11, write, v4l2_framebuffer);
VUMEDIA_IOCTL(OVERLAY, 14, write, std::int32_t);
VUMEDIA_IOCTL(QBUF, 15, read_write, v4l2_buffer, BufferPayload);
VUMEDIA_IOCTL(EXPBUF, 16, read_write, v4l2_exportbuffer);
VUMEDIA_IOCTL(STREAMON, 18, write, BufferType);
VUMEDIA_IOCTL(STREAMOFF, 19, write, BufferType);
VUMEDIA_IOCTL(G_PARM, 21, read_write, v4l2_streamparm);
VUMEDIA_IOCTL(S_PARM, 22, read_write, v4l2_streamparm);
VUMEDIA_IOCTL(G_STD, 23, read, v4l2_std_id);
VUMEDIA_IOCTL(S_STD, 24, write, v4l2_std_id);
VUMEDIA_IOCTL(ENUMSTD, 25, read_write, v4l2_standard);
VUMEDIA_IOCTL(ENUMINPUT, 26, read_write, v4l2_input);
VUMEDIA_IOCTL(G_CTRL, 27, read_write, v4l2_control);
VUMEDIA_IOCTL(S_CTRL, 28, read_write, v4l2_control);
VUMEDIA_IOCTL(G_TUNER, 29, read_write, v4l2_tuner);
VUMEDIA_IOCTL(S_TUNER, 30, write, v4l2_tuner);
VUMEDIA_IOCTL(G_AUDIO, 33, read, v4l2_audio);
VUMEDIA_IOCTL(S_AUDIO, 34, write, v4l2_audio);
VUMEDIA_IOCTL(QUERYCTRL, 36, read_write, v4l2_queryctrl);
VUMEDIA_IOCTL(QUERYMENU, 37, read_write, v4l2_querymenu);
VUMEDIA_IOCTL(G_INPUT, 38, read, Index);
VUMEDIA_IOCTL(S_INPUT, 39, read_write, Index);
// The blocks that an EDID pointer refers to do not travel: the specification has no guest ranges for them.
VUMEDIA_IOCTL(G_EDID, 40, read_write, v4l2_edid);
VUMEDIA_IOCTL(S_EDID, 41, read_write, v4l2_edid);
VUMEDIA_IOCTL(G_OUTPUT, 46, read, Index);
VUMEDIA_IOCTL(S_OUTPUT, 47, read_write, Index);
VUMEDIA_IOCTL(ENUMOUTPUT, 48, read_write, v4l2_output);
VUMEDIA_IOCTL(G_AUDOUT, 49, read, v4l2_audioout);
VUMEDIA_IOCTL(S_AUDOUT, 50, write, v4l2_audioout);
VUMEDIA_IOCTL(G_MODULATOR, 54, read_write, v4l2_modulator);
VUMEDIA_IOCTL(S_MODULATOR, 55, write, v4l2_modulator);
VUMEDIA_IOCTL(G_FREQUENCY, 56, read_write, v4l2_frequency);
VUMEDIA_IOCTL(S_FREQUENCY, 57, write, v4l2_frequency);
VUMEDIA_IOCTL(CROPCAP, 58, read_write, v4l2_cropcap);
VUMEDIA_IOCTL(G_CROP, 59, read_write, v4l2_crop);
VUMEDIA_IOCTL(S_CROP, 60, write, v4l2_crop);
VUMEDIA_IOCTL(QUERYSTD, 63, read, v4l2_std_id);
VUMEDIA_IOCTL(TRY_FMT, 64, read_write, v4l2_format);
VUMEDIA_IOCTL(ENUMAUDIO, 65, read_write, v4l2_audio);
VUMEDIA_IOCTL(ENUMAUDOUT, 66, read_write, v4l2_audioout);
VUMEDIA_IOCTL(G_PRIORITY, 67, read, std::uint32_t);
VUMEDIA_IOCTL(S_PRIORITY, 68, write, std::uint32_t);
VUMEDIA_IOCTL(G_SLICED_VBI_CAP, 69, read_write, v4l2_sliced_vbi_cap);
VUMEDIA_IOCTL(G_EXT_CTRLS, 71, read_write, v4l2_ext_controls, ExtControls);
VUMEDIA_IOCTL(S_EXT_CTRLS, 72, read_write, v4l2_ext_controls, ExtControls);
VUMEDIA_IOCTL(TRY_EXT_CTRLS, 73, read_write, v4l2_ext_controls, ExtControls);
VUMEDIA_IOCTL(ENUM_FRAMESIZES, 74, read_write, v4l2_frmsizeenum);
VUMEDIA_IOCTL(ENUM_FRAMEINTERVALS, 75, read_write, v4l2_frmivalenum);
VUMEDIA_IOCTL(G_ENC_INDEX, 76, read, v4l2_enc_idx);
VUMEDIA_IOCTL(ENCODER_CMD, 77, read_write, v4l2_encoder_cmd);
VUMEDIA_IOCTL(TRY_ENCODER_CMD, 78, read_write, v4l2_encoder_cmd);
VUMEDIA_IOCTL(DBG_S_REGISTER, 79, write, v4l2_dbg_register);
VUMEDIA_IOCTL(DBG_G_REGISTER, 80, read_write, v4l2_dbg_register);
VUMEDIA_IOCTL(S_HW_FREQ_SEEK, 82, write, v4l2_hw_freq_seek);
VUMEDIA_IOCTL(S_DV_TIMINGS, 87, read_write, v4l2_dv_timings);
VUMEDIA_IOCTL(G_DV_TIMINGS, 88, read_write, v4l2_dv_timings);
VUMEDIA_IOCTL(SUBSCRIBE_EVENT, 90, write, v4l2_event_subscription);
VUMEDIA_IOCTL(UNSUBSCRIBE_EVENT, 91, write, v4l2_event_subscription);
VUMEDIA_IOCTL(CREATE_BUFS, 92, read_write, v4l2_create_buffers);
VUMEDIA_IOCTL(PREPARE_BUF, 93, read_write, v4l2_buffer, BufferPayload);
VUMEDIA_IOCTL(G_SELECTION, 94, read_write, v4l2_selection);
VUMEDIA_IOCTL(S_SELECTION, 95, read_write, v4l2_selection);
VUMEDIA_IOCTL(DECODER_CMD, 96, read_write, v4l2_decoder_cmd);
VUMEDIA_IOCTL(TRY_DECODER_CMD, 97, read_write, v4l2_decoder_cmd);
VUMEDIA_IOCTL(ENUM_DV_TIMINGS, 98, read_write, v4l2_enum_dv_timings);
VUMEDIA_IOCTL(QUERY_DV_TIMINGS, 99, read, v4l2_dv_timings);
VUMEDIA_IOCTL(DV_TIMINGS_CAP, 100, read_write, v4l2_dv_timings_cap);
VUMEDIA_IOCTL(ENUM_FREQ_BANDS, 101, read_write, v4l2_frequency_band);
VUMEDIA_IOCTL(DBG_G_CHIP_INFO, 102, read_write, v4l2_dbg_chip_info);
VUMEDIA_IOCTL(QUERY_EXT_CTRL, 103, read_write, v4l2_query_ext_ctrl);

#undef VUMEDIA_IOCTL

struct REMOVE_BUFS final : Ioctl<104, Direction::read_write, RemoveBuffers> {
  static constexpr const char* name = "VIDIOC_REMOVE_BUFS";
};
#ifdef VIDIOC_REMOVE_BUFS
static_assert(REMOVE_BUFS::code == VIDIOC_REMOVE_BUFS, "VIDIOC_REMOVE_BUFS differs from the kernel's");
#endif

}  // namespace tag

// The carried ioctls, as a tuple of hana::type.
inline constexpr auto ioctl_tags = boost::hana::tuple_t<
    tag::ENUM_FMT, tag::G_FMT, tag::S_FMT, tag::REQBUFS, tag::QUERYBUF, tag::G_FBUF, tag::S_FBUF,
    tag::OVERLAY, tag::QBUF, tag::EXPBUF, tag::STREAMON, tag::STREAMOFF, tag::G_PARM, tag::S_PARM, tag::G_STD,
    tag::S_STD, tag::ENUMSTD, tag::ENUMINPUT, tag::G_CTRL, tag::S_CTRL, tag::G_TUNER, tag::S_TUNER,
    tag::G_AUDIO, tag::S_AUDIO, tag::QUERYCTRL, tag::QUERYMENU, tag::G_INPUT, tag::S_INPUT, tag::G_EDID,
    tag::S_EDID, tag::G_OUTPUT, tag::S_OUTPUT, tag::ENUMOUTPUT, tag::G_AUDOUT, tag::S_AUDOUT,
    tag::G_MODULATOR, tag::S_MODULATOR, tag::G_FREQUENCY, tag::S_FREQUENCY, tag::CROPCAP, tag::G_CROP,
    tag::S_CROP, tag::QUERYSTD, tag::TRY_FMT, tag::ENUMAUDIO, tag::ENUMAUDOUT, tag::G_PRIORITY,
    tag::S_PRIORITY, tag::G_SLICED_VBI_CAP, tag::G_EXT_CTRLS, tag::S_EXT_CTRLS, tag::TRY_EXT_CTRLS,
    tag::ENUM_FRAMESIZES, tag::ENUM_FRAMEINTERVALS, tag::G_ENC_INDEX, tag::ENCODER_CMD, tag::TRY_ENCODER_CMD,
    tag::DBG_S_REGISTER, tag::DBG_G_REGISTER, tag::S_HW_FREQ_SEEK, tag::S_DV_TIMINGS, tag::G_DV_TIMINGS,
    tag::SUBSCRIBE_EVENT, tag::UNSUBSCRIBE_EVENT, tag::CREATE_BUFS, tag::PREPARE_BUF, tag::G_SELECTION,
    tag::S_SELECTION, tag::DECODER_CMD, tag::TRY_DECODER_CMD, tag::ENUM_DV_TIMINGS, tag::QUERY_DV_TIMINGS,
    tag::DV_TIMINGS_CAP, tag::ENUM_FREQ_BANDS, tag::DBG_G_CHIP_INFO, tag::QUERY_EXT_CTRL, tag::REMOVE_BUFS>;

namespace detail {
template <class F, class... Types>
constexpr void with_types(const boost::hana::tuple<Types...>&, F& f) {
  f.template operator()<typename Types::type...>();
}
}  // namespace detail

// Calls `f.operator()<Tags...>()` with all of them. hana::unpack passes them as arguments instead, which
// takes longer to compile, three times in every file that has a device.
template <class F>
constexpr void with_ioctl_tags(F f) {
  detail::with_types(ioctl_tags, f);
}

// Every number of the table is below this: the size of a dense table by number.
inline constexpr std::uint32_t ioctl_limit = tag::REMOVE_BUFS::number + 1;

namespace detail {

using IoctlNames = std::array<const char*, ioctl_limit>;

void ioctl_number_used_twice();  // never defined: calling it makes make_ioctl_names ill-formed

consteval IoctlNames make_ioctl_names() {
  IoctlNames names{};
  const auto add = [&names](std::uint32_t number, const char* name) {
    // A number out of range is not a constant expression either: both are compile errors.
    if (names[number] != nullptr) ioctl_number_used_twice();
    names[number] = name;
  };
  with_ioctl_tags([&add]<class... Tags>() { (add(Tags::number, Tags::name), ...); });
  // These are not carried: the driver answers them from its own state, or they are deprecated. Their names
  // are known for logs only.
  add(_IOC_NR(VIDIOC_QUERYCAP), "VIDIOC_QUERYCAP");
  add(_IOC_NR(VIDIOC_DQBUF), "VIDIOC_DQBUF");
  add(_IOC_NR(VIDIOC_G_JPEGCOMP), "VIDIOC_G_JPEGCOMP");
  add(_IOC_NR(VIDIOC_S_JPEGCOMP), "VIDIOC_S_JPEGCOMP");
  add(_IOC_NR(VIDIOC_LOG_STATUS), "VIDIOC_LOG_STATUS");
  add(_IOC_NR(VIDIOC_DQEVENT), "VIDIOC_DQEVENT");
  return names;
}

inline constexpr IoctlNames ioctl_names = make_ioctl_names();

}  // namespace detail

// For logs: the kernel's name of an ioctl, or "unknown ioctl". Any number.
[[nodiscard]] constexpr const char* ioctl_name(std::uint32_t number) noexcept {
  const char* const name = number < ioctl_limit ? detail::ioctl_names[number] : nullptr;
  return name != nullptr ? name : "unknown ioctl";
}

}  // namespace vumedia::v4l2
