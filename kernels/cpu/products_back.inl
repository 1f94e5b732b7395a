// products_back.inl - matmul_dx: dy w, reduced over w's rows. The panels are turned in scratch, a block of the
// reduction at a time, and then it is the forward product's sweep.

// A turned panel is 64 columns of dx: [step][64] words, a step being two rows of w (pairs) or one (singles).

constexpr size_t turned_limit = size_t(8) << 20;        // bytes of a block: half of the last-level cache, or less

// 16 rows n of w, as vector `from` of a panel (step bytes a step), to rows n of the turned panels of `rows` rows.
static void turn_pairs(const char* from, long step, int steps, char* to, int n, int rows) {
    for (int k = 0; k < steps; k += 16) {
        I r[16];
        for (int i = 0; i < 16; i++) r[i] = k + i < steps ? load_words(from + (k + i) * step) : set_words(0);
        transpose(r);
        char* at = to + (size_t(2 * k / 64) * rows + n) / 2 * 256 + 2 * k % 64 * 4;
        for (int i = 0; i < 16; i += 2, at += 256) {
            store_words(at, zip_first(r[i], r[i + 1]));
            store_words(at + 64, zip_last(r[i], r[i + 1]));
        }
    }
}
static void turn_singles(const char* from, long step, int steps, char* to, int n, int rows) {
    for (int k = 0; k < steps; k += 16) {
        I r[16];
        for (int i = 0; i < 16; i++) r[i] = k + i < steps ? load_words(from + (k + i) * step) : set_words(0);
        transpose(r);
        char* at = to + (size_t(k / 64) * rows + n) * 256 + k % 64 * 4;
        for (int i = 0; i < 16; i++, at += 256) store_words(at, r[i]);
    }
}

// Rows first .. last-1 of product i's w, turned into scratch; whole vectors of 16 rows.
struct Piece {
    int i, first, last;
    size_t at;              // in scratch
    bool ends;              // the adapter's share comes after it
    int rows() const { return (last - first + 15) & ~15; }
};

struct BackCall {
    int n = 0, rows = 0, cols = 0;
    const Product* p = nullptr;
    Tensor dx;
    Layout w[most_products], b[most_products];
    Words y[most_products], u[most_products];
    Piece pieces[most_products];
    int piece_count = 0;
    char* turned = nullptr;
    float* carry = nullptr;
    bool floats = false, carried = false, last = false;

    int panels() const { return (cols + 63) / 64; }
    bool in_pairs(int i) const { return !floats || w[i].form == Form::pairs; }
    size_t row_bytes(int i) const { return size_t(panels()) * (in_pairs(i) ? 128 : 256); }
};

// The next pieces that fit into scratch, from row `row` of product `i` on; both move.
static void next_block(BackCall& c, int& i, int& row) {
    size_t used = 0;
    c.piece_count = 0;
    while (i < c.n) {
        int out = c.p[i].w->out, fit = int((turned_limit - used) / c.row_bytes(i)) & ~31;
        if (used == 0 && fit < 32) fit = 32;
        if (fit < 32) break;
        Piece& p = c.pieces[c.piece_count++] = {i, row, out - row < fit ? out : row + fit, used, false};
        used += p.rows() * c.row_bytes(i);
        row = p.last;
        p.ends = row == out;
        if (p.ends) i++, row = 0;
    }
    c.last = i == c.n;
}

static void turn(const BackCall& c) {
    int vectors = 0;
    for (int j = 0; j < c.piece_count; j++) vectors += c.pieces[j].rows() / 16;
    parallel(vectors, [&](int v, int thread) {
        const Piece* p = c.pieces;
        for (; v >= p->rows() / 16; p++) v -= p->rows() / 16;
        const Matrix& m = *c.p[p->i].w;
        const Layout& l = c.w[p->i];
        const char* from;
        long step = long(l.step);
        int steps = l.steps, at = p->first / 16 + v;
        if (quantized(m.w.type)) {
            Groups q = groups_of(m, l);
            step = 64, steps = c.floats ? m.in : m.in / 2;
            char* own = (char*)scratch(size_t(steps) * 64, thread);
            auto go = c.floats ? unpack_vector<Unpacked::floats> : unpack_vector<Unpacked::rounded>;
            go(q, q.panel[0] + at / 2 * l.panel, at % 2, own, step, nullptr, nullptr);
            from = own;
        } else {
            from = vector(m, l, at);
        }
        (c.in_pairs(p->i) ? turn_pairs : turn_singles)(from, step, steps, c.turned + p->at, 16 * v, p->rows());
    });
}

// Panel j of dx: the stretches of this block.
static void set_sweep(const BackCall& c, int j, Sweep& s) {
    int rest = c.cols - 64 * j;
    s.vectors = rest < 64 ? (rest + 15) / 16 : 4;
    for (const Piece* p = c.pieces; p < c.pieces + c.piece_count; p++) {
        bool in_pairs = c.in_pairs(p->i);
        Kind kind = !c.floats ? Kind::pairs : in_pairs ? Kind::mixed : Kind::singles;
        int rows = p->last - p->first, per_step = in_pairs ? 2 : 1;
        Stretch& x = s.s[s.stretches++] = {c.y[p->i].at + p->first / (c.floats ? 1 : 2),
                                           c.y[p->i].ld,
                                           {},
                                           256,
                                           (rows + per_step - 1) / per_step,
                                           kind};
        for (int v = 0; v < 4; v++) x.w[v] = c.turned + p->at + size_t(j) * p->rows() / per_step * 256 + 64 * v;
        const Product& product = c.p[p->i];
        if (!p->ends || !product.u) continue;
        const Layout& l = c.b[p->i];
        Stretch& u = s.s[s.stretches++] = {c.u[p->i].at, c.u[p->i].ld, {}, long(l.step), l.steps, kind_of(l, c.floats)};
        for (int v = 0; v < s.vectors; v++) u.w[v] = vector(*product.b, l, 4 * j + v);
    }
    bool half = c.dx.type == Type::bf16;
    size_t size = half ? 2 : 4;
    for (int v = 0; v < s.vectors; v++)
        s.y[v] = {(char*)c.dx.data + (64 * j + 16 * v) * size, c.cols * size, rest - 16 * v < 16 ? rest - 16 * v : 16,
                  half};
    s.give = c.dx.fresh ? Give::write : Give::add;
    s.carry = c.carry + 64 * j, s.ld_carry = 64 * c.panels();
    s.carried = c.carried, s.last = c.last;
}

static void matmul_dx(Tensor dx, const Product* ps, int n) {
    if (!dx || !dx.rows) return;
    BackCall c;
    c.n = n, c.rows = dx.rows, c.cols = dx.cols, c.p = ps, c.dx = dx;
    size_t bytes = 64, total = 0;
    for (int i = 0; i < n; i++) {
        if (n > most_products || !fits(ps[i], ps[i].y)) return reference.matmul_dx(dx, ps, n);
        c.floats = ps[i].y.type == Type::f32;
        c.w[i] = layout(*ps[i].w);
        if (ps[i].u) c.b[i] = layout(*ps[i].b), bytes += padded_bytes(ps[i].u);
        bytes += padded_bytes(ps[i].y);
        total += ((ps[i].w->out + 31) & ~31) * c.row_bytes(i);
    }
    bool blocks = total > turned_limit;
    size_t carry = blocks ? size_t(c.rows) * 256 * c.panels() : 0,
           turned = (blocks ? turned_limit : total) + 64 * c.row_bytes(0) + 4096;
    char* memory = (char*)scratch(bytes + carry + turned);
    c.carry = (float*)memory, c.turned = memory + carry;
    memory += carry + aligned(turned);
    for (int i = 0; i < n; i++) {
        c.y[i] = words(ps[i].y, memory);
        if (ps[i].u) c.u[i] = words(ps[i].u, memory);
    }
    for (int i = 0, row = 0; i < n; c.carried = true) {
        next_block(c, i, row);
        turn(c);
        int row_items = row_blocks(c.rows, c.panels(), false);
        parallel(c.panels() * row_items, [&](int item, int) {
            int b = item / c.panels();
            Sweep s;
            set_sweep(c, item % c.panels(), s);
            sweep_rows(s, int(long(c.rows) * b / row_items), int(long(c.rows) * (b + 1) / row_items));
        });
    }
}
