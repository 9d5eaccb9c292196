// One open file of a host device, with a thread of its own.
//
// The loop's thread never touches the device, not even to poll it: drivers hold one lock during all ioctls of
// a device, and their poll takes it, too (vb2_fop_poll, v4l2_m2m_fop_poll). A loop that polled the node would
// hang when an ioctl hangs. So each file's thread carries out the guest's ioctls in order, and between them
// waits for the node and for the next ioctl. It is never joined: a host ioctl that never returns costs a
// thread and a file descriptor, but neither a session nor the end of the program waits for it.
//
// What the thread polls for: POLLPRI always; POLLIN and POLLOUT only while a queue streams and the kernel has
// buffers of it, because otherwise poll returns POLLERR at once, or a read() stream is started.
#pragma once

#include <array>
#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <system_error>
#include <thread>
#include <utility>

#include <fcntl.h>
#include <linux/videodev2.h>
#include <poll.h>
#include <pthread.h>

#include <vumedia/backends/v4l2_proxy/controls.hpp>
#include <vumedia/backends/v4l2_proxy/node.hpp>
#include <vumedia/backends/v4l2_proxy/queues.hpp>
#include <vumedia/backends/v4l2_proxy/sanitize.hpp>
#include <vumedia/backends/v4l2_proxy/shared.hpp>
#include <vumedia/core/checked.hpp>
#include <vumedia/core/fd.hpp>
#include <vumedia/core/mapping.hpp>
#include <vumedia/core/result.hpp>
#include <vumedia/io/inbox.hpp>
#include <vumedia/media/backend.hpp>
#include <vumedia/media/completion.hpp>
#include <vumedia/media/context.hpp>
#include <vumedia/memory/contiguous.hpp>
#include <vumedia/memory/guest_memory.hpp>
#include <vumedia/v4l2/ioctl_table.hpp>
#include <vumedia/v4l2/payload.hpp>

namespace vumedia::backends::v4l2_proxy {

class Session;

/// A plane that the guest may map: where the kernel has it, with a dmabuf if the node itself cannot be
/// mapped.
struct NamedPlane {
  std::uint64_t kernel_offset = 0;                       ///< in the node, or in the dmabuf
  std::uint32_t length = 0;                              ///< in bytes
  std::shared_ptr<const media::ForeignMemory> exported;  ///< null: it is mapped through the node
};

/// A file and its thread, which share it. Each function says whose it is.
class File {
  struct Key {};

 public:
  using Poster = media::Poster<Session>;  ///< the thread's way back to the session

  /// Commands of one file that wait for their turn. More get EBUSY.
  static constexpr std::uint32_t max_waiting = 64;

  /// What a file is constructed from.
  struct Parts {
    std::shared_ptr<const NodeInfo> node;      ///< the device
    std::shared_ptr<Shared> shared;            ///< limits of all files
    std::shared_ptr<memory::Budget> mappings;  ///< of guest pages
    std::shared_ptr<memory::Budget> bytes;     ///< of all buffers, and of current control values
    bool exports = false;  ///< buffers are mapped as dmabufs even if the node can be mapped
  };

  /// Starts the thread, which opens the node and reports the result through `opened`. EMFILE: too many
  /// threads already; EAGAIN: the system cannot start one.
  [[nodiscard]] static Result<std::shared_ptr<File>> start(Parts parts, Poster poster,
                                                           media::Completion opened) {
    const auto shared = parts.shared;
    auto inbox = io::Inbox::create();
    if (!inbox) return std::unexpected(inbox.error());
    if (!shared->take_thread()) return fail(EMFILE);
    auto file = std::make_shared<File>(Key{}, std::move(parts), std::move(poster), std::move(*inbox));
    // The library throws nothing, but a thread's constructor has no other way to fail.
    try {
      std::thread([file, closed = shared->closings.last(), opened = std::move(opened)]() mutable {
        ::pthread_setname_np(::pthread_self(), "v4l2-proxy");
        const auto of = file->shared_;
        file->run(closed, std::move(opened));
        // The file and what it owns are destroyed before the thread counts as ended.
        file.reset();
        of->give_back_thread();
      }).detach();
    } catch (const std::system_error&) {
      shared->give_back_thread();
      return fail(EAGAIN);
    }
    return file;
  }

  /// For start(), which alone has a Key.
  File(Key, Parts parts, Poster poster, std::shared_ptr<io::Inbox> inbox) noexcept
      : node_(std::move(parts.node)),
        shared_(std::move(parts.shared)),
        bytes_(std::move(parts.bytes)),
        exports_(parts.exports),
        poster_(std::move(poster)),
        inbox_(std::move(inbox)),
        queues_(std::move(parts.mappings), bytes_) {}
  File(const File&) = delete;
  File& operator=(const File&) = delete;

  // -- The loop's side

  /// Runs `command(File&) -> Result<>` on the file's thread, and answers with its result.
  template <class Command>
  void submit(media::Completion completion, Command command) {
    if (waiting_.fetch_add(1, std::memory_order_relaxed) >= max_waiting) {
      waiting_.fetch_sub(1, std::memory_order_relaxed);
      return completion.complete(fail(EBUSY));
    }
    inbox_->post([this, closed = shared_->closings.last(), completion = std::move(completion),
                  command = std::move(command)]() mutable {
      waiting_.fetch_sub(1, std::memory_order_relaxed);
      if (closing_.load(std::memory_order_relaxed)) return;
      shared_->closings.wait(closed);
      completion.complete(fd_ ? command(*this) : fail(ENODEV));
    });
  }

  /// Ends the thread, after what it is doing now; commands that wait are dropped. Called once.
  void close() {
    closing_.store(true, std::memory_order_relaxed);
    const std::uint64_t closing = shared_->closings.begin();
    if (!inbox_->post([this, closing] { closing_id_ = closing; })) shared_->closings.end(closing);
  }

  /// A descriptor of the open node. Call it on the loop's thread, for a file that is open and not closed.
  [[nodiscard]] Result<OwnedFd> duplicate() const noexcept { return fd_.duplicate(); }

  // -- The thread's side: what commands do

  /// An ioctl whose payload is one struct.
  [[nodiscard]] Result<> plain(unsigned long code, void* payload);
  /// QUERYBUF, QBUF, PREPARE_BUF.
  [[nodiscard]] Result<> buffer(unsigned long code, v4l2::BufferPayload& payload,
                                const memory::GuestMemory& memory);
  /// G_EXT_CTRLS, S_EXT_CTRLS, TRY_EXT_CTRLS.
  [[nodiscard]] Result<> controls(unsigned long code, v4l2::ExtControls& payload,
                                  const memory::GuestMemory& memory) {
    const auto kernel = [this](unsigned long inner, void* argument) {
      return call(fd_.get(), inner, argument);
    };
    return pass_controls(kernel, code, payload, memory, bytes_);
  }

 private:
  // Buffers and events that are taken at once, so that a busy device leaves time for commands.
  static constexpr int taken_a_turn = 64;
  // How long a driver is not polled again after its poll has reported something although there was nothing.
  static constexpr int pause_milliseconds = 10;

  void run(std::uint64_t closed, media::Completion opened);
  [[nodiscard]] Result<> open();
  void shut_down() noexcept;
  [[nodiscard]] short wanted_events() noexcept;
  [[nodiscard]] bool on_ready(short seen);
  bool take_events();
  [[nodiscard]] bool take_buffers(std::uint32_t type, Queue& queue);
  void give_up_buffers(std::uint32_t type, Queue& queue);
  void send(const KernelBuffer& kernel);
  [[nodiscard]] Result<> seek(void* payload);
  [[nodiscard]] Result<> allocate(unsigned long code, void* payload, std::uint32_t type, std::uint32_t memory,
                                  std::uint32_t& count, std::uint64_t size, bool replaces);
  void give_back_bytes(Queue& queue) noexcept;
  [[nodiscard]] static std::uint64_t image_size(const v4l2_format& format) noexcept;
  [[nodiscard]] std::uint64_t image_size(std::uint32_t type) noexcept;
  void note(unsigned long code, const void* payload);
  [[nodiscard]] Result<> refuse(unsigned long code, KernelBuffer& kernel);
  [[nodiscard]] Result<> name_planes(const KernelBuffer& kernel);
  void forget_planes(std::uint32_t type, std::uint32_t first, std::uint64_t count);

  const std::shared_ptr<const NodeInfo> node_;
  const std::shared_ptr<Shared> shared_;
  const std::shared_ptr<memory::Budget> bytes_;
  const bool exports_;
  const Poster poster_;
  const std::shared_ptr<io::Inbox> inbox_;
  std::atomic<std::uint32_t> waiting_{0};
  std::atomic<bool> closing_{false};

  // Belongs to the thread. The loop reads fd_ after it has been told that the file is open.
  OwnedFd fd_;
  Queues queues_;
  std::map<std::uint32_t, NamedPlane> named_;  // by the guest's offset
  std::uint64_t closing_id_ = 0;               // not 0: to be closed
  bool gone_ = false;                          // unplugged
  bool fruitless_ = false;                     // the last poll reported something, but there was nothing
};

}  // namespace vumedia::backends::v4l2_proxy

#include <vumedia/backends/v4l2_proxy/session.hpp>
