// What counts as a near miss of a backend's members, and what does not. tests/must_not_compile checks the
// compiler's messages.
#include <gtest/gtest.h>

#include <vumedia/media/dispatch.hpp>

#include "media/test_backend.hpp"

namespace vumedia::media::test {
namespace {

using detail::LosesOutput, detail::TakesTagSomewhere, detail::TakesUnknownTag;
namespace tag = v4l2::tag;

struct Session {
  Session() = default;
  Session(const Session&) = delete;
};
using Format = v4l2_format;

// Each has one overload, for G_FMT; the last template is for what all have in common.
struct Right {
  using Session = test::Session;
  Result<> ioctl(Session&, tag::G_FMT, Format&);
};
template <class... Arguments>
struct Shape {
  using Session = test::Session;
  Result<> ioctl(Arguments...);
};

template <class... Arguments>
inline constexpr bool is_near_miss =
    TakesTagSomewhere<Shape<Arguments...>, tag::G_FMT> && !TakesTagSomewhere<Shape<Arguments...>, tag::S_FMT>;

TEST(NearMiss, AnyPlaceOfTheTag) {
  using tag::G_FMT;
  EXPECT_TRUE((is_near_miss<G_FMT>));
  EXPECT_TRUE((is_near_miss<Session&, G_FMT>));
  EXPECT_TRUE((is_near_miss<G_FMT, Format&>));
  EXPECT_TRUE((is_near_miss<Format&, G_FMT>));
  EXPECT_TRUE((is_near_miss<G_FMT, Session&, Format&>));
  EXPECT_TRUE((is_near_miss<Session&, Format&, G_FMT>));
  EXPECT_TRUE((is_near_miss<Format&, G_FMT, Session&>));
  EXPECT_TRUE((is_near_miss<Session&, Context, G_FMT, Format&>));
  EXPECT_TRUE((is_near_miss<Session&, Context, G_FMT, Format&, Completion>));
  EXPECT_TRUE((is_near_miss<G_FMT, Session&, Context, Format&>));
  EXPECT_TRUE((is_near_miss<Session&, G_FMT, Context, Format&>));
  EXPECT_TRUE((is_near_miss<Context, Session&, G_FMT, Format&>));
  EXPECT_TRUE((is_near_miss<Session&, Context, Format&, G_FMT>));
  EXPECT_TRUE((is_near_miss<Session&, G_FMT, Format&, Context>));
  EXPECT_TRUE((is_near_miss<Session&, G_FMT, Format&, Completion>));
  EXPECT_TRUE((is_near_miss<G_FMT, Session&, Context, Format&, Completion>));
  EXPECT_TRUE((is_near_miss<Session&, G_FMT, Context, Format&, Completion>));
  EXPECT_TRUE((is_near_miss<Completion, Session&, Context, G_FMT, Format&>));
  EXPECT_TRUE((is_near_miss<Completion, Session&, Context, Format&, G_FMT>));
}

TEST(NearMiss, OtherTypesOfTheArguments) {
  using tag::G_FMT;
  EXPECT_TRUE((is_near_miss<Session*, G_FMT, Format&>));
  EXPECT_TRUE((is_near_miss<Session&, G_FMT, Format*>));
  EXPECT_TRUE((is_near_miss<Session&&, G_FMT, Format&>));
  EXPECT_TRUE((is_near_miss<std::unique_ptr<Session>, G_FMT, Format&>));
  EXPECT_TRUE((is_near_miss<Session&, G_FMT&, Format&>));
  EXPECT_TRUE((is_near_miss<Session&, const G_FMT&, v4l2_pix_format&>));
  EXPECT_TRUE((is_near_miss<Session&, Context&, G_FMT, Format&>));
  EXPECT_TRUE((is_near_miss<Session&, Context, G_FMT, Format&, Completion&>));
  EXPECT_TRUE((is_near_miss<int, G_FMT, Format&>));
}

// Templates that leave out some tags, as a backend may do that passes on the others.
template <class Tag>
inline constexpr bool is_wanted =
    Tag::number == tag::G_FMT::number || Tag::direction == v4l2::Direction::write;
struct Templates {
  using Session = test::Session;
  template <class Tag>
    requires is_wanted<Tag>
  void ioctl(Session&, Tag, typename Tag::Payload&, Completion);
  template <class Tag>
    requires std::same_as<typename Tag::Payload, v4l2_cropcap>
  Result<> ioctl(Session&, Tag, v4l2_cropcap&);
  Result<> ioctl(Session&, tag::QBUF, v4l2::BufferPayload&);
  // Not ioctls of the guest.
  int ioctl(unsigned long code, void* payload);
  int ioctl(int fd, unsigned long code, void* payload);
};
struct OtherAfterTheTag {
  using Session = test::Session;
  template <class Other>
  Result<> ioctl(Session&, tag::G_FMT, Other, Format&);
};

struct Whatever {
  using Session = test::Session;
  Result<> ioctl(Session&, tag::G_FMT, auto&&) { return {}; }
};

TEST(NearMiss, NotWhatATemplateLeavesOut) {
  EXPECT_FALSE((TakesTagSomewhere<Templates, tag::S_CTRL>));
  EXPECT_FALSE((TakesTagSomewhere<Templates, tag::S_FMT>));
  EXPECT_FALSE((TakesTagSomewhere<Templates, tag::QUERYBUF>));
  EXPECT_FALSE((TakesUnknownTag<Templates>));
  EXPECT_TRUE((TakesTagSomewhere<OtherAfterTheTag, tag::G_FMT>));
  EXPECT_FALSE((TakesTagSomewhere<OtherAfterTheTag, tag::S_FMT>));
}

TEST(NearMiss, APayloadThatCannotBeAnswered) {
  using tag::G_FMT, tag::STREAMON;
  EXPECT_FALSE((LosesOutput<Right, G_FMT>));
  EXPECT_TRUE((LosesOutput<Shape<Session&, G_FMT, Format>, G_FMT>));
  EXPECT_TRUE((LosesOutput<Shape<Session&, G_FMT, const Format&>, G_FMT>));
  EXPECT_TRUE((LosesOutput<Shape<Session&, G_FMT, const Format&, Completion>, G_FMT>));
  EXPECT_TRUE((LosesOutput<Shape<Session&, tag::G_INPUT, std::uint32_t>, tag::G_INPUT>));
  EXPECT_FALSE((LosesOutput<Shape<Session&, tag::G_INPUT, std::uint32_t&>, tag::G_INPUT>));
  // It answers only with a status.
  EXPECT_FALSE((LosesOutput<Shape<Session&, STREAMON, std::uint32_t>, STREAMON>));
  EXPECT_FALSE((LosesOutput<Whatever, G_FMT>));
}

struct NoTagOfOurs : v4l2::Ioctl<0, v4l2::Direction::read, v4l2::Allowed::always, v4l2_capability> {};

TEST(NearMiss, ATagThatIsNotInTheTable) {
  EXPECT_TRUE((TakesUnknownTag<Shape<Session&, NoTagOfOurs, v4l2_capability&>>));
  EXPECT_TRUE((TakesUnknownTag<Shape<Session&, NoTagOfOurs, v4l2_capability&, Completion>>));
  EXPECT_FALSE((TakesUnknownTag<Right>));
  EXPECT_FALSE((TakesUnknownTag<Shape<Session&, unsigned long, void*>>));
}

// Sessions that can be copied, and such as have none.
struct Copyable {};
struct Abstract {
  virtual ~Abstract() = default;
  virtual void go() = 0;
};
template <class S, class... Arguments>
struct ShapeOf {
  using Session = S;
  Result<> ioctl(Arguments...);
};

TEST(NearMiss, ASessionByValue) {
  using detail::CopiesSession;
  using tag::G_FMT;
  EXPECT_TRUE((CopiesSession<ShapeOf<Copyable, Copyable, G_FMT, Format&>, G_FMT>));
  EXPECT_TRUE((CopiesSession<ShapeOf<Copyable, const Copyable, G_FMT, Format&>, G_FMT>));
  EXPECT_TRUE((CopiesSession<ShapeOf<Copyable, Copyable, G_FMT, Format&, Completion>, G_FMT>));
  EXPECT_TRUE((CopiesSession<ShapeOf<Session, Session, G_FMT, Format&>, G_FMT>));
  EXPECT_FALSE((CopiesSession<ShapeOf<Copyable, Copyable&, G_FMT, Format&>, G_FMT>));
  EXPECT_FALSE((CopiesSession<ShapeOf<Copyable, const Copyable&, G_FMT, Format&>, G_FMT>));
  EXPECT_FALSE((CopiesSession<ShapeOf<Session, const Session&, G_FMT, Format&>, G_FMT>));
  EXPECT_FALSE((CopiesSession<ShapeOf<Abstract, Abstract&, G_FMT, Format&>, G_FMT>));
  EXPECT_FALSE((CopiesSession<ShapeOf<Abstract, const Abstract&, G_FMT, Format&>, G_FMT>));
  EXPECT_FALSE((CopiesSession<Whatever, G_FMT>));
  // In the wrong place, too.
  EXPECT_TRUE((is_near_miss<G_FMT, Session, Format&>));
  EXPECT_TRUE((is_near_miss<G_FMT, Format&, Session>));
  EXPECT_TRUE((is_near_miss<Session, Format&, G_FMT>));
  EXPECT_TRUE((is_near_miss<Session, G_FMT, Context, Format&, Completion>));
  EXPECT_TRUE((is_near_miss<Copyable, G_FMT>));
}

class Private {
  void mmap();
  int close = 0;
};
struct Inherits : Private {};
struct Nothing {};

TEST(NearMiss, NamesOfMembersWhoeverMayUseThem) {
  EXPECT_TRUE(detail::NamesMmap<Private>);
  EXPECT_TRUE(detail::NamesClose<Private>);
  EXPECT_TRUE(detail::NamesMmap<Inherits>);
  EXPECT_FALSE(detail::NamesIoctl<Private>);
  EXPECT_FALSE(detail::NamesStatistics<Private>);
  EXPECT_FALSE(detail::NamesMmap<Nothing>);
  EXPECT_TRUE(detail::NamesIoctl<TestBackend>);
}

}  // namespace
}  // namespace vumedia::media::test
