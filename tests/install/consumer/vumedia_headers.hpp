// What a device in a daemon includes.
#pragma once

#include <vumedia/core/checked.hpp>
#include <vumedia/core/result.hpp>
#if __has_include(<vumedia/media/device.hpp>)
#include <vumedia/media/device.hpp>
#endif
#if __has_include(<vumedia/vhost_user/server.hpp>)
#include <vumedia/vhost_user/server.hpp>
#endif
#ifdef CONSUMER_WANTS_FFMPEG
#if __has_include(<vumedia/backends/ffmpeg_decoder.hpp>)
#include <vumedia/backends/ffmpeg_decoder.hpp>
#endif
#endif
