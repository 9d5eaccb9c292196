// Each state of a memory-to-memory device with each thing that can happen to it.
#include <cerrno>
#include <cstdint>
#include <functional>
#include <optional>
#include <ostream>
#include <string>
#include <type_traits>
#include <vector>

#include <gtest/gtest.h>

#include <vumedia/backends/m2m/phase.hpp>

namespace vumedia::test {
namespace phase_test {

using Phase = backends::m2m::Phase;
using State = Phase::State;

struct Print {
  std::string operator()(const Phase::Decoding& state) const { return "decoding" + with(state.drain); }
  std::string operator()(const Phase::ChangeReached& state) const {
    return "change reached" + with(state.drain);
  }
  std::string operator()(const Phase::Changing& state) const { return "changing" + with(state.drain); }
  std::string operator()(const Phase::DrainReached& state) const {
    return state.end_told ? "drain reached, end told" : "drain reached";
  }
  std::string operator()(const Phase::Drained&) const { return "drained"; }
  std::string operator()(const Phase::Closed&) const { return "closed"; }

 private:
  static std::string with(std::optional<Phase::Drain> drain) {
    return drain ? " with drain " + std::to_string(*drain) : "";
  }
};
std::string text_of(const Phase& phase) {
  return std::visit(Print{}, phase.state());
}

// All there are. The number of a drain tells it from one that has been forgotten.
const Phase decoding{Phase::Decoding{}};
const Phase decoding_7{Phase::Decoding{7}};
const Phase change_reached{Phase::ChangeReached{}};
const Phase change_reached_7{Phase::ChangeReached{7}};
const Phase changing{Phase::Changing{}};
const Phase changing_7{Phase::Changing{7}};
const Phase drain_reached{Phase::DrainReached{}};
const Phase end_told{Phase::DrainReached{true}};
const Phase drained{Phase::Drained{}};
const Phase closed{Phase::Closed{}};

// What a transition said: nothing, false, true, or an errno.
enum class Answer : std::uint8_t { none, no, yes, busy };
struct Row {
  Phase from;
  Answer answer;
  Phase to;
};

template <class Transition>
Answer answer_of(Phase& phase, Transition transition) {
  const auto of = [](const auto& answer) {
    using Type = std::remove_cvref_t<decltype(answer)>;
    if constexpr (std::is_same_v<Type, bool>) {
      return answer ? Answer::yes : Answer::no;
    } else {
      return answer.has_value() ? Answer::yes : Answer::no;
    }
  };
  using Result = std::invoke_result_t<Transition, Phase&>;
  if constexpr (std::is_void_v<Result>) {
    transition(phase);
    return Answer::none;
  } else if constexpr (std::is_same_v<Result, bool>) {
    return of(transition(phase));
  } else {
    const auto answer = transition(phase);
    if (answer) return of(*answer);
    EXPECT_EQ(answer.error().value, EBUSY);
    return Answer::busy;
  }
}

// One row for each state.
template <class Transition>
void check(Transition transition, const std::vector<Row>& rows) {
  EXPECT_EQ(rows.size(), 10u);
  for (const Row& row : rows) {
    SCOPED_TRACE(text_of(row.from));
    Phase phase = row.from;
    EXPECT_EQ(answer_of(phase, transition), row.answer);
    EXPECT_EQ(text_of(phase), text_of(row.to));
  }
}

TEST(PhaseTest, ADrainBeginsOnceAtATime) {
  using enum Answer;
  check([](Phase& phase) { return phase.begin_drain(); },
        {
            {decoding, yes, Phase(Phase::Decoding{1})},
            {decoding_7, busy, decoding_7},
            {change_reached, yes, Phase(Phase::ChangeReached{1})},
            {change_reached_7, busy, change_reached_7},
            {changing, yes, Phase(Phase::Changing{1})},
            {changing_7, busy, changing_7},
            {drain_reached, busy, drain_reached},
            {end_told, busy, end_told},
            {drained, no, drained},
            {closed, no, closed},
        });
}

TEST(PhaseTest, ASeekLeavesADrainAndNoChange) {
  using enum Answer;
  check([](Phase& phase) { phase.seek(); }, {
                                                {decoding, none, decoding},
                                                {decoding_7, none, decoding},
                                                {change_reached, none, change_reached},
                                                {change_reached_7, none, change_reached},
                                                {changing, none, changing},
                                                {changing_7, none, changing},
                                                {drain_reached, none, decoding},
                                                {end_told, none, decoding},
                                                {drained, none, decoding},
                                                {closed, none, closed},
                                            });
}

TEST(PhaseTest, ARestartLeavesOnlyACompleteDrain) {
  using enum Answer;
  check([](Phase& phase) { phase.restart(); }, {
                                                   {decoding, none, decoding},
                                                   {decoding_7, none, decoding_7},
                                                   {change_reached, none, change_reached},
                                                   {change_reached_7, none, change_reached_7},
                                                   {changing, none, changing},
                                                   {changing_7, none, changing_7},
                                                   {drain_reached, none, drain_reached},
                                                   {end_told, none, end_told},
                                                   {drained, none, decoding},
                                                   {closed, none, closed},
                                               });
}

TEST(PhaseTest, AnotherStreamLeavesAChange) {
  using enum Answer;
  check([](Phase& phase) { phase.forget_change(); }, {
                                                         {decoding, none, decoding},
                                                         {decoding_7, none, decoding_7},
                                                         {change_reached, none, decoding},
                                                         {change_reached_7, none, decoding_7},
                                                         {changing, none, decoding},
                                                         {changing_7, none, decoding_7},
                                                         {drain_reached, none, drain_reached},
                                                         {end_told, none, end_told},
                                                         {drained, none, decoding},
                                                         {closed, none, closed},
                                                     });
}

// A drain that a change has come before is not forgotten: it waits for the new buffers.
TEST(PhaseTest, WithoutCaptureNobodyWaitsForLast) {
  using enum Answer;
  check([](Phase& phase) { return phase.stop_capture(); }, {
                                                               {decoding, no, decoding},
                                                               {decoding_7, no, decoding},
                                                               {change_reached, no, changing},
                                                               {change_reached_7, no, changing_7},
                                                               {changing, no, changing},
                                                               {changing_7, no, changing_7},
                                                               {drain_reached, yes, drained},
                                                               {end_told, no, drained},
                                                               {drained, no, drained},
                                                               {closed, no, closed},
                                                           });
}

TEST(PhaseTest, CaptureThatStartsEndsAStop) {
  using enum Answer;
  check([](Phase& phase) { return phase.leave_stop(); }, {
                                                             {decoding, no, decoding},
                                                             {decoding_7, no, decoding_7},
                                                             {change_reached, no, change_reached},
                                                             {change_reached_7, no, change_reached_7},
                                                             {changing, no, decoding},
                                                             {changing_7, no, decoding_7},
                                                             {drain_reached, no, drain_reached},
                                                             {end_told, no, end_told},
                                                             {drained, yes, decoding},
                                                             {closed, no, closed},
                                                         });
}

TEST(PhaseTest, TheStartCommandWaitsForLastAndForADrain) {
  check(
      [](Phase& phase) -> Result<std::optional<bool>> {
        const auto resumed = phase.resume();
        if (!resumed) return std::unexpected(resumed.error());
        return *resumed ? std::optional(true) : std::nullopt;
      },
      {
          {decoding, Answer::no, decoding},
          {decoding_7, Answer::busy, decoding_7},
          {change_reached, Answer::busy, change_reached},
          {change_reached_7, Answer::busy, change_reached_7},
          {changing, Answer::no, decoding},
          {changing_7, Answer::busy, changing_7},
          {drain_reached, Answer::busy, drain_reached},
          {end_told, Answer::busy, end_told},
          {drained, Answer::yes, decoding},
          {closed, Answer::no, closed},
      });
}

TEST(PhaseTest, AChangeIsReachedWhileDecoding) {
  using enum Answer;
  check([](Phase& phase) { phase.reach_change(); }, {
                                                        {decoding, none, change_reached},
                                                        {decoding_7, none, change_reached_7},
                                                        {change_reached, none, change_reached},
                                                        {change_reached_7, none, change_reached_7},
                                                        {changing, none, changing},
                                                        {changing_7, none, changing_7},
                                                        {drain_reached, none, drain_reached},
                                                        {end_told, none, end_told},
                                                        {drained, none, drained},
                                                        {closed, none, closed},
                                                    });
}

TEST(PhaseTest, TheEndOfADrainIsReachedWhileDecoding) {
  using enum Answer;
  check([](Phase& phase) { return phase.reach_end(7); }, {
                                                             {decoding, no, decoding},
                                                             {decoding_7, yes, drain_reached},
                                                             {change_reached, no, change_reached},
                                                             {change_reached_7, no, change_reached_7},
                                                             {changing, no, changing},
                                                             {changing_7, no, changing_7},
                                                             {drain_reached, no, drain_reached},
                                                             {end_told, no, end_told},
                                                             {drained, no, drained},
                                                             {closed, no, closed},
                                                         });
  Phase later(Phase::Decoding{8});
  EXPECT_FALSE(later.reach_end(7)) << "the end of a drain that has been forgotten";
  EXPECT_EQ(text_of(later), "decoding with drain 8");
}

TEST(PhaseTest, TheEndIsToldOnce) {
  using enum Answer;
  check([](Phase& phase) { return phase.tell_end(); }, {
                                                           {decoding, no, decoding},
                                                           {decoding_7, no, decoding_7},
                                                           {change_reached, no, change_reached},
                                                           {change_reached_7, no, change_reached_7},
                                                           {changing, no, changing},
                                                           {changing_7, no, changing_7},
                                                           {drain_reached, yes, end_told},
                                                           {end_told, no, end_told},
                                                           {drained, no, drained},
                                                           {closed, no, closed},
                                                       });
  check([](Phase& phase) { return phase.pass_last(); }, {
                                                            {decoding, no, decoding},
                                                            {decoding_7, no, decoding_7},
                                                            {change_reached, no, changing},
                                                            {change_reached_7, no, changing_7},
                                                            {changing, no, changing},
                                                            {changing_7, no, changing_7},
                                                            {drain_reached, yes, drained},
                                                            {end_told, no, drained},
                                                            {drained, no, drained},
                                                            {closed, no, closed},
                                                        });
}

TEST(PhaseTest, ClosedIsFinal) {
  for (const Phase& from : {decoding, decoding_7, change_reached, change_reached_7, changing, changing_7,
                            drain_reached, end_told, drained, closed}) {
    Phase phase = from;
    phase.close();
    EXPECT_TRUE(phase.closed()) << text_of(from);
  }
}

TEST(PhaseTest, AnswersWhatItIs) {
  struct Is {
    Phase phase;
    bool decoding, stopped, last_is_due;
  };
  for (const Is& row : {Is{decoding, true, false, false}, Is{decoding_7, true, false, false},
                        Is{change_reached, false, false, true}, Is{change_reached_7, false, false, true},
                        Is{changing, false, true, false}, Is{changing_7, false, true, false},
                        Is{drain_reached, false, false, true}, Is{end_told, false, false, true},
                        Is{drained, false, true, false}, Is{closed, false, false, false}}) {
    SCOPED_TRACE(text_of(row.phase));
    EXPECT_EQ(row.phase.decoding(), row.decoding);
    EXPECT_EQ(row.phase.stopped(), row.stopped);
    EXPECT_EQ(row.phase.last_is_due(), row.last_is_due);
    EXPECT_EQ(row.phase.drained(), text_of(row.phase) == "drained");
    EXPECT_EQ(row.phase.closed(), text_of(row.phase) == "closed");
  }
}

// Numbers are not used again, so the end of a forgotten drain is not taken for that of the next.
TEST(PhaseTest, CountsDrains) {
  Phase phase;
  for (Phase::Drain drain = 1; drain < 5; ++drain) {
    const auto begun = phase.begin_drain();
    ASSERT_TRUE(begun);
    EXPECT_EQ(*begun, drain);
    phase.seek();
    EXPECT_FALSE(phase.reach_end(drain));
  }
}

}  // namespace phase_test
}  // namespace vumedia::test
