// tokenizer.h - text to ids and back, as the model's own tokenizer does it.
#pragma once
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

struct Gguf;

// A stretch of text to encode. Text that a user wrote never becomes a special token: it comes with special = false.
struct Part {
    std::string text;
    bool special = false;       // special tokens written in this text are tokens
    bool target = false;        // training: the tokens that begin in this text are what the model learns to say
};

struct Tokenizer {
    virtual ~Tokenizer() = default;

    // Ids of a text. `special`: special tokens written in it are tokens (otherwise they are text). `bos`: put the
    // tokenizer's own BOS in front where it adds one by default.
    std::vector<int> encode(std::string_view text, bool special = true, bool bos = true) const;

    // Ids of consecutive parts, encoded as the one text that they make together: a token may span two parts, but special
    // tokens are recognised only inside parts that allow them. No BOS is added (a chat format writes its own).
    // targets, if given, receives one flag an id.
    virtual std::vector<int> encode(std::span<const Part> parts, std::vector<char>* targets = nullptr) const = 0;

    // Text of ids. Bytes that are not UTF-8 become U+FFFD as in Hugging Face's decoder; ids outside the vocabulary are
    // Exit::bad_input. skip_special leaves out the tokens marked special.
    virtual std::string decode(std::span<const int> ids, bool skip_special = false) const = 0;

    virtual std::string piece(int id) const = 0;        // the bytes of one token, to look at
    virtual int id_of(std::string_view token) const = 0;    // of an added or vocabulary token written exactly so; -1: none
    virtual bool is_special(int id) const = 0;
    virtual int size() const = 0;                       // one more than the largest id
    virtual int bos() const = 0;                        // the id that encode puts in front; -1: none
    virtual int eos() const = 0;                        // as the tokenizer's own files say; -1: they do not
    virtual std::string kind() const = 0;               // for `dd info`: "byte-level BPE, 49152 entries, 48900 merges"
};

// path: a tokenizer.json, or a folder that holds one. Exit::bad_input when it is missing, malformed, or asks for
// something that is not built (named).
std::unique_ptr<Tokenizer> read_tokenizer(const std::string& path);
std::unique_ptr<Tokenizer> parse_tokenizer(std::string_view json, const std::string& who);     // the text of tokenizer.json
std::unique_ptr<Tokenizer> read_tokenizer(const Gguf&);

// Turns ids into text as they come, holding back what may still change: an unfinished UTF-8 sequence.
class StreamDecoder {
public:
    explicit StreamDecoder(const Tokenizer& t) : t_(t) {}
    std::string push(int id);           // the text that is now certain
    std::string finish();               // the rest

private:
    const Tokenizer& t_;
    std::vector<int> held_;
    size_t given_ = 0;
};
