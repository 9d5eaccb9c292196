// Rules on inputs and outputs, and on the priorities of a device's users.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include <vumedia/client/compliance/rule.hpp>

namespace vumedia::client::compliance::detail::rules {

// ---- Inputs and outputs, which are the same except for their names

struct Inputs {
  using Enum = v4l2::tag::ENUMINPUT;
  using Get = v4l2::tag::G_INPUT;
  using Set = v4l2::tag::S_INPUT;
  using Description = v4l2_input;
  static constexpr std::uint32_t last_type = 3;  // V4L2_INPUT_TYPE_TOUCH
};
struct Outputs {
  using Enum = v4l2::tag::ENUMOUTPUT;
  using Get = v4l2::tag::G_OUTPUT;
  using Set = v4l2::tag::S_OUTPUT;
  using Description = v4l2_output;
  static constexpr std::uint32_t last_type = V4L2_OUTPUT_TYPE_ANALOGVGAOVERLAY;
};

// Calls `look` for each, and returns how many there are.
template <class Way, class Look>
Finding for_each_way(Subject& s, std::uint32_t& count, Look&& look) {
  for (count = 0; count < max_listed; ++count) {
    typename Way::Description description{};
    scribble(description.reserved);
    description.index = count;
    const int got = s.call<typename Way::Enum>(description);
    if (got == ENOTTY) return not_applicable("the device has no %s", Way::Enum::name);
    if (got == EINVAL) return passed();
    if (auto found = Subject::judge(Way::Enum::name, got, 0, "of an index")) return found;
    if (auto found = look(description)) return found;
  }
  return failed("the list does not end within %u", max_listed);
}

template <class Way>
Finding way_indexes(Subject& s) {
  std::uint32_t count = 0;
  auto found = for_each_way<Way>(s, count, [&](const typename Way::Description& description) -> Finding {
    if (description.index != count) return failed("index %u came back as %u", count, description.index);
    return passed();
  });
  if (found) return found;
  if (count == 0) return failed("%s exists, but lists none", Way::Enum::name);
  for (const std::uint32_t behind : {count + 1, 0xffffffffu}) {
    typename Way::Description description{};
    description.index = behind;
    if (auto failure = s.expect<typename Way::Enum>(description, EINVAL, "of an index after the last"))
      return failure;
  }
  return passed();
}

template <class Way>
Finding way_described(Subject& s) {
  std::uint32_t count = 0;
  return for_each_way<Way>(s, count, [&](const typename Way::Description& description) -> Finding {
    const auto* const name = reinterpret_cast<const char*>(description.name);
    const std::size_t length = ::strnlen(name, sizeof description.name);
    if (length == 0 || length == sizeof description.name)
      return failed("number %u has %s", count, length == 0 ? "no name" : "a name without an end");
    if (description.type == 0 || description.type > Way::last_type)
      return failed("number %u, %s, has type %u", count, name, description.type);
    if (!all_zero(description.reserved))
      return failed("%s leaves reserved words as they were", Way::Enum::name);
    return passed();
  });
}

template <class Way>
Finding way_in_force(Subject& s) {
  std::uint32_t count = 0, index = 0;
  if (auto found = for_each_way<Way>(s, count, [](const auto&) { return passed(); })) return found;
  if (auto found = s.expect<typename Way::Get>(index)) return found;
  if (index < count) return passed();
  return failed("number %u is selected, but there are only %u", index, count);
}

template <class Way>
Finding way_unknown(Subject& s) {
  std::uint32_t count = 0, before = 0, after = 0;
  if (auto found = for_each_way<Way>(s, count, [](const auto&) { return passed(); })) return found;
  if (auto found = s.expect<typename Way::Get>(before)) return found;
  for (std::uint32_t index : {count, 0xffffffffu}) {
    if (auto found = s.expect<typename Way::Set>(index, EINVAL, "of a number that is not listed"))
      return found;
  }
  if (auto found = s.expect<typename Way::Get>(after)) return found;
  if (before == after) return passed();
  return failed("number %u became %u anyway", before, after);
}

template <class Way>
Finding way_is_got(Subject& s) {
  std::uint32_t count = 0, before = 0;
  if (auto found = for_each_way<Way>(s, count, [](const auto&) { return passed(); })) return found;
  if (auto found = s.expect<typename Way::Get>(before)) return found;
  Finding result = passed();
  for (std::uint32_t index = 0; index < count && !result; ++index) {
    std::uint32_t set = index, got = 0;
    result = s.expect<typename Way::Set>(set);
    if (!result) result = s.expect<typename Way::Get>(got);
    if (!result && (got != index || set != index))
      result = failed("%u was set, but %u is returned", index, got);
  }
  static_cast<void>(s.call<typename Way::Set>(before));
  return result;
}

// ---- Priorities

inline Finding get_priority(Subject& s, std::uint32_t session, std::uint32_t& priority) {
  const int got = s.call_as<v4l2::tag::G_PRIORITY>(session, priority);
  if (got == ENOTTY) return not_applicable("the device has no VIDIOC_G_PRIORITY");
  return Subject::judge("VIDIOC_G_PRIORITY", got, 0, "");
}

inline Finding priority_default(Subject& s) {
  std::uint32_t priority = 0;
  if (auto found = get_priority(s, s.session(), priority)) return found;
  if (priority == V4L2_PRIORITY_DEFAULT) return passed();
  return failed("priority is %u, not %u", priority, V4L2_PRIORITY_DEFAULT);
}

inline Finding priority_unknown(Subject& s) {
  std::uint32_t priority = 0;
  if (auto found = get_priority(s, s.session(), priority)) return found;
  for (std::uint32_t wish : {0u, 4u, 0xffffffffu}) {
    if (auto found = s.expect<v4l2::tag::S_PRIORITY>(wish, EINVAL, "of a number that has no meaning"))
      return found;
  }
  return passed();
}

inline Finding priority_is_everyones(Subject& s) {
  std::uint32_t priority = 0, other = 0;
  if (auto found = get_priority(s, s.session(), priority)) return found;
  if (auto found = s.open(other)) return found;
  for (const std::uint32_t wish : {V4L2_PRIORITY_RECORD, V4L2_PRIORITY_INTERACTIVE}) {
    std::uint32_t set = wish;
    if (auto found = s.expect_as<v4l2::tag::S_PRIORITY>(other, set)) return found;
    for (const std::uint32_t session : {s.session(), other}) {
      if (auto found = get_priority(s, session, priority)) return found;
      if (priority != wish) return failed("%u was set, but %u is returned", wish, priority);
    }
  }
  return passed();
}

inline Finding priority_ends(Subject& s) {
  std::uint32_t priority = 0, other = 0;
  if (auto found = get_priority(s, s.session(), priority)) return found;
  if (auto found = s.open(other)) return found;
  std::uint32_t record = V4L2_PRIORITY_RECORD;
  if (auto found = s.expect_as<v4l2::tag::S_PRIORITY>(other, record)) return found;
  if (auto found = s.close(other)) return found;
  if (auto found = get_priority(s, s.session(), priority)) return found;
  if (priority == V4L2_PRIORITY_DEFAULT) return passed();
  return failed("priority is %u after the file that set it was closed", priority);
}

inline Finding priority_guards(Subject& s) {
  std::uint32_t priority = 0, other = 0;
  if (auto found = get_priority(s, s.session(), priority)) return found;
  if (auto found = s.open(other)) return found;
  std::uint32_t record = V4L2_PRIORITY_RECORD, interactive = V4L2_PRIORITY_INTERACTIVE;
  if (auto found = s.expect_as<v4l2::tag::S_PRIORITY>(other, record)) return found;
  if (auto found =
          s.expect<v4l2::tag::S_PRIORITY>(interactive, EBUSY, "with a lower priority than another file"))
    return found;
  if (s.facts().queues.empty()) return passed();
  v4l2_format format{};
  format.type = s.facts().queues.front().type;
  if (auto found = s.expect<v4l2::tag::G_FMT>(format)) return found;
  if (auto found = s.expect<v4l2::tag::S_FMT>(format, EBUSY, "with a lower priority than another file"))
    return found;
  return s.expect_as<v4l2::tag::S_FMT>(other, format, 0, "with the highest priority");
}

inline constexpr Rule input_rules[] = {
    {"enuminput/indexes", "inputs have indexes from 0 on, and EINVAL after the last",
     "V4L2 API, ioctl VIDIOC_ENUMINPUT", Scope::device, way_indexes<Inputs>},
    {"enuminput/described", "each has a name and a type; reserved words are zero",
     "V4L2 API, ioctl VIDIOC_ENUMINPUT, struct v4l2_input", Scope::device, way_described<Inputs>},
    {"g-input/is-listed", "the current input is one of those listed", "V4L2 API, ioctl VIDIOC_G_INPUT",
     Scope::device, way_in_force<Inputs>},
    {"s-input/unknown", "an input that is not listed is EINVAL",
     "V4L2 API, ioctl VIDIOC_S_INPUT, Return Value", Scope::device, way_unknown<Inputs>},
    {"s-input/is-got", "the input that was set is the current one", "V4L2 API, ioctl VIDIOC_S_INPUT",
     Scope::device, way_is_got<Inputs>},
    {"enumoutput/indexes", "outputs have indexes from 0 on, and EINVAL after the last",
     "V4L2 API, ioctl VIDIOC_ENUMOUTPUT", Scope::device, way_indexes<Outputs>},
    {"enumoutput/described", "each has a name and a type; reserved words are zero",
     "V4L2 API, ioctl VIDIOC_ENUMOUTPUT, struct v4l2_output", Scope::device, way_described<Outputs>},
    {"g-output/is-listed", "the current output is one of those listed", "V4L2 API, ioctl VIDIOC_G_OUTPUT",
     Scope::device, way_in_force<Outputs>},
    {"s-output/unknown", "an output that is not listed is EINVAL",
     "V4L2 API, ioctl VIDIOC_S_OUTPUT, Return Value", Scope::device, way_unknown<Outputs>},
    {"s-output/is-got", "the output that was set is the current one", "V4L2 API, ioctl VIDIOC_S_OUTPUT",
     Scope::device, way_is_got<Outputs>},
};

inline constexpr Rule priority_rules[] = {
    {"priority/default", "a device is opened at the default priority", "V4L2 API, Application Priority",
     Scope::device, priority_default},
    {"s-priority/unknown", "numbers that are not a priority are EINVAL",
     "V4L2 API, ioctl VIDIOC_S_PRIORITY, Return Value", Scope::device, priority_unknown},
    {"g-priority/is-everyones", "every file is told the highest priority of all files",
     "V4L2 API, ioctl VIDIOC_G_PRIORITY", Scope::device, priority_is_everyones},
    {"priority/ends-with-its-file", "a priority ends when its file is closed",
     "V4L2 API, Application Priority", Scope::device, priority_ends},
    {"priority/guards-changes", "a file with a lower priority than another changes nothing: EBUSY",
     "V4L2 API, Application Priority; Generic Error Codes, EBUSY", Scope::device, priority_guards},
};

}  // namespace vumedia::client::compliance::detail::rules
