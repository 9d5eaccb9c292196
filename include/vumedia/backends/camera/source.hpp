// Where a backends::Camera has its frames from.
//
// clang-format off
//   struct Grey {
//     static constexpr const char* card = "Grey camera";  // the name of the device
//     static constexpr const char* input = "Grey";        // and of its one input
//     camera::Modes modes() const;                        // asked once; see valid_modes()
//
//     // One of two: paints a frame into the buffer that the guest sees,
//     Result<> fill(const camera::Frame& frame);
//     // or lends one, from which it is copied: its planes without gaps, one after another, with lines as
//     // short as the format allows; valid until the next call.
//     Result<std::span<const std::byte>> lend(const camera::Mode& mode, std::uint32_t number);
//
//     // Optional: controls, and what a new value does. It is valid; an error keeps the old one.
//     std::span<const v4l2::ControlInfo> controls() const;  // constant; valid_controls()
//     Result<> set_control(std::uint32_t id, const v4l2::ControlValue& value);
//     // Optional: STREAMON, with the mode that all frames have until STREAMOFF.
//     Result<> start(const camera::Mode& mode);
//
//     // For cameras with an encoder: frames that are painted on the encoder's thread. A Scene is what
//     // decides what a frame shows; an Artist belongs to that thread.
//     struct Scene { ... };
//     Scene scene() const;
//     struct Artist { void paint(const Scene& scene, const camera::Easel& easel, std::uint32_t number); };
//   };
// clang-format on
//
// Everything but an Artist is called on the loop's thread and must not take long: one frame may take as long
// as copying it. A frame that fails goes to the guest with V4L2_BUF_FLAG_ERROR. Colours are those of sRGB,
// YCbCr as in BT.601 with the limited range.
#pragma once

#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include <vumedia/backends/camera/modes.hpp>
#include <vumedia/core/result.hpp>
#include <vumedia/v4l2/control_info.hpp>
#include <vumedia/v4l2/controls.hpp>
#include <vumedia/v4l2/formats.hpp>

namespace vumedia::backends::camera {

/// The planes in memory, each of at least its layout's sizeimage bytes.
using Planes = std::array<std::byte*, 3>;

/// A frame to be painted.
struct Frame {
  const Mode& mode;          ///< the mode of all frames since STREAMON
  std::uint32_t number = 0;  ///< since STREAMON
  Planes planes{};           ///< where it is painted, in the guest's buffer or in what is copied there
};

/// What a picture is painted on.
struct Canvas {
  const v4l2::PixelFormat* format = nullptr;  ///< raw
  std::uint32_t width = 0;                    ///< pixels of a line
  std::uint32_t height = 0;                   ///< lines
  v4l2::Layout layout;                        ///< of the planes
  bool full_range = false;                    ///< of luma and chroma
};

/// Where an encoder wants its next picture.
struct Easel {
  Canvas canvas;    ///< size, format and layout
  Planes planes{};  ///< where it is painted
};

/// The parts of a Source, so that a diagnostic can name the one that is missing or wrong.
template <class S>
concept HasNames = requires {
  { S::card } -> std::convertible_to<std::string_view>;
  { S::input } -> std::convertible_to<std::string_view>;
};
/// `modes()`.
template <class S>
concept HasModes = requires(const S& source) {
  { source.modes() } -> std::same_as<Modes>;
};
/// `fill(frame)`: paints a frame.
template <class S>
concept FillsFrames = requires(S& source, const Frame& frame) {
  { source.fill(frame) } -> std::same_as<Result<>>;
};
/// `lend(mode, number)`: has frames to be copied.
template <class S>
concept LendsFrames = requires(S& source, const Mode& mode, std::uint32_t number) {
  { source.lend(mode, number) } -> std::same_as<Result<std::span<const std::byte>>>;
};
/// `controls()` and `set_control(id, value)`.
template <class S>
concept HasSourceControls =
    requires(S& source, const S& constant, std::uint32_t id, const v4l2::ControlValue& value) {
      { constant.controls() } -> std::same_as<std::span<const v4l2::ControlInfo>>;
      { source.set_control(id, value) } -> std::same_as<Result<>>;
    };
/// `start(mode)`.
template <class S>
concept StartsFrames = requires(S& source, const Mode& mode) {
  { source.start(mode) } -> std::same_as<Result<>>;
};

/// What is nearly one of the optional members is an error, not a missing one.
template <class S>
concept NamesControls = requires { &S::controls; } || requires { &S::set_control; };
/// Likewise.
template <class S>
concept NamesStart = requires { &S::start; };

/// What a Camera takes, as the head of this file describes it.
template <class S>
concept Source = HasNames<S> && HasModes<S> && (FillsFrames<S> || LendsFrames<S>) &&
                 (HasSourceControls<S> || !NamesControls<S>) && (StartsFrames<S> || !NamesStart<S>);

/// A Source for cameras with an encoder.
template <class S>
concept PaintingSource =
    Source<S> && std::copyable<typename S::Scene> && std::default_initializable<typename S::Artist> &&
    requires(const S& source, typename S::Artist artist, const typename S::Scene& scene, const Easel& easel,
             std::uint32_t number) {
      { source.scene() } -> std::same_as<typename S::Scene>;
      artist.paint(scene, easel, number);
    };

}  // namespace vumedia::backends::camera
