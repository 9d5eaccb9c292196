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
static_assert(m2m::event_types_of<m2m::DrainCommand::decoder, true>().size() == 2);
static_assert(m2m::event_types_of<m2m::DrainCommand::none, true>()[0] == V4L2_EVENT_SOURCE_CHANGE);

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

// -- Engines that make instances

struct Formats {
  Result<> enumerate(v4l2_fmtdesc&) const { return {}; }
  Result<> enumerate(v4l2_frmsizeenum&) const { return {}; }
  Result<> get(v4l2_format&) const { return {}; }
  Result<> adjust(v4l2_format&) const { return {}; }
  Result<> set(v4l2_format&, bool) { return {}; }
  bool keeps_other(const v4l2_format&) const { return true; }
  std::uint32_t size_image(std::uint32_t) const { return 4096; }
};
static_assert(m2m::ServesFormats<Formats>);

struct LeastInstance {
  Formats& formats();
  void queued(const v4l2::BufferQueue&);
  void started(const v4l2::BufferQueue&);
  void stopped(const v4l2::BufferQueue&);
};
static_assert(m2m::HasInstanceFormats<LeastInstance> && m2m::FollowsQueues<LeastInstance>);
static_assert(!m2m::HasControls<LeastInstance> && !m2m::Drains<LeastInstance>);

struct InstanceEngine {
  static constexpr const char* card = "Engine";
  m2m::BufferLimits buffer_limits() const;
};

struct LeastOfInstances : InstanceEngine {
  struct Instance : LeastInstance {
    Instance(LeastOfInstances&, m2m::File&);
  };
};
static_assert(m2m::Engine<LeastOfInstances> && !m2m::Converter<LeastOfInstances>);
static_assert(!m2m::changes_source<LeastOfInstances>());

struct WithThreads : InstanceEngine {
  static constexpr auto drain_command = m2m::DrainCommand::decoder;
  static constexpr bool changes_source = true;
  struct Instance : LeastInstance {
    Instance(WithThreads&, m2m::File&, m2m::Notify);
    void notified();
    Result<> drain();
    Result<> resume();
  };
};
static_assert(m2m::Engine<WithThreads> && m2m::changes_source<WithThreads>());

struct IsNeverNotified : InstanceEngine {
  struct Instance : LeastInstance {
    Instance(IsNeverNotified&, m2m::File&, m2m::Notify);
  };
};
static_assert(!m2m::MakesInstances<IsNeverNotified> && !m2m::Engine<IsNeverNotified>);

struct CannotDrain : InstanceEngine {
  static constexpr auto drain_command = m2m::DrainCommand::encoder;
  struct Instance : LeastInstance {
    Instance(CannotDrain&, m2m::File&);
  };
};
static_assert(m2m::MakesInstances<CannotDrain> && !m2m::Engine<CannotDrain>);

struct HasNoFormats : InstanceEngine {
  struct Instance {
    Instance(HasNoFormats&, m2m::File&);
    int formats();
    void queued(const v4l2::BufferQueue&);
    void started(const v4l2::BufferQueue&);
    void stopped(const v4l2::BufferQueue&);
  };
};
static_assert(!m2m::HasInstanceFormats<HasNoFormats::Instance> && !m2m::Engine<HasNoFormats>);

struct HasNoLimits {
  static constexpr const char* card = "Engine";
  struct Instance : LeastInstance {
    Instance(HasNoLimits&, m2m::File&);
  };
};
static_assert(!m2m::LimitsBuffers<HasNoLimits> && !m2m::Engine<HasNoLimits>);

}  // namespace m2m_engine_test
}  // namespace vumedia::test
