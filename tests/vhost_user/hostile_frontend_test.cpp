// Hostile or broken frontends: what they send costs them at most their own connection. The back-end neither
// dies nor hangs nor keeps anything, and the next frontend is served.
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <vumedia/io/fd_passing.hpp>

#include "vhost_user/backend_thread.hpp"
#include "vhost_user/raw_frontend.hpp"

namespace vumedia::vhost_user::test {
namespace {

// The bytes with any number of descriptors, up to the kernel's 253.
void send_with(int socket, std::span<const std::byte> bytes, std::span<const int> fds) {
  std::vector<std::byte> control(CMSG_SPACE(fds.size_bytes()));
  iovec vector{const_cast<std::byte*>(bytes.data()), bytes.size()};
  msghdr message{};
  message.msg_iov = &vector;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  cmsghdr* const part = CMSG_FIRSTHDR(&message);
  part->cmsg_level = SOL_SOCKET;
  part->cmsg_type = SCM_RIGHTS;
  part->cmsg_len = CMSG_LEN(fds.size_bytes());
  std::memcpy(CMSG_DATA(part), fds.data(), fds.size_bytes());
  static_cast<void>(::sendmsg(socket, &message, MSG_NOSIGNAL));
}

std::size_t open_descriptors() {
  std::size_t count = 0;
  for (int fd = 0; fd < 4096; ++fd) count += ::fcntl(fd, F_GETFD) >= 0 ? 1 : 0;
  return count;
}

// What a session held is closed by its loop, which may do so a moment after what the test has waited for.
void expect_no_more_descriptors_than(std::size_t count) {
  EXPECT_TRUE(eventually([count] { return open_descriptors() <= count; }))
      << open_descriptors() << " are open, not " << count;
}

// This process can open no more descriptors as long as this lives.
class NoDescriptorsLeft {
 public:
  NoDescriptorsLeft() {
    EXPECT_EQ(::getrlimit(RLIMIT_NOFILE, &before_), 0);
    const OwnedFd lowest(::open("/dev/null", O_RDONLY | O_CLOEXEC));
    rlimit none = before_;
    none.rlim_cur = static_cast<rlim_t>(lowest.get());
    EXPECT_EQ(::setrlimit(RLIMIT_NOFILE, &none), 0);
  }
  ~NoDescriptorsLeft() { EXPECT_EQ(::setrlimit(RLIMIT_NOFILE, &before_), 0); }

 private:
  rlimit before_{};
};

void expect_service(BackendThread& backend) {
  Vmm vmm(backend.connect());
  vmm.negotiate();
  vmm.start();
  EXPECT_EQ(vmm.echo("next"), "next");
}

OwnedFd memory_file(std::uint64_t size, unsigned seals = 0) {
  OwnedFd fd(::memfd_create("memory", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  EXPECT_EQ(::ftruncate(fd.get(), static_cast<off_t>(size)), 0);
  EXPECT_EQ(::fcntl(fd.get(), F_ADD_SEALS, seals), 0);
  return fd;
}

// -- Invalid memory.

// Files that cannot be mapped for writing cannot hold a ring, but a session with such memory continues.
TEST(HostileFrontend, GivesFilesThatAreNoMemory) {
  const OwnedFd ram = memory_file(Vmm::memory_size);
  const std::string name = "/proc/self/fd/" + std::to_string(ram.get());
  struct Kind {
    const char* name;
    OwnedFd fd;
    int told;  // by SET_MEM_TABLE
  };
  int pipe[2], sockets[2];
  ASSERT_EQ(::pipe2(pipe, O_CLOEXEC), 0);
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets), 0);
  const OwnedFd other_ends[] = {OwnedFd(pipe[1]), OwnedFd(sockets[1])};
  Kind kinds[] = {
      {"read-only", OwnedFd(::open(name.c_str(), O_RDONLY | O_CLOEXEC)), 0},
      {"sealed against writing", memory_file(Vmm::memory_size, F_SEAL_WRITE), 0},
      {"O_PATH", OwnedFd(::open(name.c_str(), O_PATH | O_CLOEXEC)), 0},
      {"event fd", std::move(*make_event_fd()), 0},
      {"directory", OwnedFd(::open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC)), EINVAL},
      {"pipe", OwnedFd(pipe[0]), EINVAL},
      {"socket", OwnedFd(sockets[0]), EINVAL},
      {"too short a file", memory_file(Vmm::memory_size - 1), EINVAL},
      {"empty file", memory_file(0), EINVAL},
  };
  BackendThread backend;
  for (Kind& kind : kinds) {
    SCOPED_TRACE(kind.name);
    ASSERT_TRUE(kind.fd);
    Vmm vmm(backend.connect());
    vmm.negotiate();
    const Frontend::Region region{{Vmm::guest_base}, {Vmm::user_base}, Vmm::memory_size, 0, kind.fd.get()};
    const auto told = vmm.frontend.set_memory(std::span(&region, 1));
    EXPECT_EQ(told ? 0 : told.error().code, kind.told);
    Vmm::check(vmm.frontend.set_vring_size(0, Vmm::queue_size));
    const auto addresses =
        vmm.frontend.set_vring_addresses(0, {Vmm::user_base}, {Vmm::user_base + 256}, {Vmm::user_base + 512});
    // A refused table has left no table in which the rings could be missing.
    Vmm::check(addresses);
    EXPECT_EQ(vmm.frontend.set_vring_kick(0, vmm.kick[0].get()).error().code, EFAULT);
    // With real memory all is well.
    vmm.start();
    EXPECT_EQ(vmm.echo("memory"), "memory");
  }
}

// Buffers in memory that cannot be mapped break the queue, not the session.
TEST(HostileFrontend, GivesMemoryThatOnlyHoldsRings) {
  BackendThread backend;
  Vmm vmm(backend.connect());
  vmm.negotiate();
  const OwnedFd sealed = memory_file(page_size, F_SEAL_WRITE);
  const Frontend::Region regions[] = {vmm.region(),
                                      {{0x4000'0000}, {0x6000'0000'0000}, page_size, 0, sealed.get()}};
  vmm.start();
  Vmm::check(vmm.frontend.set_memory(regions));
  EXPECT_EQ(vmm.echo("before"), "before");
  const virtio::Piece there{{0x4000'0000}, 16, true};
  ASSERT_TRUE(vmm.queues[0]->add(std::span(&there, 1)));
  static_cast<void>(vmm.queues[0]->publish());
  give_event(vmm.kick[0].get());
  EXPECT_GT(take_event(vmm.err[0].get()), 0u);
  EXPECT_TRUE(vmm.frontend.get_status());
}

// The numbers of regions, at and beyond their limits.
TEST(HostileFrontend, CountsWithLargeNumbers) {
  const OwnedFd file = memory_file(1 << 20);
  const std::uint64_t top = ~std::uint64_t{0};
  struct Case {
    const char* name;
    MemoryRegion region;
    bool taken;
  };
  const Case cases[] = {
      {"all of 64 bits", {0, top, 0, 0}, false},
      {"size 2^63", {0, 1ull << 63, 0, 0}, false},
      {"offset 2^64 - page", {0, page_size, 0, top - page_size + 1}, false},
      {"offset 2^63 - page", {0, page_size, 0, (1ull << 63) - page_size}, false},
      {"offset plus size wraps", {0, 1 << 20, 0, top - page_size}, false},
      {"guest address plus size wraps", {top - page_size + 2, page_size, 0, 0}, false},
      {"user address plus size wraps", {0, page_size, top - page_size + 2, 0}, false},
      {"behind the end", {0, 1, 0, 1 << 20}, false},
      {"one byte", {0, 1, 0, (1 << 20) - 1}, true},
      {"last page of all", {top - page_size, page_size, top - page_size, 0}, true},
      {"odd in all its numbers", {0x1235, 0x4567, 0x89ab, 0x1357}, true},
  };
  BackendThread backend;
  Vmm vmm(backend.connect());
  vmm.negotiate();
  for (const Case& each : cases) {
    SCOPED_TRACE(each.name);
    const Frontend::Region region{{each.region.guest_address},
                                  {each.region.user_address},
                                  each.region.size,
                                  each.region.mmap_offset,
                                  file.get()};
    EXPECT_EQ(vmm.frontend.set_memory(std::span(&region, 1)).has_value(), each.taken);
  }
  vmm.start();
  EXPECT_EQ(vmm.echo("after"), "after");
}

// Rings that begin in one region and end in the next, although both are adjacent, in one file or in two.
TEST(HostileFrontend, LaysRingsAcrossRegions) {
  BackendThread backend;
  Vmm vmm(backend.connect());
  vmm.negotiate();
  const std::uint64_t used = vmm.queues[0]->used().value - Vmm::guest_base;
  // Split after the start of the used ring, which is unaligned: the second half does not start at a page of
  // the file.
  const std::uint64_t split = used + 4;
  const Frontend::Region parts[] = {{{Vmm::guest_base}, {Vmm::user_base}, split, 0, vmm.memory_fd.get()},
                                    {{Vmm::guest_base + split},
                                     {Vmm::user_base + split},
                                     Vmm::memory_size - split,
                                     split,
                                     vmm.memory_fd.get()}};
  Vmm::check(vmm.frontend.set_memory(parts));
  Vmm::check(vmm.frontend.set_vring_size(0, Vmm::queue_size));
  Vmm::check(vmm.frontend.set_vring_addresses(0, vmm.user(vmm.queues[0]->descriptors()),
                                              vmm.user(vmm.queues[0]->available()),
                                              vmm.user(vmm.queues[0]->used())));
  EXPECT_EQ(vmm.frontend.set_vring_kick(0, vmm.kick[0].get()).error().code, EFAULT);
  vmm.start();
  EXPECT_EQ(vmm.echo("whole"), "whole");
  // While it runs: the ring is broken until it is started again in memory that contains it.
  Vmm::check(vmm.frontend.set_memory(parts));
  EXPECT_GT(take_event(vmm.err[0].get()), 0u);
  vmm.set_memory();
  EXPECT_EQ(vmm.frontend.stop_vring(0).value_or(9), 1u);
  vmm.configure(0, 1);
  EXPECT_EQ(vmm.echo("again"), "again");
}

// Tables that come and go while commands are in flight, with and without the memory of these commands.
TEST(HostileFrontend, ReplacesMemoryUnderCommands) {
  for (const bool gone : {false, true}) {
    SCOPED_TRACE(gone);
    BackendThread backend;
    Vmm vmm(backend.connect());
    vmm.negotiate();
    vmm.start();
    backend.run([&] { backend.state.hold = true; });
    vmm.offer("held");
    ASSERT_TRUE(eventually([&] { return backend.copy_state().held.size() == 1; }));
    const OwnedFd other = memory_file(Vmm::memory_size);
    const Frontend::Region elsewhere{{0x7000'0000}, {0x6000'0000'0000}, Vmm::memory_size, 0, other.get()};
    for (int i = 0; i < 50; ++i) {
      if (gone) Vmm::check(vmm.frontend.set_memory(std::span(&elsewhere, 1)));
      if (!gone || i % 2 == 1) vmm.set_memory();
    }
    backend.run([&] {
      backend.state.hold = false;
      backend.device().release();
    });
    if (gone) {
      EXPECT_GT(take_event(vmm.err[0].get()), 0u);
      EXPECT_TRUE(vmm.frontend.get_status());
    } else {
      EXPECT_TRUE(vmm.await());
      EXPECT_EQ(vmm.echo("on"), "on");
    }
  }
}

// -- Descriptors.

TEST(HostileFrontend, SendsManyDescriptors) {
  const OwnedFd event = std::move(*make_event_fd());
  BackendThread backend;
  expect_service(backend);
  ASSERT_TRUE(eventually([&] { return !backend.has_session(); }));
  const std::size_t before = open_descriptors();
  for (const std::size_t count : {1u, 2u, 31u, 32u, 33u, 34u, 64u, 253u}) {
    SCOPED_TRACE(count);
    const std::vector<int> fds(count, event.get());
    for (const bool whole : {true, false}) {
      RawFrontend frontend(backend.connect());
      const Header header{number(request::GetFeatures::number), flag::version, 0};
      send_with(frontend.fd(), bytes_of(header).first(whole ? sizeof header : 1), fds);
      if (!whole) frontend.send_bytes(bytes_of(header).subspan(1));
      EXPECT_TRUE(frontend.is_closed());
    }
  }
  // A few with each byte.
  RawFrontend frontend(backend.connect());
  const Header header{number(request::GetFeatures::number), flag::version, 0};
  const std::vector<int> fds(8, event.get());
  for (std::size_t i = 0; i < sizeof header; ++i)
    send_with(frontend.fd(), bytes_of(header).subspan(i, 1), fds);
  EXPECT_TRUE(frontend.is_closed());
  ASSERT_TRUE(eventually([&] { return !backend.has_session(); }));
  expect_no_more_descriptors_than(before + 1);  // ours
  expect_service(backend);
}

// A table of 32, as many as a frontend in Rust sends.
TEST(HostileFrontend, TakesTablesOfThirtyTwoOnly) {
  BackendThread backend;
  Vmm vmm(backend.connect());
  vmm.negotiate();
  vmm.start();
  std::vector<Frontend::Region> regions{vmm.region()};
  const OwnedFd file = memory_file(page_size);
  for (std::uint64_t i = 1; i < 32; ++i)
    regions.push_back(
        {{0x4000'0000 + i * page_size}, {0x6000'0000'0000 + i * page_size}, page_size, 0, file.get()});
  Vmm::check(vmm.frontend.set_memory(regions));
  EXPECT_EQ(vmm.echo("many"), "many");
  regions.push_back({{0x5000'0000}, {0x6100'0000'0000}, page_size, 0, file.get()});
  EXPECT_FALSE(vmm.frontend.set_memory(regions));
}

// More slots than were offered.
TEST(HostileFrontend, FillsAllSlots) {
  BackendThread backend(true);
  Vmm vmm(backend.connect());
  vmm.negotiate();
  Vmm::check(vmm.frontend.add_region(vmm.region()));
  const OwnedFd file = memory_file(page_size);
  const auto region = [&](std::uint64_t i) {
    return Frontend::Region{
        {0x4000'0000 + i * page_size}, {0x6000'0000'0000 + i * page_size}, page_size, 0, file.get()};
  };
  for (std::uint64_t i = 1; i < max_mem_slots; ++i) Vmm::check(vmm.frontend.add_region(region(i)));
  const auto refused = vmm.frontend.add_region(region(max_mem_slots));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, EINVAL);
  Vmm::check(vmm.frontend.remove_region(region(7)));
  Vmm::check(vmm.frontend.add_region(region(max_mem_slots)));
  vmm.configure(0);
  Vmm::check(vmm.frontend.enable_vring(0, true));
  EXPECT_EQ(vmm.echo("full"), "full");
}

// Every message that brings a descriptor comes when there is no room for one.
TEST(HostileFrontend, ComesWhenDescriptorsAreUsedUp) {
  const OwnedFd event = std::move(*make_event_fd());
  const OwnedFd file = memory_file(1 << 16);
  struct Table {
    MemoryTableHeader head;
    MemoryRegion region;
  };
  struct Case {
    const char* name;
    Request request;
    std::vector<std::byte> body;
    int fd;
  };
  const auto bytes = [](const auto& body) {
    const auto span = bytes_of(body);
    return std::vector<std::byte>(span.begin(), span.end());
  };
  const Case cases[] = {
      {"table", request::SetMemTable::number, bytes(Table{{1, 0}, {0, 1 << 16, 0, 0}}), file.get()},
      {"slot", request::AddMemReg::number, bytes(SingleRegion{0, {0, 1 << 16, 0, 0}}), file.get()},
      {"kick", request::SetVringKick::number, bytes(U64{0}), event.get()},
      {"call", request::SetVringCall::number, bytes(U64{0}), event.get()},
      {"err", request::SetVringErr::number, bytes(U64{1}), event.get()},
      {"channel", request::SetBackendReqFd::number, {}, event.get()},
      {"where none belongs", request::GetFeatures::number, {}, event.get()},
  };
  BackendThread backend(true);
  for (const Case& each : cases) {
    SCOPED_TRACE(each.name);
    RawFrontend frontend(backend.connect());
    frontend.negotiate(everything);
    frontend.send(number(request::GetStatus::number), {});
    ASSERT_TRUE(frontend.reply(number(request::GetStatus::number)));
    {
      const NoDescriptorsLeft none;
      frontend.send(number(each.request), each.body, std::span(&each.fd, 1));
      EXPECT_TRUE(frontend.is_closed());
      ASSERT_TRUE(eventually([&] { return !backend.has_session(); }));
    }
    EXPECT_TRUE(backend.lines.contains("than this process may open"));
  }
  expect_service(backend);
}

// A blocking call descriptor costs one more here.
TEST(HostileFrontend, SendsABlockingCallDescriptorWhenThereIsRoomForOneOnly) {
  BackendThread backend;
  Vmm vmm(backend.connect());
  vmm.negotiate();
  vmm.start();
  EXPECT_EQ(vmm.echo("before"), "before");
  const OwnedFd blocking = std::move(*make_event_fd(EFD_CLOEXEC));
  OwnedFd spare(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  {
    const NoDescriptorsLeft none;
    spare.reset();
    const auto refused = vmm.frontend.set_vring_call(0, blocking.get());
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, EMFILE);
  }
  EXPECT_EQ(vmm.echo("after"), "after");
}

TEST(HostileFrontend, ConnectsWhenDescriptorsAreUsedUp) {
  BackendThread backend;
  const auto count = [&](const char* what) {
    const std::string text = backend.lines.text();
    std::size_t found = 0;
    for (auto at = text.find(what); at != std::string::npos; at = text.find(what, at + 1)) ++found;
    return found;
  };
  OwnedFd socket;
  {
    OwnedFd spare(::open("/dev/null", O_RDONLY | O_CLOEXEC));
    const NoDescriptorsLeft none;
    spare.reset();
    socket = backend.connect();  // takes its place
    ASSERT_TRUE(eventually([&] { return count("cannot accept a frontend") > 0; }));
    std::this_thread::sleep_for(std::chrono::milliseconds(350));  // some more attempts, which log nothing
  }
  EXPECT_EQ(count("cannot accept a frontend"), 1u);
  Vmm vmm(std::move(socket));
  vmm.negotiate();
  vmm.start();
  EXPECT_EQ(vmm.echo("late"), "late");
}

// -- The channel.

// Descriptors that are not Unix stream sockets are refused, those that are but are of no use are taken, and
// the session lives.
TEST(HostileFrontend, GivesAnotherFileForTheChannel) {
  int pipe[2], datagrams[2], packets[2], streams[2];
  ASSERT_EQ(::pipe2(pipe, O_CLOEXEC), 0);
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, datagrams), 0);
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, packets), 0);
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, streams), 0);
  const OwnedFd others[] = {OwnedFd(pipe[1]), OwnedFd(datagrams[1]), OwnedFd(packets[1])};
  const OwnedFd peer(streams[1]);
  sockaddr_un address{};
  socklen_t length = 0;
  struct Kind {
    const char* name;
    OwnedFd fd;
    bool taken = false;
    bool usable = false;
  };
  Kind kinds[] = {
      {"memory", memory_file(page_size)},
      {"event fd", std::move(*make_event_fd())},
      {"directory", OwnedFd(::open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC))},
      {"pipe", OwnedFd(pipe[0])},
      {"listening socket", listen_on(address, length), true},
      {"TCP socket that is not connected", OwnedFd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0))},
      {"datagrams", OwnedFd(datagrams[0])},
      {"packets", OwnedFd(packets[0])},
      {"non-blocking stream", OwnedFd(streams[0]), true, true},
  };
  BackendThread backend;
  Vmm vmm(backend.connect());
  vmm.negotiate();
  vmm.start();
  const OwnedFd file = std::move(*make_sealed_memfd("shared", 2 * page_size));
  for (const Kind& kind : kinds) {
    SCOPED_TRACE(kind.name);
    ASSERT_TRUE(kind.fd);
    const Header header{number(request::SetBackendReqFd::number), flag::version | flag::need_reply, 0};
    const int fd = kind.fd.get();
    ASSERT_TRUE(io::send_message(vmm.frontend.fd(), bytes_of(header), std::span(&fd, 1)));
    std::array<std::byte, sizeof(Header) + sizeof(U64)> reply{};
    ASSERT_EQ(::recv(vmm.frontend.fd(), reply.data(), reply.size(), MSG_WAITALL), ssize_t{sizeof reply});
    std::uint64_t answer = 0;
    std::memcpy(&answer, reply.data() + sizeof(Header), sizeof answer);
    EXPECT_EQ(answer == 0, kind.taken);
    backend.run([&] { backend.device().map({0, file.get(), 0, {0}, page_size, true}); });
    EXPECT_EQ(vmm.echo(kind.name), kind.name);
    if (kind.usable) {
      pollfd state{peer.get(), POLLIN, 0};
      EXPECT_GT(::poll(&state, 1, 10'000), 0) << "the map has been sent";
      EXPECT_TRUE(backend.run([&] { return backend.session()->host().has_shm(); }));
    }
  }
  // The next one ends what was pending on the others.
  Vmm::check(vmm.frontend.open_backend_channel());
  EXPECT_EQ(backend.copy_state().shm_results.size(), std::size(kinds));
  backend.run([&] { backend.device().map({0, file.get(), 0, {0}, page_size, true}); });
  EXPECT_TRUE(eventually([&] {
    EXPECT_TRUE(vmm.frontend.serve_backend());
    return backend.copy_state().shm_results.size() == std::size(kinds) + 1;
  }));
  EXPECT_EQ(backend.copy_state().shm_results.back(), 0);
}

TEST(HostileFrontend, ReplacesTheChannelAgainAndAgain) {
  BackendThread backend;
  Vmm vmm(backend.connect());
  vmm.negotiate();
  vmm.start();
  const std::size_t before = open_descriptors();
  for (int i = 0; i < 300; ++i) Vmm::check(vmm.frontend.open_backend_channel());
  ASSERT_TRUE(vmm.frontend.get_status());
  expect_no_more_descriptors_than(before);
  EXPECT_EQ(vmm.echo("still"), "still");
}

// -- The socket.

// Requests whose answers nobody reads: the connection ends when too many wait.
TEST(HostileFrontend, DoesNotReadItsReplies) {
  for (const Request request :
       {request::GetFeatures::number, request::GetShmemConfig::number, request::GetVringBase::number,
        request::GetConfig::number, request::SetOwner::number}) {
    SCOPED_TRACE(request_name(number(request)));
    BackendThread backend;
    const OwnedFd socket = backend.connect();
    const timeval limit{10, 0};
    ::setsockopt(socket.get(), SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    const auto say = [&](Request what, std::span<const std::byte> body) {
      std::vector<std::byte> bytes(sizeof(Header) + body.size());
      const Header header{number(what), flag::version | flag::need_reply,
                          static_cast<std::uint32_t>(body.size())};
      std::memcpy(bytes.data(), &header, sizeof header);
      std::ranges::copy(body, bytes.begin() + sizeof header);
      return io::send_message(socket.get(), bytes);
    };
    ASSERT_TRUE(say(request::SetProtocolFeatures::number,
                    bytes_of(U64{everything & ~protocol_feature::configure_mem_slots})));
    struct {
      ConfigHeader head;
      std::byte body[40];
    } config{{0, 40, 0}, {}};
    const VringState state{0, 0};
    const std::span<const std::byte> body = request == request::GetConfig::number ? bytes_of(config)
                                            : request == request::GetVringBase::number
                                                ? bytes_of(state)
                                                : std::span<const std::byte>();
    Result<> sent{};
    for (int i = 0; i < 1'000'000 && sent; ++i) sent = say(request, body);
    ASSERT_FALSE(sent);
    EXPECT_NE(sent.error().value, EAGAIN) << "it neither reads nor ends";
    EXPECT_TRUE(eventually([&] { return backend.lines.contains("does not read its replies"); }));
    expect_service(backend);
  }
}

// A whole conversation, one byte at a time, with descriptors at the first byte of their message.
TEST(HostileFrontend, SpeaksAByteAtATime) {
  BackendThread backend;
  Vmm vmm(backend.connect());  // its memory and queues; it sends nothing itself
  const int socket = vmm.frontend.fd();
  const auto say = [&](Request request, std::span<const std::byte> body, int fd = -1) {
    std::vector<std::byte> bytes(sizeof(Header) + body.size());
    const Header header{number(request), flag::version, static_cast<std::uint32_t>(body.size())};
    std::memcpy(bytes.data(), &header, sizeof header);
    std::ranges::copy(body, bytes.begin() + sizeof header);
    for (std::size_t i = 0; i < bytes.size(); ++i) {
      ASSERT_TRUE(io::send_message(socket, std::span<const std::byte>(bytes).subspan(i, 1),
                                   std::span<const int>(&fd, i == 0 && fd >= 0 ? 1 : 0)));
    }
  };
  const struct {
    MemoryTableHeader head;
    MemoryRegion region;
  } table{{1, 0}, {Vmm::guest_base, Vmm::memory_size, Vmm::user_base, 0}};
  const auto& queue = *vmm.queues[0];
  say(request::SetFeatures::number, bytes_of(U64{Frontend::default_features}));
  say(request::SetMemTable::number, bytes_of(table), vmm.memory_fd.get());
  say(request::SetVringNum::number, bytes_of(VringState{0, Vmm::queue_size}));
  say(request::SetVringAddr::number,
      bytes_of(VringAddress{0, 0, vmm.user(queue.descriptors()).value, vmm.user(queue.used()).value,
                            vmm.user(queue.available()).value, 0}));
  say(request::SetVringCall::number, bytes_of(U64{0}), vmm.call[0].get());
  say(request::SetVringKick::number, bytes_of(U64{0}), vmm.kick[0].get());
  say(request::SetVringEnable::number, bytes_of(VringState{0, 1}));
  EXPECT_EQ(vmm.echo("slowly"), "slowly");
}

// Ends in the middle of each message, by closing and by shutting down one direction.
TEST(HostileFrontend, EndsAtEachByte) {
  const OwnedFd file = memory_file(1 << 16);
  const struct {
    Header header;
    MemoryTableHeader head;
    MemoryRegion region;
  } message{{number(request::SetMemTable::number), flag::version, 40}, {1, 0}, {0, 1 << 16, 0, 0}};
  static_assert(sizeof message == 56);  // padded after the header
  std::vector<std::byte> bytes(52);
  std::memcpy(bytes.data(), &message.header, 12);
  std::memcpy(bytes.data() + 12, &message.head, 8);
  std::memcpy(bytes.data() + 20, &message.region, 32);
  BackendThread backend;
  const int fd = file.get();
  for (std::size_t size = 1; size < bytes.size(); ++size) {
    RawFrontend frontend(backend.connect());
    frontend.send_bytes(std::span<const std::byte>(bytes).first(size), std::span(&fd, 1));
    if (size % 2 == 0) {
      ::shutdown(frontend.fd(), SHUT_WR);
      EXPECT_TRUE(frontend.is_closed());
    }
  }
  ASSERT_TRUE(eventually([&] { return !backend.has_session(); }));
  expect_service(backend);
}

// Many that come and go at once, some of which send something: nothing of them is kept.
TEST(HostileFrontend, ComesAndGoes) {
  BackendThread backend;
  expect_service(backend);
  ASSERT_TRUE(eventually([&] { return !backend.has_session(); }));
  const std::size_t before = open_descriptors();
  const OwnedFd event = std::move(*make_event_fd());
  const int fd = event.get();
  for (int i = 0; i < 400; ++i) {
    RawFrontend frontend(backend.connect());
    if (i % 3 == 0) frontend.send(request::SetVringCall::number, U64{0}, std::span(&fd, 1), flag::version);
    if (i % 5 == 0) frontend.send(number(request::GetFeatures::number), {});
    if (i % 7 == 0) backend.connect().reset();  // a second one at the same time
  }
  ASSERT_TRUE(eventually([&] { return !backend.has_session(); }));
  expect_service(backend);
  ASSERT_TRUE(eventually([&] { return !backend.has_session(); }));
  expect_no_more_descriptors_than(before + 1);
}

}  // namespace
}  // namespace vumedia::vhost_user::test
