#include "loop.hpp"

namespace vumedia::device {

// With `try_it`, a reactor that cannot run is none.
template <class Reactor>
Outcome<std::unique_ptr<Loop>> Loop::make(bool try_it) {
  auto reactor = Reactor::create();
  if (!reactor) return std::unexpected(std::move(reactor.error()));
  if (try_it) {
    if (const auto turn = (*reactor)->run_once(false); !turn)
      return system_failure(turn.error().value, "io_uring cannot be used");
  }
  return std::unique_ptr<Loop>(new Loop(std::move(*reactor)));
}

Outcome<std::unique_ptr<Loop>> Loop::create(ReactorKind kind, const Log& log) {
  if (kind == ReactorKind::epoll) return make<io::EpollReactor>(false);
  // A sandbox may allow to make a ring and forbid its use.
  auto loop = make<io::UringReactor>(true);
  if (loop || kind == ReactorKind::io_uring) return loop;
  log.write(LogLevel::warning, "epoll is used, with three system calls for each command instead of one: %s",
            loop.error().message.c_str());
  return make<io::EpollReactor>(false);
}

}  // namespace vumedia::device
