// What a loop needs to be an io::Reactor, or only an io::Loop, and what it may do otherwise. Everything here
// is decided by the compiler. What a reactor has to do is in reactor_laws.hpp.
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include <vumedia/io/reactor.hpp>

namespace vumedia::io::test::reactor_concept_test {
namespace {

// What a device needs of its host's loop.
struct SmallestLoop {
  void poll(Operation& operation, int fd, unsigned events);
  void timer(Operation& operation, TimePoint deadline);
  void cancel(Operation& operation);
  std::shared_ptr<Inbox> inbox();
};
static_assert(Loop<SmallestLoop>);
static_assert(!Reactor<SmallestLoop>);

// What a vhost-user session needs beyond that.
struct SmallestReactor : SmallestLoop {
  struct Notifier {
    void signal();
  };
  void read(Operation& operation, int fd, std::span<std::byte> in);
  void write(Operation& operation, int fd, std::span<const std::byte> out);
  void receive(ReceiveOperation& operation, int fd, std::span<std::byte> in);
  void send(Operation& operation, int fd, msghdr& message);
  Result<Notifier> make_notifier(OwnedFd fd);
  Result<> check_event_fd(int fd);
  Result<> run();
  void stop();
};
static_assert(Reactor<SmallestReactor>);

// What may differ.

struct WithAnInboxByReference : SmallestReactor {
  const std::shared_ptr<Inbox>& inbox() const;
};
static_assert(Loop<WithAnInboxByReference> && Reactor<WithAnInboxByReference>);

struct WithTurns : SmallestReactor {
  Turn& turn();
};
static_assert(Reactor<WithTurns>, "its users may share its turns");

// What must not be missing.

struct WithoutPoll : SmallestReactor {
  void poll(Operation& operation, int fd, unsigned events) = delete;
};
static_assert(!Loop<WithoutPoll> && !Reactor<WithoutPoll>);

struct WithoutTimer : SmallestReactor {
  void timer(Operation& operation, TimePoint deadline) = delete;
};
static_assert(!Loop<WithoutTimer> && !Reactor<WithoutTimer>);

struct WithoutCancel : SmallestReactor {
  void cancel(Operation& operation) = delete;
};
static_assert(!Loop<WithoutCancel> && !Reactor<WithoutCancel>);

struct WithoutInbox : SmallestReactor {
  void inbox() = delete;
};
static_assert(!Loop<WithoutInbox> && !Reactor<WithoutInbox>);

struct WithoutNotifier : SmallestReactor {
  using Notifier = void;
};
static_assert(Loop<WithoutNotifier> && !Reactor<WithoutNotifier>);

struct WithoutRead : SmallestReactor {
  void read(Operation& operation, int fd, std::span<std::byte> in) = delete;
};
static_assert(!Reactor<WithoutRead>);

struct WithoutWrite : SmallestReactor {
  void write(Operation& operation, int fd, std::span<const std::byte> out) = delete;
};
static_assert(!Reactor<WithoutWrite>);

struct WithoutReceive : SmallestReactor {
  void receive(ReceiveOperation& operation, int fd, std::span<std::byte> in) = delete;
};
static_assert(!Reactor<WithoutReceive>);

struct WithoutSend : SmallestReactor {
  void send(Operation& operation, int fd, msghdr& message) = delete;
};
static_assert(!Reactor<WithoutSend>);

struct WithoutMakeNotifier : SmallestReactor {
  void make_notifier(OwnedFd fd) = delete;
};
static_assert(!Reactor<WithoutMakeNotifier>);

struct WithoutCheckOfEventFds : SmallestReactor {
  void check_event_fd(int fd) = delete;
};
static_assert(!Reactor<WithoutCheckOfEventFds>);

struct WithoutRun : SmallestReactor {
  void run() = delete;
};
static_assert(!Reactor<WithoutRun>);

struct WithoutStop : SmallestReactor {
  void stop() = delete;
};
static_assert(!Reactor<WithoutStop>);

// What must not differ.

struct WithAStayingNotifier : SmallestReactor {
  struct Notifier {
    Notifier(Notifier&&) = delete;
    void signal();
  };
  Result<Notifier> make_notifier(OwnedFd fd);
};
static_assert(!Reactor<WithAStayingNotifier>, "a ring takes it over");

struct WithASignalThatCanFail : SmallestReactor {
  struct Notifier {
    bool signal();
  };
  Result<Notifier> make_notifier(OwnedFd fd);
};
static_assert(!Reactor<WithASignalThatCanFail>, "none is lost, so there is nothing to return");

struct WithAReadThatReturnsSomething : SmallestReactor {
  std::size_t read(Operation& operation, int fd, std::span<std::byte> in);
};
static_assert(!Reactor<WithAReadThatReturnsSomething>, "the operation is told, and later");

struct WithARunThatCannotFail : SmallestReactor {
  void run();
};
static_assert(!Reactor<WithARunThatCannotFail>, "whoever runs it is told that it cannot go on");

struct WithReceiveForAnyOperation : SmallestReactor {
  void receive(Operation& operation, int fd, std::span<std::byte> in);
};
static_assert(Reactor<WithReceiveForAnyOperation>, "a ReceiveOperation is one");

struct WithABorrowedFd : SmallestReactor {
  Result<Notifier> make_notifier(int fd);
};
static_assert(!Reactor<WithABorrowedFd>, "a notifier owns its descriptor");

}  // namespace
}  // namespace vumedia::io::test::reactor_concept_test
