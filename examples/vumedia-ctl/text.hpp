// Text in fields of V4L2's structs, which need not end with a zero.
#pragma once

#include <cstring>
#include <string>

#include <linux/types.h>

namespace ctl {

template <std::size_t Size>
std::string text_of(const __u8 (&field)[Size]) {
  const auto* const text = reinterpret_cast<const char*>(field);
  return {text, ::strnlen(text, Size)};
}
template <std::size_t Size>
std::string text_of(const char (&field)[Size]) {
  return {field, ::strnlen(field, Size)};
}

}  // namespace ctl
