// Where the library's lines go: to standard error, by way of spdlog.
#pragma once

#include <memory>

#include <vumedia/core/log.hpp>

namespace spdlog {
class logger;
}

namespace vumedia::device {

// Owns what its Log writes to; any thread may use that.
class Logging {
 public:
  explicit Logging(LogLevel level);
  Logging(const Logging&) = delete;
  Logging& operator=(const Logging&) = delete;
  ~Logging();

  [[nodiscard]] const Log& log() const noexcept { return log_; }

 private:
  std::unique_ptr<spdlog::logger> logger_;
  Log log_;
};

}  // namespace vumedia::device
