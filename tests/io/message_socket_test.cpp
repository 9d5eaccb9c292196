// MessageSocket over real socket pairs, where the test is the peer.
#include <array>
#include <cstring>
#include <functional>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include <support/io.hpp>

#include <vumedia/io/message_socket.hpp>
#include <vumedia/io/uring_reactor.hpp>

namespace vumedia::io::test {
namespace {

struct Header {
  std::uint16_t magic = 0x4d56;
  std::uint16_t size = 0;
};

struct Framing {
  static constexpr std::size_t header_size = sizeof(Header);
  static constexpr std::size_t max_fds = 3;
  static constexpr std::size_t most = 1000;
  static Outcome<std::size_t> body_size(std::span<const std::byte> bytes) {
    Header header;
    std::memcpy(&header, bytes.data(), sizeof header);
    if (header.magic != Header{}.magic) return failure("no message of ours");
    if (header.size > most) return failure("body of %u bytes is too long", header.size);
    return header.size;
  }
};

struct NoFds : Framing {
  static constexpr std::size_t max_fds = 0;
};

std::vector<std::byte> encode(std::string_view body) {
  const Header header{.size = static_cast<std::uint16_t>(body.size())};
  std::vector<std::byte> bytes(sizeof header + body.size());
  std::memcpy(bytes.data(), &header, sizeof header);
  if (!body.empty()) std::memcpy(bytes.data() + sizeof header, body.data(), body.size());
  return bytes;
}

std::string body_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()) + sizeof(Header), bytes.size() - sizeof(Header)};
}

// Records what its socket reports.
template <class F>
class Owner {
 public:
  using Socket = MessageSocket<UringReactor, F, Owner>;

  Owner(UringReactor& reactor, OwnedFd fd) { socket.emplace(reactor, std::move(fd), *this); }

  void on_message(Message& message) noexcept {
    bodies.push_back(body_of(message.bytes));
    fds.push_back(std::move(message.fds));
    if (then) then();
  }
  void on_closed(const Error& error) noexcept {
    EXPECT_FALSE(closed) << "told twice";
    closed = error;
    EXPECT_FALSE(socket->is_open());
    if (then) then();
  }

  std::optional<Socket> socket;
  std::vector<std::string> bodies;
  std::vector<FdList> fds;
  std::optional<Error> closed;
  std::function<void()> then;
};

template <class F>
class Connection {
 public:
  explicit Connection(int flags = 0) {
    auto made = UringReactor::create();
    EXPECT_TRUE(made);
    reactor = std::move(*made);
    auto [here, there] = socket_pair(flags);
    // A test that would hang fails instead.
    const timeval limit{20, 0};
    ::setsockopt(there.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    ::setsockopt(there.get(), SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    peer = std::move(there);
    owner.emplace(*reactor, std::move(here));
    owner->socket->start();
  }

  void settle() {
    while (reactor->run_once(false).value_or(0) > 0) {
    }
  }
  void put(std::span<const std::byte> bytes, std::span<const int> fds = {}) {
    const auto sent = send_message(peer.get(), bytes, fds);
    EXPECT_TRUE(sent) << std::strerror(sent ? 0 : sent.error().value);
  }
  // Reads a whole message at the peer's end.
  std::string get(FdList& fds) {
    std::vector<std::byte> bytes(sizeof(Header));
    auto got = receive_message(peer.get(), bytes, fds);
    EXPECT_TRUE(got && *got == bytes.size());
    const auto body = F::body_size(bytes);
    EXPECT_TRUE(body);
    if (!got || !body) return {};
    bytes.resize(bytes.size() + *body);
    got = receive_message(peer.get(), std::span(bytes).subspan(sizeof(Header)), fds);
    EXPECT_TRUE(got && *got == *body);
    return body_of(bytes);
  }

  std::unique_ptr<UringReactor> reactor;
  OwnedFd peer;
  std::optional<Owner<F>> owner;
};

using Plain = Connection<Framing>;

// Whether `fd` is the same event fd as `event`.
bool same_event(int fd, const OwnedFd& event) {
  const std::uint64_t mark = 41;
  return ::write(fd, &mark, sizeof mark) == sizeof mark && take(event) == mark;
}

int next_fd() {
  return event_fd().get();
}

TEST(MessageSocket, DeliversWholeMessages) {
  for (const int flags : {0, int{SOCK_NONBLOCK}}) {
    Plain c(flags);
    c.put(encode("hello"));
    c.put(encode(""));
    c.put(encode(std::string(Framing::most, 'x')));
    c.settle();
    EXPECT_EQ(c.owner->bodies, (std::vector<std::string>{"hello", "", std::string(Framing::most, 'x')}));
    EXPECT_FALSE(c.owner->closed);
  }
}

TEST(MessageSocket, AssemblesSingleBytes) {
  Plain c;
  std::vector<std::byte> stream;
  for (const auto* body : {"one", "", "two"}) {
    const auto bytes = encode(body);
    stream.insert(stream.end(), bytes.begin(), bytes.end());
  }
  for (const std::byte byte : stream) {
    c.put(std::span(&byte, 1));
    c.settle();
  }
  EXPECT_EQ(c.owner->bodies, (std::vector<std::string>{"one", "", "two"}));
}

TEST(MessageSocket, CreditsDescriptorsToTheirMessage) {
  Plain c;
  const OwnedFd a = event_fd(), b = event_fd(), d = event_fd();
  const int first[] = {a.get(), b.get()};
  const int second[] = {d.get()};
  c.put(encode("two"), first);
  c.put(encode("none"));
  c.put(encode("one"), second);
  c.settle();
  ASSERT_EQ(c.owner->fds.size(), 3U);
  ASSERT_EQ(c.owner->fds[0].size(), 2U);
  EXPECT_EQ(c.owner->fds[1].size(), 0U);
  ASSERT_EQ(c.owner->fds[2].size(), 1U);
  EXPECT_TRUE(same_event(c.owner->fds[0].get(0), a));
  EXPECT_TRUE(same_event(c.owner->fds[0].get(1), b));
  EXPECT_TRUE(same_event(c.owner->fds[2].get(0), d));
}

TEST(MessageSocket, GathersDescriptorsFromAllPieces) {
  Plain c;
  const OwnedFd a = event_fd(), b = event_fd(), d = event_fd();
  const auto bytes = encode("abc");
  const int fds[] = {a.get(), b.get(), d.get()};
  c.put(std::span(bytes).first(2), std::span(fds).subspan(0, 1));
  c.settle();
  c.put(std::span(bytes).subspan(2, 3), std::span(fds).subspan(1, 1));
  c.put(std::span(bytes).subspan(5), std::span(fds).subspan(2, 1));
  c.settle();
  ASSERT_EQ(c.owner->fds.size(), 1U);
  ASSERT_EQ(c.owner->fds[0].size(), 3U);
  EXPECT_TRUE(same_event(c.owner->fds[0].get(0), a));
  EXPECT_TRUE(same_event(c.owner->fds[0].get(1), b));
  EXPECT_TRUE(same_event(c.owner->fds[0].get(2), d));
}

TEST(MessageSocket, ClosesDescriptorsNobodyTook) {
  Plain c;
  auto [reader, writer] = pipe_pair();
  const int fds[] = {writer.get()};
  c.put(encode("x"), fds);
  writer.reset();
  c.settle();
  ASSERT_EQ(c.owner->fds.size(), 1U);
  pollfd state{reader.get(), POLLIN, 0};
  EXPECT_EQ(::poll(&state, 1, 0), 0);
  c.owner->fds.clear();
  EXPECT_EQ(::poll(&state, 1, 0), 1);  // the last writer is gone
}

// The system call that received them is done, but the loop has not notified the socket.
TEST(MessageSocket, ClosesDescriptorsItHasNotHeardOf) {
  for (const bool destroyed : {false, true}) {
    Plain c;
    const OwnedFd silent = event_fd();
    Probe other;
    c.reactor->poll(other.operation(), silent.get(), POLLIN);
    c.settle();
    Travellers travellers(Framing::max_fds);
    travellers.send(c.peer);
    c.reactor->cancel(other.operation());  // gathers the other completions
    if (destroyed)
      c.owner.reset();
    else
      c.owner->socket->close();
    EXPECT_TRUE(travellers.all_closed());
  }
}

TEST(MessageSocket, RefusesTooManyDescriptors) {
  // In one piece, and spread over several.
  for (const bool spread : {false, true}) {
    const int before = next_fd();
    {
      Plain c;
      const OwnedFd event = event_fd();
      const int fds[] = {event.get(), event.get(), event.get(), event.get()};
      const auto bytes = encode("abcd");
      if (spread)
        for (std::size_t i = 0; i < 4; ++i) c.put(std::span(bytes).subspan(i, 1), std::span(fds).first(1));
      else
        c.put(bytes, fds);
      c.settle();
      ASSERT_TRUE(c.owner->closed);
      EXPECT_NE(c.owner->closed->message.find("more than 3 file descriptors"), std::string::npos);
      EXPECT_TRUE(c.owner->bodies.empty());
    }
    EXPECT_EQ(next_fd(), before) << "descriptors leaked";
  }
}

TEST(MessageSocket, RefusesDescriptorsWhereNoneBelong) {
  const int before = next_fd();
  {
    Connection<NoFds> c;
    const OwnedFd event = event_fd();
    const int fds[] = {event.get()};
    c.put(encode("none"));
    c.settle();
    EXPECT_EQ(c.owner->bodies.size(), 1U);
    c.put(encode("one"), fds);
    c.settle();
    ASSERT_TRUE(c.owner->closed);
    EXPECT_EQ(c.owner->bodies.size(), 1U);
  }
  EXPECT_EQ(next_fd(), before) << "descriptors leaked";
}

TEST(MessageSocket, EndsOrderlyBetweenMessages) {
  Plain c;
  c.put(encode("last"));
  c.peer.reset();
  c.settle();
  EXPECT_EQ(c.owner->bodies, std::vector<std::string>{"last"});
  ASSERT_TRUE(c.owner->closed);
  EXPECT_EQ(c.owner->closed->message, "");
}

TEST(MessageSocket, AnEndWithinAMessageIsAnError) {
  const auto bytes = encode("cut short");
  for (std::size_t length = 1; length < bytes.size(); ++length) {
    Plain c;
    c.put(std::span(bytes).first(length));
    c.peer.reset();
    c.settle();
    EXPECT_TRUE(c.owner->bodies.empty());
    ASSERT_TRUE(c.owner->closed);
    EXPECT_NE(c.owner->closed->message, "") << length;
  }
}

TEST(MessageSocket, EndsWithTheErrorOfTheFraming) {
  Plain wrong;
  wrong.put(std::as_bytes(std::span("four and more", 13)));
  wrong.settle();
  ASSERT_TRUE(wrong.owner->closed);
  EXPECT_EQ(wrong.owner->closed->message, "no message of ours");
  Plain longer;
  longer.put(encode(std::string(Framing::most + 1, 'x')));
  longer.settle();
  ASSERT_TRUE(longer.owner->closed);
  EXPECT_EQ(longer.owner->closed->message, "body of 1001 bytes is too long");
}

TEST(MessageSocket, TheOwnerMayDestroyItInOnMessage) {
  Plain c;
  const OwnedFd event = event_fd();
  const int fds[] = {event.get()};
  c.owner->then = [&] { c.owner->socket.reset(); };
  c.put(encode("first"), fds);
  c.put(encode("never seen"));
  c.settle();
  EXPECT_EQ(c.owner->bodies, std::vector<std::string>{"first"});
  EXPECT_FALSE(c.owner->closed);
  EXPECT_FALSE(c.owner->socket);
}

TEST(MessageSocket, TheOwnerMayDestroyItselfInOnMessage) {
  Plain c;
  bool ran = false;
  c.owner->then = [&] {
    ran = true;
    const auto keep_the_closure = std::move(c.owner->then);
    c.owner.reset();
  };
  c.put(encode("first"));
  c.settle();
  EXPECT_TRUE(ran);
}

TEST(MessageSocket, TheOwnerMayDestroyItInOnClosed) {
  for (const bool orderly : {true, false}) {
    Plain c;
    c.owner->then = [&] { c.owner->socket.reset(); };
    if (!orderly) c.put(std::as_bytes(std::span("XX", 2)));
    c.peer.reset();
    c.settle();
    EXPECT_TRUE(c.owner->closed);
    EXPECT_FALSE(c.owner->socket);
  }
}

TEST(MessageSocket, CloseEndsTheDelivery) {
  Plain c;
  c.owner->then = [&] { c.owner->socket->close(); };
  c.put(encode("first"));
  c.put(encode("second"));
  c.settle();
  EXPECT_EQ(c.owner->bodies.size(), 1U);
  EXPECT_FALSE(c.owner->closed) << "told of its own close";
  EXPECT_FALSE(c.owner->socket->send(encode("too late")));
  std::byte byte{};
  FdList fds;
  // Unread bytes make it a reset.
  const auto got = receive_message(c.peer.get(), std::span(&byte, 1), fds);
  EXPECT_TRUE(got ? *got == 0 : got.error().value == ECONNRESET);
  c.owner->socket->close();
}

TEST(MessageSocket, SendsWholeMessagesInOrder) {
  Plain c;
  const OwnedFd event = event_fd();
  const int fds[] = {event.get(), event.get()};
  EXPECT_TRUE(c.owner->socket->send(encode("with two"), fds));
  EXPECT_TRUE(c.owner->socket->send(encode("with none")));
  FdList given;
  given.add(std::move(*event.duplicate()));
  EXPECT_TRUE(c.owner->socket->send_owned(encode("with one"), std::move(given)));
  c.settle();
  EXPECT_EQ(c.owner->socket->queued_bytes(), 0U);
  FdList first, second, third;
  EXPECT_EQ(c.get(first), "with two");
  EXPECT_EQ(c.get(second), "with none");
  EXPECT_EQ(c.get(third), "with one");
  ASSERT_EQ(first.size(), 2U);
  EXPECT_EQ(second.size(), 0U);
  ASSERT_EQ(third.size(), 1U);
  EXPECT_TRUE(same_event(first.get(1), event));
  EXPECT_TRUE(same_event(third.get(0), event));
}

TEST(MessageSocket, BoundsWhatWaitsForThePeer) {
  using Socket = Owner<Framing>::Socket;
  Plain c;
  const auto large = encode(std::string(Framing::most, 'x'));
  std::size_t accepted = 0;
  while (accepted < 100'000 && c.owner->socket->send(large)) ++accepted;
  EXPECT_EQ(accepted, std::min(Socket::max_queued_messages, Socket::max_queued_bytes / large.size()));
  EXPECT_TRUE(c.owner->socket->is_open());
  // The refused one left no trace; what was accepted arrives, and then there is room again.
  c.settle();
  for (std::size_t i = 0; i < accepted; ++i) {
    FdList fds;
    EXPECT_EQ(c.get(fds).size(), Framing::most);
    c.settle();
  }
  EXPECT_EQ(c.owner->socket->queued_bytes(), 0U);
  EXPECT_TRUE(c.owner->socket->send(encode("more")));
  const std::vector<std::byte> huge(Socket::max_queued_bytes + 1);
  EXPECT_FALSE(c.owner->socket->send(huge));
  EXPECT_FALSE(c.owner->socket->send({}));
  const std::vector<int> many(FdList::capacity + 1, c.peer.get());
  EXPECT_FALSE(c.owner->socket->send(large, many));
}

TEST(MessageSocket, APeerThatGoesWhileItIsSentTo) {
  Plain c;
  for (int i = 0; i < 200; ++i) EXPECT_TRUE(c.owner->socket->send(encode(std::string(Framing::most, 'x'))));
  c.settle();
  c.peer.reset();
  c.settle();
  EXPECT_TRUE(c.owner->closed);
}

TEST(MessageSocket, PauseHoldsMessagesBack) {
  Plain c;
  c.owner->then = [&] { c.owner->socket->pause(); };
  for (const auto* body : {"one", "two", "three"}) c.put(encode(body));
  for (std::size_t seen = 1; seen <= 3; ++seen) {
    c.settle();
    EXPECT_EQ(c.owner->bodies.size(), seen);
    c.owner->socket->resume();
    EXPECT_EQ(c.owner->bodies.size(), seen) << "delivered from within resume";
  }
  c.settle();
  EXPECT_EQ(c.owner->bodies.size(), 3U);
  EXPECT_FALSE(c.owner->closed);
}

TEST(MessageSocket, PauseWhileAMessageIsUnderWay) {
  Plain c;
  const auto bytes = encode("read ahead");
  c.put(std::span(bytes).first(6));
  c.settle();
  c.owner->socket->pause();
  c.put(std::span(bytes).subspan(6));
  c.settle();
  EXPECT_TRUE(c.owner->bodies.empty());
  c.owner->socket->resume();
  c.owner->socket->pause();
  c.settle();
  EXPECT_TRUE(c.owner->bodies.empty());
  c.owner->socket->resume();
  c.settle();
  EXPECT_EQ(c.owner->bodies, std::vector<std::string>{"read ahead"});
  c.put(encode("next"));
  c.settle();
  EXPECT_EQ(c.owner->bodies.size(), 2U);
}

// However a stream is divided, the same messages come out with the same descriptors.
TEST(MessageSocket, AnySplitGivesTheSameMessages) {
  std::mt19937 random(20'260'101);
  const auto pick = [&](std::size_t most) {
    return std::uniform_int_distribution<std::size_t>(0, most)(random);
  };
  for (int round = 0; round < 60; ++round) {
    Plain c;
    std::vector<std::string> bodies;
    std::vector<std::vector<OwnedFd>> events;
    for (int m = 0; m < 12; ++m) {
      std::string body(pick(pick(3) == 0 ? Framing::most : 20), '\0');
      for (char& letter : body) letter = static_cast<char>(pick(255));
      const auto bytes = encode(body);
      bodies.push_back(body);
      auto& sent = events.emplace_back();
      const std::size_t fds = pick(Framing::max_fds);
      for (std::size_t offset = 0; offset < bytes.size();) {
        const std::size_t size = std::min(bytes.size() - offset, 1 + pick(pick(1) == 0 ? 3 : 600));
        // All that are left must go with the last piece.
        std::size_t with = std::min(fds - sent.size(), pick(2));
        if (offset + size == bytes.size()) with = fds - sent.size();
        std::vector<int> numbers;
        for (std::size_t i = 0; i < with; ++i) numbers.push_back(sent.emplace_back(event_fd()).get());
        c.put(std::span(bytes).subspan(offset, size), numbers);
        offset += size;
        if (pick(2) == 0) c.settle();
        if (pick(9) == 0) c.owner->socket->pause();
        if (pick(4) == 0) c.owner->socket->resume();
      }
    }
    c.owner->socket->resume();
    c.settle();
    ASSERT_EQ(c.owner->bodies, bodies) << "round " << round;
    for (std::size_t m = 0; m < bodies.size(); ++m) {
      ASSERT_EQ(c.owner->fds[m].size(), events[m].size());
      for (std::size_t i = 0; i < events[m].size(); ++i)
        EXPECT_TRUE(same_event(c.owner->fds[m].get(i), events[m][i]));
    }
  }
}

// However slowly the peer reads, it gets every message, with its descriptors at the first byte.
TEST(MessageSocket, PartialSendsAreContinued) {
  std::mt19937 random(7);
  const auto pick = [&](std::size_t most) {
    return std::uniform_int_distribution<std::size_t>(0, most)(random);
  };
  Plain c;
  const int small = 1;  // the kernel's minimum
  ASSERT_EQ(::setsockopt(c.owner->socket->fd(), SOL_SOCKET, SO_SNDBUF, &small, sizeof small), 0);
  const OwnedFd event = event_fd();
  std::vector<std::byte> expected;
  std::size_t fds_sent = 0;
  std::vector<std::byte> seen;
  FdMessage<> message;
  std::size_t fds_seen = 0;
  const auto read_some = [&] {
    std::vector<std::byte> in(1 + pick(3000));
    message.prepare_receive(in);
    const ssize_t got = ::recvmsg(c.peer.get(), &message.header(), MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    if (got <= 0) return;
    seen.insert(seen.end(), in.begin(), in.begin() + got);
    FdList fds;
    EXPECT_TRUE(message.collect(fds));
    fds_seen += fds.size();
  };
  for (int i = 0; i < 60; ++i) {
    std::vector<std::byte> bytes(1 + pick(pick(1) == 0 ? 30'000 : 30));
    for (auto& byte : bytes) byte = static_cast<std::byte>(pick(255));
    const std::vector<int> fds(pick(2), event.get());
    while (!c.owner->socket->send(bytes, fds)) {
      read_some();
      c.settle();
    }
    expected.insert(expected.end(), bytes.begin(), bytes.end());
    fds_sent += fds.size();
    c.settle();
  }
  EXPECT_GT(c.owner->socket->queued_bytes(), 0U) << "nothing was sent in part";
  for (int i = 0; i < 1'000'000 && seen.size() < expected.size(); ++i) {
    read_some();
    c.settle();
  }
  EXPECT_TRUE(seen == expected);
  EXPECT_EQ(fds_seen, fds_sent);
  EXPECT_FALSE(c.owner->closed);
}

TEST(FdList, GivesAwayAndClosesTheRest) {
  auto [reader, writer] = pipe_pair();
  {
    FdList list;
    EXPECT_TRUE(list.empty());
    EXPECT_TRUE(list.add(std::move(*writer.duplicate())));
    EXPECT_TRUE(list.add(std::move(writer)));
    FdList moved = std::move(list);
    EXPECT_EQ(list.size(), 0U);  // NOLINT(bugprone-use-after-move): that is what is tested
    EXPECT_EQ(list.get(0), -1);
    EXPECT_EQ(moved.size(), 2U);
    EXPECT_EQ(moved.get(2), -1);
    EXPECT_FALSE(moved.take(2));
    const OwnedFd taken = moved.take(0);
    EXPECT_TRUE(taken);
    EXPECT_EQ(moved.get(0), -1);
    EXPECT_FALSE(moved.take(0));
    EXPECT_EQ(moved.size(), 2U);
  }
  std::byte byte{};
  EXPECT_EQ(::read(reader.get(), &byte, 1), 0);  // all writers are closed
}

TEST(FdList, IsBounded) {
  const int before = next_fd();
  {
    FdList list;
    for (std::size_t i = 0; i < FdList::capacity; ++i) EXPECT_TRUE(list.add(event_fd()));
    EXPECT_FALSE(list.add(event_fd()));
    EXPECT_EQ(list.size(), FdList::capacity);
  }
  EXPECT_EQ(next_fd(), before);
  const std::vector<int> many(FdList::capacity + 1, 0);
  EXPECT_EQ(duplicate_fds(many).error().value, EINVAL);
  const int closed[] = {1'000'000};
  EXPECT_EQ(duplicate_fds(closed).error().value, EBADF);
}

// A socket can be configured to bring a descriptor of its peer's process with each message; nobody here wants
// them.
TEST(FdList, ClosesProcessDescriptors) {
  constexpr int so_passpidfd = 76;  // Linux 6.5; not in all headers
  auto [ours, theirs] = socket_pair();
  const int on = 1;
  if (::setsockopt(ours.get(), SOL_SOCKET, so_passpidfd, &on, sizeof on) != 0)
    GTEST_SKIP() << "the kernel knows no SO_PASSPIDFD";
  const OwnedFd event = event_fd();
  const int fd = event.get();
  std::array<std::byte, 4> bytes{};
  const auto open_descriptors = [] {
    int count = 0;
    for (int number = 0; number < 1024; ++number) count += ::fcntl(number, F_GETFD) >= 0 ? 1 : 0;
    return count;
  };
  const int before = open_descriptors();
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(send_message(theirs.get(), bytes, std::span(&fd, 1)));
    FdList fds;
    ASSERT_EQ(receive_message(ours.get(), bytes, fds).value_or(0), bytes.size());
    EXPECT_EQ(fds.size(), 1u);
  }
  EXPECT_EQ(open_descriptors(), before);
}

TEST(BlockingMessages, TellTheEndAndTooManyDescriptors) {
  auto [here, there] = socket_pair();
  const OwnedFd event = event_fd();
  const std::vector<int> most(FdList::capacity, event.get());
  const auto bytes = encode("abc");
  ASSERT_TRUE(send_message(there.get(), bytes, most));
  std::vector<std::byte> in(bytes.size());
  FdList fds;
  EXPECT_EQ(receive_message(here.get(), in, fds).value_or(0), bytes.size());
  EXPECT_EQ(in, bytes);
  EXPECT_EQ(fds.size(), FdList::capacity);
  ASSERT_TRUE(send_message(there.get(), bytes, std::span(most).first(1)));
  EXPECT_EQ(receive_message(here.get(), in, fds).error().value, EMSGSIZE);
  fds.clear();
  ASSERT_TRUE(send_message(there.get(), bytes));
  there.reset();
  in.resize(100);
  EXPECT_EQ(receive_message(here.get(), in, fds).value_or(0), bytes.size());
  EXPECT_EQ(send_message(here.get(), bytes).error().value, EPIPE);
  const std::vector<int> many(FdList::capacity + 1, event.get());
  EXPECT_EQ(send_message(here.get(), bytes, many).error().value, EINVAL);
}

}  // namespace
}  // namespace vumedia::io::test
