// expect: is_declared<5>
// An ioctl that has the number of VIDIOC_S_FMT, which would be dispatched to it.
#ifndef CORRECTED
#define ADDED_NUMBER 5
#endif
#include <vumedia/v4l2/ioctl_table.hpp>
