// What describe.hpp knows: the names that V4L2 gives to values and bits, and the fields of its structs, all
// with the kernel's names. Reserved fields are left out.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>
#include <type_traits>

#include <linux/videodev2.h>

#include <vumedia/v4l2/control_info.hpp>
#include <vumedia/v4l2/ioctl_table.hpp>

namespace vumedia::v4l2::detail {

struct Name {
  std::uint64_t value;
  const char* name;
};
using Names = std::span<const Name>;

#define VUMEDIA_NAME(NAME) {static_cast<std::uint64_t>(NAME), #NAME}

inline constexpr Name buffer_types[] = {
    VUMEDIA_NAME(V4L2_BUF_TYPE_VIDEO_CAPTURE),        VUMEDIA_NAME(V4L2_BUF_TYPE_VIDEO_OUTPUT),
    VUMEDIA_NAME(V4L2_BUF_TYPE_VIDEO_OVERLAY),        VUMEDIA_NAME(V4L2_BUF_TYPE_VBI_CAPTURE),
    VUMEDIA_NAME(V4L2_BUF_TYPE_VBI_OUTPUT),           VUMEDIA_NAME(V4L2_BUF_TYPE_SLICED_VBI_CAPTURE),
    VUMEDIA_NAME(V4L2_BUF_TYPE_SLICED_VBI_OUTPUT),    VUMEDIA_NAME(V4L2_BUF_TYPE_VIDEO_OUTPUT_OVERLAY),
    VUMEDIA_NAME(V4L2_BUF_TYPE_VIDEO_CAPTURE_MPLANE), VUMEDIA_NAME(V4L2_BUF_TYPE_VIDEO_OUTPUT_MPLANE),
    VUMEDIA_NAME(V4L2_BUF_TYPE_SDR_CAPTURE),          VUMEDIA_NAME(V4L2_BUF_TYPE_SDR_OUTPUT),
    VUMEDIA_NAME(V4L2_BUF_TYPE_META_CAPTURE),         VUMEDIA_NAME(V4L2_BUF_TYPE_META_OUTPUT)};
inline constexpr Name memories[] = {VUMEDIA_NAME(V4L2_MEMORY_MMAP), VUMEDIA_NAME(V4L2_MEMORY_USERPTR),
                                    VUMEDIA_NAME(V4L2_MEMORY_OVERLAY), VUMEDIA_NAME(V4L2_MEMORY_DMABUF)};
inline constexpr Name fields_of_video[] = {
    VUMEDIA_NAME(V4L2_FIELD_ANY),           VUMEDIA_NAME(V4L2_FIELD_NONE),
    VUMEDIA_NAME(V4L2_FIELD_TOP),           VUMEDIA_NAME(V4L2_FIELD_BOTTOM),
    VUMEDIA_NAME(V4L2_FIELD_INTERLACED),    VUMEDIA_NAME(V4L2_FIELD_SEQ_TB),
    VUMEDIA_NAME(V4L2_FIELD_SEQ_BT),        VUMEDIA_NAME(V4L2_FIELD_ALTERNATE),
    VUMEDIA_NAME(V4L2_FIELD_INTERLACED_TB), VUMEDIA_NAME(V4L2_FIELD_INTERLACED_BT)};
inline constexpr Name colorspaces[] = {
    VUMEDIA_NAME(V4L2_COLORSPACE_DEFAULT),      VUMEDIA_NAME(V4L2_COLORSPACE_SMPTE170M),
    VUMEDIA_NAME(V4L2_COLORSPACE_SMPTE240M),    VUMEDIA_NAME(V4L2_COLORSPACE_REC709),
    VUMEDIA_NAME(V4L2_COLORSPACE_470_SYSTEM_M), VUMEDIA_NAME(V4L2_COLORSPACE_470_SYSTEM_BG),
    VUMEDIA_NAME(V4L2_COLORSPACE_JPEG),         VUMEDIA_NAME(V4L2_COLORSPACE_SRGB),
    VUMEDIA_NAME(V4L2_COLORSPACE_OPRGB),        VUMEDIA_NAME(V4L2_COLORSPACE_BT2020),
    VUMEDIA_NAME(V4L2_COLORSPACE_RAW),          VUMEDIA_NAME(V4L2_COLORSPACE_DCI_P3)};
inline constexpr Name encodings[] = {VUMEDIA_NAME(V4L2_YCBCR_ENC_DEFAULT),
                                     VUMEDIA_NAME(V4L2_YCBCR_ENC_601),
                                     VUMEDIA_NAME(V4L2_YCBCR_ENC_709),
                                     VUMEDIA_NAME(V4L2_YCBCR_ENC_XV601),
                                     VUMEDIA_NAME(V4L2_YCBCR_ENC_XV709),
                                     VUMEDIA_NAME(V4L2_YCBCR_ENC_BT2020),
                                     VUMEDIA_NAME(V4L2_YCBCR_ENC_BT2020_CONST_LUM),
                                     VUMEDIA_NAME(V4L2_YCBCR_ENC_SMPTE240M),
                                     VUMEDIA_NAME(V4L2_HSV_ENC_180),
                                     VUMEDIA_NAME(V4L2_HSV_ENC_256)};
inline constexpr Name quantizations[] = {VUMEDIA_NAME(V4L2_QUANTIZATION_DEFAULT),
                                         VUMEDIA_NAME(V4L2_QUANTIZATION_FULL_RANGE),
                                         VUMEDIA_NAME(V4L2_QUANTIZATION_LIM_RANGE)};
inline constexpr Name transfers[] = {
    VUMEDIA_NAME(V4L2_XFER_FUNC_DEFAULT),   VUMEDIA_NAME(V4L2_XFER_FUNC_709),
    VUMEDIA_NAME(V4L2_XFER_FUNC_SRGB),      VUMEDIA_NAME(V4L2_XFER_FUNC_OPRGB),
    VUMEDIA_NAME(V4L2_XFER_FUNC_SMPTE240M), VUMEDIA_NAME(V4L2_XFER_FUNC_NONE),
    VUMEDIA_NAME(V4L2_XFER_FUNC_DCI_P3),    VUMEDIA_NAME(V4L2_XFER_FUNC_SMPTE2084)};
inline constexpr Name tuner_types[] = {VUMEDIA_NAME(V4L2_TUNER_RADIO), VUMEDIA_NAME(V4L2_TUNER_ANALOG_TV),
                                       VUMEDIA_NAME(V4L2_TUNER_DIGITAL_TV), VUMEDIA_NAME(V4L2_TUNER_SDR),
                                       VUMEDIA_NAME(V4L2_TUNER_RF)};
inline constexpr Name priorities[] = {
    VUMEDIA_NAME(V4L2_PRIORITY_UNSET), VUMEDIA_NAME(V4L2_PRIORITY_BACKGROUND),
    VUMEDIA_NAME(V4L2_PRIORITY_INTERACTIVE), VUMEDIA_NAME(V4L2_PRIORITY_RECORD)};
inline constexpr Name frame_size_types[] = {VUMEDIA_NAME(V4L2_FRMSIZE_TYPE_DISCRETE),
                                            VUMEDIA_NAME(V4L2_FRMSIZE_TYPE_CONTINUOUS),
                                            VUMEDIA_NAME(V4L2_FRMSIZE_TYPE_STEPWISE)};
inline constexpr Name frame_interval_types[] = {VUMEDIA_NAME(V4L2_FRMIVAL_TYPE_DISCRETE),
                                                VUMEDIA_NAME(V4L2_FRMIVAL_TYPE_CONTINUOUS),
                                                VUMEDIA_NAME(V4L2_FRMIVAL_TYPE_STEPWISE)};
inline constexpr Name control_types[] = {
    VUMEDIA_NAME(V4L2_CTRL_TYPE_INTEGER),      VUMEDIA_NAME(V4L2_CTRL_TYPE_BOOLEAN),
    VUMEDIA_NAME(V4L2_CTRL_TYPE_MENU),         VUMEDIA_NAME(V4L2_CTRL_TYPE_BUTTON),
    VUMEDIA_NAME(V4L2_CTRL_TYPE_INTEGER64),    VUMEDIA_NAME(V4L2_CTRL_TYPE_CTRL_CLASS),
    VUMEDIA_NAME(V4L2_CTRL_TYPE_STRING),       VUMEDIA_NAME(V4L2_CTRL_TYPE_BITMASK),
    VUMEDIA_NAME(V4L2_CTRL_TYPE_INTEGER_MENU), VUMEDIA_NAME(V4L2_CTRL_TYPE_U8),
    VUMEDIA_NAME(V4L2_CTRL_TYPE_U16),          VUMEDIA_NAME(V4L2_CTRL_TYPE_U32),
    VUMEDIA_NAME(V4L2_CTRL_TYPE_AREA)};
inline constexpr Name event_types[] = {
    VUMEDIA_NAME(V4L2_EVENT_ALL),        VUMEDIA_NAME(V4L2_EVENT_VSYNC),
    VUMEDIA_NAME(V4L2_EVENT_EOS),        VUMEDIA_NAME(V4L2_EVENT_CTRL),
    VUMEDIA_NAME(V4L2_EVENT_FRAME_SYNC), VUMEDIA_NAME(V4L2_EVENT_SOURCE_CHANGE),
    VUMEDIA_NAME(V4L2_EVENT_MOTION_DET)};
inline constexpr Name decoder_commands[] = {
    VUMEDIA_NAME(V4L2_DEC_CMD_START), VUMEDIA_NAME(V4L2_DEC_CMD_STOP), VUMEDIA_NAME(V4L2_DEC_CMD_PAUSE),
    VUMEDIA_NAME(V4L2_DEC_CMD_RESUME), VUMEDIA_NAME(V4L2_DEC_CMD_FLUSH)};
inline constexpr Name encoder_commands[] = {VUMEDIA_NAME(V4L2_ENC_CMD_START), VUMEDIA_NAME(V4L2_ENC_CMD_STOP),
                                            VUMEDIA_NAME(V4L2_ENC_CMD_PAUSE),
                                            VUMEDIA_NAME(V4L2_ENC_CMD_RESUME)};
inline constexpr Name selection_targets[] = {
    VUMEDIA_NAME(V4L2_SEL_TGT_CROP),           VUMEDIA_NAME(V4L2_SEL_TGT_CROP_DEFAULT),
    VUMEDIA_NAME(V4L2_SEL_TGT_CROP_BOUNDS),    VUMEDIA_NAME(V4L2_SEL_TGT_NATIVE_SIZE),
    VUMEDIA_NAME(V4L2_SEL_TGT_COMPOSE),        VUMEDIA_NAME(V4L2_SEL_TGT_COMPOSE_DEFAULT),
    VUMEDIA_NAME(V4L2_SEL_TGT_COMPOSE_BOUNDS), VUMEDIA_NAME(V4L2_SEL_TGT_COMPOSE_PADDED)};
inline constexpr Name which_controls[] = {VUMEDIA_NAME(V4L2_CTRL_WHICH_CUR_VAL),
                                          VUMEDIA_NAME(V4L2_CTRL_WHICH_DEF_VAL),
                                          VUMEDIA_NAME(V4L2_CTRL_WHICH_REQUEST_VAL),
                                          {ctrl_which_min_val, "V4L2_CTRL_WHICH_MIN_VAL"},
                                          {ctrl_which_max_val, "V4L2_CTRL_WHICH_MAX_VAL"}};
// The controls that cameras and codecs have; others are shown by number.
inline constexpr Name controls[] = {VUMEDIA_NAME(V4L2_CID_BRIGHTNESS),
                                    VUMEDIA_NAME(V4L2_CID_CONTRAST),
                                    VUMEDIA_NAME(V4L2_CID_SATURATION),
                                    VUMEDIA_NAME(V4L2_CID_HUE),
                                    VUMEDIA_NAME(V4L2_CID_AUDIO_VOLUME),
                                    VUMEDIA_NAME(V4L2_CID_AUDIO_MUTE),
                                    VUMEDIA_NAME(V4L2_CID_AUTO_WHITE_BALANCE),
                                    VUMEDIA_NAME(V4L2_CID_RED_BALANCE),
                                    VUMEDIA_NAME(V4L2_CID_BLUE_BALANCE),
                                    VUMEDIA_NAME(V4L2_CID_GAMMA),
                                    VUMEDIA_NAME(V4L2_CID_EXPOSURE),
                                    VUMEDIA_NAME(V4L2_CID_AUTOGAIN),
                                    VUMEDIA_NAME(V4L2_CID_GAIN),
                                    VUMEDIA_NAME(V4L2_CID_HFLIP),
                                    VUMEDIA_NAME(V4L2_CID_VFLIP),
                                    VUMEDIA_NAME(V4L2_CID_POWER_LINE_FREQUENCY),
                                    VUMEDIA_NAME(V4L2_CID_WHITE_BALANCE_TEMPERATURE),
                                    VUMEDIA_NAME(V4L2_CID_SHARPNESS),
                                    VUMEDIA_NAME(V4L2_CID_BACKLIGHT_COMPENSATION),
                                    VUMEDIA_NAME(V4L2_CID_COLORFX),
                                    VUMEDIA_NAME(V4L2_CID_ROTATE),
                                    VUMEDIA_NAME(V4L2_CID_MIN_BUFFERS_FOR_CAPTURE),
                                    VUMEDIA_NAME(V4L2_CID_MIN_BUFFERS_FOR_OUTPUT),
                                    VUMEDIA_NAME(V4L2_CID_ALPHA_COMPONENT),
                                    VUMEDIA_NAME(V4L2_CID_EXPOSURE_AUTO),
                                    VUMEDIA_NAME(V4L2_CID_EXPOSURE_ABSOLUTE),
                                    VUMEDIA_NAME(V4L2_CID_FOCUS_AUTO),
                                    VUMEDIA_NAME(V4L2_CID_FOCUS_ABSOLUTE),
                                    VUMEDIA_NAME(V4L2_CID_ZOOM_ABSOLUTE),
                                    VUMEDIA_NAME(V4L2_CID_PAN_ABSOLUTE),
                                    VUMEDIA_NAME(V4L2_CID_TILT_ABSOLUTE),
                                    VUMEDIA_NAME(V4L2_CID_PIXEL_RATE),
                                    VUMEDIA_NAME(V4L2_CID_TEST_PATTERN),
                                    VUMEDIA_NAME(V4L2_CID_MPEG_VIDEO_BITRATE),
                                    VUMEDIA_NAME(V4L2_CID_MPEG_VIDEO_GOP_SIZE),
                                    VUMEDIA_NAME(V4L2_CID_MPEG_VIDEO_FORCE_KEY_FRAME),
                                    VUMEDIA_NAME(V4L2_CID_MPEG_VIDEO_H264_LEVEL),
                                    VUMEDIA_NAME(V4L2_CID_MPEG_VIDEO_H264_PROFILE),
                                    VUMEDIA_NAME(V4L2_CID_MPEG_VIDEO_HEVC_PROFILE),
                                    VUMEDIA_NAME(V4L2_CID_MPEG_VIDEO_HEVC_LEVEL),
                                    VUMEDIA_NAME(V4L2_CID_MPEG_VIDEO_VP8_PROFILE),
                                    VUMEDIA_NAME(V4L2_CID_MPEG_VIDEO_VP9_PROFILE),
                                    VUMEDIA_NAME(V4L2_CID_MPEG_VIDEO_DEC_DISPLAY_DELAY),
                                    VUMEDIA_NAME(V4L2_CID_MPEG_VIDEO_DEC_DISPLAY_DELAY_ENABLE),
                                    VUMEDIA_NAME(V4L2_CID_JPEG_COMPRESSION_QUALITY)};

// Bits.
inline constexpr Name buffer_flags[] = {
    VUMEDIA_NAME(V4L2_BUF_FLAG_MAPPED),         VUMEDIA_NAME(V4L2_BUF_FLAG_QUEUED),
    VUMEDIA_NAME(V4L2_BUF_FLAG_DONE),           VUMEDIA_NAME(V4L2_BUF_FLAG_KEYFRAME),
    VUMEDIA_NAME(V4L2_BUF_FLAG_PFRAME),         VUMEDIA_NAME(V4L2_BUF_FLAG_BFRAME),
    VUMEDIA_NAME(V4L2_BUF_FLAG_ERROR),          VUMEDIA_NAME(V4L2_BUF_FLAG_IN_REQUEST),
    VUMEDIA_NAME(V4L2_BUF_FLAG_TIMECODE),       VUMEDIA_NAME(V4L2_BUF_FLAG_M2M_HOLD_CAPTURE_BUF),
    VUMEDIA_NAME(V4L2_BUF_FLAG_PREPARED),       VUMEDIA_NAME(V4L2_BUF_FLAG_NO_CACHE_INVALIDATE),
    VUMEDIA_NAME(V4L2_BUF_FLAG_NO_CACHE_CLEAN), VUMEDIA_NAME(V4L2_BUF_FLAG_TIMESTAMP_MONOTONIC),
    VUMEDIA_NAME(V4L2_BUF_FLAG_TIMESTAMP_COPY), VUMEDIA_NAME(V4L2_BUF_FLAG_TSTAMP_SRC_SOE),
    VUMEDIA_NAME(V4L2_BUF_FLAG_LAST),           VUMEDIA_NAME(V4L2_BUF_FLAG_REQUEST_FD)};
inline constexpr Name format_flags[] = {VUMEDIA_NAME(V4L2_FMT_FLAG_COMPRESSED),
                                        VUMEDIA_NAME(V4L2_FMT_FLAG_EMULATED),
                                        VUMEDIA_NAME(V4L2_FMT_FLAG_CONTINUOUS_BYTESTREAM),
                                        VUMEDIA_NAME(V4L2_FMT_FLAG_DYN_RESOLUTION),
                                        VUMEDIA_NAME(V4L2_FMT_FLAG_ENC_CAP_FRAME_INTERVAL),
                                        VUMEDIA_NAME(V4L2_FMT_FLAG_CSC_COLORSPACE),
                                        VUMEDIA_NAME(V4L2_FMT_FLAG_CSC_XFER_FUNC),
                                        VUMEDIA_NAME(V4L2_FMT_FLAG_CSC_YCBCR_ENC),
                                        VUMEDIA_NAME(V4L2_FMT_FLAG_CSC_QUANTIZATION)};
inline constexpr Name pixel_format_flags[] = {VUMEDIA_NAME(V4L2_PIX_FMT_FLAG_PREMUL_ALPHA),
                                              VUMEDIA_NAME(V4L2_PIX_FMT_FLAG_SET_CSC)};
inline constexpr Name control_flags[] = {VUMEDIA_NAME(V4L2_CTRL_FLAG_DISABLED),
                                         VUMEDIA_NAME(V4L2_CTRL_FLAG_GRABBED),
                                         VUMEDIA_NAME(V4L2_CTRL_FLAG_READ_ONLY),
                                         VUMEDIA_NAME(V4L2_CTRL_FLAG_UPDATE),
                                         VUMEDIA_NAME(V4L2_CTRL_FLAG_INACTIVE),
                                         VUMEDIA_NAME(V4L2_CTRL_FLAG_SLIDER),
                                         VUMEDIA_NAME(V4L2_CTRL_FLAG_WRITE_ONLY),
                                         VUMEDIA_NAME(V4L2_CTRL_FLAG_VOLATILE),
                                         VUMEDIA_NAME(V4L2_CTRL_FLAG_HAS_PAYLOAD),
                                         VUMEDIA_NAME(V4L2_CTRL_FLAG_EXECUTE_ON_WRITE),
                                         VUMEDIA_NAME(V4L2_CTRL_FLAG_MODIFY_LAYOUT),
                                         VUMEDIA_NAME(V4L2_CTRL_FLAG_DYNAMIC_ARRAY),
                                         {ctrl_flag_has_which_min_max, "V4L2_CTRL_FLAG_HAS_WHICH_MIN_MAX"}};
inline constexpr Name control_queries[] = {VUMEDIA_NAME(V4L2_CTRL_FLAG_NEXT_CTRL),
                                           VUMEDIA_NAME(V4L2_CTRL_FLAG_NEXT_COMPOUND)};
inline constexpr Name control_changes[] = {
    VUMEDIA_NAME(V4L2_EVENT_CTRL_CH_VALUE), VUMEDIA_NAME(V4L2_EVENT_CTRL_CH_FLAGS),
    VUMEDIA_NAME(V4L2_EVENT_CTRL_CH_RANGE), VUMEDIA_NAME(V4L2_EVENT_CTRL_CH_DIMENSIONS)};
inline constexpr Name source_changes[] = {VUMEDIA_NAME(V4L2_EVENT_SRC_CH_RESOLUTION)};
inline constexpr Name subscription_flags[] = {VUMEDIA_NAME(V4L2_EVENT_SUB_FL_SEND_INITIAL),
                                              VUMEDIA_NAME(V4L2_EVENT_SUB_FL_ALLOW_FEEDBACK)};
inline constexpr Name buffer_capabilities[] = {VUMEDIA_NAME(V4L2_BUF_CAP_SUPPORTS_MMAP),
                                               VUMEDIA_NAME(V4L2_BUF_CAP_SUPPORTS_USERPTR),
                                               VUMEDIA_NAME(V4L2_BUF_CAP_SUPPORTS_DMABUF),
                                               VUMEDIA_NAME(V4L2_BUF_CAP_SUPPORTS_REQUESTS),
                                               VUMEDIA_NAME(V4L2_BUF_CAP_SUPPORTS_ORPHANED_BUFS),
                                               VUMEDIA_NAME(V4L2_BUF_CAP_SUPPORTS_M2M_HOLD_CAPTURE_BUF),
                                               VUMEDIA_NAME(V4L2_BUF_CAP_SUPPORTS_MMAP_CACHE_HINTS)};
inline constexpr Name memory_flags[] = {VUMEDIA_NAME(V4L2_MEMORY_FLAG_NON_COHERENT)};
inline constexpr Name selection_flags[] = {VUMEDIA_NAME(V4L2_SEL_FLAG_GE), VUMEDIA_NAME(V4L2_SEL_FLAG_LE),
                                           VUMEDIA_NAME(V4L2_SEL_FLAG_KEEP_CONFIG)};
inline constexpr Name parameter_capabilities[] = {VUMEDIA_NAME(V4L2_CAP_TIMEPERFRAME)};

#undef VUMEDIA_NAME

// How a field is shown.
enum class Show : std::uint8_t { number, signed_number, hex, fourcc, text, one_of, bits, structure };

struct Field {
  const char* name;
  std::uint16_t offset;  // in its struct
  std::uint16_t size;    // bytes; 1, 2, 4 or 8 for a number
  Show show;
  Names names{};                    // one_of, bits
  std::span<const Field> fields{};  // structure
};

// The fields of a struct: `Fields<T>::list`.
template <class T>
struct Fields;

template <class T>
concept HasFields = requires { Fields<T>::list; };

template <class Member>
[[nodiscard]] constexpr Field make_field(const char* name, std::size_t offset) noexcept {
  Field field{name, static_cast<std::uint16_t>(offset), sizeof(Member), Show::number};
  if constexpr (HasFields<Member>) {
    field.show = Show::structure;
    field.fields = Fields<Member>::list;
  } else if constexpr (std::is_pointer_v<Member>) {
    field.show = Show::hex;
  } else if constexpr (std::is_array_v<Member>) {
    static_assert(sizeof(std::remove_extent_t<Member>) == 1, "an array of numbers is not shown");
    field.show = Show::text;
  } else {
    static_assert(std::is_integral_v<Member>);
    field.show = std::is_signed_v<Member> ? Show::signed_number : Show::number;
  }
  return field;
}
[[nodiscard]] constexpr Field shown_as(Field field, Show show, Names names = {}) noexcept {
  field.show = show;
  field.names = names;
  return field;
}

// Within the definition of Fields<S>.
#define VUMEDIA_FIELD(MEMBER) \
  make_field<std::remove_reference_t<decltype(S::MEMBER)>>(#MEMBER, offsetof(S, MEMBER))
#define VUMEDIA_HEX(MEMBER) shown_as(VUMEDIA_FIELD(MEMBER), Show::hex)
#define VUMEDIA_FOURCC(MEMBER) shown_as(VUMEDIA_FIELD(MEMBER), Show::fourcc)
#define VUMEDIA_ONE_OF(MEMBER, NAMES) shown_as(VUMEDIA_FIELD(MEMBER), Show::one_of, NAMES)
#define VUMEDIA_BITS(MEMBER, NAMES) shown_as(VUMEDIA_FIELD(MEMBER), Show::bits, NAMES)
#define VUMEDIA_STRUCT(STRUCT, ...)                \
  template <>                                      \
  struct Fields<STRUCT> {                          \
    using S = STRUCT;                              \
    static constexpr Field list[] = {__VA_ARGS__}; \
  }

VUMEDIA_STRUCT(v4l2_rect, VUMEDIA_FIELD(left), VUMEDIA_FIELD(top), VUMEDIA_FIELD(width),
               VUMEDIA_FIELD(height));
VUMEDIA_STRUCT(v4l2_fract, VUMEDIA_FIELD(numerator), VUMEDIA_FIELD(denominator));
VUMEDIA_STRUCT(timeval, VUMEDIA_FIELD(tv_sec), VUMEDIA_FIELD(tv_usec));
VUMEDIA_STRUCT(timespec, VUMEDIA_FIELD(tv_sec), VUMEDIA_FIELD(tv_nsec));

VUMEDIA_STRUCT(v4l2_fmtdesc, VUMEDIA_FIELD(index), VUMEDIA_ONE_OF(type, buffer_types),
               VUMEDIA_BITS(flags, format_flags), VUMEDIA_FIELD(description), VUMEDIA_FOURCC(pixelformat),
               VUMEDIA_HEX(mbus_code));
VUMEDIA_STRUCT(v4l2_pix_format, VUMEDIA_FIELD(width), VUMEDIA_FIELD(height), VUMEDIA_FOURCC(pixelformat),
               VUMEDIA_ONE_OF(field, fields_of_video), VUMEDIA_FIELD(bytesperline), VUMEDIA_FIELD(sizeimage),
               VUMEDIA_ONE_OF(colorspace, colorspaces), VUMEDIA_BITS(flags, pixel_format_flags),
               VUMEDIA_ONE_OF(ycbcr_enc, encodings), VUMEDIA_ONE_OF(quantization, quantizations),
               VUMEDIA_ONE_OF(xfer_func, transfers));
VUMEDIA_STRUCT(v4l2_plane_pix_format, VUMEDIA_FIELD(sizeimage), VUMEDIA_FIELD(bytesperline));
// describe.hpp shows its planes, as many as there are.
VUMEDIA_STRUCT(v4l2_pix_format_mplane, VUMEDIA_FIELD(width), VUMEDIA_FIELD(height),
               VUMEDIA_FOURCC(pixelformat), VUMEDIA_ONE_OF(field, fields_of_video),
               VUMEDIA_ONE_OF(colorspace, colorspaces), VUMEDIA_FIELD(num_planes),
               VUMEDIA_BITS(flags, pixel_format_flags), VUMEDIA_ONE_OF(ycbcr_enc, encodings),
               VUMEDIA_ONE_OF(quantization, quantizations), VUMEDIA_ONE_OF(xfer_func, transfers));
VUMEDIA_STRUCT(v4l2_window, VUMEDIA_FIELD(w), VUMEDIA_ONE_OF(field, fields_of_video), VUMEDIA_HEX(chromakey),
               VUMEDIA_FIELD(clipcount), VUMEDIA_FIELD(global_alpha));
VUMEDIA_STRUCT(v4l2_vbi_format, VUMEDIA_FIELD(sampling_rate), VUMEDIA_FIELD(offset),
               VUMEDIA_FIELD(samples_per_line), VUMEDIA_FOURCC(sample_format), VUMEDIA_FIELD(start[0]),
               VUMEDIA_FIELD(start[1]), VUMEDIA_FIELD(count[0]), VUMEDIA_FIELD(count[1]), VUMEDIA_HEX(flags));
VUMEDIA_STRUCT(v4l2_sliced_vbi_format, VUMEDIA_HEX(service_set), VUMEDIA_FIELD(io_size));
VUMEDIA_STRUCT(v4l2_sdr_format, VUMEDIA_FOURCC(pixelformat), VUMEDIA_FIELD(buffersize));
VUMEDIA_STRUCT(v4l2_meta_format, VUMEDIA_FOURCC(dataformat), VUMEDIA_FIELD(buffersize));

VUMEDIA_STRUCT(v4l2_requestbuffers, VUMEDIA_FIELD(count), VUMEDIA_ONE_OF(type, buffer_types),
               VUMEDIA_ONE_OF(memory, memories), VUMEDIA_BITS(capabilities, buffer_capabilities),
               VUMEDIA_BITS(flags, memory_flags));
VUMEDIA_STRUCT(v4l2_create_buffers, VUMEDIA_FIELD(index), VUMEDIA_FIELD(count),
               VUMEDIA_ONE_OF(memory, memories), VUMEDIA_BITS(capabilities, buffer_capabilities),
               VUMEDIA_BITS(flags, memory_flags));
VUMEDIA_STRUCT(RemoveBuffers, VUMEDIA_FIELD(index), VUMEDIA_FIELD(count), VUMEDIA_ONE_OF(type, buffer_types));
VUMEDIA_STRUCT(v4l2_exportbuffer, VUMEDIA_ONE_OF(type, buffer_types), VUMEDIA_FIELD(index),
               VUMEDIA_FIELD(plane), VUMEDIA_HEX(flags));
VUMEDIA_STRUCT(v4l2_buffer, VUMEDIA_FIELD(index), VUMEDIA_ONE_OF(type, buffer_types),
               VUMEDIA_FIELD(bytesused), VUMEDIA_BITS(flags, buffer_flags),
               VUMEDIA_ONE_OF(field, fields_of_video), VUMEDIA_FIELD(timestamp), VUMEDIA_FIELD(sequence),
               VUMEDIA_ONE_OF(memory, memories), VUMEDIA_FIELD(length));
VUMEDIA_STRUCT(v4l2_plane, VUMEDIA_FIELD(bytesused), VUMEDIA_FIELD(length), VUMEDIA_FIELD(data_offset));
VUMEDIA_STRUCT(v4l2_framebuffer, VUMEDIA_HEX(capability), VUMEDIA_HEX(flags), VUMEDIA_FIELD(fmt.width),
               VUMEDIA_FIELD(fmt.height), VUMEDIA_FOURCC(fmt.pixelformat),
               VUMEDIA_ONE_OF(fmt.field, fields_of_video), VUMEDIA_FIELD(fmt.bytesperline),
               VUMEDIA_FIELD(fmt.sizeimage), VUMEDIA_ONE_OF(fmt.colorspace, colorspaces));

VUMEDIA_STRUCT(v4l2_captureparm, VUMEDIA_BITS(capability, parameter_capabilities), VUMEDIA_HEX(capturemode),
               VUMEDIA_FIELD(timeperframe), VUMEDIA_HEX(extendedmode), VUMEDIA_FIELD(readbuffers));
VUMEDIA_STRUCT(v4l2_outputparm, VUMEDIA_BITS(capability, parameter_capabilities), VUMEDIA_HEX(outputmode),
               VUMEDIA_FIELD(timeperframe), VUMEDIA_HEX(extendedmode), VUMEDIA_FIELD(writebuffers));
VUMEDIA_STRUCT(v4l2_cropcap, VUMEDIA_ONE_OF(type, buffer_types), VUMEDIA_FIELD(bounds),
               VUMEDIA_FIELD(defrect), VUMEDIA_FIELD(pixelaspect));
VUMEDIA_STRUCT(v4l2_crop, VUMEDIA_ONE_OF(type, buffer_types), VUMEDIA_FIELD(c));
VUMEDIA_STRUCT(v4l2_selection, VUMEDIA_ONE_OF(type, buffer_types), VUMEDIA_ONE_OF(target, selection_targets),
               VUMEDIA_BITS(flags, selection_flags), VUMEDIA_FIELD(r));
VUMEDIA_STRUCT(v4l2_standard, VUMEDIA_FIELD(index), VUMEDIA_HEX(id), VUMEDIA_FIELD(name),
               VUMEDIA_FIELD(frameperiod), VUMEDIA_FIELD(framelines));
VUMEDIA_STRUCT(v4l2_bt_timings, VUMEDIA_FIELD(width), VUMEDIA_FIELD(height), VUMEDIA_FIELD(interlaced),
               VUMEDIA_HEX(polarities), VUMEDIA_FIELD(pixelclock), VUMEDIA_FIELD(hfrontporch),
               VUMEDIA_FIELD(hsync), VUMEDIA_FIELD(hbackporch), VUMEDIA_FIELD(vfrontporch),
               VUMEDIA_FIELD(vsync), VUMEDIA_FIELD(vbackporch), VUMEDIA_HEX(standards), VUMEDIA_HEX(flags));
VUMEDIA_STRUCT(v4l2_dv_timings, VUMEDIA_FIELD(type), VUMEDIA_FIELD(bt));
VUMEDIA_STRUCT(v4l2_enum_dv_timings, VUMEDIA_FIELD(index), VUMEDIA_FIELD(pad), VUMEDIA_FIELD(timings));
VUMEDIA_STRUCT(v4l2_bt_timings_cap, VUMEDIA_FIELD(min_width), VUMEDIA_FIELD(max_width),
               VUMEDIA_FIELD(min_height), VUMEDIA_FIELD(max_height), VUMEDIA_FIELD(min_pixelclock),
               VUMEDIA_FIELD(max_pixelclock), VUMEDIA_HEX(standards), VUMEDIA_HEX(capabilities));
VUMEDIA_STRUCT(v4l2_dv_timings_cap, VUMEDIA_FIELD(type), VUMEDIA_FIELD(pad), VUMEDIA_FIELD(bt));
VUMEDIA_STRUCT(v4l2_input, VUMEDIA_FIELD(index), VUMEDIA_FIELD(name), VUMEDIA_FIELD(type),
               VUMEDIA_HEX(audioset), VUMEDIA_FIELD(tuner), VUMEDIA_HEX(std), VUMEDIA_HEX(status),
               VUMEDIA_HEX(capabilities));
VUMEDIA_STRUCT(v4l2_output, VUMEDIA_FIELD(index), VUMEDIA_FIELD(name), VUMEDIA_FIELD(type),
               VUMEDIA_HEX(audioset), VUMEDIA_FIELD(modulator), VUMEDIA_HEX(std), VUMEDIA_HEX(capabilities));
VUMEDIA_STRUCT(v4l2_edid, VUMEDIA_FIELD(pad), VUMEDIA_FIELD(start_block), VUMEDIA_FIELD(blocks));

VUMEDIA_STRUCT(v4l2_control, VUMEDIA_ONE_OF(id, controls), VUMEDIA_FIELD(value));
VUMEDIA_STRUCT(v4l2_ext_controls, VUMEDIA_ONE_OF(which, which_controls), VUMEDIA_FIELD(count),
               VUMEDIA_FIELD(error_idx));
VUMEDIA_STRUCT(v4l2_queryctrl, VUMEDIA_ONE_OF(id, controls), VUMEDIA_ONE_OF(type, control_types),
               VUMEDIA_FIELD(name), VUMEDIA_FIELD(minimum), VUMEDIA_FIELD(maximum), VUMEDIA_FIELD(step),
               VUMEDIA_FIELD(default_value), VUMEDIA_BITS(flags, control_flags));
VUMEDIA_STRUCT(v4l2_query_ext_ctrl, VUMEDIA_ONE_OF(id, controls), VUMEDIA_ONE_OF(type, control_types),
               VUMEDIA_FIELD(name), VUMEDIA_FIELD(minimum), VUMEDIA_FIELD(maximum), VUMEDIA_FIELD(step),
               VUMEDIA_FIELD(default_value), VUMEDIA_BITS(flags, control_flags), VUMEDIA_FIELD(elem_size),
               VUMEDIA_FIELD(elems), VUMEDIA_FIELD(nr_of_dims));
VUMEDIA_STRUCT(v4l2_querymenu, VUMEDIA_ONE_OF(id, controls), VUMEDIA_FIELD(index), VUMEDIA_FIELD(name));

VUMEDIA_STRUCT(v4l2_tuner, VUMEDIA_FIELD(index), VUMEDIA_FIELD(name), VUMEDIA_ONE_OF(type, tuner_types),
               VUMEDIA_HEX(capability), VUMEDIA_FIELD(rangelow), VUMEDIA_FIELD(rangehigh),
               VUMEDIA_HEX(rxsubchans), VUMEDIA_FIELD(audmode), VUMEDIA_FIELD(signal), VUMEDIA_FIELD(afc));
VUMEDIA_STRUCT(v4l2_modulator, VUMEDIA_FIELD(index), VUMEDIA_FIELD(name), VUMEDIA_HEX(capability),
               VUMEDIA_FIELD(rangelow), VUMEDIA_FIELD(rangehigh), VUMEDIA_HEX(txsubchans),
               VUMEDIA_ONE_OF(type, tuner_types));
VUMEDIA_STRUCT(v4l2_frequency, VUMEDIA_FIELD(tuner), VUMEDIA_ONE_OF(type, tuner_types),
               VUMEDIA_FIELD(frequency));
VUMEDIA_STRUCT(v4l2_frequency_band, VUMEDIA_FIELD(tuner), VUMEDIA_ONE_OF(type, tuner_types),
               VUMEDIA_FIELD(index), VUMEDIA_HEX(capability), VUMEDIA_FIELD(rangelow),
               VUMEDIA_FIELD(rangehigh), VUMEDIA_HEX(modulation));
VUMEDIA_STRUCT(v4l2_hw_freq_seek, VUMEDIA_FIELD(tuner), VUMEDIA_ONE_OF(type, tuner_types),
               VUMEDIA_FIELD(seek_upward), VUMEDIA_FIELD(wrap_around), VUMEDIA_FIELD(spacing),
               VUMEDIA_FIELD(rangelow), VUMEDIA_FIELD(rangehigh));
VUMEDIA_STRUCT(v4l2_audio, VUMEDIA_FIELD(index), VUMEDIA_FIELD(name), VUMEDIA_HEX(capability),
               VUMEDIA_HEX(mode));
VUMEDIA_STRUCT(v4l2_audioout, VUMEDIA_FIELD(index), VUMEDIA_FIELD(name), VUMEDIA_HEX(capability),
               VUMEDIA_HEX(mode));
VUMEDIA_STRUCT(v4l2_sliced_vbi_cap, VUMEDIA_HEX(service_set), VUMEDIA_ONE_OF(type, buffer_types));

VUMEDIA_STRUCT(v4l2_frmsize_discrete, VUMEDIA_FIELD(width), VUMEDIA_FIELD(height));
VUMEDIA_STRUCT(v4l2_frmsize_stepwise, VUMEDIA_FIELD(min_width), VUMEDIA_FIELD(max_width),
               VUMEDIA_FIELD(step_width), VUMEDIA_FIELD(min_height), VUMEDIA_FIELD(max_height),
               VUMEDIA_FIELD(step_height));
VUMEDIA_STRUCT(v4l2_frmsizeenum, VUMEDIA_FIELD(index), VUMEDIA_FOURCC(pixel_format),
               VUMEDIA_ONE_OF(type, frame_size_types));
VUMEDIA_STRUCT(v4l2_frmival_stepwise, VUMEDIA_FIELD(min), VUMEDIA_FIELD(max), VUMEDIA_FIELD(step));
VUMEDIA_STRUCT(v4l2_frmivalenum, VUMEDIA_FIELD(index), VUMEDIA_FOURCC(pixel_format), VUMEDIA_FIELD(width),
               VUMEDIA_FIELD(height), VUMEDIA_ONE_OF(type, frame_interval_types));

VUMEDIA_STRUCT(v4l2_enc_idx, VUMEDIA_FIELD(entries), VUMEDIA_FIELD(entries_cap));
VUMEDIA_STRUCT(v4l2_encoder_cmd, VUMEDIA_ONE_OF(cmd, encoder_commands), VUMEDIA_HEX(flags));
VUMEDIA_STRUCT(v4l2_decoder_cmd, VUMEDIA_ONE_OF(cmd, decoder_commands), VUMEDIA_HEX(flags));
VUMEDIA_STRUCT(v4l2_event_subscription, VUMEDIA_ONE_OF(type, event_types), VUMEDIA_HEX(id),
               VUMEDIA_BITS(flags, subscription_flags));
VUMEDIA_STRUCT(v4l2_event_ctrl, VUMEDIA_BITS(changes, control_changes), VUMEDIA_ONE_OF(type, control_types),
               VUMEDIA_FIELD(value), VUMEDIA_BITS(flags, control_flags), VUMEDIA_FIELD(minimum),
               VUMEDIA_FIELD(maximum), VUMEDIA_FIELD(step), VUMEDIA_FIELD(default_value));
VUMEDIA_STRUCT(v4l2_event_src_change, VUMEDIA_BITS(changes, source_changes));
VUMEDIA_STRUCT(v4l2_event, VUMEDIA_ONE_OF(type, event_types), VUMEDIA_FIELD(pending), VUMEDIA_FIELD(sequence),
               VUMEDIA_FIELD(timestamp), VUMEDIA_HEX(id));
VUMEDIA_STRUCT(v4l2_dbg_match, VUMEDIA_FIELD(type), VUMEDIA_FIELD(addr));
VUMEDIA_STRUCT(v4l2_dbg_register, VUMEDIA_FIELD(match), VUMEDIA_FIELD(size), VUMEDIA_HEX(reg),
               VUMEDIA_HEX(val));
VUMEDIA_STRUCT(v4l2_dbg_chip_info, VUMEDIA_FIELD(match), VUMEDIA_FIELD(name), VUMEDIA_HEX(flags));

#undef VUMEDIA_FIELD
#undef VUMEDIA_HEX
#undef VUMEDIA_FOURCC
#undef VUMEDIA_ONE_OF
#undef VUMEDIA_BITS
#undef VUMEDIA_STRUCT

}  // namespace vumedia::v4l2::detail
