// The ioctl that CMakeLists.txt adds to a copy of ioctl_table.hpp, VIDIOC_S_SHUTTER. A file may define some
// of these otherwise before it includes the copy.
#ifndef ADDED_NUMBER
#define ADDED_NUMBER 105
#endif
#ifndef ADDED_BODY
#define ADDED_BODY v4l2_fract
#endif
// Each ends with a comma.
#ifndef ADDED_ENTRIES
#define ADDED_ENTRIES tag::S_SHUTTER,
#endif
