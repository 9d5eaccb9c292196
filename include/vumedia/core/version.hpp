// The version of the library and of the programs that come with it. This is the only place that defines it:
// the build system, the package files and the programs read it from here, so that a bare copy of include/
// knows its version, too.
//
// Semantic versioning; before 1.0 a new minor version may change the interface.
#pragma once

/// For decisions that the preprocessor has to make.
///@{
#define VUMEDIA_VERSION_MAJOR 0
#define VUMEDIA_VERSION_MINOR 4
#define VUMEDIA_VERSION_PATCH 0
///@}

#define VUMEDIA_VERSION_TEXT(major, minor, patch) #major "." #minor "." #patch
// A second level, because operands of # are not expanded.
#define VUMEDIA_VERSION_EXPANDED_TEXT(major, minor, patch) VUMEDIA_VERSION_TEXT(major, minor, patch)

namespace vumedia {

/// "MAJOR.MINOR.PATCH".
inline constexpr char version_string[] =
    VUMEDIA_VERSION_EXPANDED_TEXT(VUMEDIA_VERSION_MAJOR, VUMEDIA_VERSION_MINOR, VUMEDIA_VERSION_PATCH);

}  // namespace vumedia

#undef VUMEDIA_VERSION_EXPANDED_TEXT
#undef VUMEDIA_VERSION_TEXT
