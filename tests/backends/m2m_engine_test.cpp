// Which types are engines of a memory-to-memory device, and which are not.
#include <array>
#include <cstdint>
#include <memory>

#include <linux/videodev2.h>

#include <vumedia/backends/m2m/engine.hpp>

namespace vumedia::test {
namespace m2m_engine_test {

namespace m2m = backends::m2m;

using OneFormat = std::array<std::uint32_t, 1>;
constexpr OneFormat grey{V4L2_PIX_FMT_GREY};
constexpr OneFormat h264{V4L2_PIX_FMT_H264};
constexpr OneFormat unknown{v4l2_fourcc('?', '?', '?', '?')};
constexpr OneFormat two_pieces{V4L2_PIX_FMT_YUV420M};

// What all of them have, unless they say otherwise.
struct Parts {
  static constexpr const char* card = "Engine";
  static constexpr OneFormat output_formats = grey;
  static constexpr OneFormat capture_formats = grey;
};

struct Least : Parts {
  bool convert(const m2m::Source&, const m2m::Target&) { return true; }
};
static_assert(m2m::Engine<Least>);
static_assert(m2m::max_pixels<Least>() == 1920 * 1088);
static_assert(m2m::drain_command_of<Least>() == m2m::DrainCommand::none);
static_assert(m2m::event_types_of<m2m::DrainCommand::none>().empty());

// Any that can be called so will do.
struct Other : Parts {
  static constexpr std::uint32_t max_pixels = 64 * 64;
  static constexpr auto drain_command = m2m::DrainCommand::encoder;
  bool convert(m2m::Source, m2m::Target) const noexcept { return true; }
};
static_assert(m2m::Engine<Other>);
static_assert(m2m::max_pixels<Other>() == 64 * 64);
static_assert(m2m::drain_command_of<Other>() == m2m::DrainCommand::encoder);
static_assert(m2m::event_types_of<m2m::DrainCommand::encoder>()[0] == V4L2_EVENT_EOS);

struct NoConvert : Parts {};
static_assert(!m2m::Converts<NoConvert> && !m2m::Engine<NoConvert>);

struct SaysNothing : Parts {
  void convert(const m2m::Source&, const m2m::Target&) {}
};
static_assert(!m2m::Converts<SaysNothing>);

// The client's picture cannot be written to.
struct WritesToSource : Parts {
  bool convert(const m2m::Target&, const m2m::Target&) { return true; }
};
static_assert(!m2m::Converts<WritesToSource>);

struct ChangesReferences : Parts {
  bool convert(m2m::Source&, m2m::Target&) { return true; }
};
static_assert(!m2m::Converts<ChangesReferences>);

struct NoName {
  static constexpr OneFormat output_formats = grey;
  static constexpr OneFormat capture_formats = grey;
  bool convert(const m2m::Source&, const m2m::Target&) { return true; }
};
static_assert(!m2m::HasCard<NoName> && !m2m::Engine<NoName>);

struct NoCaptureFormats {
  static constexpr const char* card = "Engine";
  static constexpr OneFormat output_formats = grey;
};
static_assert(!m2m::HasFormats<NoCaptureFormats>);

static_assert(m2m::describable(grey));
static_assert(!m2m::describable({}));
static_assert(!m2m::describable(h264), "coded data");
static_assert(!m2m::describable(unknown));
static_assert(!m2m::describable(two_pieces));

struct Coded : Least {
  static constexpr OneFormat capture_formats = h264;
};
static_assert(m2m::HasFormats<Coded> && !m2m::HasDescribableFormats<Coded> && !m2m::Engine<Coded>);

struct CannotBeCopied : Least {
  std::unique_ptr<int> state;
};
static_assert(m2m::Converts<CannotBeCopied> && !m2m::Engine<CannotBeCopied>);

}  // namespace m2m_engine_test
}  // namespace vumedia::test
