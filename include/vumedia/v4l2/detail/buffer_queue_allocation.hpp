// Member functions of BufferQueue that allocate, free and map buffers. Included by
// <vumedia/v4l2/buffer_queue.hpp> only.
#pragma once

#include <vumedia/v4l2/buffer_queue.hpp>

namespace vumedia::v4l2 {

namespace detail {

// struct v4l2_create_buffers got max_num_buffers in Linux 6.8, in the first of its reserved words.
inline void set_max_num_buffers(v4l2_create_buffers& request, std::uint32_t value) noexcept {
  constexpr std::size_t offset = offsetof(v4l2_create_buffers, flags) + sizeof(std::uint32_t);
  static_assert(offset + 6 * sizeof(std::uint32_t) == sizeof(v4l2_create_buffers));
  std::memset(reinterpret_cast<std::byte*>(&request) + offset, 0, sizeof request - offset);
  std::memcpy(reinterpret_cast<std::byte*>(&request) + offset, &value, sizeof value);
}

struct PlaneSizes {
  std::array<std::uint32_t, VIDEO_MAX_PLANES> sizes{};
  std::uint32_t count = 0;
};

// The bytes that a format asks for. EINVAL: an unknown type, or a plane without bytes.
[[nodiscard]] inline Result<PlaneSizes> requested_sizes(const v4l2_format& format) noexcept {
  PlaneSizes result;
  result.count = 1;
  switch (format.type) {
    case V4L2_BUF_TYPE_VIDEO_CAPTURE_MPLANE:
    case V4L2_BUF_TYPE_VIDEO_OUTPUT_MPLANE:
      result.count = format.fmt.pix_mp.num_planes;
      if (result.count == 0 || result.count > VIDEO_MAX_PLANES) return fail(EINVAL);
      for (std::uint32_t p = 0; p < result.count; ++p) {
        const v4l2_plane_pix_format plane = format.fmt.pix_mp.plane_fmt[p];
        result.sizes[p] = plane.sizeimage;
      }
      break;
    case V4L2_BUF_TYPE_VIDEO_CAPTURE:
    case V4L2_BUF_TYPE_VIDEO_OUTPUT:
      result.sizes[0] = format.fmt.pix.sizeimage;
      break;
    case V4L2_BUF_TYPE_VBI_CAPTURE:
    case V4L2_BUF_TYPE_VBI_OUTPUT: {
      const v4l2_vbi_format& vbi = format.fmt.vbi;
      const auto lines = checked_add(vbi.count[0], vbi.count[1]);
      const auto size = lines ? checked_multiply(vbi.samples_per_line, *lines) : std::nullopt;
      if (!size) return fail(EINVAL);
      result.sizes[0] = *size;
      break;
    }
    case V4L2_BUF_TYPE_SLICED_VBI_CAPTURE:
    case V4L2_BUF_TYPE_SLICED_VBI_OUTPUT:
      result.sizes[0] = format.fmt.sliced.io_size;
      break;
    case V4L2_BUF_TYPE_SDR_CAPTURE:
    case V4L2_BUF_TYPE_SDR_OUTPUT:
      result.sizes[0] = format.fmt.sdr.buffersize;
      break;
    case V4L2_BUF_TYPE_META_CAPTURE:
    case V4L2_BUF_TYPE_META_OUTPUT:
      result.sizes[0] = format.fmt.meta.buffersize;
      break;
    default:
      return fail(EINVAL);
  }
  for (std::uint32_t p = 0; p < result.count; ++p) {
    if (result.sizes[p] == 0) return fail(EINVAL);
  }
  return result;
}

}  // namespace detail

inline Result<> BufferQueue::check_memory_and_type(std::uint32_t memory, std::uint32_t type) const noexcept {
  if (type != options_.type) return fail(EINVAL);
  if (memory == V4L2_MEMORY_MMAP || (memory == V4L2_MEMORY_USERPTR && options_.userptr)) return {};
  return fail(EINVAL);
}

// Fills in what is answered whether or not the request succeeds, and returns whether its type and memory are
// those of the queue.
inline Result<> BufferQueue::begin(v4l2_requestbuffers& request) const noexcept {
  // Linux sets this bit itself, before it calls a driver, if the driver forwards the ioctl. Otherwise we
  // would promise guests something that only we can do.
  request.capabilities = capabilities() | (request.capabilities & buf_cap_supports_remove_bufs);
  request.flags = 0;  // V4L2_MEMORY_FLAG_NON_COHERENT is a cache hint
  std::memset(request.reserved, 0, sizeof request.reserved);
  return check_memory_and_type(request.memory, request.type);
}

inline Result<> BufferQueue::begin(v4l2_create_buffers& request) const noexcept {
  request.capabilities = capabilities() | buf_cap_supports_max_num_buffers |
                         (request.capabilities & buf_cap_supports_remove_bufs);
  request.flags = 0;
  detail::set_max_num_buffers(request, options_.max_buffers);
  request.index = count_;
  return check_memory_and_type(request.memory, request.format.type);
}

inline Result<> BufferQueue::refuse_other(v4l2_requestbuffers& request) const noexcept {
  if (auto valid = begin(request); !valid) return valid;
  return fail(EBUSY);
}

inline Result<> BufferQueue::refuse_other(v4l2_create_buffers& request) const noexcept {
  const auto valid = begin(request);
  if (!valid || request.count == 0) return valid;
  return fail(EBUSY);
}

inline Result<> BufferQueue::refuse_other(const RemoveBuffers& request) const noexcept {
  if (request.type != options_.type) return fail(EINVAL);
  if (request.count == 0) return {};
  return fail(EBUSY);
}

inline Result<> BufferQueue::reqbufs(v4l2_requestbuffers& request, std::span<const std::uint32_t> sizes,
                                     memory::Arenas& arenas) {
  if (auto valid = begin(request); !valid) return valid;
  if (streaming_) return fail(EBUSY);

  if (request.count == 0 || count_ != 0) {
    cancel();
    free_slots(0, options_.max_buffers);
    busy_ = false;
    if (request.count == 0) return {};
  }
  if (sizes.empty() || sizes.size() > max_planes) return fail(EINVAL);

  const std::uint32_t wanted = std::clamp(request.count, options_.min_buffers, options_.max_buffers);
  if (request.memory == V4L2_MEMORY_MMAP && must_wait(wanted, sizes, arenas)) return fail(memory::again);
  memory_ = request.memory;
  const std::uint32_t made = allocate_slots(0, wanted, sizes, arenas);
  if (made == 0 || made < options_.min_buffers) {
    free_slots(0, made);
    return fail(ENOMEM);
  }
  request.count = made;
  busy_ = true;
  return {};
}

inline Result<> BufferQueue::create_bufs(v4l2_create_buffers& request, std::span<const std::uint32_t> minimum,
                                         memory::Arenas& arenas) {
  const auto valid = begin(request);
  // This only asks about memory and type.
  if (request.count == 0) return valid;

  const auto sizes = detail::requested_sizes(request.format);
  if (!sizes) return std::unexpected(sizes.error());
  if (!valid) return valid;
  if (count_ == options_.max_buffers) return fail(ENOBUFS);
  if (count_ != 0 && memory_ != request.memory) return fail(EINVAL);
  if (sizes->count != minimum.size()) return fail(EINVAL);
  for (std::uint32_t p = 0; p < sizes->count; ++p) {
    if (sizes->sizes[p] < minimum[p] || sizes->sizes[p] > options_.max_length) return fail(EINVAL);
  }

  std::uint32_t wanted = std::min(request.count, options_.max_buffers - count_);
  const auto first = find_free(wanted);
  if (!first) return fail(ENOMEM);
  const auto each = std::span(sizes->sizes).first(sizes->count);
  if (request.memory == V4L2_MEMORY_MMAP && must_wait(wanted, each, arenas)) return fail(memory::again);
  memory_ = request.memory;
  const std::uint32_t made = allocate_slots(*first, wanted, each, arenas);
  if (made == 0) {
    if (count_ == 0) memory_ = 0;
    return fail(ENOMEM);
  }
  request.index = *first;
  request.count = made;
  busy_ = true;
  return {};
}

// The first hole of `count` indices, or a smaller one if there is none (at least 1).
inline std::optional<std::uint32_t> BufferQueue::find_free(std::uint32_t& count) const noexcept {
  for (; count > 0; --count) {
    std::uint32_t run = 0;
    for (std::uint32_t i = 0; i < options_.max_buffers; ++i) {
      run = slots_[i] ? 0 : run + 1;
      if (run == count) return i + 1 - count;
    }
  }
  return std::nullopt;
}

inline bool BufferQueue::must_wait(std::uint32_t count, std::span<const std::uint32_t> sizes,
                                   const memory::Arenas& arenas) const noexcept {
  std::uint64_t bytes = 0;  // no overflow: 64 buffers of 8 planes below 2^32
  for (const std::uint32_t size : sizes) bytes += align_up(size, page_size).value_or(0) * count;
  // The memory that is left may be in places that are too small for these, or that are not clean either.
  return arenas.dirty() && bytes > arenas.budget()->left() / 2;
}

inline std::uint32_t BufferQueue::allocate_slots(std::uint32_t first, std::uint32_t count,
                                                 std::span<const std::uint32_t> sizes,
                                                 memory::Arenas& arenas) {
  std::uint32_t made = 0;
  while (made < count && allocate_slot(first + made, sizes, arenas)) ++made;
  return made;
}

inline bool BufferQueue::allocate_slot(std::uint32_t index, std::span<const std::uint32_t> sizes,
                                       memory::Arenas& arenas) {
  auto slot = std::make_unique<Slot>();
  slot->plane_count = static_cast<std::uint32_t>(sizes.size());
  for (std::size_t p = 0; p < sizes.size(); ++p) {
    Plane& plane = slot->planes[p];
    plane.length = plane.min_length = sizes[p];
    if (memory_ != V4L2_MEMORY_MMAP) continue;
    auto block = arenas.allocate(sizes[p]);
    if (!block) return false;
    plane.block = std::move(*block);
  }
  slots_[index] = std::move(slot);
  ++count_;
  return true;
}

inline void BufferQueue::free_slots(std::uint32_t first, std::uint32_t count) noexcept {
  for (std::uint32_t i = first; i < first + count; ++i) {
    if (!slots_[i]) continue;
    slots_[i].reset();
    --count_;
  }
  if (count_ == 0) memory_ = 0;
}

inline Result<> BufferQueue::remove_bufs(const RemoveBuffers& request) {
  if (request.type != options_.type) return fail(EINVAL);
  if (request.count == 0) return {};
  if (request.count > count_) return fail(EINVAL);
  if (!range_fits(request.index, request.count, options_.max_buffers)) return fail(EINVAL);
  for (std::uint32_t i = request.index; i < request.index + request.count; ++i) {
    if (!slots_[i]) return fail(EINVAL);
    // A prepared buffer still belongs to the guest.
    if (slots_[i]->state == State::queued || slots_[i]->state == State::active) return fail(EBUSY);
  }
  free_slots(request.index, request.count);
  return {};
}

inline Result<memory::Mappable> BufferQueue::mappable(std::uint32_t offset) {
  if (memory_ != V4L2_MEMORY_MMAP || offset < options_.mem_offset_base || !is_aligned(offset, page_size)) {
    return fail(EINVAL);
  }
  const auto cookie = static_cast<std::uint32_t>((offset - options_.mem_offset_base) / page_size);
  const std::uint32_t index = cookie / max_planes;
  const std::uint32_t number = cookie % max_planes;
  if (!exists(index) || number >= slots_[index]->plane_count) return fail(EINVAL);

  Plane& plane = slots_[index]->planes[number];
  if (auto mapped = plane.mapped.lock()) return memory::Mappable(std::move(mapped), plane.length);
  // A separate owner, so that its lifetime shows whether the guest maps the plane (V4L2_BUF_FLAG_MAPPED),
  // whoever else holds the block.
  std::shared_ptr<memory::Block> mapped(plane.block.get(), [keep = plane.block](memory::Block*) {});
  plane.mapped = mapped;
  return memory::Mappable(std::move(mapped), plane.length);
}

}  // namespace vumedia::v4l2
