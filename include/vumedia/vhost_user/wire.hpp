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
/// As VIRTIO and the specification of vhost-user name them.
///@{
inline constexpr std::uint64_t ring_indirect_desc = 1ull << 28;
inline constexpr std::uint64_t ring_event_idx = 1ull << 29;
inline constexpr std::uint64_t protocol_features = 1ull << 30;
inline constexpr std::uint64_t version_1 = 1ull << 32;
///@}
}  // namespace feature

/// Bits of GET_PROTOCOL_FEATURES and SET_PROTOCOL_FEATURES.
namespace protocol_feature {
/// As the specification names them, without VHOST_USER_PROTOCOL_F_.
///@{
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
///@}
}  // namespace protocol_feature

/// What every message begins with, in both directions.
struct Header {
  std::uint32_t request;  ///< a Request
  std::uint32_t flags;    ///< those of namespace flag
  std::uint32_t size;     ///< of the body that follows
};
static_assert(sizeof(Header) == 12);

/// Bits of a message.
namespace flag {
/// Of Header::flags.
///@{
inline constexpr std::uint32_t version_mask = 3;
inline constexpr std::uint32_t version = 1;
inline constexpr std::uint32_t reply = 1u << 2;
inline constexpr std::uint32_t need_reply = 1u << 3;
///@}
}  // namespace flag

/// No message of the protocol as served here has a longer body. GET_SHMEM_CONFIG's answer is the longest one.
inline constexpr std::uint32_t max_body_size = 4096;
/// SET_MEM_TABLE brings the most descriptors, one for each region. QEMU sends at most 8, and other back-ends
/// may accept no more; the VMMs in Rust (crosvm, cloud-hypervisor, libkrun) send up to 32.
inline constexpr std::uint32_t max_table_regions = 32;
inline constexpr std::size_t max_message_fds = max_table_regions;  ///< one for each region
/// What GET_MAX_MEM_SLOTS answers.
inline constexpr std::uint64_t max_mem_slots = 509;
/// For GET_CONFIG and SET_CONFIG, from the specification.
inline constexpr std::uint32_t max_config_size = 256;

/// Bodies. `NoBody` stands for none.
struct NoBody {};

/// The body of most requests and answers: a number, bits, or a vring index with vring_no_fd.
struct U64 {
  std::uint64_t value;  ///< by the request
};
static_assert(sizeof(U64) == 8);

/// SET_VRING_NUM, SET_VRING_BASE, GET_VRING_BASE and its answer, SET_VRING_ENABLE.
struct VringState {
  std::uint32_t index;  ///< of the queue
  std::uint32_t num;    ///< a size, a base, or 0 and 1
};
static_assert(sizeof(VringState) == 8);

/// SET_VRING_ADDR. The addresses are those of the frontend's process.
struct VringAddress {
  std::uint32_t index;  ///< of the queue
  std::uint32_t flags;  ///< bit 0: log writes of the used ring (never negotiated here)
  /// Of the parts; `log` is a guest address that is not used here.
  ///@{
  std::uint64_t descriptor;
  std::uint64_t used;
  std::uint64_t available;
  std::uint64_t log;
  ///@}
};
static_assert(sizeof(VringAddress) == 40);

/// The u64 of SET_VRING_KICK, CALL and ERR: a queue index and a bit for "no descriptor comes with this".
inline constexpr std::uint64_t vring_index_mask = 0xff;
inline constexpr std::uint64_t vring_no_fd = 1ull << 8;  ///< no descriptor comes with this

/// A piece of guest memory, in bytes.
struct MemoryRegion {
  std::uint64_t guest_address;  ///< its first byte in the guest
  std::uint64_t size;           ///< not 0
  std::uint64_t user_address;   ///< its first byte in the frontend's process
  std::uint64_t mmap_offset;    ///< of its first byte in the file
};
static_assert(sizeof(MemoryRegion) == 32);

/// SET_MEM_TABLE: the header, then `count` MemoryRegions.
struct MemoryTableHeader {
  std::uint32_t count;    ///< at most max_table_regions
  std::uint32_t padding;  ///< ignored
};
static_assert(sizeof(MemoryTableHeader) == 8);

/// ADD_MEM_REG, REM_MEM_REG.
struct SingleRegion {
  std::uint64_t padding;  ///< ignored
  MemoryRegion region;    ///< to be added or removed
};
static_assert(sizeof(SingleRegion) == 40);

/// GET_CONFIG, SET_CONFIG: the header, then `size` bytes.
struct ConfigHeader {
  /// Within the configuration space, in bytes.
  ///@{
  std::uint32_t offset;
  std::uint32_t size;
  ///@}
  std::uint32_t flags;  ///< 1: written during a migration
};
static_assert(sizeof(ConfigHeader) == 12);

/// The answer to GET_SHMEM_CONFIG.
struct ShmemConfig {
  std::uint32_t count;      ///< of regions with a size
  std::uint32_t padding;    ///< 0
  std::uint64_t size[256];  ///< by region id; 0: no such region
};
static_assert(sizeof(ShmemConfig) == 2056);

/// SET_LOG_BASE; known so that it can be refused by name.
struct LogBase {
  /// Of the log in the file that comes with it.
  ///@{
  std::uint64_t size;
  std::uint64_t offset;
  ///@}
};
static_assert(sizeof(LogBase) == 16);

/// GET_INFLIGHT_FD, SET_INFLIGHT_FD; likewise.
struct InflightDescription {
  /// Of the memory in the file that comes with it.
  ///@{
  std::uint64_t mmap_size;
  std::uint64_t mmap_offset;
  ///@}
  std::uint16_t queues;      ///< how many there are
  std::uint16_t queue_size;  ///< descriptors of each
  std::uint32_t padding;     ///< 0
};
static_assert(sizeof(InflightDescription) == 24);

/// GET_SHARED_OBJECT; likewise.
struct SharedObject {
  unsigned char uuid[16];  ///< of the buffer
};

/// SET_DEVICE_STATE_FD; likewise.
struct DeviceStateTransfer {
  std::uint32_t direction;  ///< 0: save, 1: load
  std::uint32_t phase;      ///< 0: the device is stopped
};
static_assert(sizeof(DeviceStateTransfer) == 8);

/// SHMEM_MAP, SHMEM_UNMAP.
struct ShmemMap {
  std::uint8_t region;       ///< id of the region
  std::uint8_t padding[7];   ///< 0
  std::uint64_t fd_offset;   ///< page-aligned; 0 for an unmap
  std::uint64_t shm_offset;  ///< within the region, page-aligned
  std::uint64_t length;      ///< in bytes, a page multiple
  std::uint64_t flags;       ///< shmem_map_writable or 0
};
static_assert(sizeof(ShmemMap) == 40 && offsetof(ShmemMap, fd_offset) == 8);
inline constexpr std::uint64_t shmem_map_writable = 1;  ///< ShmemMap::flags: the guest may write

/// The bytes of a struct as it travels.
template <class T>
  requires std::is_trivially_copyable_v<T>
[[nodiscard]] inline std::span<const std::byte> bytes_of(const T& value) noexcept {
  return std::as_bytes(std::span<const T, 1>(&value, 1));
}

}  // namespace vumedia::vhost_user
