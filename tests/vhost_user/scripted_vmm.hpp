// A scripted VMM: which messages a frontend sends, in which order and with which flags, is data. It is the
// transport of a client::BasicGuest and so carries a real guest, so that a script can be judged by the frames
// that come out.
//
// A script consists of words. `SET_VRING_NUM:1` is that request for queue 1; within `each( ... )` the words
// are sent for one queue after another, and within `back( ... )` from the last one to the first. `!` after a
// name sets the need_reply flag. A value follows `=`:
// clang-format off
//   SET_VRING_KICK, CALL, ERR   =none: without descriptor; =shared: the one of queue 0; =blocking
//   SET_VRING_BASE              =given (by GET_VRING_BASE; 0 after a reset, the default), =available (the
//                               driver's index)
//   SET_VRING_ENABLE, SET_STATUS, SET_FEATURES, SET_PROTOCOL_FEATURES   a number; features default to the
//                               VMM's own, and are cut to what is offered
//   GET_CONFIG                  the bytes that are read at once, until all are read
// clang-format on
#pragma once

#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <ostream>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <poll.h>
#include <unistd.h>

#include <vumedia/client/transport.hpp>
#include <vumedia/core/fd.hpp>
#include <vumedia/core/mapping.hpp>
#include <vumedia/media/wire.hpp>
#include <vumedia/memory/shm_region.hpp>
#include <vumedia/vhost_user/blocking_channel.hpp>
#include <vumedia/vhost_user/requests.hpp>
#include <vumedia/virtio/driver_queue.hpp>
#include <vumedia/virtio/ring_layout.hpp>

#include "support/patience.hpp"

namespace vumedia::vhost_user::test {

// One message, or something that becomes one.
struct Step {
  std::uint32_t request = 0;
  bool need_reply = false;
  std::uint32_t queue = 0;
  std::string value;  // empty: the default
};

// The request with a name; 0 if there is none.
inline std::uint32_t request_of(std::string_view name) {
  for (std::uint32_t number = 1; number < request_limit; ++number) {
    if (name == request_name(number)) return number;
  }
  return 0;
}

inline std::vector<Step> parse_script(std::string_view script) {
  std::vector<Step> steps, group;
  std::string_view loop;
  while (true) {
    const auto begin = script.find_first_not_of(" \n");
    if (begin == std::string_view::npos) return steps;
    script.remove_prefix(begin);
    std::string_view word = script.substr(0, script.find_first_of(" \n"));
    script.remove_prefix(word.size());
    if (word == "each(" || word == "back(") {
      loop = word;
      continue;
    }
    if (word == ")") {
      for (std::uint32_t i = 0; i < media::wire::queue_count; ++i) {
        for (Step step : group) {
          step.queue = loop == "each(" ? i : media::wire::queue_count - 1u - i;
          steps.push_back(step);
        }
      }
      group.clear();
      loop = {};
      continue;
    }
    Step step;
    if (const auto at = word.find('='); at != std::string_view::npos) {
      step.value = word.substr(at + 1);
      word = word.substr(0, at);
    }
    if (word.ends_with('!')) {
      step.need_reply = true;
      word.remove_suffix(1);
    }
    if (const auto at = word.find(':'); at != std::string_view::npos) {
      step.queue = static_cast<std::uint32_t>(word[at + 1] - '0');
      word = word.substr(0, at);
    }
    step.request = request_of(word);
    EXPECT_NE(step.request, 0u) << "no request is called " << word;
    (loop.empty() ? steps : group).push_back(step);
  }
}

// What one VMM does. Scripts that it does not need are empty.
struct Habits {
  std::string name;
  std::vector<Step> connect{};  // to the device's configuration
  std::vector<Step> start{};    // when the driver sets DRIVER_OK
  std::vector<Step> restart{};  // after a reset; empty: the same
  std::vector<Step> pause{};    // and continue
  std::vector<Step> resume{};
  std::vector<Step> reset{};  // when the driver resets the device
  std::uint64_t features =
      feature::version_1 | feature::ring_indirect_desc | feature::ring_event_idx | feature::protocol_features;
  std::uint64_t protocol_features = 0;
  std::size_t regions = 1;  // into which it splits its memory
  // The mapped buffers are sent as memory, in a whole table or one by one.
  enum class Tells { nothing, table, region } mapped = Tells::nothing;
  bool unmaps_at_reset = true;
  bool ends_at_refusal = false;  // it ends if it cannot serve a back-end's request
};

inline void PrintTo(const Habits& habits, std::ostream* out) {
  *out << habits.name;
}

// A client::Transport.
class ScriptedVmm {
 public:
  using SharedMemory = std::span<std::byte>;

  ScriptedVmm(OwnedFd socket, Habits habits) : habits_(std::move(habits)), main_(std::move(socket)) {
    for (auto* const fds : {&kick_, &call_, &err_}) {
      for (OwnedFd& fd : *fds) fd = std::move(*make_event_fd());
    }
  }

  [[nodiscard]] Outcome<> negotiate(std::span<std::byte> config) {
    if (auto done = play(habits_.connect); !done) return done;
    if (config_read_ != config_.size()) return failure("the script reads no configuration");
    std::ranges::copy(std::span(config_).first(config.size()), config.begin());
    return {};
  }
  [[nodiscard]] bool event_idx() const { return (features() & feature::ring_event_idx) != 0; }
  [[nodiscard]] std::uint64_t shm_size() const noexcept { return shm_.size(); }
  [[nodiscard]] Outcome<std::span<std::byte>> create_memory(std::size_t size) {
    auto fd = make_sealed_memfd("guest", size);
    if (!fd) return failure("no memory file");
    memory_fd_ = std::move(*fd);
    auto mapping = Mapping::map(memory_fd_.get(), 0, *align_up(size, page_size));
    if (!mapping) return failure("no memory");
    memory_ = std::move(*mapping);
    return memory_.bytes();
  }
  [[nodiscard]] memory::GuestAddress guest_base() const noexcept { return {0x1'0000'0000}; }
  [[nodiscard]] Outcome<> start(std::span<const virtio::DriverQueue> queues) {
    queues_ = queues;
    const bool again = std::exchange(started_, true) && !habits_.restart.empty();
    return play(again ? habits_.restart : habits_.start);
  }
  void kick(std::uint16_t queue) noexcept {
    const std::uint64_t one = 1;
    if (polled_[queue]) return;
    [[maybe_unused]] const auto done = ::write(kick_[queue].get(), &one, sizeof one);
  }
  [[nodiscard]] Outcome<> poll() { return serve(); }
  [[nodiscard]] Outcome<> wait(io::TimePoint until);
  [[nodiscard]] SharedMemory shared_memory(memory::ShmOffset offset, std::uint64_t length) const noexcept {
    return shm_.bytes(offset, length);
  }
  [[nodiscard]] Outcome<> reset() {
    if (auto done = play(habits_.reset); !done) return done;
    bases_ = {};
    if (habits_.unmaps_at_reset) {
      shm_.unmap_all();
      mapped_.clear();
    }
    return {};
  }

  // For tests.

  [[nodiscard]] Outcome<> pause() { return play(habits_.pause); }
  [[nodiscard]] Outcome<> resume() { return play(habits_.resume); }
  [[nodiscard]] Outcome<> play(std::span<const Step> steps) {
    for (const Step& step : steps) {
      if (auto done = say(step); !done) return done;
      if (auto told = tell_mapped(); !told) return told;
    }
    return {};
  }
  [[nodiscard]] Outcome<> play(std::string_view script) { return play(parse_script(script)); }
  [[nodiscard]] const Habits& habits() const noexcept { return habits_; }
  [[nodiscard]] bool has_err(std::size_t queue) const {
    pollfd state{err_[queue].get(), POLLIN, 0};
    return ::poll(&state, 1, 0) > 0;
  }

 private:
  struct Mapped {
    OwnedFd fd;
    ShmemMap range;
  };

  [[nodiscard]] std::uint64_t features() const { return habits_.features & offered_; }
  [[nodiscard]] memory::FrontendAddress user(memory::GuestAddress address) const {
    return {reinterpret_cast<std::uintptr_t>(memory_.data()) + address.value - guest_base().value};
  }
  [[nodiscard]] Outcome<> say(const Step& step);
  [[nodiscard]] Outcome<> say_fd(const Step& step, std::span<OwnedFd> own);
  [[nodiscard]] Outcome<> say_memory(const Step& step);
  [[nodiscard]] std::vector<std::pair<MemoryRegion, int>> regions() const;
  template <class Body>
  [[nodiscard]] Outcome<> exchange(const Step& step, const Body& body, std::span<const int> fds = {}) {
    return exchange_bytes(step, bytes_of(body), fds);
  }
  [[nodiscard]] Outcome<> exchange_bytes(const Step& step, std::span<const std::byte> body,
                                         std::span<const int> fds = {});
  [[nodiscard]] Outcome<> serve();
  [[nodiscard]] Outcome<> tell_mapped();
  [[nodiscard]] std::uint64_t reply_u64() const {
    std::uint64_t value = 0;
    std::memcpy(&value, reply_.data(), std::min(sizeof value, reply_.size()));
    return value;
  }
  static std::uint64_t number_or(const std::string& text, std::uint64_t otherwise) {
    if (text.empty()) return otherwise;
    std::uint64_t number = 0;
    const bool hex = text.starts_with("0x");
    std::from_chars(text.data() + (hex ? 2 : 0), text.data() + text.size(), number, hex ? 16 : 10);
    return number;
  }

  Habits habits_;
  BlockingChannel main_;
  BlockingChannel channel_;
  std::vector<std::byte> reply_;
  std::uint64_t offered_ = 0;
  std::uint64_t offered_protocol_ = 0;
  std::uint64_t protocol_ = 0;
  std::array<std::byte, sizeof(media::wire::virtio_media_config)> config_{};
  std::size_t config_read_ = 0;
  memory::ShmRegion shm_;
  std::vector<Mapped> mapped_;
  bool mapped_untold_ = false;
  bool started_ = false;
  OwnedFd memory_fd_;
  Mapping memory_;
  std::span<const virtio::DriverQueue> queues_;
  std::array<OwnedFd, media::wire::queue_count> kick_, call_, err_;
  std::array<bool, media::wire::queue_count> polled_{}, uncalled_{true, true};
  std::array<std::uint32_t, media::wire::queue_count> bases_{};
};

inline Outcome<> ScriptedVmm::say(const Step& step) {
  const auto index = step.queue;
  switch (static_cast<Request>(step.request)) {
    case request::GetFeatures::number: {
      auto done = exchange_bytes(step, {});
      offered_ = reply_u64();
      return done;
    }
    case request::SetFeatures::number:
      return exchange(step, U64{number_or(step.value, habits_.features) & offered_});
    case request::GetProtocolFeatures::number: {
      auto done = exchange_bytes(step, {});
      offered_protocol_ = reply_u64();
      return done;
    }
    case request::SetProtocolFeatures::number:
      protocol_ = number_or(step.value, habits_.protocol_features) & offered_protocol_;
      return exchange(step, U64{protocol_});
    case request::GetShmemConfig::number: {
      if (auto done = exchange_bytes(step, {}); !done) return done;
      ShmemConfig config{};
      std::memcpy(&config, reply_.data(), std::min(reply_.size(), sizeof config));
      auto region = memory::ShmRegion::reserve(config.size[0]);
      if (!region) return failure("no room for shared memory");
      shm_ = std::move(*region);
      return {};
    }
    case request::GetConfig::number: {
      const auto piece = static_cast<std::uint32_t>(number_or(step.value, config_.size()));
      for (config_read_ = 0; config_read_ < config_.size();) {
        const auto at = static_cast<std::uint32_t>(config_read_);
        const auto size = std::min(piece, static_cast<std::uint32_t>(config_.size()) - at);
        std::vector<std::byte> body(sizeof(ConfigHeader) + size);
        const ConfigHeader head{at, size, 0};
        std::memcpy(body.data(), &head, sizeof head);
        if (auto done = exchange_bytes(step, body); !done) return done;
        if (reply_.size() != body.size()) return failure("GET_CONFIG: %zu bytes came", reply_.size());
        std::memcpy(config_.data() + at, reply_.data() + sizeof head, size);
        config_read_ += size;
      }
      return {};
    }
    case request::SetBackendReqFd::number: {
      int ends[2];
      if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) return failure("no sockets");
      channel_ = BlockingChannel(OwnedFd(ends[0]));
      const OwnedFd theirs(ends[1]);
      const int fd = theirs.get();
      return exchange_bytes(step, {}, std::span(&fd, 1));
    }
    case request::SetMemTable::number:
    case request::AddMemReg::number:
      return say_memory(step);
    case request::SetVringNum::number:
      return exchange(step, VringState{index, queues_[index].size()});
    case request::SetVringBase::number: {
      std::uint32_t base = bases_[index];
      if (step.value == "available") {
        std::uint16_t available = 0;
        std::memcpy(
            &available,
            memory_.data() + (queues_[index].available().value - guest_base().value) + virtio::ring::index,
            sizeof available);
        base = available;
      }
      return exchange(step, VringState{index, base});
    }
    case request::SetVringAddr::number: {
      const auto& queue = queues_[index];
      return exchange(step, VringAddress{index, 0, user(queue.descriptors()).value, user(queue.used()).value,
                                         user(queue.available()).value, 0});
    }
    case request::GetVringBase::number: {
      if (auto done = exchange(step, VringState{index, 0}); !done) return done;
      VringState state{};
      std::memcpy(&state, reply_.data(), std::min(reply_.size(), sizeof state));
      bases_[index] = state.num;
      return {};
    }
    case request::SetVringKick::number:
      polled_[index] = step.value == "none";
      return say_fd(step, kick_);
    case request::SetVringCall::number:
      uncalled_[index] = step.value == "none";
      return say_fd(step, call_);
    case request::SetVringErr::number:
      return say_fd(step, err_);
    case request::SetVringEnable::number:
      return exchange(step, VringState{index, static_cast<std::uint32_t>(number_or(step.value, 1))});
    case request::SetStatus::number:
      return exchange(step, U64{number_or(step.value, 15)});
    default:  // without a body
      return exchange_bytes(step, {});
  }
}

inline Outcome<> ScriptedVmm::say_fd(const Step& step, std::span<OwnedFd> own) {
  if (step.value == "none") return exchange(step, U64{step.queue | vring_no_fd});
  if (step.value == "blocking") own[step.queue] = std::move(*make_event_fd(EFD_CLOEXEC));
  const int fd = own[step.value == "shared" ? 0 : step.queue].get();
  return exchange(step, U64{step.queue}, std::span(&fd, 1));
}

inline std::vector<std::pair<MemoryRegion, int>> ScriptedVmm::regions() const {
  std::vector<std::pair<MemoryRegion, int>> all;
  const std::uint64_t part = memory_.size() / habits_.regions & ~(page_size - 1);
  for (std::size_t i = 0; i < habits_.regions; ++i) {
    const std::uint64_t at = i * part, size = i + 1 < habits_.regions ? part : memory_.size() - at;
    const auto guest = guest_base().value + at;
    all.push_back({{guest, size, user({guest}).value, at}, memory_fd_.get()});
  }
  for (const Mapped& each : mapped_) {
    const auto here =
        reinterpret_cast<std::uintptr_t>(shm_.bytes({each.range.shm_offset}, each.range.length).data());
    all.push_back({{0x80'0000'0000 + each.range.shm_offset, each.range.length, here, each.range.fd_offset},
                   each.fd.get()});
  }
  return all;
}

// A whole table, or the regions one by one, without those that were mapped.
inline Outcome<> ScriptedVmm::say_memory(const Step& step) {
  const auto all = regions();
  if (step.request == static_cast<std::uint32_t>(request::AddMemReg::number)) {
    for (std::size_t i = 0; i < habits_.regions; ++i) {
      if (auto done = exchange(step, SingleRegion{0, all[i].first}, std::span(&all[i].second, 1)); !done)
        return done;
    }
    return {};
  }
  std::vector<std::byte> body(sizeof(MemoryTableHeader) + all.size() * sizeof(MemoryRegion));
  const MemoryTableHeader head{static_cast<std::uint32_t>(all.size()), 0};
  std::memcpy(body.data(), &head, sizeof head);
  std::vector<int> fds;
  for (std::size_t i = 0; i < all.size(); ++i) {
    std::memcpy(body.data() + sizeof head + i * sizeof(MemoryRegion), &all[i].first, sizeof(MemoryRegion));
    fds.push_back(all[i].second);
  }
  return exchange_bytes(step, body, fds);
}

inline Outcome<> ScriptedVmm::exchange_bytes(const Step& step, std::span<const std::byte> body,
                                             std::span<const int> fds) {
  const char* const name = request_name(step.request);
  const Header header{step.request, flag::version | (step.need_reply ? flag::need_reply : 0),
                      static_cast<std::uint32_t>(body.size())};
  std::vector<std::byte> bytes(sizeof header + body.size());
  std::memcpy(bytes.data(), &header, sizeof header);
  std::ranges::copy(body, bytes.begin() + sizeof header);
  if (!io::send_message(main_.fd(), bytes, fds)) return failure("%s cannot be sent", name);
  const bool own = find_request(step.request)->reply == ReplyKind::own;
  if (!own && !(step.need_reply && (protocol_ & protocol_feature::reply_ack) != 0)) return {};

  const auto until = io::Clock::now() + vumedia::test::patience;
  while (io::Clock::now() < until) {
    auto message = main_.receive_some();
    if (!message) return failure("%s: %s", name, message.error().message.c_str());
    if (*message) {
      if ((*message)->header.request != step.request || (*message)->header.flags != 5)
        return failure("%s: answered by request %u, flags %u", name, (*message)->header.request,
                       (*message)->header.flags);
      reply_ = std::move((*message)->body);
      if (!own && reply_u64() != 0)
        return failure("%s: refused with %llu", name, static_cast<unsigned long long>(reply_u64()));
      return {};
    }
    pollfd state[] = {{main_.fd(), POLLIN, 0}, {channel_.fd(), POLLIN, 0}};
    ::poll(state, 2, 100);
    if (auto done = serve(); !done) return done;
  }
  return failure("%s: no answer", name);
}

// Serves the back-end's requests that have come.
inline Outcome<> ScriptedVmm::serve() {
  while (channel_) {
    auto message = channel_.receive_some();
    if (!message) {
      channel_.close();
      return {};
    }
    if (!*message) return {};
    ShmemMap range{};
    if ((*message)->body.size() != sizeof range) return failure("a back-end request of another size");
    std::memcpy(&range, (*message)->body.data(), sizeof range);
    const bool map =
        (*message)->header.request == static_cast<std::uint32_t>(backend_request::ShmemMap::number);
    Result<> done{};
    if (map) {
      done = shm_.map((*message)->fds.get(0), range.fd_offset, {range.shm_offset}, range.length,
                      (range.flags & shmem_map_writable) != 0);
      if (done) mapped_.push_back({(*message)->fds.take(0), range});
    } else {
      done = shm_.unmap({range.shm_offset}, range.length);
      std::erase_if(mapped_, [&](const Mapped& each) { return each.range.shm_offset == range.shm_offset; });
    }
    if (!done && habits_.ends_at_refusal)
      return failure("%s of 0x%llx bytes at 0x%llx: %s", map ? "SHMEM_MAP" : "SHMEM_UNMAP",
                     static_cast<unsigned long long>(range.length),
                     static_cast<unsigned long long>(range.shm_offset), std::strerror(done.error().value));
    if (done) mapped_untold_ = true;
    const struct {
      Header header;
      std::uint32_t low, high;
    } reply{{(*message)->header.request, flag::version | flag::reply, sizeof(U64)},
            static_cast<std::uint32_t>(done ? 0 : done.error().value),
            0};
    if (!io::send_message(channel_.fd(), bytes_of(reply))) return failure("the channel has gone");
  }
  return {};
}

inline Outcome<> ScriptedVmm::tell_mapped() {
  if (!std::exchange(mapped_untold_, false) || habits_.mapped == Habits::Tells::nothing) return {};
  if (habits_.mapped == Habits::Tells::table)
    return say_memory({static_cast<std::uint32_t>(request::SetMemTable::number), true, 0, {}});
  const auto all = regions();
  if (all.size() == habits_.regions) return {};
  const Step step{static_cast<std::uint32_t>(request::AddMemReg::number), true, 0, {}};
  return exchange(step, SingleRegion{0, all.back().first}, std::span(&all.back().second, 1));
}

inline Outcome<> ScriptedVmm::wait(io::TimePoint until) {
  if (auto done = serve(); !done) return done;
  if (auto told = tell_mapped(); !told) return told;
  pollfd fds[] = {{call_[0].get(), POLLIN, 0},
                  {call_[1].get(), POLLIN, 0},
                  {main_.fd(), POLLIN, 0},
                  {channel_.fd(), POLLIN, 0}};
  auto left = std::chrono::ceil<std::chrono::milliseconds>(until - io::Clock::now()).count();
  if (uncalled_[0] || uncalled_[1]) left = std::min<long long>(left, 1);
  const int ready = ::poll(fds, std::size(fds), static_cast<int>(std::clamp<long long>(left, 0, 1000)));
  if (ready <= 0) return {};
  for (std::size_t i = 0; i < call_.size(); ++i) {
    std::uint64_t count = 0;
    if (fds[i].revents != 0) [[maybe_unused]]
      const auto got = ::read(call_[i].get(), &count, sizeof count);
  }
  if (fds[2].revents != 0) return std::unexpected(Error{"the back-end has gone", EPIPE});
  return serve();
}

static_assert(client::Transport<ScriptedVmm>);

}  // namespace vumedia::vhost_user::test
