// expect: is declared in ioctl_table.hpp, but it is not entered in the sequence
// An ioctl that is declared, but not entered in the sequence.
#ifndef CORRECTED
#define ADDED_ENTRIES
#endif
#include <vumedia/v4l2/ioctl_table.hpp>
