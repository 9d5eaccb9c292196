// expect: a request without a handler must need a feature that is not offered
// A request that has its entry in the sequence, but no handler.
#include "extended_requests.hpp"

namespace vumedia::vhost_user {

struct SetColour final : RequestSpec<Extended, 60, "SET_COLOUR", "what the device is painted in", U64,
                                     ReplyKind::acknowledgement> {};
template <>
inline constexpr auto sequence_of<Extended> =
    boost::hana::append(sequence_of<FromFrontend>, boost::hana::type_c<SetColour>);

struct Colours {
#ifdef CORRECTED
  Verdict handle(const Received<SetColour>&) { return {}; }
#endif
};

template class Handlers<Extended, Everything, Colours>;

}  // namespace vumedia::vhost_user
