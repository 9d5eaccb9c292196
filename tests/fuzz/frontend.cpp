// A vhost-user frontend whose back-end is hostile: it answers each call with what an input says, asks for
// mappings of anything on its own channel, and sends descriptors where none belong. The shared memory that it
// maps into is real.
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <vumedia/core/fd.hpp>
#include <vumedia/core/mapping.hpp>
#include <vumedia/io/fd_passing.hpp>
#include <vumedia/memory/shm_region.hpp>
#include <vumedia/vhost_user/frontend.hpp>
#include <vumedia/vhost_user/requests.hpp>
#include <vumedia/vhost_user/wire.hpp>

#include "fuzz/clock.hpp"
#include "fuzz/input.hpp"
#include "fuzz/sockets.hpp"

namespace vumedia::fuzz {
namespace {

using namespace vhost_user;

struct World {
  static constexpr std::uint64_t size = 1 << 16;
  OwnedFd file = std::move(*make_sealed_memfd("fuzz", size));
  OwnedFd event = std::move(*make_event_fd());
  OwnedFd nothing{::open("/dev/null", O_RDWR | O_CLOEXEC)};
  OwnedFd folder{::open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
  // Cannot be mapped to be written.
  OwnedFd unwritable = [] {
    OwnedFd fd(::memfd_create("fuzz", MFD_CLOEXEC | MFD_ALLOW_SEALING));
    require(::ftruncate(fd.get(), size) == 0 && ::fcntl(fd.get(), F_ADD_SEALS, F_SEAL_WRITE) == 0,
            "a file can be sealed");
    return fd;
  }();

  [[nodiscard]] int fd(std::uint8_t choice) const {
    const int all[] = {file.get(), file.get(), event.get(), nothing.get(), folder.get(), unwritable.get()};
    return all[choice % std::size(all)];
  }
};

class Conversation {
 public:
  static constexpr std::uint64_t shm_bytes = 1 << 18;

  Conversation(World& world, Input& input) : world_(world), input_(input) {
    auto [ours, theirs] = socket_pair();
    // No call waits: what does not come with it never comes.
    frontend_ = std::make_unique<Frontend>(std::move(ours), std::chrono::milliseconds(0));
    socket_ = std::move(theirs);
    shm_ = std::move(*memory::ShmRegion::reserve(shm_bytes));
    frontend_->set_shmem_handler([this](ShmemRequest request) { return map(std::move(request)); });
  }

  void run() {
    for (int step = 0; step < 100 && !input_.empty(); ++step) {
      for (std::uint32_t i = input_.below(3); i > 0; --i) speak(socket_, main_);
      if (channel_ && input_.below(4) == 0) {
        for (std::uint32_t i = input_.below(5); i > 0; --i) ask();
      }
      call(input_.below(24));
      listen();
      touch();
    }
  }

 private:
  // -- The back-end

  // Bytes on the socket, with descriptors as they come.
  void say(const OwnedFd& socket, std::span<const std::byte> bytes) {
    std::vector<int> fds;
    const std::uint32_t count = input_.below(32);
    for (std::uint32_t i = 0; i < (count < 28 ? count / 14 : count * 2); ++i)
      fds.push_back(world_.fd(input_.byte()));
    send_some(socket.get(), bytes, fds);
  }
  // The answer to request `of`, as it should be or nearly so.
  void speak(const OwnedFd& socket, std::uint32_t of) {
    if (!socket) return;
    const std::uint8_t how = input_.byte();
    if (how >= 0xf8) return say(socket, input_.bytes(input_.below(48)));
    if (how == 0xf7) {
      ::shutdown(socket.get(), SHUT_WR);
      return;
    }
    Header header{of, flag::version | flag::reply, 8};
    std::vector<std::byte> body(8);
    if ((how & 0x80) != 0) header.request = input_.below(request_limit);
    switch (how % 8) {
      case 0:
        break;
      case 1:
        input_.fill(body);
        break;
      case 2:
        body.resize(input_.below(4097));
        input_.fill(std::span(body).first(std::min<std::size_t>(body.size(), input_.below(64))));
        break;
      case 3: {
        const ConfigHeader config{input_.below(4), input_.below(300), 0};
        body.resize(sizeof config + config.size);
        std::memcpy(body.data(), &config, sizeof config);
        break;
      }
      case 4: {
        const VringState state{input_.below(3), input_.take<std::uint16_t>()};
        std::memcpy(body.data(), &state, sizeof state);
        break;
      }
      case 5:
        body.resize(sizeof(ShmemConfig));
        std::memset(body.data(), input_.byte(), 32);
        break;
      case 6: {
        const U64 all{~std::uint64_t{0} ^ input_.byte()};
        std::memcpy(body.data(), &all, sizeof all);
        break;
      }
      default:
        break;
    }
    header.size = static_cast<std::uint32_t>(body.size());
    if ((how & 0x70) == 0x70) header.size = input_.flag() ? input_.take<std::uint32_t>() : input_.below(5000);
    if ((how & 0x78) == 0x68) header.flags = input_.byte();
    std::vector<std::byte> bytes(sizeof header + body.size());
    std::memcpy(bytes.data(), &header, sizeof header);
    std::memcpy(bytes.data() + sizeof header, body.data(), body.size());
    say(socket, bytes);
  }
  // A request on the back-end's channel.
  void ask() {
    const std::uint8_t how = input_.byte();
    if (how >= 0xf8) return say(channel_, input_.bytes(input_.below(64)));
    if (how == 0xf7) return channel_.reset();
    struct {
      Header header;
      std::uint32_t body[10];
    } message{};
    const std::uint32_t number = (how & 1) != 0 ? 9 : 10;
    message.header = {(how & 0x60) == 0x60 ? input_.byte() : number,
                      flag::version | ((how & 2) != 0 ? flag::need_reply : 0), sizeof(ShmemMap)};
    ShmemMap map{};
    map.region = (how & 0x1c) == 0x1c ? input_.byte() : 0;
    map.shm_offset = input_.below(70) * page_size;
    map.fd_offset = input_.below(20) * page_size;
    map.length = input_.below(20) * page_size;
    map.flags = input_.byte();
    if ((how & 0x1c) == 0x18) map.shm_offset = input_.take<std::uint64_t>();
    if ((how & 0x1c) == 0x14) map.length = input_.take<std::uint64_t>();
    if ((how & 0x1c) == 0x10) map.fd_offset = input_.take<std::uint64_t>();
    std::memcpy(message.body, &map, sizeof map);
    std::vector<int> fds;
    if (number == 9 || (how & 0x80) != 0) fds.push_back(world_.fd(input_.byte()));
    send_some(channel_.get(), bytes_of(message), fds);
  }
  // Reads what the frontend has sent, and takes its channel. Everything is well formed.
  void listen() {
    std::array<std::byte, 4096> bytes;
    io::FdList fds;
    while (receive_some(socket_.get(), bytes, fds) > 0) {
    }
    if (main_ == static_cast<std::uint32_t>(request::SetBackendReqFd::number) && fds.size() == 1)
      channel_ = fds.take(0);
    if (channel_) {
      Replies replies;
      replies.read(channel_.get());
    }
  }

  // -- The frontend

  void next(Request request) { main_ = static_cast<std::uint32_t>(request); }
  // Announces the request whose answer `speak` should give, then calls.
  template <class Spec, class Call>
  void with(Call&& carry_out) {
    next(Spec::number);
    speak(socket_, main_);
    if (carry_out()) require(frontend_->fd() >= 0, "what succeeds leaves the connection");
  }
  void call(std::uint32_t which) {
    namespace r = request;
    Frontend& f = *frontend_;
    const Frontend::Region region{{0x10'0000}, {0x7f00'0000'0000}, World::size, 0, world_.file.get()};
    std::array<std::byte, 300> config;
    switch (which) {
      case 0:
        return with<r::GetFeatures>([&] { return f.get_features(); });
      case 1:
        return with<r::SetFeatures>([&] { return f.set_features(Frontend::default_features); });
      case 2:
        return with<r::GetProtocolFeatures>([&] { return f.get_protocol_features(); });
      case 3:
        // Not acknowledged.
        next(r::SetProtocolFeatures::number);
        static_cast<void>(f.set_protocol_features(Frontend::default_protocol_features ^ input_.byte()));
        return;
      case 4:
        return with<r::SetOwner>([&] { return f.set_owner(); });
      case 5:
      case 6:
        if (channel_) return;
        return with<r::SetBackendReqFd>([&] { return f.open_backend_channel(); });
      case 7:
        return with<r::GetQueueNum>([&] { return f.queue_count(); });
      case 8:
        return with<r::SetMemTable>([&] { return f.set_memory(std::span(&region, 1)); });
      case 9:
        return with<r::GetMaxMemSlots>([&] { return f.max_memory_slots(); });
      case 10:
        return with<r::AddMemReg>([&] { return f.add_region(region); });
      case 11:
        return with<r::RemMemReg>([&] { return f.remove_region(region); });
      case 12:
        return with<r::SetVringNum>([&] { return f.set_vring_size(0, 16); });
      case 13:
        return with<r::SetVringAddr>([&] { return f.set_vring_addresses(0, {1}, {2}, {3}); });
      case 14:
        return with<r::SetVringKick>([&] { return f.set_vring_kick(0, world_.event.get()); });
      case 15:
        return with<r::SetVringCall>([&] { return f.set_vring_call(1, -1); });
      case 16:
        return with<r::SetVringEnable>([&] { return f.enable_vring(0, true); });
      case 17:
      case 18:
        return with<r::GetVringBase>([&] { return f.stop_vring(input_.below(2)); });
      case 19:
        return with<r::GetConfig>(
            [&] { return f.get_config(input_.below(4), std::span(config).first(input_.below(300))); });
      case 20:
        return with<r::SetConfig>([&] { return f.set_config(0, std::span(config).first(4)); });
      case 21:
        return with<r::GetShmemConfig>([&] { return f.shmem_config(); });
      case 22:
        return with<r::GetStatus>([&] { return f.get_status(); });
      default:
        static_cast<void>(f.serve_backend());
    }
  }

  // As a VMM does it.
  Result<> map(ShmemRequest request) {
    const ShmemMap& range = request.range;
    require(range.length != 0 && range.length % page_size == 0, "a length is whole pages");
    require(range.shm_offset % page_size == 0 && range.fd_offset % page_size == 0, "offsets are whole pages");
    require(range.shm_offset + range.length > range.shm_offset, "a range does not overflow");
    require(request.map == (request.fd.get() >= 0), "a map has a descriptor");
    require(++handled_ < 10'000, "a back-end's requests are bounded by what it sends");
    if (range.region != 0) return fail(EINVAL);
    if (!request.map) return shm_.unmap({range.shm_offset}, range.length);
    const auto mapped = shm_.map(request.fd.get(), range.fd_offset, {range.shm_offset}, range.length,
                                 (range.flags & shmem_map_writable) != 0);
    if (mapped && base_ == nullptr)
      base_ = shm_.bytes({range.shm_offset}, range.length).data() - range.shm_offset;
    // Where a map fails, nobody else may come to lie: the region's next map would replace them.
    require(base_ == nullptr || ::msync(base_, shm_bytes, MS_ASYNC) == 0, "a region stays reserved");
    return mapped;
  }
  // What is said to be mapped can be read.
  void touch() {
    const auto bytes = shm_.bytes({input_.below(70) * page_size}, page_size);
    if (!bytes.empty()) {
      volatile std::byte seen = bytes[0];
      static_cast<void>(seen);
    }
  }

  World& world_;
  Input& input_;
  OwnedFd socket_, channel_;
  memory::ShmRegion shm_;
  std::byte* base_ = nullptr;  // of the region, once something was mapped
  std::unique_ptr<Frontend> frontend_;
  std::uint32_t main_ = 0;
  int handled_ = 0;
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
