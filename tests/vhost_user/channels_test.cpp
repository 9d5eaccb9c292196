// The back-end's channel: maps and unmaps, their answers in time and late, and frontends that break it. And
// the server: who is accepted and who is refused.
#include <thread>

#include <gtest/gtest.h>
#include <support/io.hpp>

#include <vumedia/io/fd_passing.hpp>

#include "support/patience.hpp"
#include "vhost_user/backend_thread.hpp"

namespace vumedia::vhost_user::test {
namespace {

virtio::ShmMapping mapping(int fd) {
  return {0, fd, 0, {page_size}, 2 * page_size, true};
}

class Channel : public testing::Test {
 protected:
  void SetUp() override {
    file = std::move(*make_sealed_memfd("shared", 2 * page_size));
    vmm.negotiate();
  }
  std::vector<int> results() { return backend.copy_state().shm_results; }
  bool has_results(std::vector<int> expected) {
    return eventually([&] {
             // Serves the back-end, as a VMM's loop does.
             EXPECT_TRUE(vmm.frontend.serve_backend());
             return results().size() >= expected.size();
           }) &&
           results() == expected;
  }
  void map() {
    backend.run([&] { backend.device().map(mapping(file.get())); });
  }

  OwnedFd file;
  BackendThread backend;
  Vmm vmm{backend.connect()};
};

TEST_F(Channel, MapsAndUnmaps) {
  vmm.start();
  EXPECT_TRUE(backend.run([&] { return backend.session()->host().has_shm(); }));
  map();
  ASSERT_TRUE(has_results({0}));
  ASSERT_EQ(vmm.requests.size(), 1u);
  EXPECT_TRUE(vmm.requests[0].map);
  EXPECT_EQ(vmm.requests[0].range.shm_offset, page_size);
  EXPECT_EQ(vmm.requests[0].range.length, 2 * page_size);
  EXPECT_EQ(vmm.requests[0].range.flags, shmem_map_writable);
  EXPECT_EQ(file_size(vmm.requests[0].fd.get()).value_or(0), 2 * page_size);
  backend.run([&] { backend.device().unmap(mapping(-1)); });
  ASSERT_TRUE(has_results({0, 0}));
  EXPECT_FALSE(vmm.requests[1].map);
  EXPECT_FALSE(vmm.requests[1].fd);
}

TEST_F(Channel, PassesRefusalsOn) {
  vmm.start();
  int answer = ENOSPC;
  vmm.shmem = [&](Frontend::ShmemRequest) -> Result<> { return fail(answer); };
  map();
  ASSERT_TRUE(has_results({ENOSPC}));
  answer = 1;  // QEMU's plain no
  map();
  EXPECT_TRUE(has_results({ENOSPC, EIO}));
  // Not mistaken for the errno with which this side marks an unanswered request.
  std::vector<int> expected{ENOSPC, EIO};
  for (const int own : {ENXIO, EBUSY, ECANCELED}) {
    answer = own;
    map();
    expected.push_back(EIO);
    ASSERT_TRUE(has_results(expected)) << own;
  }
}

TEST_F(Channel, IsSilentWhileRingsAreStopped) {
  map();
  EXPECT_EQ(results(), std::vector<int>{ECANCELED});
  vmm.start();
  map();
  ASSERT_TRUE(has_results({ECANCELED, 0}));
  // From the first sign of a stop on.
  Vmm::check(vmm.frontend.enable_vring(0, false));
  map();
  EXPECT_EQ(results().back(), ECANCELED);
  static_cast<void>(vmm.stop());
  map();
  EXPECT_EQ(results(), (std::vector<int>{ECANCELED, 0, ECANCELED, ECANCELED}));
  ASSERT_TRUE(vmm.frontend.serve_backend());
  EXPECT_EQ(vmm.requests.size(), 1u);
}

// QEMU may be waiting in GET_CONFIG when it gets the map, and sends a memory table before it answers.
TEST_F(Channel, ServesTheFrontendWhileAnAnswerIsAwaited) {
  vmm.start();
  map();
  std::array<std::byte, 40> config;
  for (int i = 0; i < 3; ++i) Vmm::check(vmm.frontend.get_config(0, config));
  vmm.set_memory();
  EXPECT_EQ(vmm.echo("meanwhile"), "meanwhile");
  EXPECT_TRUE(has_results({0}));
}

TEST_F(Channel, EndsWhatIsPendingWhenItIsReplaced) {
  vmm.start();
  map();
  map();
  EXPECT_TRUE(results().empty());
  Vmm::check(vmm.frontend.open_backend_channel());
  EXPECT_EQ(results(), (std::vector<int>{ECANCELED, ECANCELED}));
  map();
  EXPECT_TRUE(has_results({ECANCELED, ECANCELED, 0}));
}

TEST_F(Channel, BoundsWhatIsPending) {
  vmm.start();
  for (int i = 0; i < 70; ++i) map();
  EXPECT_EQ(results(), std::vector<int>(6, EBUSY));
  std::vector<int> all(6, EBUSY);
  all.resize(70, 0);
  EXPECT_TRUE(has_results(all));
}

TEST_F(Channel, ForgetsWhatADeviceAbandons) {
  vmm.start();
  map();
  backend.run([&] { backend.device().abandon(); });
  map();
  EXPECT_TRUE(has_results({0}));  // of the second one
  EXPECT_EQ(vmm.requests.size(), 2u);
}

TEST(ChannelNegotiation, NeedsAllOfItsFeatures) {
  using namespace protocol_feature;
  for (const std::uint64_t missing : {shmem, backend_req, reply_ack}) {
    BackendThread backend;
    Vmm vmm(backend.connect());
    vmm.negotiate(Frontend::default_features, Frontend::default_protocol_features & ~missing);
    vmm.start();
    ASSERT_TRUE(vmm.frontend.get_status());
    EXPECT_FALSE(backend.run([&] { return backend.session()->host().has_shm(); }));
    const OwnedFd file = std::move(*make_sealed_memfd("shared", 2 * page_size));
    backend.run([&] { backend.device().map(mapping(file.get())); });
    EXPECT_EQ(backend.copy_state().shm_results, std::vector<int>{ENXIO});
  }
}

// A message that is not an answer ends the channel, and nothing else.
TEST(ChannelAbuse, EndsTheChannelOnly) {
  struct Reply {
    Header header;
    std::uint32_t value[2];
  };
  static_assert(sizeof(Reply) == 20);
  const auto map_request = static_cast<std::uint32_t>(backend_request::ShmemMap::number);
  struct Case {
    const char* name;
    Reply reply;
    std::size_t size = sizeof(Reply);
    bool with_fd = false;
    bool asked = true;
  };
  const Case cases[] = {
      {"flags without reply", {{map_request, 1, 8}, {}}},
      {"flags with need_reply", {{map_request, 13, 8}, {}}},
      {"another version", {{map_request, 6, 8}, {}}},
      {"another request", {{10, 5, 8}, {}}},
      {"body too long", {{map_request, 5, 0x7fffffff}, {}}},
      {"body too short", {{map_request, 5, 4}, {}}},
      {"nothing was asked", {{map_request, 5, 8}, {}}, sizeof(Reply), false, false},
      {"a descriptor", {{map_request, 5, 8}, {}}, sizeof(Reply), true},
      {"cut off", {{map_request, 5, 8}, {}}, 15},
      {"gone", {}, 0},
  };
  for (const auto& each : cases) {
    SCOPED_TRACE(each.name);
    BackendThread backend;
    Vmm vmm(backend.connect());
    vmm.frontend.set_shmem_handler({});  // no channel of its own
    vmm.negotiate();
    int ends[2];
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    OwnedFd ours(ends[0]), theirs(ends[1]);
    vmm.start();
    const Header header{static_cast<std::uint32_t>(request::SetBackendReqFd::number), flag::version, 0};
    const int fd = theirs.get();
    ASSERT_TRUE(io::send_message(vmm.frontend.fd(), bytes_of(header), std::span(&fd, 1)));
    theirs.reset();
    ASSERT_TRUE(vmm.frontend.get_status());
    const OwnedFd file = std::move(*make_sealed_memfd("shared", 2 * page_size));
    if (each.asked) backend.run([&] { backend.device().map(mapping(file.get())); });
    const int extra = file.get();
    static_cast<void>(io::send_message(ours.get(), bytes_of(each.reply).first(each.size),
                                       std::span<const int>(&extra, each.with_fd ? 1 : 0)));
    if (each.size < sizeof(Reply)) ours.reset();
    EXPECT_TRUE(
        eventually([&] { return !backend.run([&] { return backend.session()->host().has_shm(); }); }));
    EXPECT_EQ(backend.copy_state().shm_results, std::vector<int>(each.asked ? 1 : 0, ECANCELED));
    EXPECT_EQ(vmm.echo("unharmed"), "unharmed");
  }
}

TEST(Server, RefusesASecondFrontendAtOnce) {
  BackendThread backend;
  Vmm vmm(backend.connect());
  vmm.negotiate();
  vmm.start();
  Frontend second(backend.connect());
  const auto refused = second.get_features();
  ASSERT_FALSE(refused);
  EXPECT_TRUE(backend.lines.contains("second frontend is refused"));
  EXPECT_EQ(vmm.echo("first"), "first");
}

TEST(Server, TakesARestartedFrontend) {
  BackendThread backend;
  for (int i = 0; i < 50; ++i) {
    Vmm vmm(backend.connect());
    vmm.negotiate();
    vmm.start();
    EXPECT_EQ(vmm.echo("again"), "again");
  }
  EXPECT_FALSE(backend.lines.contains("refused"));
}

// The end of the first one and the second one arrive while the loop is busy: it then finds both.
TEST(Server, TakesASuccessorBeforeItReadsTheEndOfItsPredecessor) {
  BackendThread backend;
  OwnedFd first = backend.connect();
  ASSERT_TRUE(eventually([&] { return backend.has_session(); }));
  OwnedFd second;
  backend.run([&] {
    first.reset();
    second = backend.connect();
  });
  Vmm vmm(std::move(second));
  vmm.negotiate();
  vmm.start();
  EXPECT_EQ(vmm.echo("successor"), "successor");
  EXPECT_EQ(backend.run([&] { return backend.ended; }), std::vector<std::string>{""});
}

// Whoever counts ended sessions is told of a replaced one before its successor.
TEST(Server, TellsOfTheEndOfAPredecessorFirst) {
  BackendThread backend;
  constexpr std::size_t rounds = 20;
  OwnedFd last = backend.connect();
  ASSERT_TRUE(eventually([&] { return backend.has_session(); }));
  for (std::size_t i = 1; i <= rounds; ++i) {
    OwnedFd next;
    backend.run([&] {
      next = backend.connect();  // known to the loop before the end of the other one
      last.reset();
    });
    last = std::move(next);
    Frontend frontend(std::move(*last.duplicate()));
    ASSERT_TRUE(frontend.get_features());
    ASSERT_EQ(backend.run([&] { return backend.ended; }), std::vector<std::string>(i));
  }
  EXPECT_FALSE(backend.lines.contains("refused"));
}

// As before, but the last message of the first one, with descriptors, has also come when the loop looks.
TEST(Server, ClosesDescriptorsThatAPredecessorSentLast) {
  BackendThread backend;
  for (int i = 0; i < 20; ++i) {
    OwnedFd first = backend.connect();
    ASSERT_TRUE(eventually([&] { return backend.has_session(); }));
    io::test::Travellers travellers(max_message_fds);
    OwnedFd second;
    backend.run([&] {
      second = backend.connect();
      travellers.send(first);
      first.reset();
    });
    EXPECT_TRUE(travellers.all_closed());
    Vmm vmm(std::move(second));
    EXPECT_TRUE(vmm.frontend.get_features());
  }
  EXPECT_TRUE(backend.lines.contains("replaces one that has gone"));
}

TEST(Server, ServesAConnectedSocketOnce) {
  BackendThread backend(false, true);
  {
    Vmm vmm(backend.connect());
    vmm.negotiate();
    vmm.start();
    EXPECT_EQ(vmm.echo("once"), "once");
    EXPECT_FALSE(backend.finished);
  }
  EXPECT_TRUE(eventually([&] { return backend.finished.load(); }));
}

TEST(Server, RefusesWhatIsNoSocket) {
  auto reactor = Reactor::create();
  ASSERT_TRUE(reactor);
  auto server =
      EchoServer::create(**reactor, std::move(*make_event_fd()), Log{},
                         [](OwnedFd, EchoSession::ClosedHandler) -> Outcome<std::unique_ptr<EchoSession>> {
                           return failure("not called");
                         });
  EXPECT_FALSE(server);
}

// A back-end that a test plays by hand.
class HostileBackend {
 public:
  HostileBackend() {
    int ends[2];
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    own.reset(ends[0]);
    other.reset(ends[1]);
  }
  void say(std::uint32_t request, std::uint32_t flags, std::span<const std::byte> body,
           std::span<const int> fds = {}) {
    std::vector<std::byte> bytes(sizeof(Header) + body.size());
    const Header header{request, flags, static_cast<std::uint32_t>(body.size())};
    std::memcpy(bytes.data(), &header, sizeof header);
    if (!body.empty()) std::memcpy(bytes.data() + sizeof header, body.data(), body.size());
    EXPECT_TRUE(io::send_message(own.get(), bytes, fds));
  }
  OwnedFd own, other;
};

TEST(FrontendAbuse, SurvivesAHostileBackend) {
  struct Case {
    const char* name;
    std::uint32_t request, flags;
    std::size_t size;
    const char* message;
  };
  const Case cases[] = {
      {"another request", 2, 5, 8, "answered with request 2"},
      {"no reply", 1, 1, 8, "answered with request 1"},
      {"flags", 1, 7, 8, "flags 0x7"},
      {"short", 1, 5, 4, "answered with 4 bytes"},
      {"long", 1, 5, 16, "answered with 16 bytes"},
      {"endless", 1, 5, 5000, "at most"},
  };
  for (const auto& each : cases) {
    SCOPED_TRACE(each.name);
    HostileBackend backend;
    Frontend frontend(std::move(backend.other), patience);
    backend.say(each.request, each.flags, std::vector<std::byte>(each.size));
    const auto features = frontend.get_features();
    ASSERT_FALSE(features);
    EXPECT_NE(features.error().message.find(each.message), std::string::npos) << features.error().message;
    EXPECT_FALSE(frontend.set_owner());  // it is over
  }
}

TEST(FrontendAbuse, WaitsNoLongerThanItsDeadline) {
  HostileBackend backend;
  Frontend frontend(std::move(backend.other), std::chrono::milliseconds(30));
  const auto features = frontend.get_features();
  ASSERT_FALSE(features);
  EXPECT_EQ(features.error().code, ETIMEDOUT);
}

TEST(FrontendAbuse, RefusesBadBackendRequests) {
  BackendThread backend;
  Vmm vmm(backend.connect());
  vmm.negotiate();
  vmm.start();
  const OwnedFd file = std::move(*make_sealed_memfd("shared", 2 * page_size));
  const auto send = [&](virtio::ShmMapping bad) { backend.run([&] { backend.device().map(bad); }); };
  send({0, file.get(), 0, {1}, page_size, true});
  send({0, file.get(), 1, {0}, page_size, true});
  send({0, file.get(), 0, {0}, 0, true});
  send({0, file.get(), 0, {~std::uint64_t{0} & ~(page_size - 1)}, 2 * page_size, true});
  ASSERT_TRUE(eventually([&] {
    EXPECT_TRUE(vmm.frontend.serve_backend());
    return backend.copy_state().shm_results.size() == 4;
  }));
  EXPECT_EQ(backend.copy_state().shm_results, std::vector<int>(4, EINVAL));
  EXPECT_TRUE(vmm.requests.empty());
}

}  // namespace
}  // namespace vumedia::vhost_user::test
