// The test pattern as a camera::Source.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include <linux/videodev2.h>

#include <vumedia/backends/camera/source.hpp>
#include <vumedia/backends/test_pattern/controls.hpp>
#include <vumedia/backends/test_pattern/modes.hpp>
#include <vumedia/backends/test_pattern/painter.hpp>
#include <vumedia/core/result.hpp>
#include <vumedia/v4l2/controls.hpp>

namespace vumedia::backends::test_pattern {

/// Four patterns, and a brightness that can be set.
class PatternSource {
 public:
  /// See camera::Source.
  ///@{
  static constexpr const char* card = "vumedia test pattern";
  static constexpr const char* input = "Test pattern";
  ///@}

  /// What frames show, apart from their number.
  struct Scene {
    Pattern pattern = Pattern::bars;               ///< which it is
    std::int32_t brightness = brightness_default;  ///< V4L2_CID_BRIGHTNESS
    friend bool operator==(const Scene&, const Scene&) = default;
  };

  /// Paints on an encoder's easel, which may differ from one frame to the next.
  class Artist {
   public:
    /// Paints frame `number`. It allocates if scene, size or format differ from those of the frame before.
    void paint(const Scene& scene, const camera::Easel& easel, std::uint32_t number) {
      painter_.configure(easel.canvas, scene.pattern, scene.brightness);
      painter_.paint(number, easel.planes);
    }

   private:
    Painter painter_;
  };

  /// See camera::Source.
  ///@{
  [[nodiscard]] camera::Modes modes() const noexcept { return test_pattern::modes; }
  [[nodiscard]] std::span<const v4l2::ControlInfo> controls() const noexcept { return all_controls; }
  [[nodiscard]] Scene scene() const noexcept { return scene_; }
  ///@}

  /// See camera::Source.
  ///@{
  [[nodiscard]] Result<> set_control(std::uint32_t id, const v4l2::ControlValue& value) noexcept {
    // Within the range in the table, which easily fits.
    const auto number = static_cast<std::int32_t>(value.number);
    if (id == V4L2_CID_BRIGHTNESS) {
      scene_.brightness = number;
    } else {
      scene_.pattern = static_cast<Pattern>(number);
    }
    return {};
  }
  [[nodiscard]] Result<> start(const camera::Mode&) noexcept {
    painted_.reset();
    return {};
  }
  [[nodiscard]] Result<> fill(const camera::Frame& frame) {
    // Once for each frame, however many changes a command contains.
    if (painted_ != scene_) {
      const camera::Mode& mode = frame.mode;
      painter_.configure({mode.format, mode.size->width, mode.size->height, mode.layout}, scene_.pattern,
                         scene_.brightness);
      painted_ = scene_;
    }
    painter_.paint(frame.number, frame.planes);
    return {};
  }
  ///@}

 private:
  Scene scene_;
  std::optional<Scene> painted_;  // what the painter is configured for, in the mode since start()
  Painter painter_;
};

}  // namespace vumedia::backends::test_pattern
