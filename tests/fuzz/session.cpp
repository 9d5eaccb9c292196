// A vhost-user session and its frontend, who sends any bytes and descriptors, kicks, writes to the rings, and
// answers the back-end's own requests or does not. Real sockets, memory files and event fds.
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <vumedia/core/fd.hpp>
#include <vumedia/io/fd_passing.hpp>
#include <vumedia/vhost_user/frontend.hpp>
#include <vumedia/vhost_user/session.hpp>
#include <vumedia/virtio/driver_queue.hpp>

#include "fuzz/input.hpp"
#include "fuzz/loop.hpp"
#include "fuzz/sockets.hpp"
#include "support/guest_ram.hpp"
#include "vhost_user/echo_device.hpp"

namespace vumedia::fuzz {
namespace {

using namespace vhost_user;

// An EchoDevice that knows when it may be called.
class Device : public vhost_user::test::EchoDevice<SessionHost<Loop>> {
 public:
  Device(SessionHost<Loop>& host, vhost_user::test::EchoState& state)
      : EchoDevice(host, state), host_(host) {}

  void process(std::uint16_t index) noexcept {
    require(index < queue_count, "the device is called for queues that it has");
    require(host_.queue_running(index), "the device is called for queues that run");
    require(host_.queue(index).started(), "a queue that runs is started");
    EchoDevice::process(index);
  }

 private:
  SessionHost<Loop>& host_;
};
using Served = Session<Device, Loop>;

// What outlives an input: files and event fds that frontends send copies of.
struct World {
  static constexpr std::uint64_t guest = 0x10'0000, stride = 0x4000;
  static constexpr std::uint16_t queue_size = 16;

  vumedia::test::RamFile ram{guest, 1 << 16}, more{guest + (1 << 16), 1 << 13};
  std::array<OwnedFd, 4> events{event(EFD_NONBLOCK), event(EFD_NONBLOCK), event(0),
                                event(EFD_NONBLOCK | EFD_SEMAPHORE)};
  OwnedFd nothing{::open("/dev/null", O_RDWR | O_CLOEXEC)};
  OwnedFd folder{::open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
  OwnedFd read_only{::open(("/proc/self/fd/" + std::to_string(ram.fd())).c_str(), O_RDONLY | O_CLOEXEC)};
  std::pair<OwnedFd, OwnedFd> pipe = make_pipe();
  Loop loop;

  static OwnedFd event(int flags) { return std::move(*make_event_fd(flags | EFD_CLOEXEC)); }
  static std::pair<OwnedFd, OwnedFd> make_pipe() {
    int ends[2];
    require(::pipe2(ends, O_CLOEXEC | O_NONBLOCK) == 0, "there is a pipe");
    return {OwnedFd(ends[0]), OwnedFd(ends[1])};
  }
  // Mostly those that a frontend would send.
  [[nodiscard]] int fd(std::uint8_t choice) const {
    const int all[] = {events[0].get(), events[1].get(), events[2].get(), events[3].get(), ram.fd(),
                       more.fd(),       nothing.get(),   folder.get(),    read_only.get(), pipe.first.get()};
    return all[choice % std::size(all)];
  }
  void begin() {
    std::memset(ram.data(), 0, ram.size());
    std::memset(more.data(), 0, more.size());
    for (const OwnedFd& each : events) {
      pollfd state{each.get(), POLLIN, 0};
      std::uint64_t count = 0;
      while (::poll(&state, 1, 0) == 1 && ::read(each.get(), &count, sizeof count) > 0) {
      }
    }
  }
};

class Conversation {
 public:
  Conversation(World& world, Input& input) : world_(world), input_(&input) {
    world_.begin();
    auto [theirs, ours] = socket_pair();
    socket_ = std::move(ours);
    const SessionOptions options{{}, input.flag()};
    session_ = std::make_unique<Served>(
        world_.loop, std::move(theirs), options,
        [this](const Error&) {
          require(!ended_, "a session ends once");
          ended_ = true;
        },
        state_);
  }
  ~Conversation() {
    session_.reset();
    require(state_.alive == 0, "a device ends with its session");
    world_.loop.settle();
    require(world_.loop.pending() == 0, "a session leaves nothing to be waited for");
  }

  void run() {
    for (int step = 0; step < 200 && !input().empty() && !ended_; ++step) {
      act(input().below(12));
      world_.loop.settle();
    }
    socket_.reset();
    world_.loop.settle();
    // One that has to wait for commands, in vain, notices the end at the next look.
    for (int i = 0; i < 8 && !ended_; ++i) {
      if (world_.loop.advance()) world_.loop.settle();
    }
    require(ended_, "a session ends with its connection");
  }

 private:
  void act(std::uint32_t what) {
    switch (what) {
      case 0:
      case 1:
        return send_request();
      case 2:
        return send(input().bytes(input().below(64)), some_fds());
      case 3:
        return kick(input().below(4), input().byte());
      case 4:
        return offer(static_cast<std::uint16_t>(input().below(2)));
      case 5:
        return write_memory();
      case 6:
        return device_acts(session_->device());
      case 7:
        return answer();
      case 8:
        world_.loop.advance();
        return;
      case 9:
      case 10:
        return start_up(input().byte(), input().byte());
      default:
        replies_.read(socket_.get());
        if (input().below(8) == 0) ::shutdown(socket_.get(), input().flag() ? SHUT_WR : SHUT_RD);
    }
  }

  // -- The main socket

  [[nodiscard]] std::vector<int> some_fds() {
    std::vector<int> fds;
    // Few, as a rule; or more than fit.
    const std::uint32_t count = input().below(16);
    for (std::uint32_t i = 0; i < (count < 14 ? count / 4 : count * 2); ++i)
      fds.push_back(world_.fd(input().byte()));
    return fds;
  }
  void send(std::span<const std::byte> bytes, const std::vector<int>& fds) {
    if (!bytes.empty()) send_some(socket_.get(), bytes, fds);
  }

  [[nodiscard]] Input& input() { return *input_; }
  [[nodiscard]] std::uint32_t queue_index() {
    if (plain_) return *plain_;
    const std::uint8_t byte = input().byte();
    return byte < 0xf0 ? byte & 1U : byte;
  }
  [[nodiscard]] MemoryRegion region(int& fd) {
    MemoryRegion region{};
    const vumedia::test::RamFile& file = input().flag() ? world_.more : world_.ram;
    region = {file.guest(), file.size(), file.frontend(), 0};
    fd = file.fd();
    switch (input().below(12)) {
      case 0:
        region.guest_address += input().take<std::uint16_t>();
        break;
      case 1:
        region.size = input().take<std::uint64_t>();
        break;
      case 2:
        region.user_address -= input().take<std::uint16_t>();
        break;
      case 3:
        region.mmap_offset = input().take<std::uint16_t>();
        region.size -= std::min(region.size, region.mmap_offset);
        break;
      case 4:
        region.guest_address = input().take<std::uint64_t>();
        break;
      case 5:
        fd = world_.fd(input().byte());
        break;
      default:
        break;
    }
    return region;
  }

  struct Body {
    std::vector<std::byte> bytes;
    std::vector<int> fds;

    template <class T>
    void add(const T& value) {
      const auto more = bytes_of(value);
      bytes.insert(bytes.end(), more.begin(), more.end());
    }
  };
  // A body that the request could have.
  [[nodiscard]] Body body_of(Request request) {
    Body body;
    const auto is = [request]<class Spec>(Spec) { return request == Spec::number; };
    if (is(request::SetFeatures{})) {
      body.add(U64{Frontend::default_features ^ (input().flag() ? 0 : std::uint64_t{input().byte()} << 26)});
    } else if (is(request::SetProtocolFeatures{})) {
      body.add(U64{Frontend::default_protocol_features ^ input().take<std::uint32_t>()});
    } else if (is(request::SetMemTable{})) {
      const std::uint32_t count = (input().below(4) + 1) % 4;
      body.add(MemoryTableHeader{count, 0});
      for (std::uint32_t i = 0; i < count; ++i) body.add(region(body.fds.emplace_back()));
    } else if (is(request::AddMemReg{}) || is(request::RemMemReg{})) {
      int fd = -1;
      body.add(SingleRegion{0, region(fd)});
      if (is(request::AddMemReg{}) || input().below(8) == 0) body.fds.push_back(fd);
    } else if (is(request::SetVringNum{})) {
      body.add(VringState{queue_index(),
                          input().below(4) != 3 ? World::queue_size : input().take<std::uint32_t>()});
    } else if (is(request::SetVringBase{})) {
      body.add(VringState{queue_index(), input().below(4)});
    } else if (is(request::SetVringEnable{})) {
      body.add(VringState{queue_index(), (input().below(4) + 1) % 4});
    } else if (is(request::GetVringBase{})) {
      body.add(VringState{queue_index(), 0});
    } else if (is(request::SetVringAddr{})) {
      const std::uint32_t index = queue_index();
      const virtio::DriverQueue& queue = queues_[index & 1];
      const auto user = [&](memory::GuestAddress address) {
        return address.value - world_.ram.guest() + world_.ram.frontend() +
               (input().below(8) == 0 ? input().byte() : 0U);
      };
      body.add(
          VringAddress{index, 0, user(queue.descriptors()), user(queue.used()), user(queue.available()), 0});
    } else if (is(request::SetVringKick{}) || is(request::SetVringCall{}) || is(request::SetVringErr{})) {
      const auto choice = plain_ ? static_cast<std::uint8_t>(*plain_) : input().byte();
      body.add(U64{queue_index() | (choice >= 0xe0 ? vring_no_fd : 0)});
      if (choice < 0xe8) body.fds.push_back(world_.fd(choice % 16 < 12 ? choice % 4 : choice / 16));
    } else if (is(request::SetBackendReqFd{})) {
      auto [ours, theirs] = socket_pair();
      channel_ = std::move(ours);
      body.fds.push_back(theirs.get());
      lent_ = std::move(theirs);
    } else if (is(request::GetConfig{}) || is(request::SetConfig{})) {
      const std::uint32_t size = input().below(44);
      body.add(ConfigHeader{input().below(4), size, 0});
      body.bytes.resize(body.bytes.size() + size);
    } else if (is(request::SetStatus{})) {
      body.add(U64{plain_ ? 15U : input().byte()});
    } else if (const RequestRow* const row = find_request(static_cast<std::uint32_t>(request))) {
      body.bytes.resize(row->least_size);
      if (row->fds.least > 0) body.fds.push_back(world_.fd(input().byte()));
    }
    return body;
  }
  void send_request() { send_request(Request{input().below(request_limit + 1)}, input().byte()); }
  void send_request(Request request, std::uint8_t how) {
    Body body = body_of(request);
    if (how >= 0xf0) body.bytes.resize(input().below(80));
    if ((how & 0x0e) == 0x0e && !body.bytes.empty())
      body.bytes[input().below(static_cast<std::uint32_t>(body.bytes.size()))] ^= input().take<std::byte>();
    if ((how & 0x70) == 0x70) body.fds = some_fds();
    const Header header{static_cast<std::uint32_t>(request),
                        flag::version | ((how & 1) != 0 ? flag::need_reply : 0),
                        static_cast<std::uint32_t>(body.bytes.size())};
    Body message;
    message.add(header);
    message.bytes.insert(message.bytes.end(), body.bytes.begin(), body.bytes.end());
    const std::span<const std::byte> bytes(message.bytes);
    // All at once, or in two pieces.
    const std::size_t first = (how & 0x80) != 0 ? 1 + input().below(24) : bytes.size();
    send(bytes.first(std::min(first, bytes.size())), body.fds);
    if (first < bytes.size()) {
      world_.loop.settle();
      send(bytes.subspan(first), {});
    }
    lent_.reset();
  }

  // All that a frontend sends until both rings run, without one pair of steps (0: all of them), and no more
  // than so many steps (0: all of them).
  void start_up(std::uint8_t skipped, std::uint8_t most) {
    namespace r = request;
    constexpr Request once[] = {r::SetProtocolFeatures::number, r::SetOwner::number,
                                r::SetBackendReqFd::number, r::SetFeatures::number, r::SetMemTable::number};
    constexpr Request each[] = {r::SetVringNum::number,   r::SetVringBase::number, r::SetVringAddr::number,
                                r::SetVringCall::number,  r::SetVringErr::number,  r::SetVringKick::number,
                                r::SetVringEnable::number};
    Input nothing(nullptr, 0);
    Input* const whole = std::exchange(input_, &nothing);
    std::uint8_t step = 0;
    const auto send_next = [&](Request request) {
      ++step;
      if (!ended_ && (most == 0 || step <= most) && (skipped == 0 || step / 2 != skipped))
        send_request(request, 1);
      if (!ended_) world_.loop.settle();
    };
    plain_ = 0;
    for (const Request request : once) send_next(request);
    for (const std::uint32_t queue : {0U, 1U}) {
      plain_ = queue;
      for (const Request request : each) send_next(request);
    }
    send_next(r::SetStatus::number);
    plain_.reset();
    input_ = whole;
  }

  // -- The driver

  void kick(std::uint32_t which, std::uint8_t count) {
    const std::uint64_t value = count == 0xff ? ~std::uint64_t{0} - 1 : count;
    pollfd state{world_.events[which].get(), POLLOUT, 0};
    // Would it wait? Only if it counts no further.
    if (::poll(&state, 1, 0) == 1 && (state.revents & POLLOUT) != 0 && value <= 0xff)
      require(::write(world_.events[which].get(), &value, sizeof value) == sizeof value, "it can be kicked");
  }
  void offer(std::uint16_t index) {
    const virtio::Piece pieces[] = {
        {{World::guest + 0x8000 + input().byte() * 16U}, input().below(100), false},
        {{World::guest + 0xc000 + input().byte() * 16U}, input().below(100), true}};
    static_cast<void>(queues_[index].add(std::span(pieces).subspan(index), input().flag()));
    static_cast<void>(queues_[index].publish());
    const std::uint64_t one = 1;
    if (index < 2) static_cast<void>(::write(world_.events[index].get(), &one, sizeof one));
  }
  void write_memory() {
    const auto at = input().take<std::uint16_t>();
    const auto bytes = input().bytes(1 + input().below(16));
    const std::size_t most = world_.ram.size() - at;
    std::memcpy(world_.ram.data() + at, bytes.data(), std::min(bytes.size(), most));
  }

  // -- The device and its channel

  void device_acts(Device& device) {
    const virtio::ShmMapping mapping{
        .fd = world_.ram.fd(), .offset = {std::uint64_t{input().byte()} * page_size}, .length = page_size};
    switch (input().below(6)) {
      case 0:
        state_.hold = !state_.hold;
        break;
      case 1:
        device.release();
        break;
      case 2:
        device.tell(std::byte{7});
        break;
      case 3:
        if (maps_++ < 64) device.map(mapping);
        break;
      case 4:
        if (maps_++ < 64) device.unmap(mapping);
        break;
      default:
        device.abandon();
    }
  }
  // As the back-end's requests come, the frontend answers them, more or less.
  void answer() {
    if (!channel_) return;
    const std::uint8_t how = input().byte();
    if (how == 0xff) return channel_.reset();
    if (how >= 0xe0) return send_some(channel_.get(), input().bytes(input().below(32)), some_fds());
    struct {
      Header header;
      std::uint32_t body[10];
    } request{};
    static_assert(sizeof request == sizeof(Header) + sizeof(ShmemMap));
    io::FdList fds;
    const auto got = receive_some(channel_.get(), std::as_writable_bytes(std::span(&request, 1)), fds);
    if (got == 0) return;
    require(got == sizeof request, "the back-end's requests come as a whole");
    require(
        request.header.flags == (flag::version | flag::need_reply) && request.header.size == sizeof(ShmemMap),
        "the back-end's requests are well formed");
    Body reply;
    reply.add(Header{request.header.request, flag::version | flag::reply, sizeof(U64)});
    reply.add(U64{how < 0x80 ? 0U : how});
    send_some(channel_.get(), reply.bytes, {});
  }

  World& world_;
  Input* input_;
  std::optional<std::uint32_t> plain_;  // the queue that is set up as it should be
  OwnedFd socket_, channel_, lent_;
  Replies replies_;
  vhost_user::test::EchoState state_;
  std::array<virtio::DriverQueue, 2> queues_{
      virtio::DriverQueue{world_.ram.data(), {World::guest}, World::queue_size, true},
      virtio::DriverQueue{
          world_.ram.data() + World::stride, {World::guest + World::stride}, World::queue_size, true}};
  bool ended_ = false;
  int maps_ = 0;
  std::unique_ptr<Served> session_;
};

}  // namespace
}  // namespace vumedia::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace vumedia::fuzz;
  static World world;
  const Balance balance;
  Input input(data, size);
  Conversation(world, input).run();
  return 0;
}
