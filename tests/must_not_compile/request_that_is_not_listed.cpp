// expect: ListedRequest
// A request that is declared and has a handler, but no entry in the sequence.
#include "extended_requests.hpp"

namespace vumedia::vhost_user {

struct SetColour final : RequestSpec<Extended, 60, "SET_COLOUR", "what the device is painted in", U64,
                                     ReplyKind::acknowledgement> {};

#ifdef CORRECTED
template <>
inline constexpr auto sequence_of<Extended> =
    boost::hana::append(sequence_of<FromFrontend>, boost::hana::type_c<SetColour>);
#endif

struct Colours {
  Verdict handle(const Received<SetColour>&) { return {}; }
};

}  // namespace vumedia::vhost_user
