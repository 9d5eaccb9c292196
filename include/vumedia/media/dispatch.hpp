// From an ioctl's number to a backend's overload, decided at compile time (contract in backend.hpp).
//
// For each ioctl of the table, the backend's overload is looked up in two shapes. What is found becomes an
// entry of a dense array of functions, indexed by the number; the other entries answer ENOTTY.
#pragma once

#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <utility>

#include <vumedia/core/result.hpp>
#include <vumedia/media/backend.hpp>
#include <vumedia/media/completion.hpp>
#include <vumedia/media/near_miss.hpp>
#include <vumedia/v4l2/ioctl_table.hpp>
#include <vumedia/v4l2/payload.hpp>

namespace vumedia::media {

/// Without a completion, with one.
enum class IoctlShape : std::uint8_t { missing, immediate, deferred };

namespace detail {

// Stands for a payload of any type: finds an overload that exists for an ioctl but takes another struct.
struct AnyPayload {
  template <class T>
  operator T&() const noexcept;  // NOLINT(google-explicit-constructor)
};

// Nothing is to be looked for in such a backend.
template <class B>
concept HasNoIoctls = !std::is_final_v<B> && !NamesIoctl<B>;

// `backend.ioctl(session, Tag, payload[, completion])` compiles, whatever it returns.
template <class B, class Tag, class Payload>
concept TakesPayload = requires(B& backend, typename B::Session& session, Tag tag, Payload& payload) {
  backend.ioctl(session, tag, payload);
};
template <class B, class Tag, class Payload>
concept TakesCompletion =
    requires(B& backend, typename B::Session& session, Tag tag, Payload& payload, Completion completion) {
      backend.ioctl(session, tag, payload, std::move(completion));
    };

}  // namespace detail

/// The shape of B's overload for Tag. A near miss is an error, not a missing ioctl.
template <class B, class Tag>
  requires detail::HasNoIoctls<B>
[[nodiscard]] consteval IoctlShape ioctl_shape() {
  return IoctlShape::missing;
}
/// How the backend B serves the ioctl of that tag.
template <class B, class Tag>
[[nodiscard]] consteval IoctlShape ioctl_shape() {
  using Payload = typename Tag::Payload;
  constexpr bool immediate = detail::TakesPayload<B, Tag, Payload>;
  constexpr bool deferred = detail::TakesCompletion<B, Tag, Payload>;
  static_assert(!(immediate && deferred),
                "media::Backend: this ioctl (Tag) has overloads of both shapes; keep one of "
                "(session, tag, payload) and (session, tag, payload, completion)");
  static_assert(!detail::CopiesSession<B, Tag>,
                "media::Backend: the overload for this ioctl (Tag) takes its session by value, and so would "
                "change a copy: it must take `Session&`");
  static_assert(!detail::LosesOutput<B, Tag>,
                "media::Backend: this ioctl (Tag) answers with its payload, which its overload must take as "
                "`Tag::Payload&`: neither by value nor as const");
  if constexpr (immediate) {
    static_assert(
        requires(B& backend, typename B::Session& session, Payload& payload) {
          { backend.ioctl(session, Tag{}, payload) } -> std::same_as<Result<>>;
        }, "media::Backend: the overload for this ioctl (Tag) must return vumedia::Result<>");
    return IoctlShape::immediate;
  } else if constexpr (deferred) {
    static_assert(
        requires(B& backend, typename B::Session& session, Payload& payload, Completion completion) {
          { backend.ioctl(session, Tag{}, payload, std::move(completion)) } -> std::same_as<void>;
        }, "media::Backend: an overload that takes a Completion answers through it and must return void");
    return IoctlShape::deferred;
  } else {
    static_assert(
        !detail::TakesPayload<B, Tag, const detail::AnyPayload> &&
            !detail::TakesCompletion<B, Tag, const detail::AnyPayload>,
        "media::Backend: the overload for this ioctl (Tag) must take `Tag::Payload&` as its payload");
    if constexpr (detail::NamesIoctl<B>) {
      static_assert(!detail::TakesTagSomewhere<B, Tag>,
                    "media::Backend: an overload of `ioctl` takes this tag (Tag), but is neither "
                    "(session, tag, payload) nor (session, tag, payload, completion)");
    }
    return IoctlShape::missing;
  }
}

namespace detail {

// Puts an ioctl's function into its place in the table, if there is one.
template <class Entry, class Function>
constexpr void put_function(Function& place) {
  if constexpr (Entry::supported) place = Entry::run();
}

}  // namespace detail

/// The functions by ioctl number: `Entries<Tag>::run()` gives that of a tag, if `Entries<Tag>::supported`.
template <class Function, template <class> class Entries>
[[nodiscard]] consteval std::array<Function, v4l2::ioctl_limit> make_dispatch_table(Function unsupported) {
  std::array<Function, v4l2::ioctl_limit> table{};
  table.fill(unsupported);
  v4l2::with_ioctl_tags(
      [&table]<class... Tags>() { (detail::put_function<Entries<Tags>>(table[Tags::number]), ...); });
  return table;
}

}  // namespace vumedia::media
