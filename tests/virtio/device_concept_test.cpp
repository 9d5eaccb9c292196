// What a class needs to be a virtio::Device, whatever its kind, and what it may do otherwise. Everything here
// is decided by the compiler.
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include <vumedia/virtio/concepts.hpp>

namespace vumedia::virtio::test::device_concept_test {
namespace {

// Everything that a transport asks of a device, and nothing else.
struct SmallestDevice {
  static constexpr std::uint32_t device_id = 48;
  static constexpr std::uint16_t queue_count = 2;
  // What the driver sees before it uses a queue.
  std::uint64_t features() const;
  std::span<const std::byte> config() const;
  std::span<const std::uint64_t> shm_regions() const;
  // A queue may hold buffers; it is about to stop; how many it has taken and not given back.
  void process(std::uint16_t index);
  void stop(std::uint16_t index);
  std::uint32_t in_flight(std::uint16_t index) const;
  // The driver starts anew.
  void reset();
};
static_assert(Device<SmallestDevice>);

// What may differ.

struct NoexceptDevice : SmallestDevice {
  void process(std::uint16_t index) noexcept;
};
static_assert(Device<NoexceptDevice>, "functions may promise more");

struct WithPlainNumbers : SmallestDevice {
  static constexpr int device_id = 48;
  static constexpr int queue_count = 2;
};
static_assert(Device<WithPlainNumbers>, "numbers may be of any type");

struct WithStaticFunctions : SmallestDevice {
  static std::uint64_t features();
};
static_assert(Device<WithStaticFunctions>);

// What must not be missing.

struct Incomplete;
static_assert(!Device<Incomplete>, "a class that is only declared");
static_assert(!Device<int>);

struct WithoutId : SmallestDevice {
  void device_id() = delete;
};
static_assert(!Device<WithoutId>);

struct WithoutQueueCount : SmallestDevice {
  void queue_count() = delete;
};
static_assert(!Device<WithoutQueueCount>);

struct WithoutFeatures : SmallestDevice {
  void features() const = delete;
};
static_assert(!Device<WithoutFeatures>);

struct WithoutConfig : SmallestDevice {
  void config() const = delete;
};
static_assert(!Device<WithoutConfig>);

struct WithoutRegions : SmallestDevice {
  void shm_regions() const = delete;
};
static_assert(!Device<WithoutRegions>, "one without regions returns none");

struct WithoutProcess : SmallestDevice {
  void process(std::uint16_t index) = delete;
};
static_assert(!Device<WithoutProcess>);

struct WithoutStop : SmallestDevice {
  void stop(std::uint16_t index) = delete;
};
static_assert(!Device<WithoutStop>);

struct WithoutInFlight : SmallestDevice {
  void in_flight(std::uint16_t index) const = delete;
};
static_assert(!Device<WithoutInFlight>);

struct WithoutReset : SmallestDevice {
  void reset() = delete;
};
static_assert(!Device<WithoutReset>);

// What must not differ.

struct WithAQueueCountOfItsOwn : SmallestDevice {
  std::array<std::uint16_t, 2> queue_count;
};
static_assert(!Device<WithAQueueCountOfItsOwn>, "all devices of a class have as many");

struct WithNarrowFeatures : SmallestDevice {
  std::uint32_t features() const;
};
static_assert(!Device<WithNarrowFeatures>, "feature bits are 64");

struct WithConfigByValue : SmallestDevice {
  std::vector<std::byte> config() const;
};
static_assert(!Device<WithConfigByValue>, "it would be gone before it is read");

struct WithConfigThatCanBeWritten : SmallestDevice {
  std::span<std::byte> config() const;
};
static_assert(!Device<WithConfigThatCanBeWritten>);

struct WithProcessThatReturnsSomething : SmallestDevice {
  bool process(std::uint16_t index);
};
static_assert(!Device<WithProcessThatReturnsSomething>, "nobody would look at it");

struct WithStopThatWaits : SmallestDevice {
  std::uint32_t stop(std::uint16_t index);
};
static_assert(!Device<WithStopThatWaits>, "the host waits, and asks in_flight");

struct WithQueriesThatChangeIt : SmallestDevice {
  std::uint32_t in_flight(std::uint16_t index);
};
static_assert(!Device<WithQueriesThatChangeIt>, "a const device is asked");

}  // namespace
}  // namespace vumedia::virtio::test::device_concept_test
