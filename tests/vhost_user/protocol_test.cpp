// What a frontend must not send: each case gets the error that the protocol defines for it, and a session
// that continues afterwards is unchanged.
#include <cstdint>
#include <cstring>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>

#include "vhost_user/backend_thread.hpp"
#include "vhost_user/raw_frontend.hpp"

namespace vumedia::vhost_user::test {
namespace {

// Invalid messages: the connection ends, and the log names the request and the reason.
TEST(Protocol, EndsTheConnectionOnMalformedMessages) {
  const OwnedFd file = std::move(*make_sealed_memfd("file", 1 << 16));
  const OwnedFd event = std::move(*make_event_fd());
  const std::vector<int> one{event.get()}, two{event.get(), event.get()};
  struct Table {
    MemoryTableHeader head;
    MemoryRegion regions[2];
  };
  const Table table{{1, 0}, {{0, 4096, 0, 0}, {}}};
  struct Case {
    const char* name;
    const char* logged;
    std::function<void(RawFrontend&)> send;
  };
  using F = RawFrontend&;
  const std::vector<Case> cases = {
      {"version 0", "protocol version 0", [](F f) { f.send(1, {}, {}, 0); }},
      {"version 2", "protocol version 2", [](F f) { f.send(1, {}, {}, 2); }},
      {"a reply", "not those of a request", [](F f) { f.send(1, {}, {}, flag::version | flag::reply); }},
      {"too short", "SET_VRING_NUM): body of 4 bytes is too short",
       [](F f) { f.send(number(request::SetVringNum::number), bytes_of(std::uint32_t{1})); }},
      {"too long", "SET_VRING_NUM): body of 40 bytes is too long",
       [](F f) { f.send(request::SetVringNum::number, VringAddress{}); }},
      {"body where none belongs", "GET_FEATURES): body of 8 bytes is too long",
       [](F f) { f.send(request::GetFeatures::number, U64{}); }},
      {"endless", "too long", [](F f) { f.send_bytes(bytes_of(Header{5, 1, 0xffffffffu})); }},
      {"endless and unknown", "too long", [](F f) { f.send_bytes(bytes_of(Header{77, 1, 0xffffffffu})); }},
      {"kick without its descriptor", "SET_VRING_KICK): its file descriptor is missing",
       [](F f) { f.send(request::SetVringKick::number, U64{0}); }},
      {"kick with a descriptor and without one", "that there is none",
       [&](F f) { f.send(request::SetVringKick::number, U64{vring_no_fd}, one); }},
      {"two kicks", "SET_VRING_KICK: 2 file descriptors came, at most 1",
       [&](F f) { f.send(request::SetVringKick::number, U64{0}, two); }},
      {"bits behind the index", "unknown bits",
       [&](F f) { f.send(request::SetVringCall::number, U64{0x1000}, one); }},
      {"descriptor where none belongs", "GET_FEATURES: 1 file descriptors came, at most 0",
       [&](F f) { f.send(1, {}, one); }},
      {"channel without its descriptor", "SET_BACKEND_REQ_FD: its file descriptor is missing",
       [](F f) { f.send(number(request::SetBackendReqFd::number), {}); }},
      {"region without its descriptor", "1 regions came with 0 file descriptors",
       [&](F f) { f.send(number(request::SetMemTable::number), bytes_of(table).first(40)); }},
      {"descriptor without its region", "1 regions came with 2 file descriptors",
       [&](F f) { f.send(number(request::SetMemTable::number), bytes_of(table).first(40), two); }},
      {"table longer than its count", "1 regions in a body of 72 bytes",
       [&](F f) { f.send(number(request::SetMemTable::number), bytes_of(table), one); }},
      {"table of 33", "33 regions, at most 32",
       [&](F f) { f.send(number(request::SetMemTable::number), bytes_of(MemoryTableHeader{33, 0})); }},
      {"table of 2^32 - 1", "at most 32",
       [&](F f) { f.send(number(request::SetMemTable::number), bytes_of(MemoryTableHeader{~0u, 0})); }},
      {"configuration longer than it says", "0 bytes of configuration",
       [&](F f) { f.send(number(request::GetConfig::number), bytes_of(table).first(20)); }},
      {"configuration too long", "in a body of 12",
       [&](F f) { f.send(request::SetConfig::number, ConfigHeader{0, 5000, 0}); }},
      {"cut off in the header", "ended after 5",
       [](F f) {
         f.send_bytes(std::as_bytes(std::span("\1\0\0\0\1", 5)));
         ::shutdown(f.fd(), SHUT_WR);
       }},
  };
  for (const auto& each : cases) {
    SCOPED_TRACE(each.name);
    BackendThread backend;
    RawFrontend frontend(backend.connect());
    frontend.negotiate(everything & ~protocol_feature::configure_mem_slots);
    each.send(frontend);
    EXPECT_TRUE(frontend.is_closed());
    EXPECT_TRUE(eventually([&] { return backend.lines.contains(each.logged); })) << backend.lines.text();
    // And the next frontend is served.
    Vmm vmm(backend.connect());
    vmm.negotiate();
    vmm.start();
    EXPECT_EQ(vmm.echo("next"), "next");
  }
}

// Valid requests that cannot be served: an errno for frontends that ask for acknowledgements, the end for
// those that do not.
TEST(Protocol, RefusesWhatItCannotServe) {
  const OwnedFd event = std::move(*make_event_fd());
  const OwnedFd file = std::move(*make_sealed_memfd("file", 1 << 16));
  const OwnedFd zero(::open("/dev/zero", O_RDWR | O_CLOEXEC));
  struct Table {
    MemoryTableHeader head;
    MemoryRegion regions[2];
  };
  const auto table = [](MemoryRegion a, MemoryRegion b) { return Table{{2, 0}, {a, b}}; };
  const int files[] = {file.get(), file.get()};
  const int events[] = {event.get()}, zeros[] = {zero.get()}, ordinary[] = {file.get()};
  struct Case {
    const char* name;
    int error;
    std::uint32_t request;
    std::vector<std::byte> body;
    std::span<const int> fds;
  };
  const auto make = [](const char* name, int error, Request request, const auto& body,
                       std::span<const int> fds = {}) {
    const auto bytes = bytes_of(body);
    return Case{name, error, number(request), {bytes.begin(), bytes.end()}, fds};
  };
  const std::vector<Case> cases = {
      {"unknown request", EOPNOTSUPP, 4711, {}, {}},
      {"request of another feature", EOPNOTSUPP, number(request::PostcopyListen::number), {}, {}},
      make("slots that were not negotiated", EOPNOTSUPP, request::AddMemReg::number, SingleRegion{},
           ordinary),
      make("features that were not offered", EINVAL, request::SetFeatures::number, U64{1ull << 34}),
      make("protocol features that were not offered", EINVAL, request::SetProtocolFeatures::number,
           U64{1ull << 63}),
      make("status beyond a byte", EINVAL, request::SetStatus::number, U64{256}),
      make("size 0", EINVAL, request::SetVringNum::number, VringState{0, 0}),
      make("size 3", EINVAL, request::SetVringNum::number, VringState{0, 3}),
      make("size 65536", EINVAL, request::SetVringNum::number, VringState{0, 65536}),
      make("size of queue 2", EINVAL, request::SetVringNum::number, VringState{2, 16}),
      make("size of queue 2^32 - 1", EINVAL, request::SetVringNum::number, VringState{~0u, 16}),
      make("base 65536", EINVAL, request::SetVringBase::number, VringState{0, 65536}),
      make("base of queue 2", EINVAL, request::SetVringBase::number, VringState{2, 0}),
      make("addresses outside memory", EFAULT, request::SetVringAddr::number,
           VringAddress{0, 0, 16, 32, 48, 0}),
      make("a log of the ring", EINVAL, request::SetVringAddr::number, VringAddress{0, 1, 0, 0, 0, 0}),
      make("addresses of queue 9", EINVAL, request::SetVringAddr::number, VringAddress{9, 0, 0, 0, 0, 0}),
      make("kick before size and addresses", EINVAL, request::SetVringKick::number, U64{1}, events),
      make("kick of queue 255", EINVAL, request::SetVringKick::number, U64{255}, events),
      make("kick that is always readable", EINVAL, request::SetVringKick::number, U64{1}, zeros),
      make("call that is no event fd", EINVAL, request::SetVringCall::number, U64{0}, ordinary),
      make("err of queue 2", EINVAL, request::SetVringErr::number, U64{2}, events),
      make("enable 2", EINVAL, request::SetVringEnable::number, VringState{0, 2}),
      make("enable queue 2", EINVAL, request::SetVringEnable::number, VringState{2, 1}),
      make("empty region", EINVAL, request::SetMemTable::number,
           table({0, 0, 0, 0}, {0x10000, 4096, 0x10000, 0}), files),
      make("regions that overlap", EINVAL, request::SetMemTable::number,
           table({0, 8192, 0, 0}, {4096, 4096, 0x100000, 0}), files),
      make("region beyond its file", EINVAL, request::SetMemTable::number,
           table({0, 4096, 0, 0}, {0x10000, 4096, 0x10000, 1 << 16}), files),
      make("region beyond 64 bits", EINVAL, request::SetMemTable::number,
           table({~0ull - 4095, 8192, 0, 0}, {0x10000, 4096, 0x10000, 0}), files),
  };
  for (const auto& each : cases) {
    SCOPED_TRACE(each.name);
    for (const bool acknowledged : {true, false}) {
      SCOPED_TRACE(acknowledged ? "with acknowledgements" : "without");
      BackendThread backend;
      {
        RawFrontend frontend(backend.connect());
        frontend.negotiate(acknowledged ? everything & ~protocol_feature::configure_mem_slots
                                        : protocol_feature::config | protocol_feature::status);
        const MemoryRegion region{0x10'0000, 1 << 16, 0x7000'0000, 0};
        struct {
          MemoryTableHeader head;
          MemoryRegion region;
        } memory{{1, 0}, region};
        frontend.send(request::SetMemTable::number, memory, ordinary, flag::version);
        frontend.send(each.request, each.body, each.fds);
        if (acknowledged) {
          EXPECT_EQ(frontend.reply(each.request), static_cast<std::uint64_t>(each.error))
              << backend.lines.text();
          frontend.send(1, {});
          EXPECT_TRUE(frontend.reply(1)) << "it should go on";
        } else {
          EXPECT_TRUE(frontend.is_closed());
        }
      }
      EXPECT_TRUE(eventually([&] { return !backend.has_session(); }));
    }
  }
}

// Descriptors of every kind that a process can have, in place of an event fd: only event fds can certainly be
// waited for and written to without harm.
TEST(Protocol, TakesEventDescriptorsOnly) {
  int pipe[2], sockets[2];
  ASSERT_EQ(::pipe2(pipe, O_CLOEXEC), 0);
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets), 0);
  const OwnedFd pipe_in(pipe[0]), pipe_out(pipe[1]), socket(sockets[0]), other_socket(sockets[1]);
  const OwnedFd directory(::open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  const OwnedFd path(::open("/dev/zero", O_PATH | O_CLOEXEC));
  const OwnedFd zero(::open("/dev/zero", O_RDWR | O_CLOEXEC));
  const OwnedFd process(static_cast<int>(::syscall(SYS_pidfd_open, ::getpid(), 0)));
  const OwnedFd timer(::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC));
  const OwnedFd epoll(::epoll_create1(EPOLL_CLOEXEC));
  const OwnedFd file = std::move(*make_sealed_memfd("file", page_size));
  const struct {
    const char* name;
    const OwnedFd& fd;
  } kinds[] = {{"reading end of a pipe", pipe_in},
               {"writing end of a pipe", pipe_out},
               {"socket", socket},
               {"directory", directory},
               {"O_PATH", path},
               {"/dev/zero", zero},
               {"pidfd", process},
               {"timerfd", timer},
               {"epoll", epoll},
               {"memory", file}};
  BackendThread backend;
  Vmm vmm(backend.connect());
  vmm.negotiate();
  vmm.start();
  for (const auto& kind : kinds) {
    SCOPED_TRACE(kind.name);
    ASSERT_TRUE(kind.fd);
    const int error = kind.fd.get() == path.get() ? EBADF : EINVAL;
    for (const auto& refused :
         {vmm.frontend.set_vring_kick(0, kind.fd.get()), vmm.frontend.set_vring_call(0, kind.fd.get()),
          vmm.frontend.set_vring_err(0, kind.fd.get())}) {
      ASSERT_FALSE(refused);
      EXPECT_EQ(refused.error().code, error);
    }
  }
  EXPECT_EQ(vmm.echo("as before"), "as before");
}

TEST(Protocol, RefusesChangesOfAStartedRing) {
  BackendThread backend;
  Vmm vmm(backend.connect());
  vmm.negotiate();
  vmm.start();
  const auto code = [](const auto& outcome) { return outcome ? 0 : outcome.error().code; };
  EXPECT_EQ(code(vmm.frontend.set_vring_size(0, 32)), EBUSY);
  EXPECT_EQ(code(vmm.frontend.set_vring_base(0, 1)), EBUSY);
  EXPECT_EQ(code(vmm.frontend.set_vring_addresses(0, {Vmm::user_base}, {Vmm::user_base}, {Vmm::user_base})),
            EBUSY);
  EXPECT_EQ(code(vmm.frontend.set_features(feature::version_1 | feature::protocol_features)), EBUSY);
  // A message that changes nothing is not a change.
  EXPECT_EQ(code(vmm.frontend.set_features(vmm.frontend.features())), 0);
  EXPECT_EQ(vmm.echo("as before"), "as before");
}

// Descriptors and mappings of sessions are released, however they end.
TEST(Protocol, GivesEverythingBack) {
  const auto count = [](const char* path) {
    std::size_t lines = 0;
    if (std::string(path) == "/proc/self/fd") {
      for (int fd = 0; fd < 4096; ++fd) lines += ::fcntl(fd, F_GETFD) >= 0 ? 1 : 0;
    } else if (std::FILE* file = std::fopen(path, "r")) {
      char line[4096];
      while (std::fgets(line, sizeof line, file) != nullptr)
        lines += std::strstr(line, "memfd:") != nullptr ? 1 : 0;
      std::fclose(file);
    }
    return lines;
  };
  BackendThread backend;
  const auto round = [&](int way) {
    {
      Vmm vmm(backend.connect());
      vmm.negotiate();
      vmm.start();
      EXPECT_EQ(vmm.echo("round"), "round");
      if (way == 1) backend.run([&] { backend.state.hold = true; });
      if (way == 1) vmm.offer("kept");
      if (way == 2) static_cast<void>(vmm.stop());
    }
    EXPECT_TRUE(eventually([&] { return !backend.has_session(); }));
    backend.run([&] { backend.state = EchoState{}; });
  };
  round(0);
  const auto fds = count("/proc/self/fd"), maps = count("/proc/self/maps");
  for (int i = 0; i < 12; ++i) round(i % 3);
  // The loop may close the last of them a moment after what the rounds wait for.
  EXPECT_TRUE(eventually([&] { return count("/proc/self/fd") <= fds && count("/proc/self/maps") <= maps; }))
      << count("/proc/self/fd") << " descriptors, not " << fds << "; " << count("/proc/self/maps")
      << " mapped memory files, not " << maps;
}

// Random messages from a fixed seed: whatever comes, the back-end either closes this connection or serves it,
// and it serves the next.
TEST(Protocol, EndsOrServesWhateverComes) {
  std::mt19937_64 dice(20261122);
  const auto roll = [&](std::uint64_t n) { return dice() % n; };
  BackendThread backend(true);
  const OwnedFd event = std::move(*make_event_fd());
  const OwnedFd file = std::move(*make_sealed_memfd("file", 1 << 20));
  for (int connection = 0; connection < 150; ++connection) {
    {
      RawFrontend frontend(backend.connect());
      if (roll(8) != 0) frontend.negotiate(everything & ~(roll(4) == 0 ? dice() : 0));
      for (int i = 0; i < 40; ++i) {
        const auto request = static_cast<std::uint32_t>(roll(10) == 0 ? roll(80) : 1 + roll(44));
        if (request == number(request::SetProtocolFeatures::number) ||
            request == number(request::SetFeatures::number))
          continue;
        const RequestRow* const row = find_request(request);
        std::size_t size = row != nullptr ? row->least_size : roll(64);
        if (roll(60) == 0) size = roll(300);
        std::vector<std::byte> body(size);
        for (auto& byte : body) byte = static_cast<std::byte>(roll(3) == 0 ? roll(256) : 0);
        // Plausible numbers get further.
        const auto set = [&](std::size_t at, auto value) {
          if (at + sizeof value <= body.size()) std::memcpy(body.data() + at, &value, sizeof value);
        };
        if (size == sizeof(VringState) && roll(5) != 0) {
          set(0, static_cast<std::uint32_t>(roll(2)));
          set(4, static_cast<std::uint32_t>(roll(2) == 0 ? roll(2) : 1u << roll(16)));
        }
        if (request == number(request::SetVringAddr::number)) {
          set(0, static_cast<std::uint32_t>(roll(2)));
          set(4, std::uint32_t{0});
          for (std::size_t at = 8; at < 32; at += 8) set(at, 0x7000'0000 + 16 * roll(0x8000));
        }
        int fds[2] = {event.get(), file.get()};
        std::size_t count = row != nullptr ? row->fds.least : roll(2);
        if (request >= number(request::SetVringKick::number) &&
            request <= number(request::SetVringErr::number)) {
          set(0, roll(2) | (roll(4) == 0 ? vring_no_fd : 0));
          count = body.size() > 1 && body[1] == std::byte{1} ? 0 : 1;
        }
        if (request == number(request::AddMemReg::number)) {
          set(8, MemoryRegion{0x10'0000 * roll(3), 1ull << (12 + roll(9)), 0x7000'0000 + 0x10'0000 * roll(3),
                              0});
          fds[0] = file.get();
        }
        if (request == number(request::SetMemTable::number) && roll(4) != 0) {
          body.resize(sizeof(MemoryTableHeader) + sizeof(MemoryRegion));
          set(0, MemoryTableHeader{1, 0});
          set(8, MemoryRegion{0, 1 << 20, 0x7000'0000, 0});
          fds[0] = file.get();
          count = 1;
        }
        if (roll(60) == 0) count = roll(3);
        frontend.send(request, body, std::span<const int>(fds, count),
                      flag::version | (roll(2) == 0 ? flag::need_reply : 0));
      }
    }
    ASSERT_TRUE(eventually([&] { return !backend.has_session(); }));
    backend.run([&] { backend.state = EchoState{}; });
    if (connection % 25 != 0) continue;
    Vmm vmm(backend.connect());
    vmm.negotiate();
    vmm.start();
    ASSERT_EQ(vmm.echo("alive"), "alive");
  }
}

}  // namespace
}  // namespace vumedia::vhost_user::test
