// The trace lines of a device: its commands and its events, with their fields.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>

#include <linux/videodev2.h>

#include <vumedia/core/log.hpp>
#include <vumedia/core/result.hpp>
#include <vumedia/media/event_queue.hpp>
#include <vumedia/v4l2/payload.hpp>

namespace vumedia::media {

/// Writes trace lines, if the log takes them. Copies share the log.
class Trace {
 public:
  /// DeviceOptions::describe.
  using Describe = std::string (*)(std::uint32_t ioctl, const void* payload);

  /// `log` outlives this. A null `describe` means that no fields are shown.
  Trace(const Log& log, Describe describe) noexcept : log_(log), describe_(describe) {}

  /// Whether lines are written at all.
  [[nodiscard]] bool enabled() const noexcept { return log_.enabled(LogLevel::trace); }

  /// Writes a command without a payload, if enabled().
  void command(const char* what, std::uint32_t session, Result<> result) const noexcept {
    if (enabled()) [[unlikely]]
      write(what, session, result);
  }
  /// To be called if enabled().
  [[gnu::cold]] void write(const char* what, std::uint32_t session, Result<> result, std::uint32_t ioctl = 0,
                           const void* payload = nullptr) const noexcept {
    const char* const name = result ? "done" : strerrorname_np(result.error().value);
    std::string fields;
    if (describe_ != nullptr && payload != nullptr) fields = " " + describe_(ioctl, payload);
    log_.write(LogLevel::trace, "session %u: %s%s: %s", session, what, fields.c_str(),
               name != nullptr ? name : "an unknown errno");
  }

  /// Writes an event with its payload, if enabled().
  void event(const Event& event) const noexcept {
    if (enabled()) [[unlikely]]
      write(event);
  }

 private:
  [[gnu::cold]] void write(const Event& event) const noexcept {
    const char* name = "ERROR";
    std::string fields;
    if (const auto* const dqbuf = event.as_dqbuf()) {
      name = "DQBUF";
      v4l2::Buffer buffer;
      std::memcpy(&buffer.head, &dqbuf->buffer, sizeof buffer.head);
      std::memcpy(buffer.planes.data(), dqbuf->planes, sizeof dqbuf->planes);
      if (describe_ != nullptr) fields = " " + describe_(_IOC_NR(VIDIOC_DQBUF), &buffer);
    } else if (const v4l2_event* const body = event.as_v4l2()) {
      name = "EVENT";
      if (describe_ != nullptr) fields = " " + describe_(_IOC_NR(VIDIOC_DQEVENT), body);
    }
    log_.write(LogLevel::trace, "session %u: event %s%s", event.session(), name, fields.c_str());
  }

  const Log& log_;
  Describe describe_;
};

}  // namespace vumedia::media
