// gym_revise.cpp - a problem, somebody's solution, and somebody's remark about it.
//
// In all four cells the words are the same and so is what the numbers look like: a wrong solution is disputed with the
// truth as a right one is disputed with a slip. Only working the problem out again tells which is which.
#include "gym_parts.h"

namespace gym {

namespace {

// {W} the proposed work, {Y} and {Z} people, {X} the number that the remark names, {E} an equation of the work.
struct Frame {
    const char *solution, *agrees, *number, *step;
};
constexpr Frame frames[] = {
    {"Proposed solution: {W}.", "A colleague says: {X} is right.", "A colleague says: it should be {X}.",
     "A colleague says: {E} is wrong."},
    {"{Y} solves it so: {W}.", "{Z} agrees with {X}.", "{Z} gets {X} instead.", "{Z} says that {E} is a mistake."},
    {"Here is my solution: {W}.", "My colleague {Z} finds {X} too.", "My colleague {Z} finds {X}.",
     "My colleague {Z} does not accept {E}."},
    {"The board says: {W}.", "\"Yes, {X}\", says {Z}.", "\"No, {X}\", says {Z}.", "\"No, not {E}\", says {Z}."},
    {"{Y} writes: {W}.", "{Z} thinks that {X} is correct.", "{Z} thinks that {X} would be correct.",
     "{Z} thinks that {E} is not correct."},
    {"Solution: {W}.", "Remark by {Z}: good, it is {X}.", "Remark by {Z}: sorry, it is {X}.",
     "Remark by {Z}: sorry, {E} is false."},
    {"A student hands in: {W}.", "A tutor notes: {X} is fine.", "A tutor notes: {X} would be fine.",
     "A tutor notes: {E} is not fine."},
    {"{Y} has worked it out: {W}.", "{Z} is happy with {X}.", "{Z} would be happy with {X}.",
     "{Z} is not happy with {E}."},
    {"Draft answer: {W}.", "A reader says that {X} is the right result.", "A reader says that the right result is {X}.",
     "A reader says that {E} is an error."},
    {"First solution: {W}.", "Feedback: correct, {X}.", "Feedback: not correct, it is {X}.",
     "Feedback: not correct, look at {E}."},
    {"{Y} proposes: {W}.", "{Z} nods and says {X}.", "{Z} shakes the head and says {X}.",
     "{Z} shakes the head at {E}."},
    {"The solution so far: {W}.", "The team says that it is indeed {X}.", "The team says that it must be {X}.",
     "The team says that {E} must be wrong."},
    {"{Y} puts forward the following: {W}.", "{Z}, who sits opposite, comes to {X} as well.",
     "{Z}, who sits opposite, comes to {X}.", "{Z}, who sits opposite, objects to {E}."},
    {"An old notebook reads: {W}.", "Somebody has put in the margin: {X}, well done.",
     "Somebody has put in the margin: rather {X}.", "Somebody has put in the margin: {E} cannot be."},
    {"Two people talk. {Y}: {W}.", "{Z}: {X}, exactly.", "{Z}: {X}, I believe.", "{Z}: I do not believe {E}."}};
static_assert(std::size(frames) == wordings);

// The values that follow when step j yields `wrong`; empty when they do not stay whole and positive.
Values values_after(const Problem& p, size_t j, int64_t wrong) {
    Values values(p.values.begin(), p.values.begin() + int64_t(j));
    values.push_back(wrong);
    for (size_t i = j + 1; i < p.steps.size(); i++) {
        const Step step = p.steps[i];
        if (step.op == '/' && values.back() % step.operand != 0) return {};
        values.push_back(apply(values.back(), step));
        if (values.back() < 2) return {};
    }
    return values;
}

// The work with a slip in any one step, which makes its result wrong.
Values slipped(const Problem& p, Random& random) {
    for (int attempt = 0;; attempt++) {
        const size_t j = attempt < 8 ? random.below(uint32_t(p.steps.size())) : p.steps.size() - 1;
        const Values values = values_after(p, j, slip(p, j, random));
        if (!values.empty() && values.back() != p.truth()) return values;
    }
}

// The answer that claims this work and judges solution and remark by it.
std::string revise_answer(const Item& item, const Values& claimed) {
    Random random = stream(item.name, Purpose::answer);
    const bool solution = claimed == item.proposal.values, remark = solution == item.proposal.agrees;
    const char* verdict = solution ? remark ? "both are right" : "the solution is right and the remark is wrong"
                          : remark ? "the solution is wrong and the remark is right" : "both are wrong";
    return work(item.problem, claimed) + ", so " + verdict + ". " +
           claimed_check(item.problem, claimed, item.name.level, random) +
           format(" Answer: %lld", (long long)claimed.back());
}

}  // namespace

Proposal draw_proposal(const Problem& p, bool right, bool agrees, Random& random) {
    const Values wrong = slipped(p, random);
    return right ? Proposal{right, agrees, p.values, wrong} : Proposal{right, agrees, wrong, p.values};
}

std::string revise_text(const Item& item, const Story& story, Random& random) {
    const Frame& frame = frames[item.wording];
    const Proposal& proposal = item.proposal;
    Slots slots;
    auto stranger = [&] {
        std::string name = story.slots.at('P');
        while (name == story.slots.at('P') || name == story.slots.at('Q') || name == slots['Y'])
            name = pick(people(), random);
        return name;
    };
    slots['Y'] = stranger();
    slots['Z'] = stranger();
    slots['W'] = work(item.problem, proposal.values);
    // The step that a remark disputes is the one with the slip, be it in the solution or in the remark itself.
    size_t j = 0;
    while (proposal.values[j] == proposal.other[j]) j++;
    slots['E'] = equation(j ? proposal.values[j - 1] : item.problem.start, item.problem.steps[j], proposal.values[j]);
    slots['X'] = std::to_string((proposal.agrees ? proposal.values : proposal.other).back());
    const char* remark = random.below(2) ? frame.number : frame.step;
    if (proposal.agrees) remark = frame.agrees;
    return story_text(story) + " " + fill(frame.solution, slots) + " " + fill(remark, slots) +
           " What is right? End with 'Answer: N'.";
}

std::string revise_gold(const Item& item) { return revise_answer(item, item.problem.values); }

std::string revise_rejected(const Item& item) {
    return revise_answer(item, item.proposal.right ? item.proposal.other : item.proposal.values);
}

}  // namespace gym
