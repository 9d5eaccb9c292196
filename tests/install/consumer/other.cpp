#include "vumedia_headers.hpp"

bool other_agrees(std::uint64_t size);

bool other_agrees(std::uint64_t size) { return vumedia::align_up(1, vumedia::page_size) == size; }
