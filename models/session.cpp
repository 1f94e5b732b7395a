#include "session.h"
#include <algorithm>
#include <cstring>
#include "../kernels/parallel.h"

void Batch::add(const int* tokens, int n, int position, int slot_of_it) {
    for (int i = 0; i < n; i++) {
        ids.push_back(tokens[i]);
        pos.push_back(position + i);
    }
    first.push_back(int(ids.size()));
    slot.push_back(slot_of_it);
}

void Batch::clear() {
    ids.clear(), pos.clear(), slot.clear();
    first.assign(1, 0);
}

Rows Batch::rows() const {
    int longest = 0;
    for (int s = 0; s < sequences(); s++) longest = std::max(longest, first[size_t(s) + 1] - first[size_t(s)]);
    return {tokens(), sequences(), ids.data(), pos.data(), first.data(), slot.data(), longest};
}

Rows Batch::rows(Arena& mem) const {
    Rows r = rows();
    r.ids = mem.put(ids), r.pos = mem.put(pos), r.first = mem.put(first), r.slot = mem.put(slot);
    return r;
}

static const Kernels& kernels_of(const SessionOptions& o) {
    if (o.kernels) return *o.kernels;
    const std::string& d = o.device;
    if (d == "cpu" || d == "auto") return cpu();
    char* end = nullptr;
    long number = d.starts_with("cuda:") ? strtol(d.c_str() + 5, &end, 10) : 0;
    if (d != "cuda" && (!end || *end || end == d.c_str() + 5 || number < 0 || number > 1023))
        fail(Exit::usage, "--device %s: cpu, cuda, cuda:N or auto was expected", d.c_str());
    return cuda(int(number), o.deterministic);
}

static Type operand_of(const std::string& precision, const Kernels& k) {
    if (precision == "f32") return Type::f32;
    if (precision == "bf16") return Type::bf16;
    return k.bf16 ? Type::bf16 : Type::f32;
}

// Room for packed weights at their largest (every number in four bytes, and each panel's padding), for copies of
// matrices that must be turned, for adapters with their packed halves, and for the vectors of edits. It is only
// reserved: what is not used costs nothing.
static size_t room_of(const Checkpoint& c, const SessionOptions& o) {
    size_t n = size_t(16) << 20;
    for (const Stored& s : c.tensors()) {
        size_t count = 1;
        for (int64_t d : s.shape) count *= size_t(d);
        n += 6 * count + (size_t(1) << 16);
    }
    for (const std::string& adapter : o.adapters) n += adapter_room(split_scale(adapter).first);
    return n;
}

Session::Session(const SessionOptions& o)
    : checkpoint(o.model),
      k(kernels_of(o)),
      operand(operand_of(o.precision, k)),
      weights(room_of(checkpoint, o), *k.memory),
      adapters(weights),
      options_(o) {
    if (o.threads) set_threads(o.threads);
    model = load_model(checkpoint, weights);
    for (const std::string& a : o.adapters) adapter_tensors += adapters.add(*model, a);
    if (!adapters.empty()) adapters.attach(*model, k, operand);
    if (o.pack) pack();
}

void Session::pack() {
    need_memory(*k.memory, packed_bytes(*model, k, operand), "the weights of " + options_.model +
                ", packed for products,", "a smaller or a quantised model");
    pack_weights(*model, k, operand, weights);
    checkpoint.drop_pages();
}

const Tokenizer* Session::tokenizer() {
    if (!looked_) {
        looked_ = true;
        if (checkpoint.has_tokenizer()) tokenizer_ = checkpoint.tokenizer();
        if (tokenizer_ && tokenizer_->pieces() > model->vocabulary)
            fail(Exit::bad_input, "%s: its tokenizer has %d pieces, the embedding %d rows; it belongs to another model",
                 checkpoint.path.c_str(), tokenizer_->pieces(), model->vocabulary);
    }
    return tokenizer_.get();
}

const Tokenizer& Session::need_tokenizer() {
    if (!tokenizer()) checkpoint.tokenizer();           // says what is missing
    return *tokenizer_;
}

const ChatFormat* Session::chat() {
    if (chosen_) return chat_;
    chosen_ = true;
    if (!options_.chat_format.empty()) {
        chat_ = chat_format(options_.chat_format);
        if (chat_) return chat_;
        std::string known;
        for (const char* n : chat_format_names()) known += std::string(known.empty() ? "" : ", ") + n;
        fail(Exit::usage, "--chat-format %s: known are %s", options_.chat_format.c_str(), known.c_str());
    }
    std::string jinja = checkpoint.chat_template();
    if (jinja.empty()) return nullptr;
    chat_ = chat_format_of_template(jinja);
    if (!chat_) {
        chat_ = chat_format(model->architecture == "llama" ? "chatml" : model->architecture);
        if (!options_.quiet)
            fprintf(stderr,
                    "dd: %s: this chat template is not known; the format \"%s\" is assumed (--chat-format chooses)\n",
                    options_.model.c_str(), chat_ ? chat_->name : "none");
    }
    return chat_;
}

std::vector<int> Session::stops() {
    std::vector<int> ids = checkpoint.stop_ids();
    if (tokenizer()) {
        if (tokenizer()->eos() >= 0) ids.push_back(tokenizer()->eos());
        if (chat())
            for (const char* s : chat()->stops)
                if (int id = tokenizer()->id_of(s); id >= 0) ids.push_back(id);
    }
    std::sort(ids.begin(), ids.end());
    ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
    return ids;
}

RowReader Session::reader() {
    RowReader r;
    r.tokenizer = tokenizer();
    r.chat = r.tokenizer ? chat() : nullptr;
    r.vocabulary = model->vocabulary;
    r.longest = model->context;
    return r;
}

Pass Session::pass(Arena& scratch, const Batch& b) {
    Pass p{k, scratch, b.rows(scratch), operand};
    p.edits = edits.empty() ? nullptr : &edits;
    return p;
}

size_t Session::plan(const Batch& b, bool cached, bool with_logits) {
    Arena counting(size_t(1) << 42, true), states(size_t(1) << 42, true);
    Cache cache(states, 1, 16);
    Pass p{nothing, counting, b.rows(), operand};
    p.edits = edits.empty() ? nullptr : &edits;
    if (cached) p.cache = &cache;
    Tensor h = model->forward(p);
    if (with_logits) logits(p, select(p, h, nullptr, b.sequences()), model->head());
    return counting.peak;
}

std::string Session::header() const {
    std::string s = format("%s: %s, %s, precision %s", options_.model.c_str(), model->architecture.c_str(), k.name,
                           operand == Type::f32 ? "f32" : "bf16");
    if (k.memory->host) s += format(", %d threads", threads());
    if (!adapters.empty()) s += format(", %zu of %zu adapter tensors applied", adapter_tensors,
                                      adapter_tensors + adapters.ignored());
    if (!edits.empty()) s += format(", %zu edits", edits.size());
    return s;
}
