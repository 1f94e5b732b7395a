// gym_words.cpp - who and what the gym's items are about. Everyday words, few pieces each in a tokenizer; none is also
// a verb, a month or a marker that the judge looks for, and none stands in two lists.
#include "gym_parts.h"

namespace gym {

std::span<const char* const> people() {
    static const char* const list[] = {
        "Ada",   "Ali",   "Amy",   "Ana",   "Ben",   "Bob",   "Dan",   "Eli",   "Eva",   "Gus",   "Ida",   "Ian",
        "Jan",   "Joe",   "Kai",   "Kim",   "Lea",   "Leo",   "Lou",   "Max",   "Mia",   "Noa",   "Pam",   "Roy",
        "Sam",   "Sue",   "Tim",   "Tom",   "Una",   "Zoe",   "Alan",  "Anna",  "Carl",  "Cleo",  "Dana",  "Dora",
        "Elsa",  "Emil",  "Enzo",  "Erin",  "Fred",  "Gina",  "Hans",  "Hugo",  "Ines",  "Ivan",  "Jane",  "Joan",
        "John",  "Jose",  "Juan",  "Karl",  "Kate",  "Lars",  "Lena",  "Lisa",  "Lola",  "Luis",  "Luke",  "Mara",
        "Mary",  "Maya",  "Mona",  "Nina",  "Noah",  "Nora",  "Olga",  "Omar",  "Otto",  "Owen",  "Paul",  "Raul",
        "Rita",  "Rosa",  "Ruth",  "Sara",  "Sven",  "Tara",  "Tina",  "Vera",  "Alice", "Amina", "Bella", "Boris",
        "Bruno", "Carla", "Clara", "Diego", "Elena", "Emily", "Ethan", "Fiona", "Hanna", "Helen", "Henry", "Jonas",
        "Julia", "Karim", "Laura", "Linda", "Lucas", "Marco", "Maria", "Marta", "Molly", "Nadia", "Oscar", "Paula",
        "Pedro", "Peter", "Petra", "Susan", "Tariq", "Wanda"};
    return list;
}

std::span<const char* const> places() {
    static const char* const list[] = {
        "Bern",   "Rome",   "Oslo",   "Lima",   "Riga",   "Kiel",   "Graz",   "Bonn",   "Cork",   "York",   "Metz",
        "Lyon",   "Pisa",   "Linz",   "Bari",   "Faro",   "Hull",   "Jena",   "Oulu",   "Vigo",   "Cali",   "Doha",
        "Kobe",   "Basel",  "Paris",  "Turin",  "Milan",  "Porto",  "Delft",  "Dover",  "Derby",  "Essen",  "Genoa",
        "Leeds",  "Malmo",  "Osaka",  "Quito",  "Seoul",  "Tampa",  "Tunis",  "Turku",  "Varna",  "Hanoi",  "Cairo",
        "Dakar",  "Delhi",  "Kyoto",  "Bergen", "Berlin", "Boston", "Bremen", "Dublin", "Geneva", "Havana", "Krakow",
        "Lisbon", "London", "Madrid", "Munich", "Nantes", "Naples", "Odessa", "Ottawa", "Oxford", "Prague", "Sydney",
        "Venice", "Verona", "Vienna", "Warsaw", "Zurich"};
    return list;
}

std::span<const Noun> foods() {
    static const Noun list[] = {
        {"plum", "plums"},         {"pear", "pears"},         {"apple", "apples"},       {"lemon", "lemons"},
        {"fig", "figs"},           {"nut", "nuts"},           {"carrot", "carrots"},     {"onion", "onions"},
        {"potato", "potatoes"},    {"tomato", "tomatoes"},    {"olive", "olives"},       {"cherry", "cherries"},
        {"grape", "grapes"},       {"berry", "berries"},      {"melon", "melons"},       {"peach", "peaches"},
        {"mango", "mangoes"},      {"lime", "limes"},         {"bean", "beans"},         {"radish", "radishes"},
        {"mushroom", "mushrooms"}, {"pepper", "peppers"},     {"cookie", "cookies"},     {"muffin", "muffins"},
        {"roll", "rolls"},         {"waffle", "waffles"},     {"pancake", "pancakes"},   {"pretzel", "pretzels"},
        {"cracker", "crackers"},   {"biscuit", "biscuits"},   {"sweet", "sweets"},       {"dumpling", "dumplings"},
        {"sausage", "sausages"},   {"egg", "eggs"},           {"walnut", "walnuts"},     {"almond", "almonds"},
        {"apricot", "apricots"},   {"banana", "bananas"},     {"orange", "oranges"},     {"turnip", "turnips"},
        {"beet", "beets"},         {"leek", "leeks"},         {"cabbage", "cabbages"},   {"cucumber", "cucumbers"},
        {"bagel", "bagels"},       {"scone", "scones"}};
    return list;
}

std::span<const Noun> things() {
    static const Noun list[] = {
        {"pen", "pens"},         {"cup", "cups"},         {"card", "cards"},       {"bead", "beads"},
        {"stamp", "stamps"},     {"book", "books"},       {"brush", "brushes"},    {"button", "buttons"},
        {"candle", "candles"},   {"chair", "chairs"},     {"hat", "hats"},         {"key", "keys"},
        {"lamp", "lamps"},       {"map", "maps"},         {"mug", "mugs"},         {"ribbon", "ribbons"},
        {"rope", "ropes"},       {"scarf", "scarves"},    {"shell", "shells"},     {"shirt", "shirts"},
        {"sock", "socks"},       {"spoon", "spoons"},     {"stone", "stones"},     {"towel", "towels"},
        {"toy", "toys"},         {"vase", "vases"},       {"marble", "marbles"},   {"magnet", "magnets"},
        {"poster", "posters"},   {"pencil", "pencils"},   {"crayon", "crayons"},   {"pillow", "pillows"},
        {"blanket", "blankets"}, {"bottle", "bottles"},   {"balloon", "balloons"}, {"badge", "badges"},
        {"ball", "balls"},       {"bell", "bells"},       {"broom", "brooms"},     {"comb", "combs"},
        {"doll", "dolls"},       {"drum", "drums"},       {"flag", "flags"},       {"fork", "forks"},
        {"glove", "gloves"},     {"kite", "kites"},       {"mask", "masks"},       {"mirror", "mirrors"},
        {"needle", "needles"},   {"notebook", "notebooks"}, {"puzzle", "puzzles"}, {"sticker", "stickers"},
        {"torch", "torches"},    {"whistle", "whistles"}};
    return list;
}

std::span<const Noun> units() {
    static const Noun list[] = {
        {"box", "boxes"},         {"crate", "crates"},       {"bag", "bags"},           {"basket", "baskets"},
        {"tray", "trays"},        {"jar", "jars"},           {"tin", "tins"},           {"bucket", "buckets"},
        {"sack", "sacks"},        {"drawer", "drawers"},     {"pot", "pots"},           {"case", "cases"},
        {"carton", "cartons"},    {"packet", "packets"},     {"bundle", "bundles"},     {"bowl", "bowls"},
        {"chest", "chests"},      {"barrel", "barrels"},     {"tub", "tubs"},           {"bin", "bins"},
        {"net", "nets"},          {"cage", "cages"},         {"pouch", "pouches"},      {"trunk", "trunks"},
        {"hamper", "hampers"},    {"locker", "lockers"},     {"cupboard", "cupboards"}, {"parcel", "parcels"},
        {"folder", "folders"},    {"cart", "carts"},         {"van", "vans"},           {"truck", "trucks"},
        {"wagon", "wagons"},      {"tank", "tanks"},         {"suitcase", "suitcases"}, {"backpack", "backpacks"},
        {"pan", "pans"},          {"dish", "dishes"},        {"pail", "pails"},         {"tube", "tubes"},
        {"cabinet", "cabinets"},  {"purse", "purses"}};
    return list;
}

std::string fill(std::string_view pattern, const Slots& slots) {
    std::string out;
    for (size_t i = 0; i < pattern.size(); i++) {
        if (pattern[i] != '{') {
            out += pattern[i];
            continue;
        }
        const auto slot = slots.find(pattern[i + 1]);
        require(slot != slots.end() && pattern[i + 2] == '}', "gym template \"%s\": nothing to put at byte %zu",
                std::string(pattern).c_str(), i);
        out += slot->second;
        i += 2;
    }
    return out;
}

std::string capital(std::string s) {
    if (!s.empty() && s[0] >= 'a' && s[0] <= 'z') s[0] = char(s[0] - 'a' + 'A');
    return s;
}

}  // namespace gym
