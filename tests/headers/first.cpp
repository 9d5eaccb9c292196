// Half of a program whose two halves include every header: a definition that is not inline would not link.
#include "every_header.hpp"

int second_half();

int main() {
  return second_half();
}
