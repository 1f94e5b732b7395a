// ggml_types.h - the tensor types of GGUF files: ggml's numbers for them and the size of their blocks.
#pragma once
#include "../kernels/tensor.h"

struct GgmlType { int id; const char* name; int block, bytes; Type type; };

// Numbers 4, 5, 31 to 33 and 36 to 38 belonged to types that ggml has removed.
constexpr GgmlType ggml_types[] = {
    {0, "F32", 1, 4, Type::f32},          {1, "F16", 1, 2, Type::f16},         {2, "Q4_0", 32, 18, Type::q4_0},
    {3, "Q4_1", 32, 20, Type::q4_1},      {6, "Q5_0", 32, 22, Type::q5_0},     {7, "Q5_1", 32, 24, Type::q5_1},
    {8, "Q8_0", 32, 34, Type::q8_0},      {9, "Q8_1", 32, 36, Type::other},    {10, "Q2_K", 256, 84, Type::other},
    {11, "Q3_K", 256, 110, Type::other},  {12, "Q4_K", 256, 144, Type::q4_k},  {13, "Q5_K", 256, 176, Type::q5_k},
    {14, "Q6_K", 256, 210, Type::q6_k},   {15, "Q8_K", 256, 292, Type::other}, {16, "IQ2_XXS", 256, 66, Type::other},
    {17, "IQ2_XS", 256, 74, Type::other}, {18, "IQ3_XXS", 256, 98, Type::other}, {19, "IQ1_S", 256, 50, Type::other},
    {20, "IQ4_NL", 32, 18, Type::other},  {21, "IQ3_S", 256, 110, Type::other}, {22, "IQ2_S", 256, 82, Type::other},
    {23, "IQ4_XS", 256, 136, Type::other}, {24, "I8", 1, 1, Type::other},      {25, "I16", 1, 2, Type::other},
    {26, "I32", 1, 4, Type::i32},         {27, "I64", 1, 8, Type::i64},        {28, "F64", 1, 8, Type::other},
    {29, "IQ1_M", 256, 56, Type::other},  {30, "BF16", 1, 2, Type::bf16},      {34, "TQ1_0", 256, 54, Type::other},
    {35, "TQ2_0", 256, 66, Type::other},  {39, "MXFP4", 32, 17, Type::other},  {40, "NVFP4", 64, 36, Type::other},
    {41, "Q1_0", 128, 18, Type::other},   {42, "Q2_0", 64, 18, Type::other}};

inline const GgmlType* ggml_type(int id) {
    for (const GgmlType& t : ggml_types)
        if (t.id == id) return &t;
    return nullptr;
}
inline const GgmlType* ggml_type(Type type) {       // null: ggml does not know it, or it is not one type
    for (const GgmlType& t : ggml_types)
        if (t.type == type && type != Type::other) return &t;
    return nullptr;
}
