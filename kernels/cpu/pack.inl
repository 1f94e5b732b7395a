// pack.inl - filling the panels of panels.inl, 16 columns at a time.

// Numbers k .. k+15 of row n of m, scaled; zero beyond the matrix.
static F row_floats(const Matrix& m, int n, int k) {
    int count = m.in - k < 16 ? m.in - k : 16;
    if (n >= m.out || count <= 0) return set(0);
    size_t at = size_t(n) * m.in + k;
    F x;
    if (m.w.type == Type::f32) x = count == 16 ? load(m.w.f() + at) : load(m.w.f() + at, count);
    else if (m.w.type == Type::bf16) x = count == 16 ? load(m.w.h() + at) : load(m.w.h() + at, count);
    else {
        alignas(64) uint16_t halves[16] = {};
        __builtin_memcpy(halves, m.w.h() + at, 2 * size_t(count));
        x = load_f16(halves);
    }
    return set(m.scale) * x;
}

// The same of column n of a transposed m, for one k: 16 columns n .. n+15.
static F column_floats(const Matrix& m, int n, int k) {
    int count = m.out - n < 16 ? m.out - n : 16;
    if (k >= m.in || count <= 0) return set(0);
    size_t at = size_t(k) * m.out + n;
    return set(m.scale) * (m.w.type == Type::f32 ? load(m.w.f() + at, count) : load(m.w.h() + at, count));
}

// Sixteen pairs of row n from k on.
static I row_pairs(const Matrix& m, int n, int k) {
    if (m.w.type == Type::bf16 && m.scale == 1 && n < m.out && k + 32 <= m.in) {
        const uint16_t* row = m.w.h() + size_t(n) * m.in + k;
        prefetch(row + 256);
        return load_words(row);
    }
    alignas(64) uint16_t row[32];
    store(row, row_floats(m, n, k));
    store(row + 16, row_floats(m, n, k + 16));
    return load_words(row);
}

// Vector v of a matrix of floats.
static void pack_floats(const Matrix& m, const Layout& l, int v) {
    char* to = (char*)vector(m, l, v);
    bool in_pairs = l.form == Form::pairs;
    if (m.transposed) {
        for (int k = 0; k < l.steps; k++, to += l.step)
            if (in_pairs) store_words(to, pairs(column_floats(m, 16 * v, 2 * k), column_floats(m, 16 * v, 2 * k + 1)));
            else store(((float*)to), column_floats(m, 16 * v, k));
        return;
    }
    for (int k = 0; k < l.steps; k += 16) {
        I r[16];
        for (int i = 0; i < 16; i++)
            r[i] = in_pairs ? row_pairs(m, 16 * v + i, 2 * k) : as_words(row_floats(m, 16 * v + i, k));
        transpose(r);
        for (int i = 0; i < 16 && k + i < l.steps; i++, to += l.step) store_words(to, r[i]);
    }
}

// ---- blocks of GGUF

// Codes of group g of a row, as two bytes or as nibbles (byte j: k = j below, k = j + 16 above). From the file itself
// where it has them like this, otherwise by way of `own`.
INLINE const uint8_t* codes(Type t, const uint8_t* row, int g, uint8_t* own) {
    const uint8_t* block = row + size_t(g) * info(t).bytes;
    if (t == Type::q8_0 || t == Type::q4_0) return block + 2;
    if (t == Type::q4_1) return block + 4;
    float d, m;
    if (!in_nibbles(t)) {
        read_group(t, row, g, (int8_t*)own, &d, &m);
        return own;
    }
    uint8_t q[32];
    read_group(t, row, g, (int8_t*)q, &d, &m);
    for (int j = 0; j < 16; j++) own[j] = uint8_t(q[j] | q[j + 16] << 4);
    return own;
}

// Scales and minima of groups g of 16 rows, behind the codes of the group.
static void pack_scales(Type t, const uint8_t* const* rows, int g, char* to) {
    for (int i = 0; i < 16; i++) {
        if (half_scales(t)) {
            const uint8_t* block = rows[i] ? rows[i] + size_t(g) * info(t).bytes : nullptr;
            for (int part = 0; part < 1 + has_minimum(t); part++)
                if (block) __builtin_memcpy(to + 64 * part + 2 * i, block + 2 * part, 2);
                else __builtin_memset(to + 64 * part + 2 * i, 0, 2);
        } else {
            int8_t q[32];
            float d = 0, m = 0;
            if (rows[i]) read_group(t, rows[i], g, q, &d, &m);
            __builtin_memcpy(to + 4 * i, &d, 4);
            if (has_minimum(t)) __builtin_memcpy(to + 128 + 4 * i, &m, 4);
        }
    }
}

// Vector v of a matrix in blocks. A transposition takes 64 bytes of codes a row: four groups of nibbles, two of 32
// bytes, four of 16 bytes.
static void pack_groups(const Matrix& m, const Layout& l, int v) {
    static constexpr uint8_t none[32] = {};
    Type t = m.w.type;
    bool nibbles = l.form == Form::nibbles;
    int size = group_size(t), code_bytes = nibbles ? 16 : size, at_once = 64 / code_bytes, words = code_bytes / 4;
    size_t width = half_scales(t) ? 32 : 64, scales = size_t(size) * (nibbles ? 16 : 32) + v % 2 * width;
    char* panel = (char*)m.panels + v / 2 * l.panel;
    const uint8_t* rows[16];
    for (int i = 0; i < 16; i++)
        rows[i] = 16 * v + i < m.out ? (const uint8_t*)m.w.data + (16 * v + i) * row_bytes(t, m.in) : nullptr;
    for (int g = 0; g < l.steps; g += at_once) {
        alignas(64) uint8_t own[16][4][32];
        I r[16];
        for (int i = 0; i < 16; i++) {
            const uint8_t* c[4];
            for (int j = 0; j < at_once; j++)
                c[j] = rows[i] && g + j < l.steps ? codes(t, rows[i], g + j, own[i][j]) : none;
            r[i] = at_once == 2 ? two_halves(c[0], c[1]) : four_quarters(c[0], c[1], c[2], c[3]);
            if (nibbles) r[i] = swap_middle_bytes(r[i]);
        }
        transpose(r);
        for (int j = 0; j < at_once && g + j < l.steps; j++) {
            char* to = panel + (g + j) * l.step;
            for (int w = 0; w < words; w++) {
                I x = r[j * words + w];
                if (nibbles) store_words(to + w * 128 + v % 2 * 64, x);
                else
                    store_low_halves(to + 2 * w * 64 + v % 2 * 32, x),
                        store_high_halves(to + (2 * w + 1) * 64 + v % 2 * 32, x);
            }
            pack_scales(t, rows, g + j, to + scales);
        }
    }
}

static void pack(Matrix& m) {
    Layout l = layout(m);
    if (!m.panels) return void(m.panel_bytes = l.panel * l.panels);
    int vectors = l.panels * l.width / 16, grain = int(65536 / (l.panel + 1)) + 1;
    parallel((vectors + 2 * grain - 1) / (2 * grain), [&](int item, int) {
        for (int v = 2 * grain * item; v < 2 * grain * (item + 1) && v < vectors; v++)
            quantized(m.w.type) ? pack_groups(m, l, v) : pack_floats(m, l, v);
    });
}
