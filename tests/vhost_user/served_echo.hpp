// An EchoDevice at work on real rings, without a session and without a frontend.
#pragma once

#include <algorithm>
#include <cstring>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <vumedia/io/fd_passing.hpp>
#include <vumedia/vhost_user/handlers.hpp>
#include <vumedia/vhost_user/served_device.hpp>

#include "vhost_user/echo_device.hpp"
#include "vhost_user/guest_rings.hpp"

namespace vumedia::vhost_user::test {

// In the place of a session.
struct ServedOwner {
  [[nodiscard]] bool peer_has_left() const noexcept { return left; }
  void on_stopped(const VringState& state) noexcept { stopped.push_back(state.num); }
  void on_stop_failed(const Error& error) noexcept { failure = error.message; }

  bool left = false;
  std::vector<std::uint32_t> stopped;  // the bases
  std::optional<std::string> failure;
};

struct ServedEcho {
  using Host = SessionHost<io::UringReactor>;
  using Served = ServedDevice<EchoDevice<Host>, io::UringReactor, ServedOwner>;

  ServedEcho() { served.host().replace_memory(guest.table); }

  // Sets up ring `i`, which starts at `first`, and starts it.
  void start(std::uint16_t i, std::uint16_t first = 0) {
    EXPECT_TRUE(served.may_set_up(i));
    guest.configure(served.rings()[i], first);
    EXPECT_TRUE(served.rings()[i].set_call(copy(guest.call[i])));
    const auto started = served.set_kick(i, copy(guest.kick[i]));
    EXPECT_TRUE(started) << started.error().message;
  }
  // The driver offers a buffer of queue `i` and kicks.
  void kick(std::uint16_t i) {
    guest.offer(i);
    io::test::add(guest.kick[i]);
    settle(*reactor);
  }
  [[nodiscard]] std::size_t processed(std::uint16_t i) const {
    return static_cast<std::size_t>(std::ranges::count(state.processed, i));
  }

  std::unique_ptr<io::UringReactor> reactor = make_reactor();
  GuestRings guest;
  EchoState state;
  ServedOwner owner;
  Served served{*reactor, Log(), owner, state};
};

// Calls the handler of `Spec` in `group`, as for a message with that body.
template <class Spec, class Group>
Verdict call(Group& group, const typename Spec::Head& body = {}, std::span<const std::byte> tail = {},
             io::FdList fds = {}) {
  return group.handle(Received<Spec>{body, tail, fds});
}
template <class... Fds>
[[nodiscard]] io::FdList with(const Fds&... fds) {
  io::FdList list;
  (list.add(copy(fds)), ...);
  return list;
}

// What a verdict says, such as "done" or "refused 22: there is no queue 2".
[[nodiscard]] inline std::string text_of(const Verdict& verdict) {
  constexpr const char* names[] = {"done", "answered", "later", "refused", "tolerated", "malformed"};
  const std::string name = names[static_cast<std::size_t>(verdict.kind)];
  if (!verdict.is_error()) return name;
  return name + " " + std::to_string(verdict.error.code) + ": " + verdict.error.message;
}
// The body of its answer.
template <class Body>
[[nodiscard]] Body answer_of(const Verdict& verdict) {
  Body body{};
  EXPECT_EQ(verdict.kind, Verdict::Kind::answered);
  EXPECT_EQ(verdict.answer.size(), sizeof body);
  if (verdict.answer.size() == sizeof body) std::memcpy(&body, verdict.answer.data(), sizeof body);
  return body;
}

}  // namespace vumedia::vhost_user::test
