#include "every_header.hpp"

int second_half();

int second_half() {
  return 0;
}
