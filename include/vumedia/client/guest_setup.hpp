// Guest: bringing a device up. Included by guest.hpp.
#pragma once

#include <vumedia/client/guest.hpp>

namespace vumedia::client {

inline Outcome<std::unique_ptr<Guest>> Guest::connect(const std::string& socket_path,
                                                      const GuestOptions& options) {
  auto frontend = vhost_user::Frontend::connect(socket_path);
  if (!frontend) return std::unexpected(std::move(frontend.error()));
  return attach(std::move(*frontend), options);
}

inline Outcome<std::unique_ptr<Guest>> Guest::attach(vhost_user::Frontend frontend,
                                                     const GuestOptions& options) {
  std::unique_ptr<Guest> guest(new Guest(std::move(frontend), options));
  if (auto done = guest->set_up(); !done) return std::unexpected(std::move(done.error()));
  return guest;
}

inline Outcome<> Guest::set_up() {
  using namespace vhost_user;
  frontend_.set_shmem_handler([this](Frontend::ShmemRequest request) { return shmem(std::move(request)); });
  if (auto done = frontend_.negotiate(); !done) return done;
  if ((frontend_.features() & feature::version_1) == 0) return failure("the device is not a VIRTIO 1 device");
  if (!frontend_.has(protocol_feature::config))
    return failure("the back-end does not offer the configuration space");
  if (auto done = frontend_.get_config(0, std::as_writable_bytes(std::span(&config_, 1))); !done) return done;

  if (frontend_.has(protocol_feature::shmem) && frontend_.backend_fd() >= 0) {
    auto shmem = frontend_.shmem_config();
    if (!shmem) return std::unexpected(std::move(shmem.error()));
    if (const std::uint64_t size = shmem->size[media::wire::mmap_region]; size != 0) {
      auto region = ShmRegion::reserve(size);
      if (!region)
        return system_failure(region.error().value, "cannot reserve %llu bytes for shared memory",
                              static_cast<unsigned long long>(size));
      shm_ = std::move(*region);
    }
  }
  if (auto done = create_memory(); !done) return done;
  return start();
}

// One memory file: the queues, the buffers of events, one command and its answer, and what is the caller's.
inline Outcome<> Guest::create_memory() {
  std::size_t end = 0;
  const auto area = [&end](std::size_t size) {
    const Area result{end, size};
    end = (end + size + 63) & ~std::size_t{63};
    return result;
  };
  const Area rings[] = {area(virtio::DriverQueue::bytes(command_queue_size)),
                        area(virtio::DriverQueue::bytes(event_queue_size))};
  events_ = area(event_queue_size * event_stride);
  command_ = area(command_bytes);
  answer_ = area(command_bytes);
  controls_ = area(control_bytes);
  end = (end + page_size - 1) & ~(page_size - 1);
  user_ = area(options_.user_memory);

  auto fd = make_sealed_memfd("vumedia-guest", end);
  if (!fd) return system_failure(fd.error().value, "cannot create guest memory");
  const auto size = align_up(end, page_size);
  auto mapping = Mapping::map(fd->get(), 0, *size);
  if (!mapping) return system_failure(mapping.error().value, "cannot map guest memory");
  memory_fd_ = std::move(*fd);
  memory_ = std::move(*mapping);

  const bool event_idx = (frontend_.features() & vhost_user::feature::ring_event_idx) != 0;
  for (std::uint16_t i = 0; i < media::wire::queue_count; ++i) {
    queues_[i].emplace(bytes(rings[i]).data(), guest(rings[i]),
                       i == 0 ? command_queue_size : event_queue_size, event_idx);
    auto kick = make_event_fd(), call = make_event_fd();
    if (!kick || !call)
      return system_failure((kick ? call : kick).error().value, "cannot create an event fd");
    kick_[i] = std::move(*kick);
    call_[i] = std::move(*call);
  }
  // The frontend's address of a byte is its address here.
  const vhost_user::Frontend::Region region{
      guest_base, {reinterpret_cast<std::uintptr_t>(memory_.data())}, memory_.size(), 0, memory_fd_.get()};
  if (frontend_.has(vhost_user::protocol_feature::configure_mem_slots)) return frontend_.add_region(region);
  return frontend_.set_memory(std::span(&region, 1));
}

// As a driver after DRIVER_OK, with its buffers for events lent already.
inline Outcome<> Guest::start() {
  lend_event_buffers();
  for (std::uint16_t i = 0; i < media::wire::queue_count; ++i) {
    if (auto done = start_queue(i); !done) return done;
  }
  if ((frontend_.features() & vhost_user::feature::protocol_features) != 0) {
    for (std::uint16_t i = 0; i < media::wire::queue_count; ++i) {
      if (auto done = frontend_.enable_vring(i, true); !done) return done;
    }
  }
  // ACKNOWLEDGE, DRIVER, DRIVER_OK, FEATURES_OK.
  if (frontend_.has(vhost_user::protocol_feature::status)) return frontend_.set_status(15);
  return {};
}

inline Outcome<> Guest::start_queue(std::uint16_t index) {
  const virtio::DriverQueue& queue = *queues_[index];
  const auto user = [this](memory::GuestAddress address) {
    return memory::FrontendAddress{reinterpret_cast<std::uintptr_t>(memory_.data()) + address.value -
                                   guest_base.value};
  };
  if (auto done = frontend_.set_vring_size(index, queue.size()); !done) return done;
  if (auto done = frontend_.set_vring_base(index, 0); !done) return done;
  if (auto done = frontend_.set_vring_addresses(index, user(queue.descriptors()), user(queue.available()),
                                                user(queue.used()));
      !done)
    return done;
  if (auto done = frontend_.set_vring_call(index, call_[index].get()); !done) return done;
  return frontend_.set_vring_kick(index, kick_[index].get());
}

inline Outcome<> Guest::reset() {
  using namespace vhost_user;
  const bool enables = (frontend_.features() & feature::protocol_features) != 0;
  for (std::uint16_t i = 0; enables && i < media::wire::queue_count; ++i) {
    if (auto done = frontend_.enable_vring(i, false); !done) return done;
  }
  for (std::uint16_t i = 0; i < media::wire::queue_count; ++i) {
    if (auto base = frontend_.stop_vring(i); !base) return std::unexpected(std::move(base.error()));
  }
  if (frontend_.has(protocol_feature::status)) {
    if (auto done = frontend_.set_status(0); !done) return done;
  } else if (frontend_.has(protocol_feature::reset_device)) {
    if (auto done = frontend_.reset_device(); !done) return done;
  }
  // As a VMM does whose guest resets the device.
  shm_.unmap_all();
  kept_.clear();
  for (auto& queue : queues_) queue->reset();
  return start();
}

inline Result<> Guest::shmem(vhost_user::Frontend::ShmemRequest request) {
  const auto& range = request.range;
  if (range.region != media::wire::mmap_region) return fail(EINVAL);
  if (!request.map) return shm_.unmap({range.shm_offset}, range.length);
  return shm_.map(request.fd.get(), range.fd_offset, {range.shm_offset}, range.length,
                  (range.flags & vhost_user::shmem_map_writable) != 0);
}

}  // namespace vumedia::client
