// A V4L2 device of the host, passed through to the guest: a camera, a capture card, a codec, a radio.
//
// Every ioctl that virtio-media carries goes to the host's driver, and its errno and output go back;
// v4l2_proxy/sanitize.hpp lists the few exceptions, and what is removed from payloads. Buffers are never
// copied: those of the driver (MMAP) are mapped into shared memory from its own file, and pages of the guest
// (USERPTR) are given to the driver side by side. Each open file of the guest is an open file on the host,
// with a thread of its own (v4l2_proxy/file.hpp), so that a driver that is slow or hangs delays the answers
// to that file only. None of it inherits the ioctls of v4l2/ioctls.hpp, because the host's driver keeps the
// buffers, controls, subscriptions and priorities of these files itself, and checks them.
//
// clang-format off
//   auto node = backends::v4l2_proxy::examine_node("/dev/video0");       // what is wrong with it, in a line
//   backends::V4l2ProxyOptions options{.node = std::make_shared<...>(std::move(*node))};
// clang-format on
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>

#include <vumedia/backends/v4l2_proxy/file.hpp>
#include <vumedia/backends/v4l2_proxy/node.hpp>
#include <vumedia/backends/v4l2_proxy/sanitize.hpp>
#include <vumedia/backends/v4l2_proxy/shared.hpp>
#include <vumedia/core/result.hpp>
#include <vumedia/media/backend.hpp>
#include <vumedia/memory/contiguous.hpp>
#include <vumedia/v4l2/ioctl_table.hpp>

namespace vumedia::backends {

/// Which device is passed through, and what its guest may take.
struct V4l2ProxyOptions {
  /// The device, as v4l2_proxy::examine_node found it. Not null.
  std::shared_ptr<const v4l2_proxy::NodeInfo> node;
  /// Mappings of guest pages that USERPTR buffers of one open file may take: one for each piece.
  std::size_t max_mappings = 16384;
  /// Memory of the buffers of all open files together. What the driver takes for MMAP buffers counts: beyond
  /// the limit REQBUFS and CREATE_BUFS give fewer than requested, or ENOMEM. Planes of USERPTR buffers count,
  /// too, each byte as often as it is named: beyond the limit QBUF and PREPARE_BUF answer ENOMEM.
  std::size_t max_buffer_bytes = std::size_t{256} << 20;
  /// Maps MMAP buffers as dmabufs that the driver exports, instead of its own file: for a frontend that does
  /// not map device files. Buffers that cannot be mapped through the node are mapped this way in any case.
  bool export_buffers = false;
  /// What all connections share. None: the backend makes its own.
  std::shared_ptr<v4l2_proxy::Shared> shared;
};

/// A backend without state of its own: sessions have the files.
class V4l2Proxy {
 public:
  using Session = v4l2_proxy::Session;  ///< an open file, on both sides

  /// `options.node` is not null.
  explicit V4l2Proxy(V4l2ProxyOptions options)
      : options_(std::move(options)), bytes_(std::make_shared<memory::Budget>(options_.max_buffer_bytes)) {
    if (options_.shared == nullptr) options_.shared = std::make_shared<v4l2_proxy::Shared>();
  }

  /// What the host's node says, with its card.
  [[nodiscard]] media::Config config() const noexcept {
    return {.device_caps = options_.node->capabilities,
            .device_type = options_.node->type,
            .card = options_.node->card};
  }

  /// Answers as open(2) did on the host; ENODEV if the device is gone or was replaced by another. EMFILE,
  /// EAGAIN: there is no thread for it.
  [[nodiscard]] Result<std::unique_ptr<Session>> open(media::Context context, media::Completion opened) {
    auto session = std::make_unique<Session>(context);
    auto mappings = std::make_shared<memory::Budget>(options_.max_mappings, options_.shared->mappings);
    auto file = v4l2_proxy::File::start(
        {options_.node, options_.shared, std::move(mappings), bytes_, options_.export_buffers},
        context.poster<Session>(), std::move(opened));
    if (!file) return std::unexpected(file.error());
    session->attach(std::move(*file));
    return session;
  }

  /// See Session::mmap().
  [[nodiscard]] Result<media::Mappable> mmap(Session& session, std::uint32_t mem_offset) {
    return session.mmap(mem_offset);
  }

  /// Every ioctl of the table that a proxy can pass on.
  template <class Tag>
    requires v4l2_proxy::is_passed_on<Tag>
  void ioctl(Session& session, Tag, typename Tag::Payload& payload, media::Completion completion) {
    using v4l2_proxy::File;
    using Payload = typename Tag::Payload;
    File& file = session.file();
    // The payload lives as long as the completion; guest memory as long as the command that uses it.
    if constexpr (std::same_as<Payload, v4l2::BufferPayload>) {
      file.submit(std::move(completion), [&payload, memory = session.memory()](File& on) {
        return on.buffer(Tag::code, payload, *memory);
      });
    } else if constexpr (std::same_as<Payload, v4l2::ExtControls>) {
      file.submit(std::move(completion), [&payload, memory = session.memory()](File& on) {
        return on.controls(Tag::code, payload, *memory);
      });
    } else if constexpr (v4l2_proxy::is_sanitized<Tag>) {
      const Payload sent = payload;
      if (const auto allowed = v4l2_proxy::before<Tag>(payload, options_.node->capabilities); !allowed)
        return completion.complete(allowed);
      file.submit(std::move(completion), [&payload, sent](File& on) {
        const auto done = on.plain(Tag::code, &payload);
        v4l2_proxy::after<Tag>(payload, sent);
        return done;
      });
    } else {
      pass_on(file, Tag::code, &payload, std::move(completion));
    }
  }

 private:
  // One function for the many ioctls whose payload has the same meaning for guest and host.
  static void pass_on(v4l2_proxy::File& file, unsigned long code, void* payload,
                      media::Completion completion) {
    file.submit(std::move(completion),
                [code, payload](v4l2_proxy::File& on) { return on.plain(code, payload); });
  }

  V4l2ProxyOptions options_;
  std::shared_ptr<memory::Budget> bytes_;
};

}  // namespace vumedia::backends
