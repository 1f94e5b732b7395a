// groups.h - quantised weights as products see them: groups of exact small integers q behind one scale and, in some
// types, one minimum: w = d q + m.
#pragma once
#include "../tensor.h"

inline bool quantized(Type t) { return info(t).block > 1; }
inline int group_size(Type t) { return t == Type::q6_k ? 16 : 32; }
inline bool has_minimum(Type t) { return t == Type::q4_1 || t == Type::q5_1 || t == Type::q4_k || t == Type::q5_k; }

// Group g of a row of blocks: group_size integers, their scale and their minimum (0 where the type has none).
// d q + m, with the product rounded before the sum, is ggml's value to the bit.
void read_group(Type, const void* row, int g, int8_t* q, float* d, float* m);
