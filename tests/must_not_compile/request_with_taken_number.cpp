// expect: two requests of a direction have the same number
// A request whose number another one has.
#include "extended_requests.hpp"

namespace vumedia::vhost_user {

#ifdef CORRECTED
inline constexpr std::uint32_t number = 60;
#else
inline constexpr std::uint32_t number = 3;
#endif

struct SetColour final : RequestSpec<Extended, number, "SET_COLOUR", "what the device is painted in", U64,
                                     ReplyKind::acknowledgement> {};
template <>
inline constexpr auto sequence_of<Extended> =
    boost::hana::append(sequence_of<FromFrontend>, boost::hana::type_c<SetColour>);

static_assert(RequestTable<Extended>::find(60) != nullptr);

}  // namespace vumedia::vhost_user
