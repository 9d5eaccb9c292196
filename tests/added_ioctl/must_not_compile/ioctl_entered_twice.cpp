// expect: entered_twice
// An ioctl that has two entries in the sequence.
#ifndef CORRECTED
#define ADDED_ENTRIES tag::S_SHUTTER, tag::S_SHUTTER,
#endif
#include <vumedia/v4l2/ioctl_table.hpp>
