// The faults of control rules and of event rules, in a test::ControlZoo.
#pragma once

#include <cstring>
#include <map>
#include <memory>

#include "client/compliance_faults.hpp"
#include "support/control_zoo.hpp"

namespace vumedia::client::test {

namespace control_faults {

namespace tag = v4l2::tag;
namespace zoo = vumedia::test::zoo;
using vumedia::test::after, vumedia::test::before, vumedia::test::instead, vumedia::test::mistakes,
    vumedia::test::on_event;
using vumedia::test::Fault, vumedia::test::IoctlCall;

inline constexpr std::uint32_t next = V4L2_CTRL_FLAG_NEXT_CTRL | V4L2_CTRL_FLAG_NEXT_COMPOUND;

// Alters the description of a control in both queries, which have the same names for what is in both.
template <class F>
Fault described_by(F alter) {
  Fault fault;
  fault.ioctl = [alter](IoctlCall& call) {
    call.forward();
    if (!call.result) return;
    if (call.is<tag::QUERY_EXT_CTRL>()) alter(call.payload<tag::QUERY_EXT_CTRL>());
    if (call.is<tag::QUERYCTRL>()) alter(call.payload<tag::QUERYCTRL>());
  };
  return fault;
}

// Alters the answer to a request for one control, as `alter(request, control, result)`.
template <class Tag, class F>
Fault single(std::uint32_t id, F alter) {
  return after<Tag>([id, alter](v4l2::ExtControls& request, Result<>& result) {
    if (request.controls.size() == 1 && request.controls[0].id == id)
      alter(request, request.controls[0], result);
  });
}
// Answers success where the backend refuses a request for one control.
template <class Tag>
Fault takes(std::uint32_t id) {
  return single<Tag>(id, [](v4l2::ExtControls&, v4l2_ext_control&, Result<>& result) { result = {}; });
}

[[nodiscard]] inline bool failed_with(const Result<>& result, int error) {
  return !result && result.error().value == error;
}

inline Fault list_repeats() {
  return before<tag::QUERY_EXT_CTRL>([](v4l2_query_ext_ctrl& query) {
    if ((query.id & ~next) == zoo::integer) query.id = zoo::integer | (query.id & next);
    if ((query.id & ~next) == zoo::boolean && (query.id & next) != 0)
      query.id = zoo::integer | (query.id & next);
  });
}

inline const SeededFault query_faults[] = {
    // Every rule walks through the list.
    {"controls/list-ascends", list_repeats, {"controls/"}},
    {"controls/walks-agree",
     [] {
       return before<tag::QUERY_EXT_CTRL>([](v4l2_query_ext_ctrl& query) {
         if ((query.id & next) == V4L2_CTRL_FLAG_NEXT_CTRL) query.id |= V4L2_CTRL_FLAG_NEXT_COMPOUND;
       });
     }},
    {"controls/query-by-id",
     [] {
       return instead<tag::QUERY_EXT_CTRL>([](IoctlCall& call) {
         auto& query = call.payload<tag::QUERY_EXT_CTRL>();
         const bool by_id = query.id == zoo::integer;
         call.forward();
         if (by_id) ++query.maximum;
       });
     }},
    {"controls/unknown-refused",
     [] {
       return after<tag::TRY_EXT_CTRLS>([](v4l2::ExtControls& request, Result<>& result) {
         if (request.controls.size() == 1 && request.head.which == 0 && failed_with(result, EINVAL))
           result = {};
       });
     }},
    {"controls/names",
     [] {
       return described_by([](auto& query) {
         if (query.id == zoo::integer) std::memset(query.name, 'x', sizeof query.name);
       });
     }},
    {"controls/query-reserved",
     [] {
       return after<tag::QUERY_EXT_CTRL>([](v4l2_query_ext_ctrl& query, Result<>& result) {
         if (result) query.reserved[3] = 7;
       });
     }},
    {"controls/shape",
     [] {
       return after<tag::QUERY_EXT_CTRL>([](v4l2_query_ext_ctrl& query, Result<>&) {
         if (query.id == zoo::integer) query.elem_size = 8;
       });
     }},
    {"controls/ranges",
     [] {
       return described_by([](auto& query) {
         if (query.id == zoo::read_only) query.step = 0;
       });
     }},
    {"controls/buttons",
     [] {
       return described_by([](auto& query) {
         if (query.id == zoo::button) query.flags &= ~std::uint32_t{V4L2_CTRL_FLAG_EXECUTE_ON_WRITE};
       });
     }},
    {"controls/classes-lead",
     [] {
       return described_by([](auto& query) {
         if (query.type == V4L2_CTRL_TYPE_CTRL_CLASS)
           query.flags &= ~std::uint32_t{V4L2_CTRL_FLAG_WRITE_ONLY};
       });
     }},
    {"controls/queryctrl-agrees",
     [] { return after<tag::QUERYCTRL>([](v4l2_queryctrl& query, Result<>&) { ++query.maximum; }); }},
    {"controls/menu-items",
     [] {
       return after<tag::QUERYMENU>([](v4l2_querymenu& item, Result<>& result) {
         if (result) ++item.index;
       });
     }},
    {"controls/menu-default",
     [] {
       // A gap, everywhere.
       Fault fault = described_by([](auto& query) {
         if (query.id == zoo::gaps) query.default_value = 1;
       });
       fault.ioctl = [described = fault.ioctl](IoctlCall& call) {
         described(call);
         if (!call.is<tag::G_EXT_CTRLS>()) return;
         auto& request = call.payload<tag::G_EXT_CTRLS>();
         if (request.head.which == V4L2_CTRL_WHICH_DEF_VAL && request.controls[0].id == zoo::gaps)
           request.controls[0].value = 1;
       };
       return fault;
     }},
    {"controls/menu-end",
     [] {
       return after<tag::QUERYMENU>([](v4l2_querymenu& item, Result<>& result) {
         if (item.id == zoo::menu && item.index == zoo::animals.size()) result = {};
       });
     }},
    {"controls/menu-only",
     [] {
       return after<tag::QUERYMENU>([](v4l2_querymenu& item, Result<>& result) {
         if (item.id == zoo::integer) result = {};
       });
     }},
};

// The number in a request for one control, if it is `id`.
[[nodiscard]] inline const v4l2_ext_control* one_of(const v4l2::ExtControls& request, std::uint32_t id) {
  return request.controls.size() == 1 && request.controls[0].id == id ? request.controls.data() : nullptr;
}

// The size of a dynamic array before it was first set.
inline Fault keeps_its_size() {
  Fault fault;
  fault.ioctl = [elements = std::uint32_t{0}](IoctlCall& call) mutable {
    if (call.is<tag::S_EXT_CTRLS>() && one_of(call.payload<tag::S_EXT_CTRLS>(), zoo::dynamic) &&
        elements == 0) {
      v4l2_query_ext_ctrl query{};
      query.id = zoo::dynamic;
      if (call.run<tag::QUERY_EXT_CTRL>(query)) elements = query.elems;
    }
    call.forward();
    if (!call.is<tag::QUERY_EXT_CTRL>() || elements == 0) return;
    auto& query = call.payload<tag::QUERY_EXT_CTRL>();
    if (query.id == zoo::dynamic) query.elems = elements;
  };
  return fault;
}

inline const SeededFault value_faults[] = {
    {"controls/readable",
     [] {
       return single<tag::G_EXT_CTRLS>(zoo::read_only,
                                       [](v4l2::ExtControls& request, v4l2_ext_control&, Result<>& result) {
                                         if (request.head.which == V4L2_CTRL_WHICH_CUR_VAL)
                                           result = fail(EIO);
                                       });
     }},
    {"controls/within-range",
     [] {
       Fault fault;
       fault.ioctl = [](IoctlCall& call) {
         call.forward();
         if (call.is<tag::G_CTRL>() && call.payload<tag::G_CTRL>().id == zoo::read_only)
           call.payload<tag::G_CTRL>().value = 50;
         if (!call.is<tag::G_EXT_CTRLS>()) return;
         auto& request = call.payload<tag::G_EXT_CTRLS>();
         if (one_of(request, zoo::read_only) && request.head.which == V4L2_CTRL_WHICH_CUR_VAL)
           request.controls[0].value = 50;
       };
       return fault;
     }},
    {"controls/write-only", [] { return takes<tag::G_EXT_CTRLS>(zoo::write_only); }},
    {"controls/g-ctrl-agrees",
     [] { return after<tag::G_CTRL>([](v4l2_control& control, Result<>&) { ++control.value; }); }},
    {"controls/g-ctrl-wide",
     [] {
       return after<tag::G_CTRL>([](v4l2_control& control, Result<>& result) {
         if (control.id == zoo::integer64) result = {};
       });
     }},
    {"controls/default-values",
     [] {
       return single<tag::G_EXT_CTRLS>(zoo::integer,
                                       [](v4l2::ExtControls& request, v4l2_ext_control& control, Result<>&) {
                                         if (request.head.which == V4L2_CTRL_WHICH_DEF_VAL) ++control.value;
                                       });
     }},
    {"controls/limit-values",
     [] {
       return single<tag::G_EXT_CTRLS>(zoo::integer,
                                       [](v4l2::ExtControls& request, v4l2_ext_control& control, Result<>&) {
                                         if (request.head.which == v4l2::ctrl_which_min_val) ++control.value;
                                       });
     }},
    {"controls/small-memory",
     [] {
       return single<tag::G_EXT_CTRLS>(zoo::compound,
                                       [](v4l2::ExtControls&, v4l2_ext_control& control, Result<>& result) {
                                         if (failed_with(result, ENOSPC)) ++control.size;
                                       });
     }},
    {"controls/set-present",
     [] {
       return single<tag::S_EXT_CTRLS>(zoo::string,
                                       [](v4l2::ExtControls&, v4l2_ext_control&, Result<>& result) {
                                         if (result) result = fail(EIO);
                                       });
     }},
    {"controls/set-other",
     [] {
       return instead<tag::S_EXT_CTRLS>([](IoctlCall& call) {
         if (!one_of(call.payload<tag::S_EXT_CTRLS>(), zoo::integer64)) call.forward();
       });
     }},
    {"controls/s-ctrl-agrees",
     [] {
       return instead<tag::S_CTRL>([](IoctlCall& call) {
         if (call.payload<tag::S_CTRL>().id != zoo::integer) call.forward();
       });
     }},
    {"controls/out-of-range",
     [] {
       return instead<tag::S_EXT_CTRLS>([](IoctlCall& call) {
         const auto* const control = one_of(call.payload<tag::S_EXT_CTRLS>(), zoo::integer64);
         call.forward();
         if (control != nullptr && control->value64 == std::int64_t{1} << 40) call.result = fail(EINVAL);
       });
     }},
    {"controls/menu-values",
     [] {
       return instead<tag::S_EXT_CTRLS>([](IoctlCall& call) {
         const auto* const control = one_of(call.payload<tag::S_EXT_CTRLS>(), zoo::menu);
         const bool beyond = control != nullptr && control->value == int{zoo::animals.size()};
         if (!beyond) call.forward();
       });
     }},
    {"controls/long-string",
     [] {
       return single<tag::S_EXT_CTRLS>(zoo::string,
                                       [](v4l2::ExtControls&, v4l2_ext_control&, Result<>& result) {
                                         if (failed_with(result, ERANGE)) result = {};
                                       });
     }},
    {"controls/read-only", [] { return takes<tag::TRY_EXT_CTRLS>(zoo::read_only); }},
    {"controls/grabbed", [] { return takes<tag::S_EXT_CTRLS>(zoo::grabbed); }},
    {"controls/try-changes-nothing",
     [] {
       return instead<tag::TRY_EXT_CTRLS>([](IoctlCall& call) {
         auto& request = call.payload<tag::TRY_EXT_CTRLS>();
         if (one_of(request, zoo::integer) && request.head.which == V4L2_CTRL_WHICH_CUR_VAL) {
           call.result = call.run<tag::S_EXT_CTRLS>(request);
         } else {
           call.forward();
         }
       });
     }},
    {"controls/get-error-idx",
     [] {
       return after<tag::G_EXT_CTRLS>([](v4l2::ExtControls& request, Result<>& result) {
         if (!result) request.head.error_idx = 1;
       });
     }},
    {"controls/set-error-idx",
     [] {
       return after<tag::S_EXT_CTRLS>([](v4l2::ExtControls& request, Result<>& result) {
         if (!result) request.head.error_idx = 1;
       });
     }},
    {"controls/try-error-idx",
     [] {
       return after<tag::TRY_EXT_CTRLS>([](v4l2::ExtControls& request, Result<>& result) {
         if (!result) request.head.error_idx = request.head.count;
       });
     }},
    {"controls/set-all-or-none",
     [] {
       return instead<tag::S_EXT_CTRLS>([](IoctlCall& call) {
         const auto& request = call.payload<tag::S_EXT_CTRLS>();
         if (request.controls.size() == 2) {
           v4l2_control first{request.controls[0].id, request.controls[0].value};
           static_cast<void>(call.run<tag::S_CTRL>(first));
         }
         call.forward();
       });
     }},
    {"controls/set-default",
     [] {
       return after<tag::S_EXT_CTRLS>([](v4l2::ExtControls& request, Result<>& result) {
         if (request.head.which == V4L2_CTRL_WHICH_DEF_VAL) result = {};
       });
     }},
    {"controls/which-class",
     [] {
       return after<tag::G_EXT_CTRLS>([](v4l2::ExtControls& request, Result<>& result) {
         if (request.controls.size() == 1 && request.head.which == V4L2_CTRL_CLASS_CODEC) result = {};
       });
     }},
    {"controls/count-zero",
     [] {
       return after<tag::S_EXT_CTRLS>([](v4l2::ExtControls& request, Result<>& result) {
         if (request.controls.empty()) result = fail(EINVAL);
       });
     }},
    {"controls/dynamic-size", keeps_its_size},
};

// -- Events

[[nodiscard]] inline bool tells_a_change(const v4l2_event& event) {
  return event.type == V4L2_EVENT_CTRL && event.u.ctrl.changes == V4L2_EVENT_CTRL_CH_VALUE;
}

// Accepts refused subscriptions if `about` holds for them.
template <class About>
Fault takes_subscription(About about) {
  return after<tag::SUBSCRIBE_EVENT>([about](v4l2_event_subscription& subscription, Result<>& result) {
    if (about(subscription)) result = {};
  });
}

// `tell(setter, session, event)` determines how often an event is sent, where `setter` is the session that
// last set a control.
template <class F>
Fault by_setter(F tell) {
  const auto setter = std::make_shared<std::uint32_t>();
  Fault fault;
  fault.ioctl = [setter](IoctlCall& call) {
    if (call.is<tag::S_EXT_CTRLS>()) *setter = call.context.session_id();
    call.forward();
  };
  fault.event = [setter, tell](std::uint32_t session, v4l2_event& event) {
    return tell(*setter, session, event);
  };
  return fault;
}

// Sends the events of a control as often as it was subscribed to.
inline Fault counts_subscriptions() {
  const auto count = std::make_shared<std::map<std::uint32_t, int>>();
  Fault fault;
  fault.open = [count](std::uint32_t session, Result<>&) { count->erase(session); };
  fault.ioctl = [count](IoctlCall& call) {
    if (call.is<tag::SUBSCRIBE_EVENT>() && call.payload<tag::SUBSCRIBE_EVENT>().id == zoo::integer)
      ++(*count)[call.context.session_id()];
    call.forward();
  };
  fault.event = [count](std::uint32_t session, v4l2_event& event) {
    return tells_a_change(event) ? (*count)[session] : 1;
  };
  return fault;
}

inline Fault tells_what_did_not_change() {
  return instead<tag::S_EXT_CTRLS>([](IoctlCall& call) {
    const auto* const control = one_of(call.payload<tag::S_EXT_CTRLS>(), zoo::integer);
    v4l2_control present{zoo::integer, 0};
    const bool same = control != nullptr && call.run<tag::G_CTRL>(present) && present.value == control->value;
    call.forward();
    if (!same) return;
    v4l2_event event = v4l2::make_event(V4L2_EVENT_CTRL, zoo::integer);
    event.u.ctrl.changes = V4L2_EVENT_CTRL_CH_VALUE;
    call.context.send_event(event);
  });
}

inline const SeededFault event_faults[] = {
    {"events/unknown-type",
     [] { return takes_subscription([](const auto& one) { return one.type >= V4L2_EVENT_PRIVATE_START; }); }},
    {"events/all-not-subscribable",
     [] { return takes_subscription([](const auto& one) { return one.type == V4L2_EVENT_ALL; }); }},
    {"events/unknown-control",
     [] { return takes_subscription([](const auto& one) { return one.type == V4L2_EVENT_CTRL; }); }},
    {"events/every-control",
     [] {
       return after<tag::SUBSCRIBE_EVENT>([](v4l2_event_subscription& subscription, Result<>& result) {
         if (subscription.id == V4L2_CID_USER_CLASS) result = fail(EINVAL);
       });
     }},
    {"events/unsubscribe-nothing",
     [] {
       return after<tag::UNSUBSCRIBE_EVENT>([](v4l2_event_subscription& subscription, Result<>& result) {
         if (subscription.type == V4L2_EVENT_EOS) result = fail(EINVAL);
       });
     }},
    {"events/initial",
     [] {
       return on_event([](std::uint32_t, v4l2_event& event) {
         if (!tells_a_change(event)) event.u.ctrl.changes = V4L2_EVENT_CTRL_CH_RANGE;
         return 1;
       });
     }},
    // Rules that listen without flags receive it, too.
    {"events/no-initial",
     [] {
       return before<tag::SUBSCRIBE_EVENT>([](v4l2_event_subscription& subscription) {
         if (subscription.flags == 0) subscription.flags = V4L2_EVENT_SUB_FL_SEND_INITIAL;
       });
     },
     {"events/no-feedback", "events/others-hear"}},
    {"events/feedback",
     [] {
       return by_setter([](std::uint32_t setter, std::uint32_t session, v4l2_event& event) {
         if (session == setter && tells_a_change(event)) ++event.u.ctrl.value;
         return 1;
       });
     }},
    {"events/no-feedback",
     [] {
       return before<tag::SUBSCRIBE_EVENT>([](v4l2_event_subscription& subscription) {
         subscription.flags |= V4L2_EVENT_SUB_FL_ALLOW_FEEDBACK;
       });
     }},
    {"events/subscribe-twice", counts_subscriptions},
    {"events/others-hear",
     [] {
       return by_setter([](std::uint32_t setter, std::uint32_t session, v4l2_event& event) {
         return session != setter && tells_a_change(event) ? 0 : 1;
       });
     }},
    {"events/no-change", tells_what_did_not_change},
    {"events/unsubscribe",
     [] {
       return instead<tag::UNSUBSCRIBE_EVENT>([](IoctlCall& call) {
         if (call.payload<tag::UNSUBSCRIBE_EVENT>().id != zoo::integer) call.forward();
       });
     }},
    {"events/unsubscribe-all",
     [] {
       return instead<tag::UNSUBSCRIBE_EVENT>([](IoctlCall& call) {
         if (call.payload<tag::UNSUBSCRIBE_EVENT>().type != V4L2_EVENT_ALL) call.forward();
       });
     }},
    {"events/sequence",
     [] {
       return on_event([](std::uint32_t, v4l2_event& event) {
         event.sequence = 7;
         return 1;
       });
     }},
};

}  // namespace control_faults

[[nodiscard]] inline std::unique_ptr<vumedia::test::EmbeddedGuest> make_zoo(vumedia::test::Fault fault) {
  return guest_of_faulty<vumedia::test::ControlZoo>(std::move(fault));
}

}  // namespace vumedia::client::test
