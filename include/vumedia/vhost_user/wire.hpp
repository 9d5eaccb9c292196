// What travels on the two sockets of vhost-user: headers, payloads, numbers and flags (vhost-user
// specification, "Message Specification" and "Protocol features"). Native byte order; core/result.hpp asserts
// little-endian.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <type_traits>

#include <vumedia/core/result.hpp>

namespace vumedia::vhost_user {

/// The number of a request. requests.hpp lists them.
enum class Request : std::uint32_t {};

/// Bits of GET_FEATURES and SET_FEATURES that belong to the transport and the ring.
namespace feature {
inline constexpr std::uint64_t ring_indirect_desc = 1ull << 28;
inline constexpr std::uint64_t ring_event_idx = 1ull << 29;
inline constexpr std::uint64_t protocol_features = 1ull << 30;
inline constexpr std::uint64_t version_1 = 1ull << 32;
}  // namespace feature

/// Bits of GET_PROTOCOL_FEATURES and SET_PROTOCOL_FEATURES.
namespace protocol_feature {
inline constexpr std::uint64_t mq = 1ull << 0;
inline constexpr std::uint64_t log_shmfd = 1ull << 1;
inline constexpr std::uint64_t reply_ack = 1ull << 3;
inline constexpr std::uint64_t backend_req = 1ull << 5;
inline constexpr std::uint64_t pagefault = 1ull << 8;
inline constexpr std::uint64_t config = 1ull << 9;
inline constexpr std::uint64_t backend_send_fd = 1ull << 10;
inline constexpr std::uint64_t inflight_shmfd = 1ull << 12;
inline constexpr std::uint64_t reset_device = 1ull << 13;
inline constexpr std::uint64_t inband_notifications = 1ull << 14;
inline constexpr std::uint64_t configure_mem_slots = 1ull << 15;
inline constexpr std::uint64_t status = 1ull << 16;
inline constexpr std::uint64_t shared_object = 1ull << 18;
inline constexpr std::uint64_t device_state = 1ull << 19;
inline constexpr std::uint64_t shmem = 1ull << 22;
}  // namespace protocol_feature

struct Header {
  std::uint32_t request;
  std::uint32_t flags;
  std::uint32_t size;  ///< of the body that follows
};
static_assert(sizeof(Header) == 12);

namespace flag {
inline constexpr std::uint32_t version_mask = 3;
inline constexpr std::uint32_t version = 1;
inline constexpr std::uint32_t reply = 1u << 2;
inline constexpr std::uint32_t need_reply = 1u << 3;
}  // namespace flag

/// No message of the protocol as served here has a longer body. GET_SHMEM_CONFIG's answer is the longest one.
inline constexpr std::uint32_t max_body_size = 4096;
/// SET_MEM_TABLE brings the most descriptors, one for each region. QEMU sends at most 8, and other back-ends
/// may accept no more; the VMMs in Rust (crosvm, cloud-hypervisor, libkrun) send up to 32.
inline constexpr std::uint32_t max_table_regions = 32;
inline constexpr std::size_t max_message_fds = max_table_regions;
/// What GET_MAX_MEM_SLOTS answers.
inline constexpr std::uint64_t max_mem_slots = 509;
/// For GET_CONFIG and SET_CONFIG, from the specification.
inline constexpr std::uint32_t max_config_size = 256;

/// Bodies. `NoBody` stands for none.
struct NoBody {};

struct U64 {
  std::uint64_t value;
};
static_assert(sizeof(U64) == 8);

struct VringState {
  std::uint32_t index;
  std::uint32_t num;
};
static_assert(sizeof(VringState) == 8);

struct VringAddress {
  std::uint32_t index;
  std::uint32_t flags;  ///< bit 0: log writes of the used ring (never negotiated here)
  std::uint64_t descriptor;
  std::uint64_t used;
  std::uint64_t available;
  std::uint64_t log;
};
static_assert(sizeof(VringAddress) == 40);

/// The u64 of SET_VRING_KICK, CALL and ERR: a queue index and a bit for "no descriptor comes with this".
inline constexpr std::uint64_t vring_index_mask = 0xff;
inline constexpr std::uint64_t vring_no_fd = 1ull << 8;

struct MemoryRegion {
  std::uint64_t guest_address;
  std::uint64_t size;
  std::uint64_t user_address;
  std::uint64_t mmap_offset;
};
static_assert(sizeof(MemoryRegion) == 32);

/// SET_MEM_TABLE: the header, then `count` MemoryRegions.
struct MemoryTableHeader {
  std::uint32_t count;
  std::uint32_t padding;
};
static_assert(sizeof(MemoryTableHeader) == 8);

/// ADD_MEM_REG, REM_MEM_REG.
struct SingleRegion {
  std::uint64_t padding;
  MemoryRegion region;
};
static_assert(sizeof(SingleRegion) == 40);

/// GET_CONFIG, SET_CONFIG: the header, then `size` bytes.
struct ConfigHeader {
  std::uint32_t offset;
  std::uint32_t size;
  std::uint32_t flags;
};
static_assert(sizeof(ConfigHeader) == 12);

struct ShmemConfig {
  std::uint32_t count;
  std::uint32_t padding;
  std::uint64_t size[256];  ///< by region id; 0: no such region
};
static_assert(sizeof(ShmemConfig) == 2056);

/// SET_LOG_BASE; known so that it can be refused by name.
struct LogBase {
  std::uint64_t size;
  std::uint64_t offset;
};
static_assert(sizeof(LogBase) == 16);

/// GET_INFLIGHT_FD, SET_INFLIGHT_FD; likewise.
struct InflightDescription {
  std::uint64_t mmap_size;
  std::uint64_t mmap_offset;
  std::uint16_t queues;
  std::uint16_t queue_size;
  std::uint32_t padding;
};
static_assert(sizeof(InflightDescription) == 24);

/// GET_SHARED_OBJECT; likewise.
struct SharedObject {
  unsigned char uuid[16];
};

/// SET_DEVICE_STATE_FD; likewise.
struct DeviceStateTransfer {
  std::uint32_t direction;
  std::uint32_t phase;
};
static_assert(sizeof(DeviceStateTransfer) == 8);

/// SHMEM_MAP, SHMEM_UNMAP.
struct ShmemMap {
  std::uint8_t region;
  std::uint8_t padding[7];
  std::uint64_t fd_offset;
  std::uint64_t shm_offset;
  std::uint64_t length;
  std::uint64_t flags;
};
static_assert(sizeof(ShmemMap) == 40 && offsetof(ShmemMap, fd_offset) == 8);
inline constexpr std::uint64_t shmem_map_writable = 1;

/// The bytes of a struct as it travels.
template <class T>
  requires std::is_trivially_copyable_v<T>
[[nodiscard]] inline std::span<const std::byte> bytes_of(const T& value) noexcept {
  return std::as_bytes(std::span<const T, 1>(&value, 1));
}

}  // namespace vumedia::vhost_user
