// Controls beside a naive model of them: numbers are rounded as the kernel rounds them, a request that fails
// changes nothing that it should not, every value stays in its range, and events tell what has changed.
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include <linux/videodev2.h>

#include <vumedia/memory/guest_memory.hpp>
#include <vumedia/v4l2/controls.hpp>

#include "fuzz/input.hpp"
#include "support/control_zoo.hpp"
#include "support/guest_ram.hpp"

namespace vumedia::fuzz {
namespace {

namespace zoo = vumedia::test::zoo;
using v4l2::Controls;
using v4l2::ExtControls;

[[nodiscard]] int code(const Result<>& result) {
  return result ? 0 : result.error().value;
}

// Where controls are that are more than a number.
struct World {
  static constexpr std::uint64_t guest = 0x10'0000;
  vumedia::test::RamFile ram{guest, 1 << 16};
  std::shared_ptr<const memory::GuestMemory> table = vumedia::test::make_table({&ram});
};

class Client {
 public:
  Client(World& world, Input& input) : world_(world), input_(input), controls_(zoo::controls, input.flag()) {
    std::memset(world_.ram.data(), 0, world_.ram.size());
    for (const v4l2::ControlInfo& info : zoo::controls) {
      Model& m = model_[info.id] = {info, 0};
      m.number = m.round(info.default_value).value_or(0);
    }
    controls_.on_event([this](const v4l2_event& event, const v4l2::Subscriptions*) { told(event); });
    controls_.on_volatile([](std::uint32_t) -> Result<std::int64_t> { return 77; });
    controls_.on_apply([this](std::uint32_t, const v4l2::ControlValue&) -> Result<> {
      if (refuse_) return fail(EIO);
      return {};
    });
  }

  void run() {
    for (int step = 0; step < 300 && !input_.empty(); ++step) {
      act(input_.below(12));
      compare();
    }
  }

 private:
  struct Model {
    v4l2::ControlInfo info;
    std::int64_t number = 0;

    [[nodiscard]] bool is(std::uint32_t flag) const { return (info.flags & flag) != 0; }
    [[nodiscard]] bool is_number() const {
      return info.dimensions[0] == 0 && info.type < V4L2_CTRL_COMPOUND_TYPES &&
             info.type != V4L2_CTRL_TYPE_STRING;
    }
    [[nodiscard]] bool is_int() const { return is_number() && info.type != V4L2_CTRL_TYPE_INTEGER64; }
    // The valid number that a request for `wanted` gives; nothing if it is refused.
    [[nodiscard]] std::optional<std::int64_t> round(std::int64_t wanted) const {
      switch (info.type) {
        case V4L2_CTRL_TYPE_BOOLEAN:
          return wanted != 0 ? 1 : 0;
        case V4L2_CTRL_TYPE_BITMASK:
          return static_cast<std::int32_t>(static_cast<std::uint32_t>(wanted) &
                                           static_cast<std::uint32_t>(info.maximum));
        case V4L2_CTRL_TYPE_BUTTON:
          return 0;
        case V4L2_CTRL_TYPE_MENU:
        case V4L2_CTRL_TYPE_INTEGER_MENU:
          if (wanted < info.minimum || wanted > info.maximum) return std::nullopt;
          if (info.type == V4L2_CTRL_TYPE_MENU && info.menu[static_cast<std::size_t>(wanted)][0] == '\0')
            return std::nullopt;
          return wanted;
        default: {
          // Half a step up, into the range, then down to a step.
          __extension__ using Wide = __int128;
          const Wide step = std::max<std::uint64_t>(info.step, 1), half = step / 2;
          const Wide value = std::clamp<Wide>(Wide{wanted} + half, info.minimum, info.maximum);
          return static_cast<std::int64_t>(info.minimum + (value - info.minimum) / step * step);
        }
      }
    }
  };

  void act(std::uint32_t what) {
    switch (what) {
      case 0:
      case 1:
        return set_number();
      case 2:
        return get_number();
      case 3:
      case 4:
      case 5:
        return several(input_.below(3));
      case 6:
        return from_the_device();
      case 7:
        return flags();
      case 8:
        return range();
      case 9:
        return enumerate();
      case 10: {
        v4l2_querymenu query{};
        query.id = id();
        query.index = input_.below(6);
        const bool found = controls_.querymenu(query).has_value();
        const auto model = find(query.id);
        return require(!found || (model != model_.end() && v4l2::is_menu_type(model->second.info.type)),
                       "menus have items");
      }
      default:
        refuse_ = input_.below(4) == 0;
    }
  }

  [[nodiscard]] std::uint32_t id() {
    const std::uint8_t choice = input_.byte();
    return choice < 0xf8 ? zoo::first + choice % 20U : input_.take<std::uint32_t>();
  }
  [[nodiscard]] std::int64_t number() {
    switch (input_.below(4)) {
      case 0:
        return input_.take<std::int64_t>();
      case 1:
        return input_.take<std::int32_t>();
      default:
        return input_.take<std::int8_t>();
    }
  }

  // Ids may have flags, and the private controls of old programs are counted.
  [[nodiscard]] std::map<std::uint32_t, Model>::iterator find(std::uint32_t id) {
    id &= V4L2_CTRL_ID_MASK;
    if (id < V4L2_CID_PRIVATE_BASE) return model_.find(id);
    auto left = id - V4L2_CID_PRIVATE_BASE;
    return std::ranges::find_if(model_,
                                [&left](const auto& each) { return each.second.is_int() && left-- == 0; });
  }

  // -- One number

  void set_number() {
    v4l2_control control{id(), static_cast<std::int32_t>(number())};
    const std::int32_t wanted = control.value;
    const int got = code(controls_.s_ctrl(control));
    const auto model = find(control.id);
    if (model == model_.end()) return;  // a class, or nothing
    Model& m = model->second;
    if (!m.is_int()) return require(got == EINVAL, "S_CTRL is for numbers");
    if (m.is(V4L2_CTRL_FLAG_READ_ONLY)) return require(got == EACCES, "what is read-only is not set");
    const auto rounded = m.round(wanted);
    if (!rounded) return require(got == ERANGE || got == EINVAL, "a menu has its items");
    if (m.is(V4L2_CTRL_FLAG_GRABBED)) return require(got == EBUSY, "what is grabbed is not set");
    if (got == EIO) return require(refuse_, "only the device refuses");
    require(got == 0, "a number can be set");
    if (!m.is(V4L2_CTRL_FLAG_VOLATILE)) m.number = *rounded;
    require(control.value == static_cast<std::int32_t>(m.number), "a client is told of the rounding");
  }
  void get_number() {
    v4l2_control control{id(), 0};
    const int got = code(controls_.g_ctrl(control));
    const auto model = find(control.id);
    if (model == model_.end()) return;
    const Model& m = model->second;
    if (!m.is_int()) return require(got == EINVAL, "G_CTRL is for numbers");
    if (m.is(V4L2_CTRL_FLAG_WRITE_ONLY)) return require(got == EACCES, "what is write-only is not read");
    require(got == 0, "a number can be read");
    require(control.value == (m.is(V4L2_CTRL_FLAG_VOLATILE) ? 77 : static_cast<std::int32_t>(m.number)),
            "the last value stays");
  }

  // -- Several

  void several(std::uint32_t how) {
    ExtControls request{};
    const std::uint32_t count = input_.below(6);
    request.head.which = input_.byte() < 0xd0 ? 0 : input_.below(0x10) << 16 | input_.below(3) << 24;
    std::uint64_t at = World::guest;
    for (std::uint32_t i = 0; i < count; ++i) {
      v4l2_ext_control& control = request.controls.emplace_back();
      control.id = id();
      const auto model = find(control.id);
      const bool payload = model != model_.end() && !model->second.is_number();
      control.value64 = number();
      control.size = payload == (input_.byte() < 0xf0) ? input_.below(48) : 0;
      v4l2::GuestRange ranges[2]{};
      // In two pieces, or outside of memory.
      ranges[0] = {{at}, control.size};
      if (input_.byte() >= 0xe0 && control.size > 1)
        ranges[1] = {{at + 4096}, --ranges[0].length > 0 ? 1U : 0U};
      if (input_.byte() >= 0xf8) ranges[0].start.value = 0x10;
      request.ranges.add_list(std::span(ranges).first(control.size == 0 ? 0 : ranges[1].length != 0 ? 2 : 1));
      input_.fill({world_.ram.data() + (at - World::guest), input_.below(48)});
      at += 64;
    }
    request.head.count = count;
    const auto before = values();
    const int got = code(how == 0   ? controls_.g_ext_ctrls(request, *world_.table)
                         : how == 1 ? controls_.s_ext_ctrls(request, *world_.table)
                                    : controls_.try_ext_ctrls(request, *world_.table));
    require(got >= 0 && got < 4096, "an error is an errno");
    require(request.controls.size() == count && request.head.count == count, "a request keeps its shape");
    if (got != 0) require(request.head.error_idx <= count, "an error is of a control");
    if (how != 1 || (got != 0 && request.head.error_idx == count))
      require(values() == before, "what does not set, or fails before it does, changes nothing");
    for (std::uint32_t i = 0; how == 1 && got == 0 && i < count; ++i) {
      const auto model = find(request.controls[i].id);
      require(model != model_.end(), "what is set exists");
      require(!model->second.is(V4L2_CTRL_FLAG_READ_ONLY | V4L2_CTRL_FLAG_GRABBED), "and can be set");
    }
    // What was set is what the model has from now on, if it could be.
    for (auto& [each, m] : model_) {
      if (!m.is_number() || m.number == controls_.value(each)) continue;
      require(how == 1, "only what sets changes a number");
      const bool asked = std::ranges::any_of(request.controls, [&](const v4l2_ext_control& control) {
        return (control.id & V4L2_CTRL_ID_MASK) == each;
      });
      require(asked && m.round(controls_.value(each)) == controls_.value(each),
              "a number that is set is valid");
      m.number = controls_.value(each);
    }
  }
  [[nodiscard]] std::vector<std::byte> values() const {
    std::vector<std::byte> all;
    for (const auto& [each, m] : model_) {
      const std::int64_t number = controls_.value(each);
      const auto bytes = m.is_number() ? std::as_bytes(std::span(&number, 1)) : controls_.payload(each);
      all.insert(all.end(), bytes.begin(), bytes.end());
    }
    return all;
  }

  // -- The device

  void from_the_device() {
    const std::uint32_t which = id();
    const auto model = find(which);
    if (input_.flag()) {
      controls_.set_payload(which, input_.bytes(input_.below(48)));
      return;
    }
    const std::int64_t wanted = number();
    controls_.set_value(which, wanted);
    if (model == model_.end() || !model->second.is_number()) return;
    if (const auto rounded = model->second.round(wanted)) model->second.number = *rounded;
  }
  void flags() {
    constexpr std::uint32_t all[] = {V4L2_CTRL_FLAG_GRABBED, V4L2_CTRL_FLAG_INACTIVE,
                                     V4L2_CTRL_FLAG_READ_ONLY};
    const std::uint32_t which = id(), flag = input_.pick(all);
    const bool on = input_.flag();
    controls_.set_flag(which, flag, on);
    if (const auto model = find(which); model != model_.end())
      model->second.info.flags = on ? model->second.info.flags | flag : model->second.info.flags & ~flag;
  }
  void range() {
    const std::uint32_t which = id();
    const std::int64_t minimum = number(), maximum = number(), standard = number();
    const auto step = static_cast<std::uint64_t>(number());
    const auto model = find(which);
    if (input_.below(8) == 0) {
      static_cast<void>(controls_.modify_dimensions(which, {input_.below(5), input_.below(5)}));
      if (model != model_.end()) {
        v4l2_query_ext_ctrl query{};
        query.id = which;
        if (controls_.query_ext_ctrl(query))
          std::copy_n(query.dims, model->second.info.dimensions.size(),
                      model->second.info.dimensions.begin());
      }
      return;
    }
    const bool done = controls_.modify_range(which, minimum, maximum, step, standard).has_value();
    if (model == model_.end()) return require(!done, "only what exists has a range");
    Model& m = model->second;
    if (!done) return;
    const bool mask = m.info.type == V4L2_CTRL_TYPE_BITMASK;
    require(m.is_number() && m.info.type != V4L2_CTRL_TYPE_BUTTON, "only a number has a range");
    require(mask ? minimum == 0 && (standard & ~maximum) == 0 : minimum <= standard && standard <= maximum,
            "a range is sensible");
    m.info.minimum = minimum;
    m.info.maximum = maximum;
    if (!v4l2::is_menu_type(m.info.type)) m.info.step = step;
    m.info.default_value = standard;
    m.number = m.round(m.number).value_or(standard);
  }

  // -- What holds at any time

  void enumerate() {
    v4l2_query_ext_ctrl query{};
    std::uint32_t last = 0;
    for (std::size_t i = 0;; ++i) {
      query.id = last | V4L2_CTRL_FLAG_NEXT_CTRL | V4L2_CTRL_FLAG_NEXT_COMPOUND;
      if (!controls_.query_ext_ctrl(query)) {
        require(i == controls_.size(), "every control is found once");
        return;
      }
      require(query.id > last, "controls come in order");
      last = query.id;
    }
  }
  void told(const v4l2_event& event) {
    const auto model = find(event.id);
    require(event.type == V4L2_EVENT_CTRL && model != model_.end(), "an event is of a control");
    if (model->second.is_int())
      require(event.u.ctrl.value == static_cast<std::int32_t>(controls_.value(event.id)),
              "an event has the new value");
  }
  void compare() {
    for (const auto& [each, m] : model_) {
      if (m.is_number()) {
        require(m.is(V4L2_CTRL_FLAG_VOLATILE) || controls_.value(each) == m.number,
                "each has the same number");
        continue;
      }
      const auto bytes = controls_.payload(each);
      const std::uint32_t element = v4l2::element_size(m.info);
      if (m.info.type == V4L2_CTRL_TYPE_STRING) {
        const auto text = controls_.string(each);
        require(bytes.size() <= static_cast<std::uint64_t>(m.info.maximum) + 1,
                "a string has a longest length");
        require(text.size() < bytes.size(), "a string has its NUL");
        continue;
      }
      require(bytes.size() % element == 0 && bytes.size() / element <= v4l2::element_count(m.info),
              "elements are whole");
      for (std::size_t at = 0; at < bytes.size(); at += element) {
        std::uint32_t value = 0;
        if (element > sizeof value) break;
        std::memcpy(&value, bytes.data() + at, element);
        const std::int64_t signed_value = m.info.type == V4L2_CTRL_TYPE_INTEGER
                                              ? static_cast<std::int32_t>(value)
                                              : static_cast<std::int64_t>(value);
        require(signed_value >= m.info.minimum && signed_value <= m.info.maximum,
                "an element is in its range");
      }
    }
  }

  World& world_;
  Input& input_;
  Controls controls_;
  std::map<std::uint32_t, Model> model_;
  bool refuse_ = false;
};

}  // namespace
}  // namespace vumedia::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace vumedia::fuzz;
  static World world;
  Input input(data, size);
  Client(world, input).run();
  return 0;
}
