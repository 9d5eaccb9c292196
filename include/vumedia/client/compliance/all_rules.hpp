// The list of all rules, in the order in which they run.
#pragma once

#include <vumedia/client/compliance/controls_query.hpp>
#include <vumedia/client/compliance/controls_reading.hpp>
#include <vumedia/client/compliance/controls_requests.hpp>
#include <vumedia/client/compliance/controls_setting.hpp>
#include <vumedia/client/compliance/decoder_setup.hpp>
#include <vumedia/client/compliance/decoder_states.hpp>
#include <vumedia/client/compliance/decoder_stream.hpp>
#include <vumedia/client/compliance/device.hpp>
#include <vumedia/client/compliance/enumeration.hpp>
#include <vumedia/client/compliance/events.hpp>
#include <vumedia/client/compliance/formats.hpp>
#include <vumedia/client/compliance/inputs.hpp>
#include <vumedia/client/compliance/mapping.hpp>
#include <vumedia/client/compliance/memory_to_memory.hpp>
#include <vumedia/client/compliance/parameters.hpp>
#include <vumedia/client/compliance/queueing.hpp>
#include <vumedia/client/compliance/requests.hpp>
#include <vumedia/client/compliance/rule.hpp>
#include <vumedia/client/compliance/streaming.hpp>

namespace vumedia::client::compliance {

inline constexpr Group all_rules[] = {
    {"Configuration", rules::config_rules},
    {"Open files and commands", rules::file_rules},
    {"Enumeration of formats", rules::enumeration_rules},
    {"Formats", rules::format_rules},
    {"Streaming parameters", rules::parameter_rules},
    {"Selections", rules::selection_rules},
    {"Inputs and outputs", rules::input_rules},
    {"Priority", rules::priority_rules},
    {"Buffers", rules::request_rules},
    {"Queueing", rules::queueing_rules},
    {"Mapping", rules::mapping_rules},
    {"Streaming", rules::streaming_rules},
    {"Memory to memory", m2m::rules},
    {"Controls", controls::query_rules},
    {"Values of controls", controls::reading_rules},
    {"Setting controls", controls::setting_rules},
    {"Requests for several controls", controls::request_rules},
    {"Events", events::event_rules},
    {"Stateful decoder", decoder::setup_rules},
    {"Decoding", decoder::stream_rules},
    {"Drain", decoder::drain_rules},
    {"Seek", decoder::seek_rules},
    {"Dynamic resolution change", decoder::change_rules},
};

}  // namespace vumedia::client::compliance
