// instructions.h - what the PTX ISA says the instructions of ptx.h do ("Matrix fragments for mma.m16n8k16" and
// "..m16n8k8", "ldmatrix", "cp.async"). Layouts are for lane L = 4 g + t.
#pragma once
#include <bit>
#include "../numbers.h"
#include "functions.h"

namespace cuda_cpu {

inline float exp2_ftz(float x) {
    float y = std::exp2(x);
    return y < 0x1p-126f ? 0 : y;
}

// d (16 x 8, f32) += a (16 x 16, bf16) b (16 x 8, bf16). Element i of a lane, low half of a register first:
//   a: row g, or g + 8 for i in {2, 3, 6, 7};  column 2 t + i % 2, or + 8 for i >= 4
//   b: row 2 t + i % 2, or + 8 for i >= 2;     column g
//   d: row g, or g + 8 for i >= 2;             column 2 t + i % 2
inline void mma_m16n8k16(float* d, const uint32_t* a, const uint32_t* b, Where where) {
    struct Operand {
        float* d;
        const uint32_t *a, *b;
    } mine{d, a, b};
    warp_operation("mma.sync", ~0u, where, mine, [] CUDA_CPU_UNSEEN(Operand * (&all)[32]) {
        const auto element = [] CUDA_CPU_UNSEEN(const uint32_t* registers, int i) {
            return to_float(bf16{uint16_t(registers[i / 2] >> i % 2 * 16)});
        };
        float a[16][16], b[16][8];
        for (int lane = 0; lane < 32; ++lane) {
            if (!all[lane]) machine().fail("mma.sync needs all 32 lanes");
            const int g = lane / 4, t = lane % 4;
            for (int i = 0; i < 8; ++i) a[g + i / 2 % 2 * 8][2 * t + i % 2 + i / 4 * 8] = element(all[lane]->a, i);
            for (int i = 0; i < 4; ++i) b[2 * t + i % 2 + i / 2 * 8][g] = element(all[lane]->b, i);
        }
        double d[16][8] = {}; // products of bf16 are exact; the order and rounding of the GPU's sum are not specified
        for (int row = 0; row < 16; ++row)
            for (int k = 0; k < 16; ++k)
                for (int column = 0; column < 8; ++column) d[row][column] += double(a[row][k] * b[k][column]);
        for (int lane = 0; lane < 32; ++lane) {
            const int g = lane / 4, t = lane % 4;
            for (int i = 0; i < 4; ++i) all[lane]->d[i] += float(d[g + i / 2 * 8][2 * t + i % 2]);
        }
        ++machine().counted.mma;
    });
}

// d (16 x 8, f32) += a (16 x 8, tf32) b (8 x 8, tf32). Element i of a lane, one a register:
//   a: row g, or g + 8 for odd i;  column t, or t + 4 for i >= 2
//   b: row t + 4 i;                column g
//   d: as above
// Tensor cores do not round such a sum: products and d are cut off at a last bit which the largest of them decides, and
// so is the result (Khattak and Mikaitis 2025, arXiv:2512.07004, for cards from V100 to B200). So does this, with one
// bit below the largest's f32: an error that is measured here is not flattered.
inline void mma_m16n8k8(float* d, const uint32_t* a, const uint32_t* b, Where where) {
    struct Operand {
        float* d;
        const uint32_t *a, *b;
    } mine{d, a, b};
    warp_operation("mma.sync", ~0u, where, mine, [] CUDA_CPU_UNSEEN(Operand * (&all)[32]) {
        const auto element = [] CUDA_CPU_UNSEEN(uint32_t u) {
            if (u & 0x1fff) machine().fail("mma.sync: an operand has more bits than tf32");
            return double(from_bits(u));
        };
        double a[16][8], b[8][8], d[16][8];
        for (int lane = 0; lane < 32; ++lane) {
            if (!all[lane]) machine().fail("mma.sync needs all 32 lanes");
            const int g = lane / 4, t = lane % 4;
            for (int i = 0; i < 4; ++i) a[g + i % 2 * 8][t + i / 2 * 4] = element(all[lane]->a[i]);
            for (int i = 0; i < 2; ++i) b[t + i * 4][g] = element(all[lane]->b[i]);
            for (int i = 0; i < 4; ++i) d[g + i / 2 * 8][2 * t + i % 2] = all[lane]->d[i];
        }
        for (int row = 0; row < 16; ++row) {
            double part[9][8], most[8], whole[8], sum[8] = {};
            for (int j = 0; j < 8; ++j)
                part[8][j] = whole[j] = d[row][j], most[j] = std::max(std::fabs(whole[j]), 0x1p-126);
            for (int k = 0; k < 8; ++k)
                for (int j = 0; j < 8; ++j) {
                    part[k][j] = a[row][k] * b[k][j], whole[j] += part[k][j];
                    most[j] = std::max(most[j], std::fabs(part[k][j]));
                }
            for (int j = 0; j < 8; ++j) // the largest's power of two, and the last bit's
                most[j] = std::bit_cast<double>(std::bit_cast<uint64_t>(most[j]) & 0x7ffull << 52) * 0x1p-24;
            for (int k = 0; k < 9; ++k)
                for (int j = 0; j < 8; ++j) sum[j] += double(int(part[k][j] * (1 / most[j])));
            for (int j = 0; j < 8; ++j) {
                if (!std::isfinite(whole[j])) d[row][j] = whole[j];
                else d[row][j] = sum[j] * most[j];
            }
        }
        for (int lane = 0; lane < 32; ++lane)
            for (int i = 0; i < 4; ++i) {
                const double exact = d[lane / 4 + i / 2 * 8][lane % 4 * 2 + i % 2];
                const float near = float(exact);
                all[lane]->d[i] = std::fabs(double(near)) > std::fabs(exact) ? from_bits(bits(near) - 1) : near;
            }
        ++machine().counted.mma;
    });
}

// Loads `n` 8 x 8 matrices of 16-bit elements. Lane 8 j + r gives the address of row r of matrix j (16 bytes). Register
// j of a lane gets elements (g, 2 t) and (g, 2 t + 1) of matrix j; transposed: (2 t, g) and (2 t + 1, g).
template <int n, bool transposed> void ldmatrix(uint32_t* result, const void* row, Where where) {
    struct Operand {
        uint16_t row[8];
        uintptr_t address;
        uint32_t* result;
    } mine{{}, uintptr_t(row), result};
    Machine& m = machine();
    if (m.current->rank % 32 < 8 * n) { // the other lanes' addresses are not used
        if (mine.address % 16) m.fail("ldmatrix: a row's address is not a multiple of 16");
        std::memcpy(mine.row, row, 16);
    }
    warp_operation("ldmatrix", ~0u, where, mine, [] CUDA_CPU_UNSEEN(Operand * (&all)[32]) {
        for (Operand* o : all)
            if (!o) machine().fail("ldmatrix needs all 32 lanes");
        for (int j = 0; j < n; ++j) {
            unsigned banks = 0; // eight rows of 16 bytes fill the 32 banks once, if they fall into different ones
            for (int r = 0; r < 8; ++r) banks |= 1u << all[8 * j + r]->address / 16 % 8;
            machine().counted.bank_conflicts += banks != 0xff;
            for (int lane = 0; lane < 32; ++lane) {
                const int g = lane / 4, t = lane % 4;
                const auto at = [&] CUDA_CPU_UNSEEN(int r, int c) -> uint32_t { return all[8 * j + r]->row[c]; };
                all[lane]->result[j] =
                    transposed ? at(2 * t, g) | at(2 * t + 1, g) << 16 : at(g, 2 * t) | at(g, 2 * t + 1) << 16;
            }
        }
    });
}

// The GPU may write at once or as late as the wait: so does this, by chance. Until then the destination is poison.
inline void copy_async(void* to, const void* from, unsigned bytes, unsigned valid) {
    Machine& m = machine();
    if ((uintptr_t(to) | uintptr_t(from)) % bytes) m.fail("cp.async: an address is not a multiple of its size");
    const Copy copy{static_cast<char*>(to), static_cast<const char*>(from), bytes, valid, m.current->groups};
    if (m.random() % 4 == 0) return copy.land();
    for (unsigned i = 0; i < bytes; ++i) copy.to[i] = static_cast<char>(poison);
    m.current->copies.push_back(copy);
}
inline void wait_async(unsigned pending) {
    Thread& t = *machine().current;
    const auto landed =
        std::find_if(t.copies.begin(), t.copies.end(), [&](const Copy& c) { return c.group + pending >= t.groups; });
    for (auto c = t.copies.begin(); c != landed; ++c) c->land();
    t.copies.erase(t.copies.begin(), landed);
}

} // namespace cuda_cpu
