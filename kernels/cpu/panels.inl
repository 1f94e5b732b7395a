// panels.inl - how a matrix lies in memory for the products of this file's instruction set.
//
// A panel is 32 columns of the product (rows of w), 16 in a matrix of 64 or less (adapters: several share one sweep),
// and the whole reduction k, in steps that a tile of a product takes one after another:
//
//   pairs     a step is two k:     [k / 2][column][2] bf16
//   singles   a step is one k:     [k][column] f32
//   bytes     a group of 16 or 32 k: [k / 2][column][2] int8, then scales [column], then minima [column] if it has any
//   nibbles   a group of 32 k:     four words m of each column, [m][column], then scales and minima as above.
//             Nibble 0 | 1 | 2 | 3 of a word's low half is k = 4m | 16 + 4m | 4m + 2 | 16 + 4m + 2, of its high half
//             k + 1:
//             a block of GGUF with two bytes of each word swapped.
//
// Scales and minima are f16 where the file has them in f16, f32 in the K types (products of two numbers of the file).
// What is missing at the end of a panel is zero.

enum class Form { none, pairs, singles, bytes, nibbles };

struct Layout {
    Form form = Form::none;
    int width = 32;             // columns a panel
    int steps = 0;              // of the reduction: pairs, numbers or groups
    size_t step = 0, panel = 0; // bytes
    int panels = 0;
};

INLINE bool half_scales(Type t) { return t != Type::q4_k && t != Type::q5_k && t != Type::q6_k; }

INLINE bool in_nibbles(Type t) { return t == Type::q4_0 || t == Type::q4_1 || t == Type::q4_k; }

static Layout layout(const Matrix& m) {
    Layout l;
    Type t = m.w.type;
    if (m.out < 1 || m.in < 1) return l;
    if (quantized(t)) {
        if (m.transposed || m.scale != 1) return l;
        int size = group_size(t);
        l.form = in_nibbles(t) ? Form::nibbles : Form::bytes;
        l.steps = m.in / size;
        l.step = size_t(size) * (in_nibbles(t) ? 16 : 32) + (half_scales(t) ? 64 : 128) * (1 + has_minimum(t));
    } else {
        if (t != Type::f32 && t != Type::bf16 && (t != Type::f16 || m.transposed)) return l;
        bool exact = t == Type::bf16 && m.scale == 1;
        if (m.out <= 64) l.width = 16;
        l.form = m.operand == Type::bf16 || exact ? Form::pairs : Form::singles;
        l.steps = l.form == Form::pairs ? (m.in + 1) / 2 : m.in;
        l.step = size_t(l.width) * 4;
    }
    l.panels = (m.out + l.width - 1) / l.width;
    l.panel = l.step * l.steps;
    return l;
}

// Vector v, 16 columns, of the matrix: where its words of step 0 are; step k is l.step bytes further.
INLINE const char* vector(const Matrix& m, const Layout& l, int v) {
    if (l.width == 16) return (const char*)m.panels + v * l.panel;
    return (const char*)m.panels + v / 2 * l.panel + v % 2 * 64;
}
