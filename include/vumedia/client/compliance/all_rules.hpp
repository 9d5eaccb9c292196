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

/// The rules of all groups, in the order in which they run.
inline constexpr Group all_rules[] = {
    {"Configuration", detail::rules::config_rules},
    {"Open files and commands", detail::rules::file_rules},
    {"Enumeration of formats", detail::rules::enumeration_rules},
    {"Formats", detail::rules::format_rules},
    {"Streaming parameters", detail::rules::parameter_rules},
    {"Selections", detail::rules::selection_rules},
    {"Inputs and outputs", detail::rules::input_rules},
    {"Priority", detail::rules::priority_rules},
    {"Buffers", detail::rules::request_rules},
    {"Queueing", detail::rules::queueing_rules},
    {"Mapping", detail::rules::mapping_rules},
    {"Streaming", detail::rules::streaming_rules},
    {"Memory to memory", detail::m2m::rules},
    {"Controls", detail::controls::query_rules},
    {"Values of controls", detail::controls::reading_rules},
    {"Setting controls", detail::controls::setting_rules},
    {"Requests for several controls", detail::controls::request_rules},
    {"Events", detail::events::event_rules},
    {"Stateful decoder", detail::decoder::setup_rules},
    {"Decoding", detail::decoder::stream_rules},
    {"Drain", detail::decoder::drain_rules},
    {"Seek", detail::decoder::seek_rules},
    {"Dynamic resolution change", detail::decoder::change_rules},
};

}  // namespace vumedia::client::compliance
