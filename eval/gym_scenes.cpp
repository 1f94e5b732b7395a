// gym_scenes.cpp - shops, crates, kitchens, journeys, unit changes ...: fifteen settings of word problems.
//
// Every sentence keeps to four rules, so that any of them may follow any other: numbers are of 2 or more (plurals are
// right), nobody is "he" or "she" (nothing to resolve), nothing but the asked quantity changes, and no sentence uses a
// word that announces a check.
#include "gym_scenes.h"

namespace gym {

std::span<const Scene> scenes() {
    static const Scene list[] = {
        {"o", "{P} has {a} {O}.", "{P} has {a} {D} with {n} {O} in each {C}.",
         {"{Q} gives {P} {n} more {O}.", "Then {P} finds {n} more {O}."},
         {"{P} gives {n} {O} to {Q}.", "Then {P} loses {n} {O}."},
         "How many {O} does {P} have{w}?",
         "{P} puts all the {O} into {n} {F}, the same number in each. How many {O} are in each {E}?",
         "{P} sells all the {O} for {n} coins each. How many coins does {P} get?"},
        {"o", "A shop in {T} has {a} {O}.", "A shop in {T} has {a} {D} with {n} {O} in each {C}.",
         {"{P} brings {n} more {O}.", "Then a driver brings {n} more {O}."},
         {"{P} buys {n} {O}.", "Then {Q} buys {n} {O}."},
         "How many {O} does the shop have{w}?",
         "The shop packs all the {O} into {n} {F}, the same number in each. How many {O} are in each {E}?",
         "The shop sells all the {O} to {Q} for {n} coins each. How many coins does {Q} pay?"},
        {"o", "{P} loads {a} {O} in {T}.", "In {T}, {P} loads {a} {D} with {n} {O} in each {C}.",
         {"In {V}, {P} loads {n} more {O}.", "Later {P} loads another {n} {O}."},
         {"{P} leaves {n} {O} in {V}.", "Later {P} leaves {n} {O} with {Q}."},
         "How many {O} does {P} carry{w}?",
         "{P} divides all the {O} equally among {n} shops. How many {O} does each shop get?",
         "{P} is paid {n} coins for each of the {O}. How many coins does {P} get?"},
        {"f", "{P} takes {a} {O} to the kitchen.", "One cake needs {n} {O}. {P} takes enough {O} for {a} cakes.",
         {"{Q} adds {n} more {O}.", "Then {P} adds {n} {O}."},
         {"{Q} eats {n} of the {O}.", "Then {P} eats {n} of the {O}."},
         "How many {O} can {P} cook with{w}?",
         "{P} uses all the {O} for {n} pies, the same number in each. How many {O} are in each pie?",
         "For each of the {O}, {P} needs {n} grams of salt. How many grams of salt does {P} need?"},
        {"km", "{P} leaves {T} and rides {a} km north.", "{P} leaves {T} and rides {n} km north on each of {a} days.",
         {"After a talk with {Q}, {P} rides {n} km further north.", "Then {P} rides another {n} km north."},
         {"Then {P} meets {Q} and rides {n} km back south.", "Then {P} rides {n} km back south."},
         "How many km from {T} is {P}{w}?",
         "{Q} goes from {T} to the same place in {n} equal stages. How many km long is each stage?",
         "{Q} goes from {T} to the same place and needs {n} minutes for each km. How many minutes does {Q} need?"},
        {"m", "{P} from {T} has a {X} of {a} {O}.", "{P} from {T} has a {X} of {a} {B}. One {b} has {n} {O}.",
         {"{Q} adds {n} {O} to it.", "Then {P} adds {n} {O} to it."},
         {"{Q} takes {n} {O} off it.", "Then {P} takes {n} {O} off it."},
         "How many {O} does the {X} have{w}?",
         "{P} splits the {X} into {n} equal parts. How many {O} does each part have?",
         "The {X} costs {Q} {n} coins for each of its {O}. How many coins does {Q} pay?"},
        {"trees", "{P} plants {a} trees in an empty park in {T}.",
         "{P} plants {a} rows of {n} trees in an empty park in {T}.",
         {"{Q} plants {n} more trees there.", "Then {P} plants another {n} trees."},
         {"{Q} cuts down {n} of the trees.", "Then a storm fells {n} of the trees."},
         "How many trees are in the park{w}?",
         "{Q} divides the trees equally among {n} gardeners. How many trees does each gardener get?",
         "{Q} gives each tree {n} litres of water. How many litres of water does {Q} need?"},
        {"riders", "A train leaves {T} for {V} with {a} riders.",
         "A train leaves {T} for {V} with {a} coaches and {n} riders in each coach.",
         {"On the way {n} more riders get on.", "Then another {n} riders get on."},
         {"On the way {n} riders get off.", "Then another {n} riders get off."},
         "How many riders are on the train{w}?",
         "In {V} all the riders change into {n} buses, the same number in each. How many riders are in each bus?",
         "In {V} every rider on the train pays {n} coins. How many coins do they pay?"},
        {"coins", "{P} has {a} coins.", "In {T}, {P} saves {n} coins a week for {a} weeks.",
         {"{Q} pays {P} {n} coins.", "Then {P} earns {n} more coins in {V}."},
         {"{P} pays {Q} {n} coins.", "Then {P} spends {n} coins in {V}."},
         "How many coins does {P} have{w}?",
         "{P} uses all the coins to buy {G} from {Q} for {n} coins each. How many {G} does {P} get?",
         "{Q} gives {P} {n} {G} for each coin. How many {G} does {P} get for all the coins?"},
        {"pages", "{P} writes {a} pages for {Q}.", "For {Q}, {P} writes {n} pages a day on {a} days.",
         {"Then {P} writes {n} more pages in {T}.", "At home {P} writes another {n} pages."},
         {"Then {P} throws away {n} of the pages in {T}.", "At home {P} throws away {n} more of the pages."},
         "How many pages are there{w}?",
         "{Q} splits all the pages into {n} parts of the same length. How many pages does each part have?",
         "{Q} draws {n} pictures on each page. How many pictures does {Q} draw?"},
        {"litres", "{P} pours {a} litres of water into an empty tank in {T}.",
         "{P} pours {a} buckets of {n} litres each into an empty tank in {T}.",
         {"{Q} pours in {n} litres more.", "Then rain adds {n} litres."},
         {"{Q} takes out {n} litres.", "Then {P} takes out {n} litres."},
         "How many litres are in the tank{w}?",
         "{Q} fills all the water into {n} jugs, the same amount into each. How many litres are in each jug?",
         "{Q} pays {n} coins for each litre in the tank. How many coins does {Q} pay?"},
        {"o", "A class in {T} collects {a} {O}.", "A class in {T} has {a} children, and each of them collects {n} {O}.",
         {"The teacher {P} adds {n} {O}.", "Then the class collects {n} more {O}."},
         {"The class gives {n} {O} to {P}.", "Then the class loses {n} {O}."},
         "How many {O} does the class have{w}?",
         "The teacher {Q} lays all the {O} out in {n} equal rows. How many {O} are in each row?",
         "The teacher {Q} gives the class {n} points for each of the {O}. How many points does the class get?"},
        {"o", "{P} carries {a} {O} to the market in {T}.",
         "{P} carries {a} {D} to the market in {T}. Every {C} holds {n} {O}.",
         {"A neighbour called {Q} hands over {n} {O} as well.", "A little later {n} more {O} arrive."},
         {"By noon {Q} has taken {n} of the {O} away.", "Another {n} of the {O} are gone by evening."},
         "What is the number of {O} at the market{w}?",
         "In the end {n} people come and take all the {O}, everyone the same number. "
         "What number of {O} does each take?",
         "In the end everything goes at {n} coins apiece. What sum do the {O} bring?"},
        {"t", "The workshop of {P} turns out {a} {O} on Monday.",
         "The workshop of {P} turns out {n} {O} an hour, for {a} hours.",
         {"An order from {Q} makes it turn out {n} further {O}.", "After that, {n} {O} come from the store."},
         {"Then {Q} fetches {n} of the {O}.", "After that, {n} of the {O} are sent off."},
         "What is the number of {O} in the workshop{w}?",
         "At last {n} customers take all the {O} in equal parts. What number of {O} does every customer receive?",
         "At last {Q} takes all the {O} and pays {n} coins apiece. What sum does {Q} pay?"},
        {"t", "Visitors to a museum in {T} can see {a} {O}.",
         "Visitors to a museum in {T} can see {a} halls with {n} {O} in every one.",
         {"Then {P} lends the museum {n} {O} on top.", "Later it receives {n} {O} from {Q}."},
         {"Then {n} of the {O} go out on loan to {P}.", "Later {n} of the {O} go to {Q}."},
         "What is the number of {O} on show{w}?",
         "All the {O} are spread evenly over {n} floors. What number of {O} does every floor receive?",
         "{Q} insures all the {O} at {n} coins apiece. To what sum do the {O} come?"}};
    static_assert(std::size(list) == wordings);
    return list;
}

std::span<const Measured> measures() {
    static const Measured list[] = {
        {"rope", "yards", "yard", "feet", 3},       {"trip", "weeks", "week", "days", 7},
        {"chain", "cm", "cm", "mm", 10},            {"board", "feet", "foot", "inches", 12},
        {"lease", "years", "year", "months", 12},   {"load", "pounds", "pound", "ounces", 16},
        {"cruise", "days", "day", "hours", 24},     {"lesson", "hours", "hour", "minutes", 60},
        {"song", "minutes", "minute", "seconds", 60}, {"wire", "metres", "metre", "cm", 100}};
    return list;
}

}  // namespace gym
