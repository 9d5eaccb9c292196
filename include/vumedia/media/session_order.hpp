// The order in which the commands of one session are carried out.
#pragma once

namespace vumedia::media {

/// What of a session's commands is not done, so that a later one waits.
struct SessionOrder {
  /// Commands that no other may overtake: an unfinished one that takes several turns of the loop, and those
  /// that wait for it.
  int waiting = 0;
  bool under_way = false;  ///< that one
};

}  // namespace vumedia::media
