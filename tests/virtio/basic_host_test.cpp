#include <array>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include <vumedia/core/mapping.hpp>
#include <vumedia/io/uring_reactor.hpp>
#include <vumedia/virtio/basic_host.hpp>
#include <vumedia/virtio/driver_queue.hpp>

namespace vumedia::virtio::basic_host_test {
namespace {

constexpr std::uint64_t base = 0x1000'0000;
constexpr std::uint64_t size = 1 << 20;
constexpr std::uint16_t ring_size = 8;

// Keeps what comes until it is told to answer.
struct Keeper {
  static constexpr std::uint32_t device_id = 4711;
  static constexpr std::uint16_t queue_count = 2;

  [[nodiscard]] std::uint64_t features() const noexcept { return 0; }
  [[nodiscard]] std::span<const std::byte> config() const noexcept { return {}; }
  [[nodiscard]] std::span<const std::uint64_t> shm_regions() const noexcept { return {}; }
  void process(std::uint16_t index) noexcept {
    for (;;) {
      const PopResult popped = pop(index);
      if (popped.failed()) return fail_queue(index, "it is broken");
      if (!popped) return;
      heads[index].push_back(popped.chain->head());
    }
  }
  void stop(std::uint16_t index) noexcept { ++stopped[index]; }
  [[nodiscard]] std::uint32_t in_flight(std::uint16_t index) const noexcept {
    return static_cast<std::uint32_t>(heads[index].size());
  }
  void reset() noexcept {
    ++resets;
    for (auto& queue : heads) queue.clear();
  }

  std::move_only_function<PopResult(std::uint16_t)> pop;
  std::move_only_function<void(std::uint16_t, const char*)> fail_queue;
  std::array<std::vector<std::uint16_t>, queue_count> heads;
  std::array<int, queue_count> stopped{};
  int resets = 0;
};
static_assert(Device<Keeper>);

class BasicHostTest : public testing::Test {
 protected:
  struct Interrupt {
    std::array<int, 2>* counts;
    void operator()(std::uint16_t queue) const { ++(*counts)[queue]; }
  };
  using HostType = BasicHost<io::UringReactor, Interrupt>;
  static_assert(Host<HostType>);

  BasicHostTest() : reactor_(std::move(*io::UringReactor::create())) {
    auto file = make_sealed_memfd("guest", size);
    view_ = std::move(*Mapping::map(file->get(), 0, size));
    std::vector<memory::RegionSpec> regions;
    regions.push_back({{base}, {0}, size, 0, std::move(*file)});
    host_ = std::make_unique<HostType>(*reactor_, *memory::GuestMemory::create(std::move(regions)),
                                       Interrupt{&interrupts_});
    for (std::uint16_t index = 0; index < 2; ++index) {
      const std::uint64_t at = index * 0x10000;
      drivers_.emplace_back(view_.data() + at, memory::GuestAddress{base + at}, ring_size, true);
    }
    device_.pop = [this](std::uint16_t index) { return host_->queue(index).pop(*host_->memory()); };
    device_.fail_queue = [this](std::uint16_t index, const char* why) {
      host_->queue_failed(index, Error{why, EPROTO});
    };
  }

  [[nodiscard]] QueueSetup setup(std::uint16_t index) const {
    const DriverQueue& driver = drivers_[index];
    return {.size = ring_size,
            .descriptors = driver.descriptors(),
            .available = driver.available(),
            .used = driver.used(),
            .event_idx = true};
  }
  void start() {
    for (std::uint16_t index = 0; index < 2; ++index) ASSERT_TRUE(host_->start(device_, index, setup(index)));
  }
  void add(std::uint16_t index) {
    const Piece piece{{base + 0x80000}, 16, true};
    ASSERT_TRUE(drivers_[index].add(std::span(&piece, 1)));
    static_cast<void>(drivers_[index].publish());
  }
  void answer(std::uint16_t index) {
    for (const std::uint16_t head : std::exchange(device_.heads[index], {}))
      ASSERT_TRUE(host_->queue(index).push(*host_->memory(), head, 4));
    host_->flush(index);
  }
  [[nodiscard]] int answered(std::uint16_t index) {
    int count = 0;
    for (;; ++count) {
      const auto used = drivers_[index].pop_used();
      if (!used || !*used) return count;
    }
  }

  std::unique_ptr<io::UringReactor> reactor_;
  Mapping view_;
  std::array<int, 2> interrupts_{};
  std::unique_ptr<HostType> host_;
  std::vector<DriverQueue> drivers_;
  Keeper device_;
};

TEST_F(BasicHostTest, ServesWhatTheDriverPutThereAndInterruptsIt) {
  add(1);
  start();
  EXPECT_EQ(device_.in_flight(1), 1u) << "what was there before the start";
  add(0);
  EXPECT_EQ(device_.in_flight(0), 0u);
  host_->kick(device_, 0);
  EXPECT_EQ(device_.in_flight(0), 1u);
  EXPECT_EQ(interrupts_, (std::array{0, 0}));
  answer(0);
  EXPECT_EQ(interrupts_, (std::array{1, 0}));
  EXPECT_EQ(answered(0), 1);
  answer(1);
  EXPECT_EQ(interrupts_, (std::array{1, 1}));
}

TEST_F(BasicHostTest, IgnoresDoorbellsOfQueuesThatDoNotRun) {
  host_->kick(device_, 0);
  start();
  host_->kick(device_, 2);
  host_->kick(device_, 65535);
  EXPECT_EQ(device_.in_flight(0), 0u);
}

TEST_F(BasicHostTest, RefusesWhatIsNoQueue) {
  const auto refusal = [this](std::uint16_t index, const QueueSetup& what) {
    const auto started = host_->start(device_, index, what);
    return started ? 0 : started.error().value;
  };
  QueueSetup wrong = setup(0);
  wrong.size = 7;
  EXPECT_EQ(refusal(0, wrong), EINVAL);
  wrong = setup(0);
  wrong.used = {base + size - 8};
  EXPECT_EQ(refusal(0, wrong), EFAULT);
  EXPECT_EQ(refusal(2, setup(0)), EINVAL);
  EXPECT_EQ(refusal(0, setup(0)), 0);
  EXPECT_EQ(refusal(0, setup(0)), EBUSY);
  EXPECT_TRUE(host_->queue_running(0));
  EXPECT_FALSE(host_->queue_running(1));
}

TEST_F(BasicHostTest, PausesUntilItIsResumed) {
  start();
  add(0);
  host_->kick(device_, 0);
  host_->pause(device_);
  host_->pause(device_);
  EXPECT_EQ(device_.stopped, (std::array{1, 1})) << "told once";
  EXPECT_FALSE(host_->drained(device_));
  add(0);
  host_->kick(device_, 0);
  EXPECT_EQ(device_.in_flight(0), 1u) << "it takes nothing more";
  answer(0);
  EXPECT_TRUE(host_->drained(device_));
  host_->resume(device_);
  EXPECT_EQ(device_.in_flight(0), 1u);
  answer(0);
  EXPECT_EQ(answered(0), 2);
}

TEST_F(BasicHostTest, StartsAgainAfterAReset) {
  ASSERT_TRUE(host_->reserve_shm(16 * page_size));
  start();
  add(0);
  host_->kick(device_, 0);
  host_->reset(device_);
  EXPECT_EQ(device_.resets, 1);
  EXPECT_FALSE(host_->queue_running(0));
  host_->resume(device_);
  EXPECT_FALSE(host_->queue_running(0)) << "the driver has to set it up again";
  drivers_[0].reset();
  drivers_[1].reset();
  start();
  add(0);
  host_->kick(device_, 0);
  EXPECT_EQ(device_.in_flight(0), 1u);
}

TEST_F(BasicHostTest, ServesABrokenQueueNoMoreUntilAReset) {
  start();
  // A descriptor that leads nowhere.
  const Piece outside{{0x10}, 16, true};
  ASSERT_TRUE(drivers_[0].add(std::span(&outside, 1)));
  static_cast<void>(drivers_[0].publish());
  host_->kick(device_, 0);
  EXPECT_TRUE(host_->needs_reset());
  EXPECT_FALSE(host_->queue_running(0));
  EXPECT_TRUE(host_->queue_running(1)) << "only this one is broken";
  host_->pause(device_);
  host_->resume(device_);
  EXPECT_FALSE(host_->queue_running(0));
  host_->reset(device_);
  EXPECT_FALSE(host_->needs_reset());
  drivers_[0].reset();
  EXPECT_TRUE(host_->start(device_, 0, setup(0)));
}

// A guest may break queues and reset the device as fast as it can.
TEST_F(BasicHostTest, LogsNoMoreThanItsLimits) {
  std::vector<std::string> lines;
  const Log log([](void* to, LogLevel,
                   std::string_view line) { static_cast<std::vector<std::string>*>(to)->emplace_back(line); },
                &lines, LogLevel::info);
  HostType host(*reactor_, host_->memory(), Interrupt{&interrupts_}, log, {.burst = 3, .interval = {}});
  for (int i = 0; i < 1000; ++i) host.queue_failed(1, Error{"it is broken", EPROTO});
  EXPECT_EQ(lines, std::vector<std::string>(3, "queue 1 is broken: it is broken"));
  host.log().write(LogLevel::error, "what the device says counts as well");
  EXPECT_EQ(lines.size(), 3u);
}

// -- Shared memory

struct Asked final : ShmOperation {
  Asked()
      : ShmOperation([](ShmOperation& operation, Result<> done) noexcept {
          static_cast<Asked&>(operation).result = done ? 0 : done.error().value;
        }) {}
  int result = -1;
};

TEST_F(BasicHostTest, ShowsPiecesOfFilesInItsRegion) {
  const auto file = make_sealed_memfd("frames", 4 * page_size);
  ASSERT_TRUE(file);
  const auto own = Mapping::map(file->get(), 0, 4 * page_size);
  ASSERT_TRUE(own);
  own->data()[page_size] = std::byte{42};
  const ShmMapping mapping{0, file->get(), page_size, {2 * page_size}, page_size, false};
  Asked asked;
  EXPECT_FALSE(host_->has_shm());
  host_->shm_map(asked, mapping);
  EXPECT_EQ(asked.result, ENXIO);
  EXPECT_TRUE(ShmOperation::is_unanswered(asked.result));

  ASSERT_TRUE(host_->reserve_shm(16 * page_size));
  EXPECT_TRUE(host_->has_shm());
  host_->shm_map(asked, mapping);
  EXPECT_EQ(asked.result, 0);
  const auto seen = host_->shm().bytes({2 * page_size}, page_size);
  ASSERT_EQ(seen.size(), page_size);
  EXPECT_EQ(seen[0], std::byte{42});

  ShmMapping wrong = mapping;
  wrong.region = 1;
  wrong.offset = {4 * page_size};
  host_->shm_map(asked, wrong);
  EXPECT_EQ(asked.result, EINVAL);
  host_->shm_unmap(asked, wrong);
  EXPECT_EQ(asked.result, EINVAL);
  host_->shm_unmap(asked, mapping);
  EXPECT_EQ(asked.result, 0);
  EXPECT_TRUE(host_->shm().bytes({2 * page_size}, page_size).empty());

  host_->shm_map(asked, mapping);
  host_->reset(device_);
  EXPECT_EQ(host_->shm().mapping_count(), 0u);
}

}  // namespace
}  // namespace vumedia::virtio::basic_host_test
