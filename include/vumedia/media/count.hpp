// How the parts of a device count what happens, if its backend asks for that.
#pragma once

#include <vumedia/media/backend.hpp>

namespace vumedia::media {

/// Calls `f(statistics)` with the statistics of a backend that has them (media/statistics.hpp). For any other
/// backend the call is not compiled.
template <class Backend>
class Count {
 public:
  /// `backend` outlives it.
  explicit Count(Backend& backend) noexcept : backend_(&backend) {}
  /// Calls `f` with the statistics, or does nothing.
  template <class F>
  [[gnu::always_inline]] void operator()([[maybe_unused]] F f) const noexcept {
    if constexpr (HasStatistics<Backend>) f(backend_->statistics());
  }

 private:
  Backend* backend_;
};

}  // namespace vumedia::media
