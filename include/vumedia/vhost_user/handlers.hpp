// From a message to the handler of its request.
//
// Handlers are grouped into objects by what they concern. A group has an overload of handle() for each
// request that it serves, which takes that request's Received:
// clang-format off
//   Verdict handle(const Received<request::SetVringNum>& message);
// clang-format on
#pragma once

#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <tuple>

#include <boost/hana/for_each.hpp>

#include <vumedia/io/fd_passing.hpp>
#include <vumedia/vhost_user/requests.hpp>
#include <vumedia/vhost_user/verdict.hpp>
#include <vumedia/vhost_user/wire.hpp>

namespace vumedia::vhost_user {

/// One message of the request `Spec`. Its size and the number of its descriptors are within the limits of
/// `Spec`; nothing else is checked.
template <ListedRequest Spec>
struct Received {
  typename Spec::Head body{};       ///< zero where the request has no body
  std::span<const std::byte> tail;  ///< what follows the body
  io::FdList& fds;                  ///< those that a handler does not take are closed
};

/// Whether `Group` has an overload of handle() for the request.
template <class Group, class Spec>
concept HandlesRequest = requires(Group& group, const Received<Spec>& message) {
  { group.handle(message) } -> std::same_as<Verdict>;
};

/// For the requests of a direction. Groups are borrowed, and outlive this.
template <class Direction, class... Groups>
class Handlers {
 public:
  /// They may not share a request.
  explicit Handlers(Groups&... groups) noexcept : groups_(groups...) {}

  /// `number` is that of a request in the table, whose framing has been checked.
  [[nodiscard]] Verdict handle(std::uint32_t number, std::span<const std::byte> body, io::FdList& fds) {
    return table_[number](*this, body, fds);
  }

 private:
  using Entry = Verdict (*)(Handlers&, std::span<const std::byte> body, io::FdList& fds);

  template <class Spec>
  static Verdict dispatch(Handlers& self, std::span<const std::byte> body, io::FdList& fds) {
    constexpr std::size_t count = (std::size_t{HandlesRequest<Groups, Spec>} + ... + 0);
    static_assert(count <= 1, "a request has a handler in one group only");
    if constexpr (count == 1) {
      Received<Spec> message{.tail = body.subspan(Spec::least_size), .fds = fds};
      // The framing guarantees that the body is at least this long.
      if constexpr (Spec::least_size > 0) std::memcpy(&message.body, body.data(), Spec::least_size);
      return self.template group_of<Spec>().handle(message);
    } else {
      static_assert((Spec::protocol_feature & ~offerable_protocol_features) != 0,
                    "a request without a handler must need a feature that is not offered");
      return refused(EOPNOTSUPP, "not served");
    }
  }
  template <class Spec>
  [[nodiscard]] auto& group_of() noexcept {
    constexpr std::size_t index = [] {
      const bool handles[] = {HandlesRequest<Groups, Spec>...};
      std::size_t i = 0;
      while (!handles[i]) ++i;
      return i;
    }();
    return std::get<index>(groups_);
  }

  static constexpr std::array<Entry, RequestTable<Direction>::limit> table_ = [] {
    std::array<Entry, RequestTable<Direction>::limit> table{};
    boost::hana::for_each(sequence_of<Direction>, [&table](auto type) {
      using Spec = typename decltype(type)::type;
      table[static_cast<std::size_t>(Spec::number)] = &Handlers::template dispatch<Spec>;
    });
    return table;
  }();

  std::tuple<Groups&...> groups_;
};

}  // namespace vumedia::vhost_user
