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

    // Ids of consecutive parts, encoded as the one text that they make together: a token may span two parts, but
    // special tokens are recognised only where every byte of them lies in parts that allow them. Added tokens that are
    // not special (<think>, <tool_call>) are recognised everywhere, as with Hugging Face's split_special_tokens. Bytes
    // that are not UTF-8 become U+FFFD first. No BOS is added (a chat format writes its own).
    // targets, if given, receives one flag an id: whether its first byte lies in a target part.
    virtual std::vector<int> encode(std::span<const Part> parts, std::vector<char>* targets = nullptr) const = 0;

    // Text of ids, as Hugging Face's decoder has it: bytes that are not UTF-8 become U+FFFD, and an id that no token
    // has (a row that pads the embedding) is no text. skip_special leaves out the tokens marked special. A negative id
    // is Exit::bad_input.
    std::string decode(std::span<const int> ids, bool skip_special = false) const;

    virtual std::string piece(int id) const = 0;        // the bytes of one token, to look at; none: no such token
    virtual int id_of(std::string_view token) const = 0;    // of the token that its file writes exactly so; -1: none
    virtual bool is_special(int id) const = 0;
    virtual int size() const = 0;                       // one more than the largest id
    virtual int pieces() const = 0;                     // the same of its vocabulary, without tokens added beside it
    virtual int bos() const = 0;                        // the id that encode puts in front; -1: none
    // BOS is there because the model cannot do without, not because its files ask for it: a text that begins with it
    // gets no second one.
    virtual bool bos_is_forced() const = 0;
    void add_bos(std::vector<int>& ids) const;
    virtual int eos() const = 0;                        // as the tokenizer's own files say; -1: they do not
    virtual std::string kind() const = 0;               // for `dd info`: "byte-level BPE, 49152 entries, 48900 merges"

    // Decoding, one id at a time: adds to `text` what the id makes certain; `pending` carries bytes whose text the next
    // id may still change. decode_rest ends it.
    virtual void decode_step(int id, std::string& pending, std::string& text) const = 0;
    virtual void decode_rest(std::string& pending, std::string& text) const = 0;
};

// path: a tokenizer.json, or a folder that holds one (whose tokenizer_config.json then says eos, and may switch BOS on
// or off). Exit::bad_input when it is missing, malformed, or asks for something that is not built (named).
std::unique_ptr<Tokenizer> read_tokenizer(const std::string& path);
std::unique_ptr<Tokenizer> parse_tokenizer(std::string_view json, const std::string& who);     // tokenizer.json's text
std::unique_ptr<Tokenizer> read_tokenizer(const Gguf&);

// Turns ids into text as they come, holding back what may still change: an unfinished UTF-8 sequence, or a run of byte
// tokens. All that it gives, joined, is what decode gives.
class StreamDecoder {
public:
    explicit StreamDecoder(const Tokenizer& t, bool skip_special = false) : t_(t), skip_special_(skip_special) {}
    std::string push(int id);           // the text that is now certain
    std::string finish();               // the rest; afterwards the decoder is as new

private:
    const Tokenizer& t_;
    const bool skip_special_;
    std::string pending_;
};
