#include "report.hpp"

#include <array>
#include <cinttypes>
#include <cmath>
#include <cstring>
#include <string_view>
#include <utility>
#include <vector>

#include <vumedia/core/result.hpp>

#include "version.hpp"

namespace vumedia::device {

namespace {

using media::Histogram;
using media::Statistics;
namespace wire = media::wire;

// A name and its number; in long lists only those that are not 0 are reported.
using Row = std::pair<std::string, std::uint64_t>;

std::vector<Row> commands(const Statistics& statistics) {
  static constexpr std::array<const char*, Statistics::command_kinds> names = {
      "unknown", "OPEN", "CLOSE", "unknown ioctl", "MMAP", "MUNMAP"};
  std::vector<Row> rows;
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (const auto count = statistics.commands[i].get(); count != 0) rows.emplace_back(names[i], count);
  }
  for (std::uint32_t number = 0; number < statistics.ioctls.size(); ++number) {
    const auto count = statistics.ioctls[number].get();
    if (count == 0) continue;
    const char* const name = v4l2::ioctl_name(number);
    // Numbers within the table's range that are not an ioctl.
    if (std::strcmp(name, "unknown ioctl") == 0)
      rows.emplace_back(format_text("ioctl %u", number), count);
    else
      rows.emplace_back(name, count);
  }
  return rows;
}

std::vector<Row> errors(const Statistics& statistics) {
  std::vector<Row> rows;
  for (std::size_t i = 0; i < statistics.errors.size(); ++i) {
    const auto count = statistics.errors[i].get();
    if (count == 0) continue;
    const char* const name =
        i + 1 < statistics.errors.size() ? ::strerrorname_np(static_cast<int>(i)) : nullptr;
    rows.emplace_back(name != nullptr ? name : "other", count);
  }
  return rows;
}

std::vector<Row> events(const Statistics& statistics) {
  return {{"DQBUF", statistics.events[wire::event_dqbuf].get()},
          {"EVENT", statistics.events[wire::event_event].get()},
          {"ERROR", statistics.events[wire::event_error].get()}};
}

std::vector<Row> buffers(const Statistics::Buffers& buffers) {
  return {{"frames", buffers.frames.get()},
          {"bytes", buffers.bytes.get()},
          {"bad", buffers.bad.get()},
          {"empty", buffers.empty.get()}};
}

std::uint64_t sum(const std::vector<Row>& rows) {
  std::uint64_t total = 0;
  for (const Row& row : rows) total += row.second;
  return total;
}

// Counts by the longest time that they stand for, in nanoseconds.
struct Latencies {
  explicit Latencies(const Statistics& statistics) {
    const double tick = statistics.clock.tick();
    for (std::size_t i = 0; i < Histogram::bucket_count; ++i) {
      const auto count = statistics.latency.count(i);
      if (count == 0) continue;
      const double nanoseconds = std::ceil(static_cast<double>(Histogram::highest(i)) * tick);
      buckets.emplace_back(static_cast<std::uint64_t>(std::min(nanoseconds, 1e18)), count);
      total += count;
    }
  }
  // The time within which `share` (0 to 1) of all were done; 0 if there are none.
  [[nodiscard]] std::uint64_t quantile(double share) const {
    const double wanted = share * static_cast<double>(total);
    std::uint64_t passed = 0;
    for (const auto& [nanoseconds, count] : buckets) {
      passed += count;
      if (static_cast<double>(passed) >= wanted) return nanoseconds;
    }
    return 0;
  }
  std::vector<std::pair<std::uint64_t, std::uint64_t>> buckets;
  std::uint64_t total = 0;
};

struct Quantile {
  const char* name;
  double share;
};
constexpr std::array<Quantile, 5> quantiles = {
    {{"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}, {"p99.9", 0.999}, {"max", 1}}};

std::uint64_t frontends_now(const Counters& counters) {
  const std::uint64_t left = counters.frontends_left.get();
  return counters.frontends.get() - left;
}

// -- Text

std::string list(const std::vector<Row>& rows) {
  std::string text;
  for (const auto& [name, count] : rows)
    text += format_text("%s%" PRIu64 " %s", text.empty() ? "" : ", ", count, name.c_str());
  return text;
}

std::string duration(std::uint64_t nanoseconds) {
  const auto value = static_cast<double>(nanoseconds);
  if (value < 1e4) return format_text("%.0f ns", value);
  if (value < 1e7) return format_text("%.0f us", value / 1e3);
  return format_text("%.0f ms", value / 1e6);
}

void append_text(std::string& text, const DeviceReport& device) {
  const Counters& counters = device.counters;
  const Statistics& media = counters.media;
  text +=
      format_text("%s (%s): %s\n", device.options.name.c_str(), device.options.backend.c_str(), device.state);
  text += format_text("  frontends  %" PRIu64 " connected, %" PRIu64 " served, %" PRIu64 " failed\n",
                      frontends_now(counters), counters.frontends.get(), counters.frontends_failed.get());
  text += format_text("  sessions   %" PRIu64 " open, %" PRIu64 " opened, %" PRIu64 " failed\n",
                      media.sessions_open(), media.sessions_opened.get(), media.sessions_failed.get());
  const auto line = [&text](const char* name, const std::vector<Row>& rows) {
    const std::uint64_t total = sum(rows);
    text += format_text("  %-9s  %" PRIu64 "%s%s\n", name, total, total != 0 ? ": " : "",
                        total != 0 ? list(rows).c_str() : "");
  };
  line("commands", commands(media));
  line("errors", errors(media));
  line("events", events(media));
  text +=
      format_text("  waited     %" PRIu64 " of the events, for a guest buffer\n", media.events_waited.get());
  text += "  captured   " + list(buffers(media.captured)) + "\n";
  text += "  output     " + list(buffers(media.output)) + "\n";
  if (!media.measures_latency()) return;
  const Latencies latencies(media);
  text += format_text("  latency    of %" PRIu64 " commands:", latencies.total);
  for (const Quantile& quantile : quantiles)
    text += format_text(" %s %s", quantile.name, duration(latencies.quantile(quantile.share)).c_str());
  text += "\n";
}

// -- JSON. Names are our own, or checked by the command line: none contains anything that must be escaped,
// except a backend's names and paths, which are not reported.

std::string object(const std::vector<Row>& rows, bool with_total) {
  std::string text = "{";
  if (with_total) text += format_text("\"total\": %" PRIu64, sum(rows));
  for (const auto& [name, count] : rows)
    text += format_text("%s\"%s\": %" PRIu64, text.size() > 1 ? ", " : "", name.c_str(), count);
  return text + "}";
}

void append_json(std::string& text, const DeviceReport& device) {
  const Counters& counters = device.counters;
  const Statistics& media = counters.media;
  text += format_text("{\"name\": \"%s\", \"backend\": \"%s\", \"state\": \"%s\",\n",
                      device.options.name.c_str(), device.options.backend.c_str(), device.state);
  text += "  \"frontends\": " + object({{"connected", frontends_now(counters)},
                                        {"served", counters.frontends.get()},
                                        {"failed", counters.frontends_failed.get()}},
                                       false);
  text += ",\n  \"sessions\": " + object({{"open", media.sessions_open()},
                                          {"opened", media.sessions_opened.get()},
                                          {"failed", media.sessions_failed.get()}},
                                         false);
  text += ",\n  \"commands\": " + object(commands(media), true);
  text += ",\n  \"errors\": " + object(errors(media), true);
  text += ",\n  \"events\": " + object(events(media), true);
  text += format_text(",\n  \"events_waited\": %" PRIu64, media.events_waited.get());
  text += ",\n  \"captured\": " + object(buffers(media.captured), false);
  text += ",\n  \"output\": " + object(buffers(media.output), false);
  if (media.measures_latency()) {
    const Latencies latencies(media);
    text += format_text(",\n  \"latency_ns\": {\"count\": %" PRIu64, latencies.total);
    for (const Quantile& quantile : quantiles)
      text += format_text(", \"%s\": %" PRIu64, quantile.name, latencies.quantile(quantile.share));
    text += ", \"buckets\": [";
    const char* separator = "";
    for (const auto& [nanoseconds, count] : latencies.buckets) {
      text += format_text("%s[%" PRIu64 ", %" PRIu64 "]", separator, nanoseconds, count);
      separator = ", ";
    }
    text += "]}";
  }
  text += "}";
}

}  // namespace

std::string report(StatusFormat format, std::span<const DeviceReport> devices,
                   std::chrono::duration<double> uptime) {
  if (format == StatusFormat::text) {
    std::string text = format_text("%s %s, up for %.1f s\n", program_name, program_version, uptime.count());
    for (const DeviceReport& device : devices) append_text(text, device);
    return text;
  }
  std::string text =
      format_text("{\"program\": \"%s\", \"version\": \"%s\", \"uptime_seconds\": %.3f, \"devices\": [",
                  program_name, program_version, uptime.count());
  const char* separator = "\n ";
  for (const DeviceReport& device : devices) {
    text += separator;
    append_json(text, device);
    separator = ",\n ";
  }
  return text + "\n]}\n";
}

}  // namespace vumedia::device
