#include "rows.h"
#include <algorithm>
#include "file.h"
#include "reader.h"

namespace {

// `none`: -100 is allowed too, as in labels.
std::vector<int> ids_of(const Json& v, const char* key, const std::string& who, int below, bool none = false) {
    if (!v.is_array()) fail(Exit::bad_input, "%s: \"%s\" must be a list of ids", who.c_str(), key);
    std::vector<int> ids;
    ids.reserve(v.size());
    for (const Json& x : v) {
        const bool small = x.is_number_integer() && !(x.is_number_unsigned() && x.get<uint64_t>() > INT32_MAX);
        const int64_t id = small ? x.get<int64_t>() : -1;
        if (!small || !((id >= 0 && id < below) || (none && id == -100)))
            fail(Exit::bad_input, "%s: \"%s\"[%zu] is %s; expected an id from 0 to %d", who.c_str(), key, ids.size(),
                 shown(dump(x), 40).c_str(), below - 1);
        ids.push_back(int(id));
    }
    return ids;
}

const Tokenizer& need(const Tokenizer* t, const std::string& who) {
    if (!t)
        fail(Exit::bad_input, "%s: a row of text, but the model has no tokenizer; rows of \"input_ids\" need none",
             who.c_str());
    return *t;
}

// What fails in `f` fails at this line of the file.
template <class F> auto at_line(const std::string& who, F&& f) {
    try {
        return f();
    } catch (const Error& e) {
        if (std::string_view(e.what()).starts_with(who)) throw;
        throw Error(e.code, who + ": " + e.what());
    }
}

// A prompt or completion: text, or a list of messages.
std::vector<Message> as_messages(const Json& v, const char* role, const std::string& who) {
    if (v.is_string()) return {{role, v.get<std::string>(), {}}};
    return messages_from_json(v, who);
}

void encode(const RowReader& r, std::span<const Part> parts, Row& row, const std::string& who) {
    std::vector<char> targets;
    row.ids = need(r.tokenizer, who).encode(parts, &targets);
    row.labels.assign(row.ids.size(), -100);
    for (size_t i = 0; i < row.ids.size(); i++)
        if (targets[i]) row.labels[i] = row.ids[i];
    row.completion = true;
}

const ChatFormat& need_chat(const RowReader& r, const std::string& who) {
    if (!r.chat)
        fail(Exit::bad_input,
             "%s: a conversation, but the model has no known chat format; --chat-format NAME chooses one", who.c_str());
    return *r.chat;
}

}  // namespace

Row RowReader::row(const Json& o, const std::string& who) const {
    return at_line(who, [&] { return read(o, who); });
}

Row RowReader::read(const Json& o, const std::string& who) const {
    Row row;
    if (const Json* ids = find(o, "input_ids")) {
        row.ids = ids_of(*ids, "input_ids", who, vocabulary);
        row.labels = row.ids;
        if (const Json* labels = find(o, "labels")) {
            row.labels = ids_of(*labels, "labels", who, vocabulary, true);
            row.completion = true;
            if (row.labels.size() != row.ids.size())
                fail(Exit::bad_input, "%s: %zu labels for %zu ids", who.c_str(), row.labels.size(), row.ids.size());
        }
    } else if (const Json* messages = find(o, "messages")) {
        ChatOptions options{to_continue, think};
        encode(*this, need_chat(*this, who).parts(messages_from_json(*messages, who), options), row, who);
    } else if (const Json* prompt = find(o, "prompt")) {
        const Json* completion = find(o, "completion");
        bool plain = raw || (!chat && prompt->is_string());
        if (plain) {
            if (!prompt->is_string() || (completion && !completion->is_string()))
                fail(Exit::bad_input, "%s: with --raw, \"prompt\" and \"completion\" are texts", who.c_str());
            std::vector<Part> parts{{prompt->get<std::string>(), specials, false}};
            if (completion) parts.push_back({completion->get<std::string>(), specials, true});
            encode(*this, parts, row, who);
            tokenizer->add_bos(row.ids);
            if (row.ids.size() > row.labels.size()) row.labels.insert(row.labels.begin(), -100);
        } else {
            std::vector<Message> all = as_messages(*prompt, "user", who);
            size_t given = all.size();
            if (completion)
                for (Message& m : as_messages(*completion, "assistant", who)) all.push_back(m);
            ChatOptions options{!completion, think};
            std::vector<Part> parts = need_chat(*this, who).parts(all, options);
            if (completion) {                       // of the assistant's turns only those of the completion count
                std::vector<Message> before(all.begin(), all.begin() + long(given));
                size_t earlier = 0;
                for (const Message& m : before) earlier += m.role == "assistant";
                bool inside = false;
                for (Part& p : parts) {
                    if (p.target && !inside && earlier > 0) p.target = false, earlier--;
                    else if (p.target) inside = true;
                }
            }
            encode(*this, parts, row, who);
        }
    } else if (const Json* text = find(o, "text")) {
        if (!text->is_string()) fail(Exit::bad_input, "%s: \"text\" must be a string", who.c_str());
        row.ids = need(tokenizer, who).encode(text->get<std::string>(), specials, bos);
        row.labels = row.ids;
    } else {
        fail(Exit::bad_input, "%s: none of \"text\", \"messages\", \"prompt\", \"input_ids\" is here", who.c_str());
    }
    for (int id : row.ids)
        if (id >= vocabulary)
            fail(Exit::bad_input, "%s: token id %d, but the model has %d embeddings", who.c_str(), id, vocabulary);
    if (row.ids.empty() && !may_be_empty) fail(Exit::bad_input, "%s: no tokens in this row", who.c_str());
    if (longest && row.ids.size() > size_t(longest))
        fail(Exit::bad_input, "%s: %zu tokens; this model's context leaves room for %d", who.c_str(), row.ids.size(),
             longest);
    if (const Json* id = find(o, "id")) row.id = *id;
    return row;
}

Pair RowReader::pair(const Json& o, const std::string& who) const {
    Pair p;
    if (find(o, "prompt_ids")) {
        for (auto [key, to] :
             {std::pair{"prompt_ids", &p.prompt}, {"chosen_ids", &p.chosen}, {"rejected_ids", &p.rejected}}) {
            const Json* v = find(o, key);
            if (!v)
                fail(Exit::bad_input, "%s: no \"%s\"; a preference has prompt_ids, chosen_ids and rejected_ids",
                     who.c_str(), key);
            *to = ids_of(*v, key, who, vocabulary);
        }
    } else {
        for (auto [key, to] : {std::pair{"chosen", &p.chosen}, {"rejected", &p.rejected}}) {
            const Json *prompt = find(o, "prompt"), *answer = find(o, key);
            if (!prompt || !answer)
                fail(Exit::bad_input, "%s: no \"%s\"; a preference has prompt, chosen and rejected", who.c_str(),
                     prompt ? key : "prompt");
            Row r = row({{"prompt", *prompt}, {"completion", *answer}}, who);
            size_t n = 0;
            while (n < r.ids.size() && r.labels[n] == -100) n++;
            std::vector<int> head(r.ids.begin(), r.ids.begin() + long(n));
            if (to == &p.chosen) p.prompt = head;
            else if (head != p.prompt)
                fail(
                    Exit::bad_input,
                    "%s: chosen and rejected do not begin with the same tokens; answers must not merge with the prompt",
                    who.c_str());
            to->assign(r.ids.begin() + long(n), r.ids.end());
        }
    }
    if (p.chosen.empty() || p.rejected.empty()) fail(Exit::bad_input, "%s: an answer is empty", who.c_str());
    if (p.prompt.empty())
        fail(Exit::bad_input, "%s: the prompt is empty; a preference needs something to answer", who.c_str());
    if (p.chosen == p.rejected)
        fail(Exit::bad_input, "%s: chosen and rejected are equal: there is nothing to prefer", who.c_str());
    if (const Json* id = find(o, "id")) p.id = *id;
    return p;
}

void for_each_line(const std::string& path, const std::function<void(const Json&, const std::string&, int)>& each) {
    constexpr size_t most = size_t(64) << 20;
    read_lines(path, most, [&](std::string_view line, int n) {
        if (line.find_first_not_of(" \t\r") == line.npos) return;
        std::string who = (path == "-" ? "standard input" : path) + ":" + std::to_string(n);
        Json o = parse_json(line, who, 1024);
        if (!o.is_object()) fail(Exit::bad_input, "%s: one JSON object a line was expected", who.c_str());
        each(o, who, n);
    });
}

std::vector<Row> read_rows(const std::string& path, const RowReader& reader) {
    std::vector<Row> rows;
    for_each_line(path, [&](const Json& o, const std::string& who, int line) {
        rows.push_back(reader.row(o, who));
        rows.back().line = line;
        if (rows.back().id.is_null()) rows.back().id = rows.size() - 1;
    });
    if (rows.empty()) fail(Exit::bad_input, "%s: no rows", path.c_str());
    return rows;
}

std::vector<Pair> read_pairs(const std::string& path, const RowReader& reader) {
    std::vector<Pair> pairs;
    for_each_line(path, [&](const Json& o, const std::string& who, int line) {
        pairs.push_back(reader.pair(o, who));
        pairs.back().line = line;
        if (pairs.back().id.is_null()) pairs.back().id = pairs.size() - 1;
    });
    if (pairs.empty()) fail(Exit::bad_input, "%s: no rows", path.c_str());
    return pairs;
}
