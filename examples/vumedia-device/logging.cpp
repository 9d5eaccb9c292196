#include "logging.hpp"

#include <utility>

#include <spdlog/logger.h>
#include <spdlog/sinks/ansicolor_sink.h>

#include "version.hpp"

namespace vumedia::device {

namespace {

spdlog::level::level_enum to_spdlog(LogLevel level) noexcept {
  switch (level) {
    case LogLevel::trace:
      return spdlog::level::trace;
    case LogLevel::debug:
      return spdlog::level::debug;
    case LogLevel::info:
      return spdlog::level::info;
    case LogLevel::warning:
      return spdlog::level::warn;
    case LogLevel::error:
      return spdlog::level::err;
    case LogLevel::off:
      break;
  }
  return spdlog::level::off;
}

void write_line(void* context, LogLevel level, std::string_view line) {
  static_cast<spdlog::logger*>(context)->log(to_spdlog(level),
                                             spdlog::string_view_t(line.data(), line.size()));
}

}  // namespace

Logging::Logging(LogLevel level)
    : level_(level),
      logger_(std::make_unique<spdlog::logger>(program_name,
                                               std::make_shared<spdlog::sinks::ansicolor_stderr_sink_mt>())),
      limiter_(Log(write_line, logger_.get(), level)),
      log_(limiter_.log()) {
  logger_->set_level(spdlog::level::trace);  // the Log has checked the level already
  logger_->set_pattern("%Y-%m-%d %H:%M:%S.%e %n %^%l%$: %v");
  logger_->flush_on(spdlog::level::trace);
}

Logging::~Logging() = default;

Log Logging::log_of(std::string device) {
  return named_.emplace_back(*logger_, std::move(device), level_).limiter.log();
}

Logging::Named::Named(spdlog::logger& to, std::string of, LogLevel level)
    : logger(to),
      name(std::move(of)),
      limiter(Log(
          [](void* context, LogLevel level_of_line, std::string_view line) {
            const Named& from = *static_cast<const Named*>(context);
            std::string text = from.name;
            text += ": ";
            text += line;
            write_line(&from.logger, level_of_line, text);
          },
          this, level)) {}

}  // namespace vumedia::device
