// planes.cpp - blocks of a file into the planes of blocks.h.
#include <cstring>
#include "blocks.h"
#include "families.h"

namespace DD_CUDA {

// Where each part of a block begins in a file (ggml-common.h).
struct Offsets {
    int codes, high, scales, whole;
};
static Offsets offsets(Type t) {
    switch (t) {
        case Type::q8_0:
        case Type::q4_0:
            return {2, 0, 0, 0};
        case Type::q4_1:
            return {4, 0, 0, 0};
        case Type::q5_0:
            return {6, 2, 0, 0};
        case Type::q5_1:
            return {8, 4, 0, 0};
        case Type::q4_k:
            return {16, 0, 4, 0};
        case Type::q5_k:
            return {48, 16, 4, 0};
        default:
            return {0, 128, 192, 208}; // q6_k
    }
}

void to_planes(void* planes, const Tensor& t) {
    if (!in_blocks(t.type)) {
        memcpy(planes, t.data, t.bytes());
        return;
    }
    Parts p = parts(t.type);
    Offsets at = offsets(t.type);
    size_t blocks = t.count() / size_t(block_of(t.type)), bytes = size_t(info(t.type).bytes);
    auto* from = static_cast<const char*>(t.data);
    auto* to = static_cast<char*>(planes);
    struct Part {
        int bytes, at;
    };
    for (Part part : {Part{p.codes, at.codes}, {p.high, at.high}, {p.scales, at.scales}, {p.whole, at.whole}})
        for (size_t b = 0; b < blocks && part.bytes; b++, to += part.bytes)
            memcpy(to, from + b * bytes + part.at, size_t(part.bytes));
}

} // namespace DD_CUDA
