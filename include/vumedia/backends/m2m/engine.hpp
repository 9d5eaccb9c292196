// What M2m asks of the type that it is made of: m2m::Engine. There are two kinds.
//
// A Converter makes raw pictures of others, on the loop; m2m/converter.hpp says what it has:
//
// clang-format off
//   struct Inverter {
//     static constexpr const char* card = "Inverter";  // the device's name, up to 32 bytes
//     static constexpr std::array<std::uint32_t, 1> output_formats{V4L2_PIX_FMT_GREY};
//     static constexpr std::array<std::uint32_t, 1> capture_formats{V4L2_PIX_FMT_GREY};
//     bool convert(const m2m::Source& from, const m2m::Target& to);
//
//     // Optional: the most luma samples of a picture; the ioctl by which a client drains.
//     static constexpr std::uint32_t max_pixels = 1920 * 1088;
//     static constexpr auto drain_command = m2m::DrainCommand::decoder;
//   };
//
// Anything else, such as a codec with threads of its own, makes an Instance for each open file. The queues,
// streaming, memory, priorities, events and commands are M2m's; what formats there are, and what happens to
// buffers, is the instance's:
//
//   struct Encoder {
//     static constexpr const char* card = "Encoder";
//     m2m::BufferLimits buffer_limits() const;  // constant
//
//     // Optional: the ioctl by which a client drains; whether V4L2_EVENT_SOURCE_CHANGE exists; whether there
//     // may be another open file.
//     static constexpr auto drain_command = m2m::DrainCommand::encoder;
//     static constexpr bool changes_source = true;
//     Result<> may_open() const;
//
//     struct Instance {
//       Instance(Encoder& encoder, m2m::File& file);                      // or, if it has threads,
//       Instance(Encoder& encoder, m2m::File& file, m2m::Notify notify);  // and notified()
//       ...  // m2m/instance.hpp: formats, queued, started, stopped; drain, resume; and what it may have
//     };
//   };
// clang-format on
#pragma once

#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>

#include <linux/videodev2.h>

#include <vumedia/backends/m2m/converter.hpp>
#include <vumedia/backends/m2m/file.hpp>
#include <vumedia/backends/m2m/instance.hpp>
#include <vumedia/backends/m2m/queues.hpp>
#include <vumedia/core/result.hpp>

namespace vumedia::backends::m2m {

/// `card`: the device's name, up to 32 bytes.
template <class E>
concept HasCard = requires {
  { E::card } -> std::convertible_to<const char*>;
};

/// The conversion of one file's pictures, in the order in which they come. Each file that is opened has a
/// copy of the engine that M2m was given, and so a state of its own.
template <class E>
concept Converter = std::copy_constructible<E> && HasCard<E> && HasDescribableFormats<E> && Converts<E>;

/// The ioctl by which a client says that nothing follows: an engine whose pictures have no end has none.
enum class DrainCommand : std::uint8_t { none, decoder, encoder };

/// `drain_command` if the engine has that.
template <class E>
[[nodiscard]] constexpr DrainCommand drain_command_of() noexcept {
  if constexpr (requires { DrainCommand{E::drain_command}; }) {
    return E::drain_command;
  } else {
    return DrainCommand::none;
  }
}
/// `changes_source` likewise: whether CAPTURE's format may change while it streams.
template <class E>
[[nodiscard]] constexpr bool changes_source() noexcept {
  if constexpr (requires { bool{E::changes_source}; }) {
    return E::changes_source;
  } else {
    return false;
  }
}
/// The events that there are besides those of controls.
template <DrainCommand Command, bool ChangesSource = false>
[[nodiscard]] constexpr auto event_types_of() noexcept {
  constexpr std::size_t drains = Command == DrainCommand::none ? 0 : 1;
  std::array<std::uint32_t, drains + (ChangesSource ? 1 : 0)> types{};
  if constexpr (drains != 0) types[0] = V4L2_EVENT_EOS;
  if constexpr (ChangesSource) types[drains] = V4L2_EVENT_SOURCE_CHANGE;
  return types;
}

/// An engine that makes an Instance for each open file.
template <class E>
concept HasInstance = requires { typename E::Instance; };
template <class E>
concept LimitsBuffers = requires(const E& engine) {
  { engine.buffer_limits() } -> std::same_as<BufferLimits>;
};
template <class E>
concept MakesInstances =
    std::constructible_from<typename E::Instance, E&, File&> ||
    (std::constructible_from<typename E::Instance, E&, File&, Notify> && IsNotified<typename E::Instance>);
/// `may_open()`: whether there may be another open file.
template <class E>
concept ChecksOpen = requires(const E& engine) {
  { engine.may_open() } -> std::same_as<Result<>>;
};

/// What the other kind of engine has.
template <class E>
concept InstanceEngine = HasInstance<E> && HasCard<E> && LimitsBuffers<E> && MakesInstances<E> &&
                         HasInstanceFormats<typename E::Instance> && FollowsQueues<typename E::Instance> &&
                         (drain_command_of<E>() == DrainCommand::none || Drains<typename E::Instance>);

template <class E>
concept Engine = Converter<E> || InstanceEngine<E>;

/// Says what is wrong with a type that is no Engine.
template <class E>
consteval bool check_engine() {
  static_assert(HasCard<E>,
                "backends::M2m<Engine>: Engine needs `static constexpr const char* card`, the device's name");
  if constexpr (HasInstance<E>) {
    static_assert(LimitsBuffers<E>,
                  "backends::M2m<Engine>: Engine needs `m2m::BufferLimits buffer_limits() const`");
    static_assert(
        MakesInstances<E>,
        "backends::M2m<Engine>: Engine::Instance needs a constructor from `Engine&, m2m::File&`, or "
        "from `Engine&, m2m::File&, m2m::Notify` and `void notified()`");
    static_assert(drain_command_of<E>() == DrainCommand::none || Drains<typename E::Instance>,
                  "backends::M2m<Engine>: Engine has a drain_command, so Engine::Instance needs `Result<> "
                  "drain()` and `Result<> resume()`");
    static_assert(
        ChecksOpen<E> || !requires { &E::may_open; },
        "backends::M2m<Engine>: Engine's `may_open` must be `Result<> may_open() const`");
    static_assert(check_instance<typename E::Instance>());
  } else {
    static_assert(std::copy_constructible<E>,
                  "backends::M2m<Engine>: Engine cannot be copied, but each open file has a copy of its own");
    static_assert(HasFormats<E>,
                  "backends::M2m<Engine>: Engine needs `static constexpr std::array output_formats{...}` and "
                  "`capture_formats`, of V4L2_PIX_FMT_* as std::uint32_t");
    if constexpr (HasFormats<E>) {
      static_assert(HasDescribableFormats<E>,
                    "backends::M2m<Engine>: Engine's output_formats and capture_formats must be raw formats "
                    "of v4l2::pixel_formats in one piece of memory, at least one each");
    }
    static_assert(
        Converts<E>,
        "backends::M2m<Engine>: Engine needs `bool convert(const m2m::Source&, const m2m::Target&)`");
  }
  return Engine<E>;
}

}  // namespace vumedia::backends::m2m
