// Every V4L2 ioctl that virtio-media carries (VIRTIO 1.4, 5.22.6.3), written down once: name, number,
// direction, payload and its meaning, and whether it obeys the priorities of files.
//
// A command names an ioctl only by the number field of its _IO* macro; the table gives the rest. Each ioctl
// is a tag type, so that a backend is a set of overloads and dispatch is decided at compile time.
//
// To add one, declare it in `tag` and enter it in the sequence `ioctl_tags` below; without its entry it does
// not compile. Dispatch, names, traces, priorities, the client, and the tests that try every ioctl follow
// from that. A struct that no other ioctl carries also has its fields in detail/describe_tables.hpp, without
// which describe.hpp does not compile.
//
// The numbers are those of video device nodes. VIDIOC_SUBDEV_* reuses them for other payloads, which the
// number alone cannot tell apart, so sub-device ioctls are not carried.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <type_traits>
#include <utility>

#include <boost/hana/tuple.hpp>
#include <boost/hana/type.hpp>
#include <linux/videodev2.h>

namespace vumedia::v4l2 {

/// The direction in which the payload travels, in the kernel's terms: _IO, _IOR (after the response), _IOW
/// (after the command), _IOWR.
enum class Direction : std::uint8_t { none = 0, write = 1, read = 2, read_write = 3 };

/// Whether a file may be refused the ioctl because another file has a higher priority (priority.hpp).
enum class Allowed : std::uint8_t { always, by_priority };

// payload.hpp: payloads that cannot travel as one plain struct.
struct Buffer;
struct BufferPayload;
struct ExtControls;

/// VIDIOC_REMOVE_BUFS (Linux 6.10); with the layout of struct v4l2_remove_buffers, which older headers lack.
struct RemoveBuffers {
  std::uint32_t index;         ///< the first that goes
  std::uint32_t count;         ///< how many go
  std::uint32_t type;          ///< V4L2_BUF_TYPE_*
  std::uint32_t reserved[13];  ///< zeros
};
static_assert(sizeof(RemoveBuffers) == 64);

/// What an ioctl carries: a struct of the kernel header, or one of these where a type alone does not tell
/// what travels or what it means. `Wire` is what travels first (and, with the number, makes up the ioctl's
/// code). `Payload` is what a backend is given: the same unless planes, controls or guest ranges follow.
namespace body {

/// What the payloads of ioctls are made of. `WireType` is void if there is none.
template <class WireType, class PayloadType = WireType>
struct Body {
  using Wire = WireType;        ///< what travels first
  using Payload = PayloadType;  ///< what a backend is given
};

/// A plain number. Buffer types and indices are unsigned, as V4L2 documents them.
///@{
struct Index : Body<std::uint32_t> {};
struct BufferType : Body<std::uint32_t> {};
struct PriorityLevel : Body<std::uint32_t> {};
struct Switch : Body<std::int32_t> {};
struct Standards : Body<v4l2_std_id> {};
///@}

/// A buffer with its planes; one that is handed over is followed by guest ranges, if its memory is USERPTR.
///@{
struct BufferWithPlanes : Body<v4l2_buffer, BufferPayload> {};
struct QueuedBuffer : Body<v4l2_buffer, BufferPayload> {};
///@}
/// As DQBUF events carry it.
struct DequeuedBuffer : Body<v4l2_buffer, Buffer> {};

/// A list of controls, followed by guest ranges for those that are larger than a number.
struct Controls : Body<v4l2_ext_controls, ExtControls> {};

/// No payload.
struct Nothing : Body<void> {};

}  // namespace body

namespace detail {

template <class BodyType>
struct BodyOf : body::Body<BodyType> {};
template <class BodyType>
  requires requires { typename BodyType::Payload; }
struct BodyOf<BodyType> : BodyType {};

template <class Wire>
inline constexpr std::size_t wire_size = sizeof(Wire);
template <>
inline constexpr std::size_t wire_size<void> = 0;

}  // namespace detail

/// The contents of a tag.
template <std::uint32_t Number, Direction Way, Allowed Rule, class BodyType>
struct Ioctl {
  static constexpr std::uint32_t number = Number;              ///< what a command names it by
  static constexpr Direction direction = Way;                  ///< of the payload
  static constexpr Allowed allowed = Rule;                     ///< for files of lower priority
  using Body = BodyType;                                       ///< one of `body`, or a struct of the kernel's
  using Wire = typename detail::BodyOf<BodyType>::Wire;        ///< struct of the kernel's
  using Payload = typename detail::BodyOf<BodyType>::Payload;  ///< struct that a backend is given

  /// The code as ioctl(2) takes it, and as a proxy passes it to the kernel.
  static constexpr unsigned long code =
      _IOC(static_cast<unsigned long>(Way), 'V', Number, detail::wire_size<Wire>);
};

/// Whether a payload follows the command.
template <class Tag>
inline constexpr bool carries_input =
    Tag::direction == Direction::write || Tag::direction == Direction::read_write;
/// Whether a payload follows the response.
template <class Tag>
inline constexpr bool carries_output =
    Tag::direction == Direction::read || Tag::direction == Direction::read_write;

#define VUMEDIA_IOCTL_OF_NEWER_KERNELS(NAME, NUMBER, DIRECTION, ALLOWED, BODY)      \
  struct NAME final : Ioctl<NUMBER, Direction::DIRECTION, Allowed::ALLOWED, BODY> { \
    static constexpr const char* name = "VIDIOC_" #NAME;                            \
  };                                                                                \
  template <>                                                                       \
  inline constexpr bool is_declared<NUMBER> = true
#define VUMEDIA_IOCTL(NAME, NUMBER, DIRECTION, ALLOWED, BODY)             \
  VUMEDIA_IOCTL_OF_NEWER_KERNELS(NAME, NUMBER, DIRECTION, ALLOWED, BODY); \
  static_assert(NAME::code == VIDIOC_##NAME, "VIDIOC_" #NAME " differs from the kernel's")

namespace tag {

/// The names that backends and clients use for payloads that are plain numbers.
using Index = std::uint32_t;
using BufferType = std::uint32_t;  ///< V4L2_BUF_TYPE_*

/// Which numbers have been declared.
template <std::uint32_t Number>
inline constexpr bool is_declared = false;

VUMEDIA_IOCTL(ENUM_FMT, 2, read_write, always, v4l2_fmtdesc);
VUMEDIA_IOCTL(G_FMT, 4, read_write, always, v4l2_format);
VUMEDIA_IOCTL(S_FMT, 5, read_write, by_priority, v4l2_format);
VUMEDIA_IOCTL(REQBUFS, 8, read_write, by_priority, v4l2_requestbuffers);
VUMEDIA_IOCTL(QUERYBUF, 9, read_write, always, body::BufferWithPlanes);
VUMEDIA_IOCTL(G_FBUF, 10, read, always, v4l2_framebuffer);
VUMEDIA_IOCTL(S_FBUF, 11, write, by_priority, v4l2_framebuffer);
VUMEDIA_IOCTL(OVERLAY, 14, write, by_priority, body::Switch);
VUMEDIA_IOCTL(QBUF, 15, read_write, always, body::QueuedBuffer);
VUMEDIA_IOCTL(EXPBUF, 16, read_write, always, v4l2_exportbuffer);
VUMEDIA_IOCTL(STREAMON, 18, write, by_priority, body::BufferType);
VUMEDIA_IOCTL(STREAMOFF, 19, write, by_priority, body::BufferType);
VUMEDIA_IOCTL(G_PARM, 21, read_write, always, v4l2_streamparm);
VUMEDIA_IOCTL(S_PARM, 22, read_write, by_priority, v4l2_streamparm);
VUMEDIA_IOCTL(G_STD, 23, read, always, body::Standards);
VUMEDIA_IOCTL(S_STD, 24, write, by_priority, body::Standards);
VUMEDIA_IOCTL(ENUMSTD, 25, read_write, always, v4l2_standard);
VUMEDIA_IOCTL(ENUMINPUT, 26, read_write, always, v4l2_input);
VUMEDIA_IOCTL(G_CTRL, 27, read_write, always, v4l2_control);
VUMEDIA_IOCTL(S_CTRL, 28, read_write, by_priority, v4l2_control);
VUMEDIA_IOCTL(G_TUNER, 29, read_write, always, v4l2_tuner);
VUMEDIA_IOCTL(S_TUNER, 30, write, by_priority, v4l2_tuner);
VUMEDIA_IOCTL(G_AUDIO, 33, read, always, v4l2_audio);
VUMEDIA_IOCTL(S_AUDIO, 34, write, by_priority, v4l2_audio);
VUMEDIA_IOCTL(QUERYCTRL, 36, read_write, always, v4l2_queryctrl);
VUMEDIA_IOCTL(QUERYMENU, 37, read_write, always, v4l2_querymenu);
VUMEDIA_IOCTL(G_INPUT, 38, read, always, body::Index);
VUMEDIA_IOCTL(S_INPUT, 39, read_write, by_priority, body::Index);
/// The blocks that an EDID pointer refers to do not travel: the specification has no guest ranges for them.
VUMEDIA_IOCTL(G_EDID, 40, read_write, always, v4l2_edid);
VUMEDIA_IOCTL(S_EDID, 41, read_write, by_priority, v4l2_edid);
VUMEDIA_IOCTL(G_OUTPUT, 46, read, always, body::Index);
VUMEDIA_IOCTL(S_OUTPUT, 47, read_write, by_priority, body::Index);
VUMEDIA_IOCTL(ENUMOUTPUT, 48, read_write, always, v4l2_output);
VUMEDIA_IOCTL(G_AUDOUT, 49, read, always, v4l2_audioout);
VUMEDIA_IOCTL(S_AUDOUT, 50, write, by_priority, v4l2_audioout);
VUMEDIA_IOCTL(G_MODULATOR, 54, read_write, always, v4l2_modulator);
VUMEDIA_IOCTL(S_MODULATOR, 55, write, by_priority, v4l2_modulator);
VUMEDIA_IOCTL(G_FREQUENCY, 56, read_write, always, v4l2_frequency);
VUMEDIA_IOCTL(S_FREQUENCY, 57, write, by_priority, v4l2_frequency);
VUMEDIA_IOCTL(CROPCAP, 58, read_write, always, v4l2_cropcap);
VUMEDIA_IOCTL(G_CROP, 59, read_write, always, v4l2_crop);
VUMEDIA_IOCTL(S_CROP, 60, write, by_priority, v4l2_crop);
VUMEDIA_IOCTL(QUERYSTD, 63, read, always, body::Standards);
VUMEDIA_IOCTL(TRY_FMT, 64, read_write, always, v4l2_format);
VUMEDIA_IOCTL(ENUMAUDIO, 65, read_write, always, v4l2_audio);
VUMEDIA_IOCTL(ENUMAUDOUT, 66, read_write, always, v4l2_audioout);
VUMEDIA_IOCTL(G_PRIORITY, 67, read, always, body::PriorityLevel);
VUMEDIA_IOCTL(S_PRIORITY, 68, write, by_priority, body::PriorityLevel);
VUMEDIA_IOCTL(G_SLICED_VBI_CAP, 69, read_write, always, v4l2_sliced_vbi_cap);
VUMEDIA_IOCTL(G_EXT_CTRLS, 71, read_write, always, body::Controls);
VUMEDIA_IOCTL(S_EXT_CTRLS, 72, read_write, by_priority, body::Controls);
VUMEDIA_IOCTL(TRY_EXT_CTRLS, 73, read_write, always, body::Controls);
VUMEDIA_IOCTL(ENUM_FRAMESIZES, 74, read_write, always, v4l2_frmsizeenum);
VUMEDIA_IOCTL(ENUM_FRAMEINTERVALS, 75, read_write, always, v4l2_frmivalenum);
VUMEDIA_IOCTL(G_ENC_INDEX, 76, read, always, v4l2_enc_idx);
VUMEDIA_IOCTL(ENCODER_CMD, 77, read_write, by_priority, v4l2_encoder_cmd);
VUMEDIA_IOCTL(TRY_ENCODER_CMD, 78, read_write, always, v4l2_encoder_cmd);
VUMEDIA_IOCTL(DBG_S_REGISTER, 79, write, always, v4l2_dbg_register);
VUMEDIA_IOCTL(DBG_G_REGISTER, 80, read_write, always, v4l2_dbg_register);
VUMEDIA_IOCTL(S_HW_FREQ_SEEK, 82, write, by_priority, v4l2_hw_freq_seek);
VUMEDIA_IOCTL(S_DV_TIMINGS, 87, read_write, by_priority, v4l2_dv_timings);
VUMEDIA_IOCTL(G_DV_TIMINGS, 88, read_write, always, v4l2_dv_timings);
VUMEDIA_IOCTL(SUBSCRIBE_EVENT, 90, write, always, v4l2_event_subscription);
VUMEDIA_IOCTL(UNSUBSCRIBE_EVENT, 91, write, always, v4l2_event_subscription);
VUMEDIA_IOCTL(CREATE_BUFS, 92, read_write, by_priority, v4l2_create_buffers);
VUMEDIA_IOCTL(PREPARE_BUF, 93, read_write, always, body::QueuedBuffer);
VUMEDIA_IOCTL(G_SELECTION, 94, read_write, always, v4l2_selection);
VUMEDIA_IOCTL(S_SELECTION, 95, read_write, by_priority, v4l2_selection);
VUMEDIA_IOCTL(DECODER_CMD, 96, read_write, by_priority, v4l2_decoder_cmd);
VUMEDIA_IOCTL(TRY_DECODER_CMD, 97, read_write, always, v4l2_decoder_cmd);
VUMEDIA_IOCTL(ENUM_DV_TIMINGS, 98, read_write, always, v4l2_enum_dv_timings);
VUMEDIA_IOCTL(QUERY_DV_TIMINGS, 99, read, always, v4l2_dv_timings);
VUMEDIA_IOCTL(DV_TIMINGS_CAP, 100, read_write, always, v4l2_dv_timings_cap);
VUMEDIA_IOCTL(ENUM_FREQ_BANDS, 101, read_write, always, v4l2_frequency_band);
VUMEDIA_IOCTL(DBG_G_CHIP_INFO, 102, read_write, always, v4l2_dbg_chip_info);
VUMEDIA_IOCTL(QUERY_EXT_CTRL, 103, read_write, always, v4l2_query_ext_ctrl);
VUMEDIA_IOCTL_OF_NEWER_KERNELS(REMOVE_BUFS, 104, read_write, by_priority, RemoveBuffers);
#ifdef VIDIOC_REMOVE_BUFS
static_assert(REMOVE_BUFS::code == VIDIOC_REMOVE_BUFS, "VIDIOC_REMOVE_BUFS differs from the kernel's");
#endif

}  // namespace tag

/// These are not carried: the driver answers them from its own state, or they are deprecated. Logs know their
/// names, and events carry what DQBUF and DQEVENT return.
namespace uncarried {

/// Of these no entry is required: nothing but logs would miss it.
template <std::uint32_t Number>
inline constexpr bool is_declared = false;

VUMEDIA_IOCTL(QUERYCAP, 0, read, always, v4l2_capability);
VUMEDIA_IOCTL(DQBUF, 17, read_write, always, body::DequeuedBuffer);
VUMEDIA_IOCTL(G_JPEGCOMP, 61, read, always, v4l2_jpegcompression);
VUMEDIA_IOCTL(S_JPEGCOMP, 62, write, by_priority, v4l2_jpegcompression);
VUMEDIA_IOCTL(LOG_STATUS, 70, none, always, body::Nothing);
VUMEDIA_IOCTL(DQEVENT, 89, read, always, v4l2_event);

}  // namespace uncarried

#undef VUMEDIA_IOCTL
#undef VUMEDIA_IOCTL_OF_NEWER_KERNELS

/// The carried ioctls, as a tuple of hana::type. Each has its entry here.
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

/// The others, likewise: what logs know besides.
inline constexpr auto uncarried_tags =
    boost::hana::tuple_t<uncarried::QUERYCAP, uncarried::DQBUF, uncarried::G_JPEGCOMP, uncarried::S_JPEGCOMP,
                         uncarried::LOG_STATUS, uncarried::DQEVENT>;

namespace detail {

template <class F, class... Types>
constexpr void with_types(const boost::hana::tuple<Types...>&, F& f) {
  f.template operator()<typename Types::type...>();
}

}  // namespace detail

/// Calls `f.operator()<Tags...>()` with all of them. hana::unpack passes them as arguments instead, which
/// takes longer to compile, three times in every file that has a device.
template <class F>
constexpr void with_ioctl_tags(F f) {
  detail::with_types(ioctl_tags, f);
}

namespace detail {

template <class Tag>
struct Entry {};
template <class... Types>
struct Entries : Entry<typename Types::type>... {};
template <class... Types>
Entries<Types...> entries_of(const boost::hana::tuple<Types...>&);

}  // namespace detail

/// An ioctl that is carried. One that is not in the sequence can be neither dispatched nor sent.
template <class Tag>
concept ListedIoctl = std::is_base_of_v<detail::Entry<Tag>, decltype(detail::entries_of(ioctl_tags))>;

namespace detail {

// Any number that a code has room for.
inline constexpr std::size_t possible_numbers = std::size_t{1} << _IOC_NRBITS;

struct IoctlNames {
  const char* at[possible_numbers] = {};

  void entered_twice();  // never defined: calling it makes what is initialized ill-formed

  constexpr void add(std::uint32_t number, const char* name) {
    if (at[number] != nullptr) entered_twice();
    at[number] = name;
  }
  template <class... Tags>
  constexpr void operator()() {
    (add(Tags::number, Tags::name), ...);
  }
};

inline constexpr IoctlNames ioctl_names = [] {
  IoctlNames names;
  with_types(ioctl_tags, names);
  with_types(uncarried_tags, names);
  return names;
}();

template <std::uint32_t... Numbers>
consteval bool every_declaration_is_entered(std::integer_sequence<std::uint32_t, Numbers...>) {
  const bool declared[] = {tag::is_declared<Numbers>...};
  IoctlNames entered;
  with_types(ioctl_tags, entered);
  for (std::size_t number = 0; number < possible_numbers; ++number) {
    if (declared[number] && entered.at[number] == nullptr) return false;
  }
  return true;
}
static_assert(every_declaration_is_entered(std::make_integer_sequence<std::uint32_t, possible_numbers>()),
              "an ioctl is declared in ioctl_table.hpp, but it is not entered in the sequence `ioctl_tags`");

struct HighestNumber {
  std::uint32_t value = 0;
  template <class... Tags>
  constexpr void operator()() {
    for (const std::uint32_t number : {Tags::number...}) value = number > value ? number : value;
  }
};

}  // namespace detail

/// Every number of the table is below this: the size of a dense table by number.
inline constexpr std::uint32_t ioctl_limit = [] {
  detail::HighestNumber highest;
  detail::with_types(ioctl_tags, highest);
  return highest.value + 1;
}();

/// For logs: the kernel's name of an ioctl, or "unknown ioctl". Any number.
[[nodiscard]] constexpr const char* ioctl_name(std::uint32_t number) noexcept {
  const char* const name = number < detail::possible_numbers ? detail::ioctl_names.at[number] : nullptr;
  return name != nullptr ? name : "unknown ioctl";
}

}  // namespace vumedia::v4l2
