// What a VMM needs to be a virtio::Host, and what it may lack or do otherwise. Everything here is decided by
// the compiler.
#include <cstdint>
#include <memory>

#include <vumedia/virtio/concepts.hpp>

namespace vumedia::virtio::test::host_concept_test {
namespace {

// Everything that a device asks of its host, and nothing else.
struct SmallestHost {
  // Guest memory, queues and interrupts.
  const std::shared_ptr<const memory::GuestMemory>& memory() const;
  Queue& queue(std::uint16_t index);
  bool queue_running(std::uint16_t index) const;
  void flush(std::uint16_t index);
  void queue_failed(std::uint16_t index, const Error& error);
  // Shared memory regions. One without any says no, and is never asked.
  bool has_shm() const;
  void shm_map(ShmOperation& operation, const ShmMapping& mapping);
  void shm_unmap(ShmOperation& operation, const ShmMapping& mapping);
  void shm_abandon(ShmOperation& operation);
  // A loop (io::Loop): descriptors, timers, and a way in for other threads.
  void poll(io::Operation& operation, int fd, unsigned events);
  void timer(io::Operation& operation, io::TimePoint deadline);
  void cancel(io::Operation& operation);
  std::shared_ptr<io::Inbox> inbox();
  // Where the device writes its lines.
  const Log& log() const;
};
static_assert(Host<SmallestHost>);

// What may differ.

struct NoexceptHost : SmallestHost {
  void flush(std::uint16_t index) noexcept;
};
static_assert(Host<NoexceptHost>, "functions may promise more");

struct HostThatMakesItsTable : SmallestHost {
  std::shared_ptr<const memory::GuestMemory> memory() const;
};
static_assert(Host<HostThatMakesItsTable>, "the table may be returned by value");

struct HostThatTakesTheError : SmallestHost {
  void queue_failed(std::uint16_t index, Error error);
};
static_assert(Host<HostThatTakesTheError>, "the error may be taken by value");

struct HostWithWideIndices : SmallestHost {
  void flush(std::size_t index);
};
static_assert(Host<HostWithWideIndices>, "an index may be converted");

struct HostThatSharesItsTurns : SmallestHost {
  io::Turn& turn();
};
static_assert(Host<HostThatSharesItsTurns>, "its loop may serve others as well");

// What must not be missing.

struct Incomplete;
static_assert(!Host<Incomplete>, "a class that is only declared");
static_assert(!Host<int>);

struct WithoutMemory : SmallestHost {
  void memory() const = delete;
};
static_assert(!Host<WithoutMemory>);

struct WithoutQueue : SmallestHost {
  void queue(std::uint16_t index) = delete;
};
static_assert(!Host<WithoutQueue>);

struct WithoutQueueRunning : SmallestHost {
  void queue_running(std::uint16_t index) const = delete;
};
static_assert(!Host<WithoutQueueRunning>);

struct WithoutFlush : SmallestHost {
  void flush(std::uint16_t index) = delete;
};
static_assert(!Host<WithoutFlush>);

struct WithoutQueueFailed : SmallestHost {
  void queue_failed(std::uint16_t index, const Error& error) = delete;
};
static_assert(!Host<WithoutQueueFailed>);

struct WithoutHasShm : SmallestHost {
  void has_shm() const = delete;
};
static_assert(!Host<WithoutHasShm>);

struct WithoutMap : SmallestHost {
  void shm_map(ShmOperation& operation, const ShmMapping& mapping) = delete;
};
static_assert(!Host<WithoutMap>);

struct WithoutUnmap : SmallestHost {
  void shm_unmap(ShmOperation& operation, const ShmMapping& mapping) = delete;
};
static_assert(!Host<WithoutUnmap>);

struct WithoutAbandon : SmallestHost {
  void shm_abandon(ShmOperation& operation) = delete;
};
static_assert(!Host<WithoutAbandon>);

struct WithoutLog : SmallestHost {
  void log() const = delete;
};
static_assert(!Host<WithoutLog>);

struct WithoutPoll : SmallestHost {
  void poll(io::Operation& operation, int fd, unsigned events) = delete;
};
static_assert(!Host<WithoutPoll>);

struct WithoutTimer : SmallestHost {
  void timer(io::Operation& operation, io::TimePoint deadline) = delete;
};
static_assert(!Host<WithoutTimer>);

struct WithoutCancel : SmallestHost {
  void cancel(io::Operation& operation) = delete;
};
static_assert(!Host<WithoutCancel>);

struct WithoutInbox : SmallestHost {
  void inbox() = delete;
};
static_assert(!Host<WithoutInbox>);

// What must not differ.

struct WithATableThatCanBeWritten : SmallestHost {
  std::shared_ptr<memory::GuestMemory>& memory() const;
};
static_assert(Host<WithATableThatCanBeWritten>, "which converts to one that cannot");

struct WithABareTable : SmallestHost {
  const memory::GuestMemory* memory() const;
};
static_assert(!Host<WithABareTable>, "a worker keeps the table alive");

struct WithAQueueByValue : SmallestHost {
  Queue queue(std::uint16_t index);
};
static_assert(!Host<WithAQueueByValue>, "the device pops from the host's own");

struct WithANumberForRunning : SmallestHost {
  int queue_running(std::uint16_t index) const;
};
static_assert(!Host<WithANumberForRunning>);

struct WithAFlushThatReturnsSomething : SmallestHost {
  bool flush(std::uint16_t index);
};
static_assert(!Host<WithAFlushThatReturnsSomething>, "nobody would look at it");

struct WithAMapThatReturnsItsResult : SmallestHost {
  Result<> shm_map(ShmOperation& operation, const ShmMapping& mapping);
};
static_assert(!Host<WithAMapThatReturnsItsResult>, "the operation is told, now or later");

struct WithALogByValue : SmallestHost {
  Log log() const;
};
static_assert(!Host<WithALogByValue>, "the device keeps a reference");

struct WithQueriesThatChangeIt : SmallestHost {
  bool has_shm();
};
static_assert(!Host<WithQueriesThatChangeIt>, "a device asks a const host");

}  // namespace
}  // namespace vumedia::virtio::test::host_concept_test
