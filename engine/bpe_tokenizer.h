// bpe_tokenizer.h - what tokenizer.json and GGUF say about a tokenizer, in one form: read by tokenizer_json.cpp and
// tokenizer_gguf.cpp, run by tokenizer.cpp.
#pragma once
#include <memory>
#include <string>
#include <string_view>
#include <vector>
#include "added.h"
#include "bpe.h"
#include "normalize.h"
#include "split.h"
#include "tokenizer.h"

struct BpeRecipe {
    std::string who;                        // the file
    Vocabulary vocabulary;                  // what merges work on
    Merges merges;
    std::vector<AddedToken> added;          // in the vocabulary, or beside it
    std::vector<Normalizer> normalizers;
    std::vector<Splitter> splitters;        // one after the other, each on the pieces of the one before
    bool byte_level = false;                // vocabulary in GPT-2's alphabet of bytes; otherwise in code points
    bool byte_fallback = false;             // code points that the vocabulary lacks become the tokens <0x00> ... <0xFF>
    bool ignore_merges = false;             // a word that is in the vocabulary is that token
    bool fuse_unknown = false;
    int unknown = -1;                       // what other symbols that the vocabulary lacks become; -1: they are dropped
    int bos = -1, eos = -1;
    bool bos_is_forced = false;
    std::vector<Normalizer> spelling;       // decoding: replacements in the text of each token
};
// The merge that stands at place `rank` of the list. Exit::bad_input when the vocabulary lacks a part or the whole.
void add_merge(BpeRecipe&, uint32_t rank, std::string_view left, std::string_view right);
// Exit::bad_input when added tokens contradict the vocabulary.
std::unique_ptr<Tokenizer> make_tokenizer(BpeRecipe);

// GPT-2's alphabet: every byte as a printable code point, so that a vocabulary of bytes can be written as text.
uint32_t letter_of_byte(unsigned char);
int byte_of_letter(uint32_t code);          // -1: not in the alphabet
int byte_of_token(std::string_view);        // of "<0x0A>"; -1: no byte token

constexpr char low_line[] = "\xe2\x96\x81"; // U+2581, which stands for a space in SentencePiece vocabularies
