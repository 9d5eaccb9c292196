// expect: carries a struct without a description
// An ioctl whose struct has no fields in detail/describe_tables.hpp, so that a trace could not show it.
#ifndef CORRECTED
#define ADDED_BODY v4l2_rds_data
#endif
#include <vumedia/v4l2/describe.hpp>
