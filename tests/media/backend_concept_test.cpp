// What satisfies media::Backend, part by part, and what does not. tests/must_not_compile has the messages.
#include <cstdint>
#include <memory>
#include <utility>

#include <vumedia/media/dispatch.hpp>

namespace vumedia::media::test::backend_concept {

namespace tag = v4l2::tag;

// The least: files that can be opened, and what the guest reads of the device.
struct Least {
  struct Session {};
  Config config() const { return {}; }
  Result<std::unique_ptr<Session>> open(Context) { return std::make_unique<Session>(); }
};
static_assert(Backend<Least>);
static_assert(!OpensDeferred<Least> && !Maps<Least> && !Closes<Least> && !HasStatistics<Least>);
static_assert(ioctl_shape<Least, tag::G_FMT>() == IoctlShape::missing);

// All that there may be.
struct Most {
  struct Session {};
  Config config() const { return {}; }
  Result<std::unique_ptr<Session>> open(Context, Completion opened) {
    opened.complete({});
    return std::make_unique<Session>();
  }
  void close(Session&) {}
  Result<Mappable> mmap(Session&, std::uint32_t) { return fail(EINVAL); }
  int statistics() { return 0; }
  Result<> ioctl(Session&, tag::G_FMT, v4l2_format&) { return {}; }
  void ioctl(Session&, tag::S_CTRL, v4l2_control&, Completion completion) { completion.complete({}); }
};
static_assert(Backend<Most>);
static_assert(OpensDeferred<Most> && !Opens<Most> && Maps<Most> && Closes<Most> && HasStatistics<Most>);
static_assert(ioctl_shape<Most, tag::G_FMT>() == IoctlShape::immediate);
static_assert(ioctl_shape<Most, tag::S_CTRL>() == IoctlShape::deferred);
static_assert(ioctl_shape<Most, tag::QBUF>() == IoctlShape::missing);

// A payload that only goes to the device may be taken in any way.
struct TakesInputByValue : Least {
  Result<> ioctl(Session&, tag::STREAMON, std::uint32_t) { return {}; }
};
static_assert(ioctl_shape<TakesInputByValue, tag::STREAMON>() == IoctlShape::immediate);

// -- The session

struct NoSession {
  Config config() const { return {}; }
};
class PrivateSession {
  struct Session {};
};
struct UndefinedSession {
  struct Session;
};
struct EternalSession {
  class Session {
    ~Session() = default;
  };
};
static_assert(!NamesSession<NoSession> && !HasSession<NoSession>);
static_assert(!HasSession<PrivateSession>);
static_assert(NamesSession<UndefinedSession> && !SessionIsCompleteHere<UndefinedSession>);
static_assert(SessionIsCompleteHere<EternalSession> && !HasSession<EternalSession>);

// -- config()

struct ConfigOfAnotherType : Least {
  int config() const { return 0; }
};
struct ConfigThatChanges : Least {
  Config config() { return {}; }
};
static_assert(!HasConfig<ConfigOfAnotherType> && !Backend<ConfigOfAnotherType>);
static_assert(!HasConfig<ConfigThatChanges> && !Backend<ConfigThatChanges>);

// -- open()

struct OpensWithoutContext : Least {
  Result<std::unique_ptr<Session>> open() { return std::make_unique<Session>(); }
};
struct OpensByValue : Least {
  Session open(Context) { return {}; }
};
struct OpensShared : Least {
  Result<std::shared_ptr<Session>> open(Context) { return std::make_shared<Session>(); }
};
struct OpensInAnotherOrder : Least {
  Result<std::unique_ptr<Session>> open(Completion, Context) { return std::make_unique<Session>(); }
};
struct OpensWithReference : Least {
  Result<std::unique_ptr<Session>> open(Context, Completion&) { return std::make_unique<Session>(); }
};
static_assert(!Backend<OpensWithoutContext>);
static_assert(!Backend<OpensByValue>);
static_assert(!Backend<OpensShared>);
static_assert(!Backend<OpensInAnotherOrder>);
static_assert(!Backend<OpensWithReference>);

// -- The optional members: these are not merely missing, but refused.

struct MapsAnotherType : Least {
  Result<int> mmap(Session&, std::uint32_t) { return 0; }
};
struct MapsWithoutSession : Least {
  Result<Mappable> mmap(std::uint32_t) { return fail(EINVAL); }
};
struct ClosesWithResult : Least {
  Result<> close(Session&) { return {}; }
};
struct ClosesAnId : Least {
  void close(std::uint32_t) {}
};
static_assert(!Maps<MapsAnotherType> && detail::NamesMmap<MapsAnotherType>);
static_assert(!Maps<MapsWithoutSession> && detail::NamesMmap<MapsWithoutSession>);
static_assert(!Closes<ClosesWithResult> && detail::NamesClose<ClosesWithResult>);
static_assert(!Closes<ClosesAnId> && detail::NamesClose<ClosesAnId>);
static_assert(!detail::NamesMmap<Least> && !detail::NamesClose<Least>);

}  // namespace vumedia::media::test::backend_concept
