// A backend with a seeded fault: something that a device does wrong and that a test must detect.
//
// Faulty<Backend> wraps a backend with a Fault: a few hooks between it and the device. They may alter what
// the guest asks, what the backend answers, and what its sessions send on their own (from the loop and,
// through posters, for its workers). Without hooks it behaves like the backend itself; ioctls that the
// backend lacks also reach the fault, and are answered ENOTTY unless it handles them.
//
// clang-format off
//   MediaGuest<Faulty<TestPattern>> guest({}, {}, after<tag::G_FMT>([](v4l2_format& format, Result<>&) {
//     format.fmt.pix.sizeimage = 0;
//   }));
// clang-format on
#pragma once

#include <concepts>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include <linux/videodev2.h>

#include <vumedia/media/backend.hpp>
#include <vumedia/media/dispatch.hpp>
#include <vumedia/v4l2/ioctl_table.hpp>
#include <vumedia/v4l2/payload.hpp>

namespace vumedia::test {

// An ioctl on its way to the backend.
struct IoctlCall {
  std::uint32_t number = 0;
  media::Context context;  // of the session, past the fault
  Result<> result;         // the answer

  template <class Tag>
  [[nodiscard]] bool is() const noexcept {
    return number == Tag::number;
  }
  // The tag of the ioctl.
  template <class Tag>
  [[nodiscard]] typename Tag::Payload& payload() const noexcept {
    return *static_cast<typename Tag::Payload*>(raw_payload);
  }
  // Calls the backend with the current payload; the answer becomes `result`.
  void forward() { result = ask(*this, number, raw_payload); }
  // Sends it another ioctl on behalf of the session.
  template <class Tag>
  [[nodiscard]] Result<> run(typename Tag::Payload& other) {
    return ask(*this, Tag::number, &other);
  }

  void* raw_payload = nullptr;
  void* backend = nullptr;
  void* session = nullptr;
  Result<> (*ask)(IoctlCall& call, std::uint32_t number, void* payload) = nullptr;
};

// All hooks are optional and run on the loop's thread.
struct Fault {
  std::function<void(media::Config& config)> config;
  // Called instead of the backend, which forward() calls.
  std::function<void(IoctlCall& call)> ioctl;
  // Called before a buffer or an event is sent; returns how often to send it, 0 for not at all.
  std::function<int(std::uint32_t session, v4l2::Buffer& buffer)> dqbuf;
  std::function<int(std::uint32_t session, v4l2_event& event)> event;
  // Called after the backend has answered.
  std::function<void(std::uint32_t session, std::uint32_t offset, Result<media::Mappable>& answer)> mmap;
  std::function<void(std::uint32_t session, Result<>& answer)> open;
};

// ---- Faults of one ioctl

// Alters the backend's answer: `alter(payload, result)`.
template <class Tag, class F>
[[nodiscard]] Fault after(F alter) {
  Fault fault;
  fault.ioctl = [alter](IoctlCall& call) mutable {
    call.forward();
    if (call.is<Tag>()) alter(call.payload<Tag>(), call.result);
  };
  return fault;
}
// Alters what the guest asks: `alter(payload)`.
template <class Tag, class F>
[[nodiscard]] Fault before(F alter) {
  Fault fault;
  fault.ioctl = [alter](IoctlCall& call) mutable {
    if (call.is<Tag>()) alter(call.payload<Tag>());
    call.forward();
  };
  return fault;
}
// Leaves everything to `act(call)`.
template <class Tag, class F>
[[nodiscard]] Fault instead(F act) {
  Fault fault;
  fault.ioctl = [act](IoctlCall& call) mutable {
    if (call.is<Tag>()) {
      act(call);
    } else {
      call.forward();
    }
  };
  return fault;
}
// Answers without asking the backend.
template <class Tag>
[[nodiscard]] Fault ignores() {
  return instead<Tag>([](IoctlCall& call) { call.result = {}; });
}
template <class Tag>
[[nodiscard]] Fault refuses(int error) {
  return instead<Tag>([error](IoctlCall& call) { call.result = fail(error); });
}
// Answers `wrong` where the backend answers `right`; 0 is success.
template <class Tag>
[[nodiscard]] Fault mistakes(int right, int wrong) {
  return after<Tag>([right, wrong](auto&, Result<>& result) {
    if ((result ? 0 : result.error().value) == right) result = wrong == 0 ? Result<>{} : fail(wrong);
  });
}

// ---- Faults of what is sent

[[nodiscard]] inline Fault on_dqbuf(std::function<int(std::uint32_t, v4l2::Buffer&)> hook) {
  Fault fault;
  fault.dqbuf = std::move(hook);
  return fault;
}
[[nodiscard]] inline Fault on_event(std::function<int(std::uint32_t, v4l2_event&)> hook) {
  Fault fault;
  fault.event = std::move(hook);
  return fault;
}

// The layer between a backend's sessions and their device, without the types of either.
class EventTap {
 public:
  struct Open {
    media::Context real;
    void* session = nullptr;
  };

  explicit EventTap(Fault fault) : fault_(std::move(fault)) { anchor_->device = this; }
  EventTap(const EventTap&) = delete;
  EventTap& operator=(const EventTap&) = delete;
  ~EventTap() { anchor_->device = nullptr; }

  [[nodiscard]] const Fault& fault() const noexcept { return fault_; }
  // `of_sessions` are those below, with the type of the sessions.
  [[nodiscard]] media::Context open(media::Context real, const media::detail::Services& of_sessions) {
    any_ = real;
    sessions_[real.session_id()].real = real;
    return {this, of_sessions, {real.session_id(), nullptr}};
  }
  void has(std::uint32_t id, void* session) { sessions_[id].session = session; }
  void close(std::uint32_t id) { sessions_.erase(id); }
  // What the device knows of this session.
  [[nodiscard]] media::Context real(const void* session) const noexcept {
    for (const auto& [id, open] : sessions_) {
      if (open.session == session) return open.real;
    }
    return {};
  }

  template <class Session>
  static const media::detail::Services services;

 private:
  [[nodiscard]] static EventTap& of(void* self) noexcept { return *static_cast<EventTap*>(self); }
  [[nodiscard]] const Open* find(std::uint32_t id) const noexcept {
    const auto found = sessions_.find(id);
    return found != sessions_.end() ? &found->second : nullptr;
  }

  Fault fault_;
  media::Context any_;  // of any session: for the services that belong to the device
  std::map<std::uint32_t, Open> sessions_;
  std::shared_ptr<media::detail::Anchor> anchor_ = std::make_shared<media::detail::Anchor>();
};

template <class Session>
inline const media::detail::Services EventTap::services = {
    .session_type = &media::detail::type_key<Session>,
    .find_session = [](void* self, const media::detail::SessionKey& session) noexcept -> void* {
      const Open* const open = of(self).find(session.id);
      return open != nullptr ? open->session : nullptr;
    },
    .send_dqbuf =
        [](void* self, const media::detail::SessionKey& session, const v4l2::Buffer& buffer) noexcept {
          const Open* const open = of(self).find(session.id);
          if (open == nullptr) return;
          v4l2::Buffer altered = buffer;
          const auto& hook = of(self).fault_.dqbuf;
          for (int times = hook ? hook(session.id, altered) : 1; times > 0; --times)
            open->real.send_dqbuf(altered);
        },
    .send_event =
        [](void* self, const media::detail::SessionKey& session, const v4l2_event& event) noexcept {
          const Open* const open = of(self).find(session.id);
          if (open == nullptr) return;
          v4l2_event altered = event;
          const auto& hook = of(self).fault_.event;
          for (int times = hook ? hook(session.id, altered) : 1; times > 0; --times)
            open->real.send_event(altered);
        },
    .send_error =
        [](void* self, const media::detail::SessionKey& session, int error) noexcept {
          if (const Open* const open = of(self).find(session.id)) open->real.send_error(error);
        },
    .purge_dqbuf =
        [](void* self, const media::detail::SessionKey& session, std::uint32_t type) noexcept {
          if (const Open* const open = of(self).find(session.id)) open->real.purge_dqbuf(type);
        },
    .arenas = [](void* self) noexcept -> memory::Arenas& { return of(self).any_.arenas(); },
    .memory = [](void* self) noexcept -> const std::shared_ptr<const memory::GuestMemory>& {
      return of(self).any_.memory();
    },
    .work = [](void* self) noexcept -> memory::Work& { return of(self).any_.work(); },
    .do_later = [](void* self, media::Chore& chore) noexcept { of(self).any_.do_later(chore); },
    .log = [](void* self) noexcept -> const Log& { return of(self).any_.log(); },
    .timer = [](void* self, io::Operation& operation,
                io::TimePoint deadline) noexcept { of(self).any_.timer(operation, deadline); },
    .poll = [](void* self, io::Operation& operation, int fd,
               unsigned events) noexcept { of(self).any_.poll(operation, fd, events); },
    .cancel = [](void* self, io::Operation& operation) noexcept { of(self).any_.cancel(operation); },
    .inbox = [](void* self) noexcept { return of(self).any_.inbox(); },
    .anchor = [](void* self) noexcept -> const std::shared_ptr<media::detail::Anchor>& {
      return of(self).anchor_;
    },
};

// A media::Backend. Sessions are those of the wrapped backend.
template <class Backend>
class Faulty : public Backend {
 public:
  using Session = typename Backend::Session;

  // `arguments` go to the backend's constructor.
  template <class... Arguments>
  explicit Faulty(Fault fault, Arguments&&... arguments)
      : Backend(std::forward<Arguments>(arguments)...), tap_(std::move(fault)) {}

  [[nodiscard]] media::Config config() const {
    media::Config config = Backend::config();
    if (tap_.fault().config) tap_.fault().config(config);
    return config;
  }

  [[nodiscard]] Result<std::unique_ptr<Session>> open(media::Context real) {
    const std::uint32_t id = real.session_id();
    Result<> allowed;
    if (tap_.fault().open) tap_.fault().open(id, allowed);
    if (!allowed) return std::unexpected(allowed.error());
    auto session = Backend::open(tap_.open(real, EventTap::services<Session>));
    if (session) {
      tap_.has(id, session->get());
    } else {
      tap_.close(id);
    }
    return session;
  }

  void close(Session& session) {
    if constexpr (media::Closes<Backend>) Backend::close(session);
    tap_.close(tap_.real(&session).session_id());
  }

  [[nodiscard]] Result<media::Mappable> mmap(Session& session, std::uint32_t offset) {
    Result<media::Mappable> answer = fail(ENODEV);
    if constexpr (media::Maps<Backend>) answer = Backend::mmap(session, offset);
    if (tap_.fault().mmap) tap_.fault().mmap(tap_.real(&session).session_id(), offset, answer);
    return answer;
  }

  template <class Tag>
    requires requires {
      { Tag::number } -> std::convertible_to<std::uint32_t>;
    }
  [[nodiscard]] Result<> ioctl(Session& session, Tag, typename Tag::Payload& payload) {
    IoctlCall call;
    call.number = Tag::number;
    call.context = tap_.real(&session);
    call.raw_payload = &payload;
    call.backend = this;
    call.session = &session;
    call.ask = [](IoctlCall& self, std::uint32_t number, void* what) {
      return static_cast<Faulty*>(self.backend)->ask(self, number, what);
    };
    if (tap_.fault().ioctl) {
      tap_.fault().ioctl(call);
    } else {
      call.forward();
    }
    return call.result;
  }

 private:
  template <class Tag>
  [[nodiscard]] Result<> ask_one(IoctlCall& call, void* raw) {
    constexpr media::IoctlShape shape = media::ioctl_shape<Backend, Tag>();
    static_assert(shape != media::IoctlShape::deferred,
                  "test::Faulty: answers that come later cannot be altered");
    Backend& backend = *this;
    [[maybe_unused]] Session& session = *static_cast<Session*>(call.session);
    [[maybe_unused]] auto& payload = *static_cast<typename Tag::Payload*>(raw);
    if constexpr (shape == media::IoctlShape::immediate) {
      return backend.ioctl(session, Tag{}, payload);
    } else {
      static_cast<void>(backend);
      return fail(ENOTTY);
    }
  }
  [[nodiscard]] Result<> ask(IoctlCall& call, std::uint32_t number, void* payload) {
    Result<> result = fail(ENOTTY);
    v4l2::with_ioctl_tags([&]<class... Tags>() {
      static_cast<void>(((Tags::number == number && (result = ask_one<Tags>(call, payload), true)) || ...));
    });
    return result;
  }

  EventTap tap_;
};

}  // namespace vumedia::test
