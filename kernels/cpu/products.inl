// products.inl - matmul: several products of one x in one parallel region.

// One call, with the columns of all its products cut into units: as many vectors as a tile takes (two when rows are
// few and weights stream; three for a batch of some tens: tiles are eight rows then instead of six, which divides 32,
// and units come out even among two threads where 36 or 60 vectors by four do not), of one wide product, or of the
// narrow ones together: those that lie in the same form as the first of them, for a sweep reads all its panels one way.
struct Call {
    int n = 0, cap = 4;
    bool few = false;
    const Product* p[most_products];
    Layout w[most_products], b[most_products];
    Words x{}, u[most_products];
    Groups groups[most_products];
    int rows = 0, until[most_products + 1] = {};    // units of the wide products before each
    int narrow = 0;                                 // vectors of narrow products, after them
    Form shared = Form::none;                       // theirs
    const float* sums = nullptr;
    bool floats = false;                            // x is f32

    bool wide(int i) const { return w[i].width == 32 || p[i]->u || w[i].form != shared; }
    int vectors(int i) const { return (p[i]->w->out + 15) / 16; }
    int units() const { return until[n] + (narrow + cap - 1) / cap; }
};

INLINE Kind kind_of(const Layout& l, bool floats) {
    return !floats ? Kind::pairs : l.form == Form::pairs ? Kind::mixed : Kind::singles;
}

INLINE Target target(const Product& p, int v) {
    size_t size = p.y.type == Type::bf16 ? 2 : 4;
    int rest = p.w->out - 16 * v;
    return {(char*)p.y.data + 16 * v * size, p.w->out * size, rest < 16 ? rest : 16, size == 2};
}

// Vectors v .. of product i join the sweep.
static void add_columns(const Call& c, int i, int v, int count, Sweep& s) {
    const Product& p = *c.p[i];
    const Layout& l = c.w[i];
    Stretch& x = s.s[0];
    if (!s.vectors) x = {c.x.at, c.x.ld, {}, long(l.step), l.steps, kind_of(l, c.floats)}, s.stretches = 1;
    Stretch& u = s.s[1];
    if (p.u)
        u = {c.u[i].at, c.u[i].ld, {}, long(c.b[i].step), c.b[i].steps, kind_of(c.b[i], c.floats)}, s.stretches = 2;
    for (int j = 0; j < count; j++) {
        int at = s.vectors++;
        s.y[at] = target(p, v + j);
        if (!s.in_groups) x.w[at] = vector(*p.w, l, v + j);
        if (p.u) u.w[at] = vector(*p.b, c.b[i], v + j);
    }
}

static void set_sweep(const Call& c, int unit, Sweep& s) {
    if (unit < c.until[c.n]) {
        int i = 0;
        while (unit >= c.until[i + 1]) i++;
        int v = (unit - c.until[i]) * c.cap, rest = c.vectors(i) - v;
        s.in_groups = quantized(c.p[i]->w->w.type);
        add_columns(c, i, v, rest < c.cap ? rest : c.cap, s);
        if (s.in_groups) {
            s.groups = c.groups[i];
            s.groups.sums = c.sums;
            s.groups.panel[0] += v / 2 * c.w[i].panel;
            s.groups.panel[1] = s.groups.panel[0] + c.w[i].panel;
        }
        // What this thread takes next is most likely the next unit of its range.
        if (rest > c.cap)
            s.next = s.in_groups ? s.groups.panel[0] + c.cap / 2 * c.w[i].panel : vector(*c.p[i]->w, c.w[i], v + c.cap);
    } else {
        int first = (unit - c.until[c.n]) * c.cap, last = first + c.cap;
        for (int i = 0, v = 0; i < c.n; v += c.wide(i) ? 0 : c.vectors(i), i++) {
            if (c.wide(i)) continue;
            int from = first > v ? first - v : 0, to = last - v < c.vectors(i) ? last - v : c.vectors(i);
            if (from < to) add_columns(c, i, from, to - from, s);
        }
    }
    for (int at = s.vectors; at < 4; at++)          // a tile may read vectors that nobody wants
        for (int j = 0; j < s.stretches; j++) s.s[j].w[at] = s.s[j].w[0];
}

// The sweep's weights in groups, unpacked into this thread's scratch: exact integers in pairs, or values in floats.
static void unpack(const Call& c, Sweep& s, int thread) {
    Groups& q = s.groups;
    Stretch& x = s.s[0];
    int steps = q.n * q.pairs * (c.floats ? 2 : 1);
    char* to = (char*)scratch(size_t(steps) * 256 + 2 * size_t(q.n) * 256, thread);
    float* d = (float*)(to + size_t(steps) * 256);
    float* m = d + 64 * q.n;
    x.steps = steps, x.step = 256;
    for (int v = 0; v < s.vectors; v++) {
        auto go = c.floats ? unpack_vector<Unpacked::floats> : unpack_vector<Unpacked::exact>;
        go(q, q.panel[v / 2], v % 2, to + 64 * v, 256, d + 16 * v, m + 16 * v);
        x.w[v] = to + 64 * v;
    }
    q.d = d, q.m = m;
    if (c.floats) s.in_groups = false;
}

// Sums of x over groups of 32, as the reference adds them: in 16 lanes, then the tree.
static void sum_groups(Tensor x, float* sums) {
    int n = x.cols / 32;
    split(x.rows, 1 + 16384 / (x.cols + 1), [&](int first, int last, int) {
        for (int i = first; i < last; i++)
            for (int g = 0; g < n; g++) {
                const uint16_t* at = x.h() + size_t(i) * x.cols + 32 * g;
                sums[size_t(i) * n + g] = sum(set(0) + load(at) + load(at + 16));
            }
    });
}

static size_t set_up(Call& c, const Product* ps, int n, Tensor x) {
    c.n = n, c.rows = x.rows, c.floats = x.type == Type::f32;
    bool any_groups = false, any_minima = false;
    size_t bytes = padded_bytes(x);
    for (int i = 0; i < n; i++) {
        c.p[i] = ps + i;
        c.w[i] = layout(*ps[i].w);
        if (ps[i].u) c.b[i] = layout(*ps[i].b), bytes += padded_bytes(ps[i].u);
        else if (c.w[i].width == 16 && c.shared == Form::none) c.shared = c.w[i].form;
        Type t = ps[i].w->w.type;
        if (!quantized(t)) continue;
        c.groups[i] = groups_of(*ps[i].w, c.w[i]);
        any_groups = true, any_minima |= has_minimum(t) && !c.floats;
    }
    c.few = x.rows <= (any_groups ? few_group_limit : few_limit);
    c.cap = c.few ? 2 : any_groups || x.rows > 64 ? 4 : 3;
    for (int i = 0; i < n; i++) {
        c.until[i + 1] = c.until[i] + (c.wide(i) ? (c.vectors(i) + c.cap - 1) / c.cap : 0);
        if (!c.wide(i)) c.narrow += c.vectors(i);
    }
    char* memory = (char*)scratch(bytes + 64 + (any_minima ? size_t(x.rows) * (x.cols / 32) * 4 : 0));
    c.x = words(x, memory);
    for (int i = 0; i < n; i++)
        if (ps[i].u) c.u[i] = words(ps[i].u, memory);
    if (any_minima) c.sums = (float*)memory, sum_groups(x, (float*)memory);
    return bytes;
}

// Can these kernels take p? Otherwise the reference does.
static bool fits(const Product& p, Tensor x) {
    auto one = [&](const Matrix& m) { return m.panels && m.operand == x.type && layout(m).form != Form::none; };
    return one(*p.w) && (!p.u || (p.b && one(*p.b)));
}

// Rows of an item: all of them where there are columns enough, otherwise what gives some 16 items, 32 at least.
static int row_blocks(int rows, int units, bool in_groups) {
    int most = in_groups || rows < 1000 ? 1024 : 192, wanted = (16 + units - 1) / units;
    int blocks = (rows + most - 1) / most;
    if (blocks < wanted) blocks = wanted;
    int at_most = rows / 32 > 1 ? rows / 32 : 1;
    return blocks < at_most ? blocks : at_most;
}

static void matmul(const Product* ps, int n, Tensor x) {
    if (!x.rows) return;
    for (int i = 0; i < n; i++)
        if (n > most_products || !fits(ps[i], x)) {
            for (int j = 0; j < n; j++) fits(ps[j], x) && n > 1 ? matmul(ps + j, 1, x) : reference.matmul(ps + j, 1, x);
            return;
        }
    Call c;
    set_up(c, ps, n, x);
    int units = c.units();
    if (c.few) {
        int grain = int(49152 / (c.w[0].panel * 32 / c.w[0].width + 1)) + 1;
        split(units, grain, [&](int first, int last, int) {
            for (int j = first; j < last; j++) {
                Sweep s;
                set_sweep(c, j, s);
                sweep_few(s, c.rows);
            }
        });
        return;
    }
    int blocks = row_blocks(c.rows, units, c.groups[0].n > 0);
    parallel(units * blocks, [&](int item, int thread) {
        int j = item % units, b = item / units;
        Sweep s;
        set_sweep(c, j, s);
        if (s.in_groups) unpack(c, s, thread);
        sweep_rows(s, int(long(c.rows) * b / blocks), int(long(c.rows) * (b + 1) / blocks));
    });
}
