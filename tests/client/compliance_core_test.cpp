// Each rule on devices, files, formats, buffers and streams notices the fault that is seeded for it, and no
// other rule of its group does.
#include <cstdint>
#include <cstring>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>

#include "client/compliance_core_buffer_faults.hpp"
#include "client/compliance_core_faults.hpp"
#include "client/compliance_faults.hpp"

namespace vumedia::client::test {
namespace {

// For faults that show by what does not come; only where their own rule is run alone.
constexpr std::chrono::milliseconds short_patience{100};

const FaultTable core_tables[] = {
    {"camera: configuration", make_camera, core_faults::config_faults, nullptr, long_patience},
    {"codec: configuration", make_m2m, core_faults::m2m_faults, nullptr, long_patience},
    {"camera: enumeration", make_camera, core_faults::enumeration_faults, nullptr, long_patience},
    {"camera: formats", make_camera, core_faults::format_faults, nullptr, long_patience},
    {"planar camera: formats", make_planar_camera, core_faults::multiplanar_format_faults, nullptr,
     long_patience},
    {"camera: parameters", make_camera, core_faults::parameter_faults, nullptr, long_patience},
    {"output: parameters", make_output, core_faults::output_faults, nullptr, long_patience},
    {"camera: requests", make_camera, core_faults::request_faults, nullptr, long_patience},
    {"camera: queueing", make_camera, core_faults::queueing_faults, nullptr, long_patience},
    {"planar camera: queueing", make_planar_camera, core_faults::multiplanar_buffer_faults, nullptr,
     long_patience},
    {"output: queueing", make_output, core_faults::output_buffer_faults, nullptr, long_patience},
    {"output: streams", make_output, core_faults::stream_faults, nullptr, long_patience},
    {"output: losses", make_output, core_faults::loss_faults, nullptr, short_patience, true},
    {"camera: streams", make_camera, core_faults::camera_stream_faults, nullptr, short_patience, true},
    {"camera: mappings", make_camera, core_faults::mapping_faults, nullptr, long_patience},
    {"camera: files", make_camera, core_faults::file_faults, nullptr, long_patience},
};

class CoreFaultsOf : public testing::TestWithParam<const FaultTable*> {};

TEST_P(CoreFaultsOf, AreNoticedByTheirRules) {
  check_faults(*GetParam());
}

INSTANTIATE_TEST_SUITE_P(Devices, CoreFaultsOf, testing::ValuesIn([] {
                           std::vector<const FaultTable*> all;
                           for (const FaultTable& table : core_tables) all.push_back(&table);
                           return all;
                         }()),
                         [](const auto& one) {
                           std::string name = one.param->device;
                           std::erase_if(name, [](char c) { return c == ' ' || c == ':'; });
                           return name;
                         });

// ---- What no backend can get wrong, because the device around it does it

namespace wire = media::wire;
using vumedia::test::EmbeddedTransport;
using Tamper = EmbeddedTransport::Tamper;
using EmbeddedDevice = EmbeddedTransport::Host;

struct SeededTamper {
  const char* rule;
  Tamper (*make)();
  std::vector<std::string_view> also = {};
};

// A field of a command or an answer, if that is long enough.
template <class T>
std::optional<T> peek(std::span<const std::byte> bytes, std::size_t offset) {
  T value{};
  if (bytes.size() < offset + sizeof value) return std::nullopt;
  std::memcpy(&value, bytes.data() + offset, sizeof value);
  return value;
}
template <class T>
void poke(std::span<std::byte> bytes, std::size_t offset, T value) {
  if (bytes.size() >= offset + sizeof value) std::memcpy(bytes.data() + offset, &value, sizeof value);
}
std::uint32_t word(std::span<const std::byte> bytes, std::size_t offset) {
  return peek<std::uint32_t>(bytes, offset).value_or(0);
}
constexpr std::size_t session_at = 8, code_at = 12, payload_at = 16, id_at = 8, address_at = 8;

Tamper altering(std::function<void(EmbeddedDevice&, std::span<std::byte>)> alter) {
  return {std::move(alter), {}};
}
// Alters answers to one kind of command.
Tamper answering(std::uint32_t command,
                 std::function<void(std::span<const std::byte>, std::span<std::byte>)> alter) {
  return {{},
          [command, alter](EmbeddedDevice&, std::span<const std::byte> sent, std::span<std::byte> answer) {
            if (word(sent, 0) == command) alter(sent, answer);
          }};
}
void forget(EmbeddedDevice& device) {
  for (auto& [address, mapping] : device.frontend.ranges) std::memset(mapping.data(), 0, mapping.size());
}

const SeededTamper tampers[] = {
    // A file with the id of another closes that one, and never its own.
    {"open/ids-differ",
     [] {
       const auto first = std::make_shared<std::uint32_t>(0);
       return answering(wire::cmd_open, [first](auto, std::span<std::byte> answer) {
         if (*first == 0) *first = word(answer, id_at);
         poke(answer, id_at, *first);
       });
     },
     {"open/again-and-again"}},
    {"close/ends-the-file",
     [] {
       return altering([](EmbeddedDevice&, std::span<std::byte> command) {
         if (word(command, 0) == wire::cmd_close) poke(command, 0, std::uint32_t{99});
       });
     },
     {"close/frees-buffers", "close/amid-stream"}},
    // The file that was opened next is closed with it.
    {"close/spares-others",
     [] {
       struct Files {
         std::vector<std::uint32_t> opened;
         std::set<std::uint32_t> doomed;
       };
       const auto files = std::make_shared<Files>();
       Tamper tamper;
       tamper.before = [files](EmbeddedDevice&, std::span<std::byte> command) {
         const std::uint32_t id = word(command, session_at);
         if (word(command, 0) == wire::cmd_close) {
           const auto place = std::ranges::find(files->opened, id);
           if (place != files->opened.end() && place + 1 != files->opened.end())
             files->doomed.insert(place[1]);
         }
         if (word(command, 0) == wire::cmd_ioctl && files->doomed.contains(id))
           poke(command, session_at, ~id);
       };
       tamper.after = [files](EmbeddedDevice&, std::span<const std::byte> sent, std::span<std::byte> answer) {
         if (word(sent, 0) != wire::cmd_open) return;
         const std::uint32_t id = word(answer, id_at);
         std::erase(files->opened, id);
         files->opened.push_back(id);
         files->doomed.erase(id);
       };
       return tamper;
     },
     {"close/amid-stream"}},
    {"ioctl/unknown-file",
     [] {
       return altering([](EmbeddedDevice&, std::span<std::byte> command) {
         const std::uint32_t id = word(command, session_at);
         if (word(command, 0) == wire::cmd_ioctl && (id & 0x40000000) != 0)
           poke(command, session_at, id ^ 0x40000000);
       });
     }},
    {"ioctl/unknown",
     [] {
       return answering(wire::cmd_ioctl, [](std::span<const std::byte> sent, std::span<std::byte> answer) {
         if (word(sent, code_at) == 200) poke(answer, 0, std::uint32_t{EINVAL});
       });
     }},
    {"command/unknown",
     [] { return answering(6, [](auto, std::span<std::byte> answer) { poke(answer, 0, 0u); }); }},
    {"mmap/apart",
     [] {
       const auto first = std::make_shared<std::uint64_t>(0);
       const auto have = std::make_shared<bool>(false);
       Tamper tamper;
       tamper.after = [first, have](EmbeddedDevice&, std::span<const std::byte> sent,
                                    std::span<std::byte> answer) {
         if (word(sent, 0) == wire::cmd_open) *have = false;
         if (word(sent, 0) != wire::cmd_mmap || word(answer, 0) != 0) return;
         if (!std::exchange(*have, true)) *first = peek<std::uint64_t>(answer, address_at).value_or(0);
         poke(answer, address_at, *first);
       };
       return tamper;
     }},
    {"mmap/again",
     [] {
       return answering(wire::cmd_munmap, [](auto, std::span<std::byte> answer) { poke(answer, 0, 0u); });
     }},
    {"munmap/unknown",
     [] {
       return answering(wire::cmd_munmap, [](auto, std::span<std::byte> answer) { poke(answer, 0, 0u); });
     }},
    {"mmap/unknown",
     [] {
       return altering([](EmbeddedDevice&, std::span<std::byte> command) {
         if (word(command, 0) == wire::cmd_mmap) poke(command, 16, word(command, 16) & ~0xfffu);
       });
     }},
    // A closed file uses another's session.
    {"mmap/closed-file",
     [] {
       const auto live = std::make_shared<std::uint32_t>(0);
       return altering([live](EmbeddedDevice&, std::span<std::byte> command) {
         if (word(command, 0) == wire::cmd_ioctl) *live = word(command, session_at);
         if (word(command, 0) == wire::cmd_mmap) poke(command, session_at, *live);
       });
     }},
    {"mmap/outlives-buffers",
     [] {
       return altering([](EmbeddedDevice& device, std::span<std::byte> command) {
         const bool requests =
             word(command, 0) == wire::cmd_ioctl && word(command, code_at) == v4l2::tag::REQBUFS::number;
         if (requests && word(command, payload_at) == 0) forget(device);
       });
     }},
    {"mmap/outlives-file",
     [] {
       return altering([](EmbeddedDevice& device, std::span<std::byte> command) {
         if (word(command, 0) == wire::cmd_close) forget(device);
       });
     }},
};

TEST(CoreFaults, OfTheDeviceAreNoticedByTheirRules) {
  for (const SeededTamper& seeded : tampers) {
    SCOPED_TRACE(seeded.rule);
    const auto sound = make_camera({}), faulty = make_camera({});
    ASSERT_TRUE(sound && faulty);
    faulty->transport().tamper = seeded.make();
    compliance::Options options;
    options.patience = long_patience;
    check_fault(seeded.rule, seeded.also, *sound, *faulty, options);
  }
}

// The rules of the groups in these tables; controls, events and decoders have tables of their own.
TEST(CoreFaults, AreThereForEveryRule) {
  EXPECT_EQ(rules_without_fault(core_tables,
                                [](const compliance::Rule& rule) {
                                  const std::string_view id = rule.id;
                                  for (const SeededTamper& seeded : tampers) {
                                    if (id == seeded.rule) return false;
                                  }
                                  return !id.starts_with("controls/") && !id.starts_with("events/") &&
                                         rule.scope != compliance::Scope::m2m &&
                                         rule.scope != compliance::Scope::decoder;
                                }),
            "");
}

}  // namespace
}  // namespace vumedia::client::test
