// The message sequences of real VMMs, each with its source. QEMU's are recorded (tests/qemu makes the
// traces); the others' were read in their code.
#pragma once

#include <cstdint>
#include <fstream>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "vhost_user/scripted_vmm.hpp"

namespace vumedia::vhost_user::test {

namespace pf = protocol_feature;

// What QEMU sends, part by part, from a trace: the frontend's own messages between the trace's comments.
inline Habits read_trace(const std::string& name, const std::string& file) {
  Habits habits;
  habits.name = name;
  const std::string path = VUMEDIA_SOURCE_DIR "/tests/vhost_user/traces/" + file;
  std::ifstream trace(path);
  EXPECT_TRUE(trace.is_open()) << path;
  std::vector<Step>* part = &habits.connect;
  bool begun = false;
  for (std::string line; std::getline(trace, line);) {
    if (line.starts_with("#")) {
      if (!begun) continue;  // the heading
      if (line.find("status 0") != std::string::npos) part = &habits.reset;
      if (line.find("quit") != std::string::npos) part = &habits.pause;
      continue;
    }
    begun = true;
    std::istringstream fields(line);
    std::string direction, request, flags, size, fds, body;
    fields >> direction >> request >> flags >> size >> fds >> body;
    if (direction != "F>B") continue;
    Step step{request_of(request), flags == "flags=0x9", 0, {}};
    EXPECT_NE(step.request, 0u) << line;
    const auto number = [&](std::size_t at, std::size_t bytes) {
      std::uint64_t value = 0;
      for (std::size_t i = 0; i < bytes && 2 * (at + i) + 1 < body.size(); ++i)
        value |= std::uint64_t{std::stoul(body.substr(2 * (at + i), 2), nullptr, 16)} << (8 * i);
      return value;
    };
    bool again = false;  // an answer to a map, or something sent before
    switch (static_cast<Request>(step.request)) {
      case request::SetFeatures::number:
        part = part == &habits.connect ? &habits.start : part == &habits.reset ? &habits.restart : part;
        habits.features = number(0, 8);
        break;
      case request::SetProtocolFeatures::number:
        habits.protocol_features = number(0, 8);
        break;
      case request::SetStatus::number:
        step.value = std::to_string(number(0, 8));
        break;
      case request::SetVringEnable::number:
        step.value = std::to_string(number(4, 4));
        [[fallthrough]];
      case request::SetVringNum::number:
      case request::SetVringBase::number:
      case request::SetVringAddr::number:
      case request::GetVringBase::number:
        step.queue = static_cast<std::uint32_t>(number(0, 4));
        break;
      case request::SetVringKick::number:
      case request::SetVringCall::number:
      case request::SetVringErr::number:
        step.queue = static_cast<std::uint32_t>(number(0, 1));
        if (fds == "fds=0") step.value = "none";
        break;
      case request::GetConfig::number:
        step.value = std::to_string(number(4, 4));
        break;
      case request::SetMemTable::number:
      case request::AddMemReg::number: {
        const bool table = step.request == static_cast<std::uint32_t>(request::SetMemTable::number);
        for (const Step& before : *part) again = again || before.request == step.request;
        if (again) habits.mapped = table ? Habits::Tells::table : Habits::Tells::region;
        if (table && !again) habits.regions = static_cast<std::size_t>(number(0, 4));
        break;
      }
      default:
        break;
    }
    if (!again) part->push_back(step);
  }
  EXPECT_FALSE(habits.connect.empty() || habits.start.empty() || habits.pause.empty()) << path;
  // A machine that is stopped and continued sends the same; the earlier regions still exist.
  habits.resume = habits.start;
  std::erase_if(habits.resume, [](const Step& step) {
    return step.request == static_cast<std::uint32_t>(request::AddMemReg::number);
  });
  return habits;
}

inline std::vector<Habits> frontend_orders() {
  std::vector<Habits> orders;

  // QEMU 11.1.3, vhost-user-test-device-pci, recorded.
  orders.push_back(read_trace("qemu", "qemu-11.1.txt"));
  orders.push_back(read_trace("qemu_with_memory_slots", "qemu-11.1-mem-slots.txt"));

  // crosvm, github.com/google/crosvm at f1e797a (August 2026), devices/src/virtio/vhost_user_frontend/mod.rs:
  // new(), activate(), virtio_sleep(), virtio_wake(), reset(). It negotiates REPLY_ACK but never asks for an
  // acknowledgement, sends SET_FEATURES only if they have changed, and keeps mappings when the guest resets
  // the device.
  orders.push_back({
      .name = "crosvm",
      .connect =
          parse_script("SET_OWNER GET_FEATURES GET_PROTOCOL_FEATURES SET_PROTOCOL_FEATURES SET_BACKEND_REQ_FD"
                       " GET_QUEUE_NUM GET_SHMEM_CONFIG GET_CONFIG=4 GET_CONFIG=1"),
      .start = parse_script("SET_FEATURES SET_MEM_TABLE each( SET_VRING_NUM SET_VRING_ADDR SET_VRING_BASE"
                            " SET_VRING_CALL=blocking SET_VRING_KICK=blocking SET_VRING_ENABLE )"),
      .pause = parse_script("each( SET_VRING_ENABLE=0 GET_VRING_BASE )"),
      .resume = parse_script("SET_MEM_TABLE each( SET_VRING_NUM SET_VRING_ADDR SET_VRING_BASE SET_VRING_CALL"
                             " SET_VRING_KICK SET_VRING_ENABLE )"),
      .reset = parse_script("each( SET_VRING_ENABLE=0 GET_VRING_BASE )"),
      .protocol_features =
          pf::config | pf::mq | pf::backend_req | pf::device_state | pf::shmem | pf::reply_ack,
      .unmaps_at_reset = false,
      .ends_at_refusal = true,
  });

  // libkrun, github.com/containers/libkrun at 6ed74fa (June 2026),
  // src/devices/src/virtio/vhost_user/device.rs: new(), activate_vhost_user(), reset(), over the vhost crate.
  // It sends SET_OWNER with each start, memory before the features, and one call descriptor for all queues; a
  // reset only disables the rings. There is no pause, and no shared memory yet.
  orders.push_back({
      .name = "libkrun",
      .connect =
          parse_script("GET_FEATURES GET_PROTOCOL_FEATURES SET_PROTOCOL_FEATURES GET_QUEUE_NUM GET_CONFIG=4"
                       " GET_CONFIG=1"),
      .start = parse_script(
          "SET_OWNER SET_MEM_TABLE SET_FEATURES each( SET_VRING_NUM SET_VRING_BASE SET_VRING_ADDR"
          " SET_VRING_KICK SET_VRING_CALL=shared SET_VRING_ENABLE )"),
      .pause = {},
      .resume = {},
      // The next driver reads the configuration first: only its answer shows that the rings have been
      // released.
      .reset = parse_script("each( SET_VRING_ENABLE=0 ) GET_CONFIG=4"),
      .protocol_features = pf::config | pf::mq,
  });

  // cloud-hypervisor, github.com/cloud-hypervisor/cloud-hypervisor at ae44c29 (August 2026),
  // virtio-devices/src/vhost_user/{vu_common_ctrl,generic_vhost_user}.rs: connect_vhost_user(),
  // negotiate_features_vhost_user(), setup_vhost_user(), pause_vhost_user(), resume_vhost_user(),
  // reset_vhost_user(), over the vhost crate, whose set_hdr_flags() marks every message. Bases are the
  // driver's available indices, and the back-end's channel comes last. There is no shared memory.
  orders.push_back({
      .name = "cloud_hypervisor",
      .connect =
          parse_script("SET_OWNER GET_FEATURES GET_PROTOCOL_FEATURES SET_PROTOCOL_FEATURES GET_QUEUE_NUM!"
                       " GET_CONFIG!=4 GET_CONFIG!=1"),
      .start = parse_script(
          "SET_FEATURES! SET_MEM_TABLE! each( SET_VRING_NUM! ) each( SET_VRING_ADDR!"
          " SET_VRING_BASE!=available SET_VRING_CALL! SET_VRING_KICK! ) each( SET_VRING_ENABLE! )"
          " SET_BACKEND_REQ_FD!"),
      .pause = parse_script("each( SET_VRING_ENABLE!=0 )"),
      .resume = parse_script("each( SET_VRING_ENABLE! )"),
      .reset = parse_script("each( SET_VRING_ENABLE!=0 GET_VRING_BASE! )"),
      .protocol_features = pf::config | pf::mq | pf::reply_ack | pf::backend_req | pf::device_state,
      .regions = 2,
  });
  return orders;
}

// As it would be if the VMM had shared memory: the same order, plus what a mapping needs. A decoder's buffers
// are mapped, so VMMs without it can only capture into the guest's own memory.
inline Habits with_shared_memory(Habits habits) {
  if ((habits.protocol_features & pf::shmem) != 0) return habits;
  const bool has_channel = (habits.protocol_features & pf::backend_req) != 0;
  habits.protocol_features |= pf::shmem | pf::backend_req | pf::reply_ack;
  for (const Step& step :
       parse_script(has_channel ? "GET_SHMEM_CONFIG" : "SET_BACKEND_REQ_FD GET_SHMEM_CONFIG"))
    habits.connect.push_back(step);
  return habits;
}

}  // namespace vumedia::vhost_user::test
