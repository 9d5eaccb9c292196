// Control values of a guest, passed to a kernel driver (VIDIOC_G/S/TRY_EXT_CTRLS).
//
// A value with a payload (a string, an array, a compound) is in guest memory; the kernel is given a copy at
// one of our addresses. How much it may read or write there is decided here, by the driver's description of
// the control and not by the size that the guest names.
#pragma once

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include <linux/videodev2.h>

#include <vumedia/core/checked.hpp>
#include <vumedia/core/result.hpp>
#include <vumedia/memory/budget.hpp>
#include <vumedia/memory/guest_memory.hpp>
#include <vumedia/v4l2/guest_ranges.hpp>
#include <vumedia/v4l2/payload.hpp>

namespace vumedia::backends::v4l2_proxy {

/// Bytes of all payloads of one command.
inline constexpr std::size_t max_control_bytes = std::size_t{16} << 20;

namespace detail {

// What one control's payload needs, and how the driver describes it.
struct ControlPayload {
  std::size_t offset = 0;  // in the common storage
  std::size_t size = 0;    // 0: the value travels in the struct itself
  bool is_string = false;
};

// The largest payload that the control may have, 0 for a control without one. An error if the driver does not
// know it.
template <class Kernel>
[[nodiscard]] Result<std::size_t> payload_limit(Kernel& kernel, std::uint32_t id, bool& is_string) {
  v4l2_query_ext_ctrl query{};
  query.id = id & V4L2_CTRL_ID_MASK;  // never the next one
  if (const auto known = kernel(VIDIOC_QUERY_EXT_CTRL, &query); !known) return std::unexpected(known.error());
  if ((query.flags & V4L2_CTRL_FLAG_HAS_PAYLOAD) == 0) return 0;
  is_string = query.type == V4L2_CTRL_TYPE_STRING;
  std::uint64_t elements = query.elems;
  // The current length; the dimension is the maximum. One more, so that the kernel notices what is too long.
  if ((query.flags & V4L2_CTRL_FLAG_DYNAMIC_ARRAY) != 0)
    elements = std::max<std::uint64_t>(elements, query.dims[0]) + 1;
  const auto bytes = checked_multiply(elements, std::uint64_t{query.elem_size});
  return bytes ? static_cast<std::size_t>(std::min<std::uint64_t>(*bytes, max_control_bytes + 1)) : 0;
}

}  // namespace detail

/// Carries out `code` for the controls in `request`, with `kernel(code, argument)` as ioctl(2) on the node.
/// As the kernel does, it leaves error_idx, and sizes that were too small, in the request when it fails.
/// EINVAL: a media request's controls, which belong to a file that the guest does not have. ENOMEM: more than
/// max_control_bytes, or than `bytes_left` has (null: any). EFAULT: not guest memory.
template <class Kernel>
[[nodiscard]] Result<> pass_controls(Kernel& kernel, unsigned long code, v4l2::ExtControls& request,
                                     const memory::GuestMemory& memory,
                                     std::shared_ptr<memory::Budget> bytes_left = nullptr) {
  const auto refuse = [&request](int error) {
    // Like a driver that has touched nothing.
    request.head.error_idx = request.head.count;
    return fail(error);
  };
  if (request.head.which == V4L2_CTRL_WHICH_REQUEST_VAL) return refuse(EINVAL);
  const bool gets = code == VIDIOC_G_EXT_CTRLS;

  std::vector<v4l2_ext_control> controls = request.controls;
  std::vector<detail::ControlPayload> payloads(controls.size());
  std::size_t total = 0;
  for (std::size_t i = 0; i < controls.size(); ++i) {
    if (controls[i].size == 0) continue;  // the kernel does not follow a pointer of this one
    detail::ControlPayload& payload = payloads[i];
    const auto limit = detail::payload_limit(kernel, controls[i].id, payload.is_string);
    // A value in the struct cannot be set by a pointer. The driver itself refuses controls that it does not
    // know.
    if (limit && *limit == 0 && !gets) return refuse(EINVAL);
    payload.offset = total;
    payload.size = std::min<std::size_t>(controls[i].size, limit.value_or(0));
    total += payload.size;
    if (total > max_control_bytes) return refuse(ENOMEM);
  }
  const auto counted = memory::Share::take(std::move(bytes_left), total);
  if (!counted) return refuse(ENOMEM);
  // Zeroed, so that a driver that fills in less than it claims shows the guest none of our memory.
  std::vector<std::byte> storage(total);
  for (std::size_t i = 0; i < controls.size(); ++i) {
    const detail::ControlPayload& payload = payloads[i];
    if (controls[i].size == 0) continue;
    controls[i].size = static_cast<std::uint32_t>(payload.size);
    if (payload.size == 0) {
      controls[i].value64 = 0;  // it was a pointer to the guest
      continue;
    }
    const std::span<std::byte> bytes(storage.data() + payload.offset, payload.size);
    if (!gets && !v4l2::copy_from_ranges(memory, request.ranges[i], bytes)) return refuse(EFAULT);
    controls[i].ptr = bytes.data();
  }

  v4l2_ext_controls head = request.head;
  head.request_fd = 0;
  head.controls = controls.data();
  const auto result = kernel(code, &head);
  request.head.error_idx = head.error_idx;
  request.head.which = head.which;

  for (std::size_t i = 0; i < controls.size(); ++i) {
    v4l2_ext_control& answer = request.controls[i];
    const detail::ControlPayload& payload = payloads[i];
    const std::uint32_t sent_size = answer.size;
    // Our pointer does not reach the guest: write_payload replaces it with the guest's own.
    void* const sent_pointer = answer.ptr;
    answer = controls[i];
    if (sent_size == 0) continue;
    answer.ptr = sent_pointer;
    if (payload.size == 0) {
      answer.size = sent_size;
      continue;
    }
    // The kernel does not change the size of a string, so the guest gets its own back.
    if (payload.is_string && answer.size == payload.size) answer.size = sent_size;
    if (!result) continue;
    std::span<const std::byte> bytes(storage.data() + payload.offset, payload.size);
    if (payload.is_string) {
      const auto* const text = reinterpret_cast<const char*>(bytes.data());
      bytes = bytes.first(std::min(::strnlen(text, bytes.size()) + 1, bytes.size()));
    } else {
      bytes = bytes.first(std::min<std::size_t>(answer.size, bytes.size()));
    }
    if (!v4l2::copy_to_ranges(memory, request.ranges[i], bytes)) return refuse(EFAULT);
  }
  return result;
}

}  // namespace vumedia::backends::v4l2_proxy
