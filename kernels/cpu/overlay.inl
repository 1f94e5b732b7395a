// overlay.inl - everything that is written in the words of simd_*.inl, and the entries of the table that it replaces.

#include "tile.inl"
#include "panels.inl"
#include "pack.inl"
#include "groups.inl"
#include "sweep.inl"
#include "products.inl"
#include "products_back.inl"
#include "weights_back.inl"
#include "each.inl"
#include "moving.inl"
#include "rows.inl"
#include "rest.inl"
#include "attention.inl"
#include "attention_back.inl"
#include "convolve.inl"
#include "delta.inl"
#include "delta_back.inl"

static void overlay(Kernels& k) {
    k = {k.name, k.bf16, k.memory, nullptr, nullptr,
#define K(name, args) name,
         DD_KERNELS(K)
#undef K
    };
}
