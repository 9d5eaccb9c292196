// Each compliance rule notices the fault that is seeded for it, and no other rule of its group does.
#include "client/compliance_faults.hpp"

#include "client/compliance_faults_controls.hpp"

namespace vumedia::client::test {
namespace {

const FaultTable zoo_tables[] = {
    {"control zoo: queries", make_zoo, control_faults::query_faults, nullptr, long_patience},
    {"control zoo: values", make_zoo, control_faults::value_faults, nullptr, long_patience},
    {"control zoo: events", make_zoo, control_faults::event_faults, nullptr, long_patience},
};

class SeededFaultsOf : public testing::TestWithParam<const FaultTable*> {};

TEST_P(SeededFaultsOf, AreNoticedByTheirRules) {
  check_faults(*GetParam());
}

INSTANTIATE_TEST_SUITE_P(Devices, SeededFaultsOf, testing::ValuesIn([] {
                           std::vector<const FaultTable*> all;
                           for (const FaultTable& table : zoo_tables) all.push_back(&table);
                           return all;
                         }()),
                         [](const auto& one) {
                           std::string name = one.param->device;
                           std::erase_if(name, [](char c) { return c == ' ' || c == ':'; });
                           return name;
                         });

// The rules of the groups in the tables.
TEST(SeededFaults, AreThereForEveryRule) {
  EXPECT_EQ(rules_without_fault(zoo_tables,
                                [](const compliance::Rule& rule) {
                                  const std::string_view id = rule.id;
                                  return id.starts_with("controls/") || id.starts_with("events/");
                                }),
            "");
}

}  // namespace
}  // namespace vumedia::client::test
