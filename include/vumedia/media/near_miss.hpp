// Distinguishes what is nearly a member of a media::Backend from one that does not exist.
//
// Nothing can list the overloads of `ioctl`. So it is called with arguments that stand for any type: an
// overload that takes a tag in some other place than it should, whatever else it takes, was meant to be an
// ioctl.
#pragma once

#include <concepts>
#include <cstdint>
#include <type_traits>
#include <utility>

#include <vumedia/media/backend.hpp>
#include <vumedia/media/completion.hpp>
#include <vumedia/v4l2/ioctl_table.hpp>

namespace vumedia::media::detail {

// Whether B has a member of this name, whatever it is and whoever may use it: if so, the name is ambiguous in
// a class that inherits another one beside it. From a final class nothing can be derived, which is why
// media::Device takes none.
// clang-format off
#define VUMEDIA_NAMES_MEMBER(CONCEPT, NAME)    \
  struct Other##CONCEPT { int NAME; };         \
  template <class B>                           \
  struct Both##CONCEPT : B, Other##CONCEPT {}; \
  template <class B>                           \
  concept CONCEPT = std::is_class_v<B> && !std::is_final_v<B> && !requires { &Both##CONCEPT<B>::NAME; }
// clang-format on
VUMEDIA_NAMES_MEMBER(NamesIoctl, ioctl);
VUMEDIA_NAMES_MEMBER(NamesMmap, mmap);
VUMEDIA_NAMES_MEMBER(NamesClose, close);
VUMEDIA_NAMES_MEMBER(NamesStatistics, statistics);
#undef VUMEDIA_NAMES_MEMBER

// -- Sessions by value

// Becomes a session where a reference to one is taken, const or not; by value it becomes one in two ways,
// neither of which is better, and where any type is taken by value it cannot be copied.
template <class S>
struct OneSession {
  OneSession() = default;
  OneSession(const OneSession&) = delete;
  OneSession& operator=(const OneSession&) = delete;
  operator S&() const noexcept;         // NOLINT(google-explicit-constructor)
  operator const S&&() const noexcept;  // NOLINT(google-explicit-constructor)
};

// Becomes a session by value even where no session can be copied or moved; of an abstract one there is none.
template <class S>
struct NewSession {
  operator S() const noexcept  // NOLINT(google-explicit-constructor)
    requires(!std::is_abstract_v<S>);
};

// -- The optional members

template <class B>
concept CallsMmap = requires(B& backend, typename B::Session& session, std::uint32_t& offset) {
  backend.mmap(session, offset);
};
template <class B>
concept CallsClose = requires(B& backend, typename B::Session& session) { backend.close(session); };

// The session is passed on as an rvalue.
template <class B, class S>
concept CallsMmapOf = requires(B& backend, S&& session, std::uint32_t& offset) {
  backend.mmap(std::forward<S>(session), offset);
};
template <class B, class S>
concept CallsCloseOf = requires(B& backend, S&& session) { backend.close(std::forward<S>(session)); };
template <class B>
concept CopiesSessionToMap =
    CallsMmapOf<B, NewSession<typename B::Session>> && !CallsMmapOf<B, OneSession<typename B::Session>>;
template <class B>
concept CopiesSessionToClose =
    CallsCloseOf<B, NewSession<typename B::Session>> && !CallsCloseOf<B, OneSession<typename B::Session>>;

template <class B>
consteval void check_optional_members() {
  static_assert(!CopiesSessionToMap<B>,
                "media::Backend: `mmap` takes its session by value, and so would use a copy: it must take "
                "`Session&`");
  static_assert(!CopiesSessionToClose<B>,
                "media::Backend: `close` takes its session by value, and so would close a copy: it must take "
                "`Session&`");
  static_assert(CallsMmap<B> || !NamesMmap<B>,
                "media::Backend: its member `mmap` is not a public mmap(Session&, std::uint32_t mem_offset)");
  static_assert(!CallsMmap<B> || Maps<B>,
                "media::Backend: `mmap` must return vumedia::Result<media::Mappable>, as "
                "v4l2::BufferQueue::mappable() gives it");
  static_assert(CallsClose<B> || !NamesClose<B>,
                "media::Backend: its member `close` is not a public close(Session&)");
  static_assert(!CallsClose<B> || Closes<B>,
                "media::Backend: `close` must return void, because nothing can handle its failure");
  static_assert(HasStatistics<B> || !NamesStatistics<B>,
                "media::Backend: its member `statistics` is not a public statistics()");
}

// -- Ioctls

struct Anything;

// The members of a tag, for templates that deduce their tag from one of those below: constraints on the tag
// can then be evaluated.
struct LikeATag {
  using Body = Anything;
  using Wire = Anything;
  using Payload = Anything;
  static constexpr std::uint32_t number = v4l2::ioctl_limit;
  static constexpr v4l2::Direction direction = v4l2::Direction::none;
  static constexpr v4l2::Allowed allowed = v4l2::Allowed::always;
  static constexpr unsigned long code = 0;
  static constexpr const char* name = "";
};

// A class that can be passed by value only where it is made. This is not asked of the stand-ins below,
// because their own conversions ask it.
template <class T>
concept StaysWhereItIs = std::is_class_v<T> && requires { sizeof(T); } && !std::is_base_of_v<LikeATag, T> &&
                         !std::is_abstract_v<T> && !std::is_move_constructible_v<T>;

// An argument of any type but a tag, by value or by reference.
struct Anything : LikeATag {
  // clang-format off
  template <class T>
    requires(!v4l2::ListedIoctl<std::remove_cv_t<T>>)
  operator T&() const& noexcept;  // NOLINT(google-explicit-constructor)
  template <class T>
    requires(!v4l2::ListedIoctl<std::remove_cv_t<T>> && !StaysWhereItIs<T>)
  operator T&&() const&& noexcept;  // NOLINT(google-explicit-constructor)
  template <StaysWhereItIs T>
  operator T() const&& noexcept;  // NOLINT(google-explicit-constructor)
  // clang-format on
};

// A tag that is not in the table. Tags are classes without members.
struct UnknownTag : LikeATag {
  // clang-format off
  template <class T>
    requires(std::is_empty_v<T> && !v4l2::ListedIoctl<std::remove_cv_t<T>>)
  operator T() const noexcept;  // NOLINT(google-explicit-constructor)
  // clang-format on
};

// Accepted only by an unconstrained template, which accepts anything.
struct Unrelated : LikeATag {};

template <class B, class... Arguments>
concept TakesIoctl =
    requires(B& backend, Arguments&&... arguments) { backend.ioctl(std::forward<Arguments>(arguments)...); };

// Whether an overload takes the tag, in any place, with up to four other arguments.
template <class B, class Tag, class Any = Anything>
concept TakesTagSomewhere =
    TakesIoctl<B, Tag&> ||                                                                 //
    TakesIoctl<B, Tag&, Any> || TakesIoctl<B, Any, Tag&> ||                                //
    TakesIoctl<B, Tag&, Any, Any> || TakesIoctl<B, Any, Tag&, Any> ||                      //
    TakesIoctl<B, Any, Any, Tag&> ||                                                       //
    TakesIoctl<B, Tag&, Any, Any, Any> || TakesIoctl<B, Any, Tag&, Any, Any> ||            //
    TakesIoctl<B, Any, Any, Tag&, Any> || TakesIoctl<B, Any, Any, Any, Tag&> ||            //
    TakesIoctl<B, Tag&, Any, Any, Any, Any> || TakesIoctl<B, Any, Tag&, Any, Any, Any> ||  //
    TakesIoctl<B, Any, Any, Tag&, Any, Any> || TakesIoctl<B, Any, Any, Any, Tag&, Any> ||  //
    TakesIoctl<B, Any, Any, Any, Any, Tag&>;

// Whether an overload of the right shape takes this payload as an rvalue, which a reference to non-const does
// not.
template <class B, class Tag, class Payload, class Session = typename B::Session>
concept TakesRvalue =
    TakesIoctl<B, Session&, Tag, Payload> || TakesIoctl<B, Session&, Tag, Payload, Completion>;

// If so, what the backend puts into the payload never reaches the guest.
template <class B, class Tag>
concept LosesOutput = v4l2::carries_output<Tag> && TakesRvalue<B, Tag, typename Tag::Payload> &&
                      !TakesRvalue<B, Tag, Unrelated>;

// An overload of the right shape, but for its session, which it takes by value.
template <class B, class S, class Tag, class Payload = typename Tag::Payload&>
concept TakesIoctlOf = TakesIoctl<B, S, Tag, Payload> || TakesIoctl<B, S, Tag, Payload, Completion>;
template <class B, class Tag>
concept CopiesSession = TakesIoctlOf<B, NewSession<typename B::Session>, Tag> &&
                        !TakesIoctlOf<B, OneSession<typename B::Session>, Tag>;

// There is an overload, and one only, whose tag is none of the table's.
template <class B>
concept TakesUnknownTag = TakesRvalue<B, UnknownTag, Anything> && !TakesRvalue<B, Unrelated, Anything>;

// It only serves for its name, which a compiler prints with the overload that cannot be reached.
template <class B>
struct EveryOverloadOfIoctlMustBePublic : B {
  using B::ioctl;
};

template <class B>
consteval bool check_overloads() {
  if constexpr (NamesIoctl<B>) {
    // NOLINTNEXTLINE(bugprone-sizeof-expression): it instantiates the template.
    static_assert(sizeof(EveryOverloadOfIoctlMustBePublic<B>) > 0);
    static_assert(!TakesUnknownTag<B>,
                  "media::Backend: an overload of `ioctl` takes a tag that is not in v4l2::ioctl_tags "
                  "(v4l2/ioctl_table.hpp), so no command would reach it");
  }
  return true;
}

}  // namespace vumedia::media::detail
