// safetensors.cpp - reading: one pass over the header, every rule of the format checked where it can first be broken.
#include "safetensors.h"
#include <algorithm>
#include "json_stream.h"
#include "names.h"
#include "reader.h"

namespace {

constexpr uint64_t max_header = 100'000'000;
constexpr size_t max_tensors = 1'000'000, max_rank = 8, max_metadata = 65'536;

struct Dtype { std::string_view name; int bits; Type type; };
constexpr Dtype dtypes[] = {
    {"F32", 32, Type::f32},      {"F16", 16, Type::f16},          {"BF16", 16, Type::bf16},
    {"I32", 32, Type::i32},      {"I64", 64, Type::i64},          {"U8", 8, Type::u8},
    {"BOOL", 8, Type::other},    {"I8", 8, Type::other},          {"I16", 16, Type::other},
    {"U16", 16, Type::other},    {"U32", 32, Type::other},        {"U64", 64, Type::other},
    {"F64", 64, Type::other},    {"C64", 64, Type::other},        {"F8_E5M2", 8, Type::other},
    {"F8_E4M3", 8, Type::other}, {"F8_E8M0", 8, Type::other},     {"F8_E4M3FNUZ", 8, Type::other},
    {"F4", 4, Type::other},      {"F8_E5M2FNUZ", 8, Type::other}, {"F6_E2M3", 6, Type::other},
    {"F6_E3M2", 6, Type::other}};

using Metadata = std::map<std::string, std::string>;

// The header's events. Depth 1: the names; depth 2: a tensor's fields, or the metadata; depth 3: shape and offsets.
class Header : public JsonEvents {
public:
    Header(std::string_view data, const std::string& who, std::vector<Stored>& tensors, NameIndex<Stored>& names,
           Metadata& metadata)
        : data_(data), who_(who), tensors_(tensors), names_(names), metadata_(metadata) {}

    void open(bool object) override {
        depth_++;
        const bool numbers = depth_ == 3 && !in_metadata_ && (field_ == shape || field_ == offsets);
        if (object ? depth_ > 2 : !numbers)
            refuse(who_, at, "%s where the header may not have %s", object ? "an object" : "an array", expected());
        seen_ = object ? 0 : seen_;
    }
    void key(std::string& name) override {
        if (depth_ == 1)
            begin(name);
        else if (in_metadata_)
            begin_metadata(name);
        else
            begin_field(name);
    }
    void string(std::string& text) override {
        if (depth_ == 2 && in_metadata_) return void(entry_->second = std::move(text));
        if (depth_ != 2 || field_ != dtype)
            refuse(who_, at, "the string %s, expected %s", shown(text).c_str(), expected());
        const auto found = std::find_if(std::begin(dtypes), std::end(dtypes), [&](auto& d) { return d.name == text; });
        if (found == std::end(dtypes)) refuse(who_, at, "unknown dtype %s", shown(text).c_str());
        tensors_.back().dtype = found->name;
        tensors_.back().type = found->type;
        bits_ = found->bits;
    }
    void scalar(Json value) override {
        if (depth_ != 3) refuse(who_, at, "%s, expected %s", dump(value).c_str(), expected());
        if (!value.is_number_unsigned())
            refuse(who_, at, "%s, expected an integer without sign, fraction or exponent", dump(value).c_str());
        const uint64_t n = value.get<uint64_t>();
        if (field_ == shape) return add_dimension(n);
        if (offset_count_ == 2) refuse(who_, at, "data_offsets of %s has more than two numbers", name());
        offset_[offset_count_++] = n;
    }
    void close() override {
        depth_--;
        if (depth_ == 1 && !in_metadata_) end_tensor();
    }

private:
    enum Field { dtype = 1, shape = 2, offsets = 4 };

    const char* expected() const {
        if (depth_ <= 1) return "an object for every name";
        if (in_metadata_) return "a string for every key of __metadata__";
        if (field_ == dtype) return "the name of a dtype";
        return depth_ == 2 ? "an array of integers" : "integers";
    }
    const char* name() { return (name_ = shown(tensors_.back().name)).c_str(); }

    void begin(std::string& name) {
        in_metadata_ = name == "__metadata__";
        if (in_metadata_) {
            if (had_metadata_) refuse(who_, at, "__metadata__ stands twice");
            had_metadata_ = true;
            return;
        }
        if (!is_name(name)) refuse(who_, at, "the tensor name %s holds a NUL", shown(name).c_str());
        if (tensors_.size() == max_tensors) refuse(who_, at, "more than %zu tensors", max_tensors);
        tensors_.emplace_back().name = std::move(name);
        if (!names_.add()) refuse(who_, at, "the tensor %s stands twice", this->name());
        dimensions_ = 1, offset_count_ = 0;
    }
    void begin_metadata(std::string& key) {
        if (metadata_.size() == max_metadata) refuse(who_, at, "more than %zu keys in __metadata__", max_metadata);
        const auto [entry, fresh] = metadata_.try_emplace(std::move(key));
        if (!fresh) refuse(who_, at, "the key %s stands twice in __metadata__", shown(entry->first).c_str());
        entry_ = entry;
    }
    void begin_field(const std::string& key) {
        field_ = key == "dtype" ? dtype : key == "shape" ? shape : offsets;
        if (field_ == offsets && key != "data_offsets")
            refuse(who_, at, "the tensor %s has the unknown field %s", name(), shown(key).c_str());
        if (seen_ & field_) refuse(who_, at, "the tensor %s has %s twice", name(), key.c_str());
        seen_ |= field_;
    }
    void add_dimension(uint64_t n) {
        Stored& t = tensors_.back();
        if (t.shape.size() == max_rank)
            refuse(who_, at, "the tensor %s has more than %zu dimensions", name(), max_rank);
        const auto product = checked_mul(dimensions_, n);
        if (!product || n > INT64_MAX) refuse(who_, at, "the shape of tensor %s overflows", name());
        dimensions_ = *product;
        t.shape.push_back(int64_t(n));
    }
    void end_tensor() {
        if (seen_ != (dtype | shape | offsets))
            refuse(who_, at, "the tensor %s lacks %s", name(),
                   !(seen_ & dtype) ? "dtype" : !(seen_ & shape) ? "shape" : "data_offsets");
        if (offset_count_ != 2)
            refuse(who_, at, "data_offsets of %s has %d numbers, expected 2", name(), offset_count_);
        Stored& t = tensors_.back();
        const auto bits = checked_mul(dimensions_, bits_);
        if (!bits) refuse(who_, at, "the size of tensor %s overflows", name());
        if (*bits % 8) refuse(who_, at, "the tensor %s of %lu bits does not fill whole bytes", name(), *bits);
        const auto [begin, end] = offset_;
        if (begin > end || end > data_.size())
            refuse(who_, at, "data_offsets of %s are [%lu,%lu], the file has %zu bytes of data", name(), begin,
                   end, data_.size());
        if (end - begin != *bits / 8)
            refuse(who_, at, "data_offsets of %s span %lu bytes, its shape and dtype need %lu", name(),
                   end - begin, *bits / 8);
        t.data = data_.data() + begin;
        t.bytes = size_t(end - begin);
    }

    const std::string_view data_;
    const std::string& who_;
    std::vector<Stored>& tensors_;
    NameIndex<Stored>& names_;
    Metadata& metadata_;
    Metadata::iterator entry_;
    std::string name_;
    int depth_ = 0, seen_ = 0, bits_ = 0, offset_count_ = 0;
    Field field_ = dtype;
    bool in_metadata_ = false, had_metadata_ = false;
    uint64_t dimensions_ = 1;
    std::array<uint64_t, 2> offset_{};
};

// The tensors in the order of their data must make up the data: a byte that is two tensors' lets a small file claim
// much memory, a byte that is nobody's lets a file be something else besides.
void check_contiguous(const std::vector<Stored>& tensors, std::string_view data, const std::string& who, size_t start) {
    uint64_t end = 0;
    for (const Stored& t : tensors) {
        const uint64_t begin = uint64_t(t.data - data.data());
        if (begin != end)
            refuse(who, start + std::min(begin, end), "the data of %s begin at %lu of the data, expected %lu: %s",
                   shown(t.name).c_str(), begin, end,
                   begin < end ? "tensors overlap" : "a hole between tensors");
        end += t.bytes;
    }
    if (end != data.size()) refuse(who, start + end, "%zu bytes after the last tensor", size_t(data.size() - end));
}

struct Tensors : Safetensors {
    explicit Tensors(const std::string& name) : name(name) {}
    const std::string& path() const override { return name; }
    const std::vector<Stored>& tensors() const override { return list; }
    const Stored* find(std::string_view tensor) const override { return names.find(tensor); }
    void drop() const override {
        for (const auto& file : files) file->drop();
    }
    const Metadata& metadata() const override { return meta; }

    void read(std::string_view bytes) {
        Reader reader(bytes, name);
        const auto length = reader.number<uint64_t>("the length of the header");
        if (length > max_header || length > reader.remaining())
            refuse(name, 0, "a header of %lu bytes, the file has %zu after its length and the limit is %lu: not a "
                   "safetensors file, or cut short", length, reader.remaining(),
                   max_header);
        const std::string_view text = reader.take(length, "the header");
        if (!text.starts_with('{')) refuse(name, 8, "the header does not begin with '{': not a safetensors file");
        const std::string_view data = bytes.substr(reader.at());
        list.reserve(std::min(max_tensors, text.size() / 48));      // no entry is shorter
        Header header(data, name, list, names, meta);
        header.at = 8;
        stream_json(text, name, 4, header);
        const auto before = [](const Stored& a, const Stored& b) {
            return a.data != b.data ? a.data < b.data : a.bytes < b.bytes;
        };
        if (!std::is_sorted(list.begin(), list.end(), before)) {
            std::stable_sort(list.begin(), list.end(), before);
            names.rebuild();
        }
        check_contiguous(list, data, name, reader.at());
    }

    const std::string name;
    std::vector<std::unique_ptr<Mapped>> files;
    std::vector<Stored> list;
    NameIndex<Stored> names{list};
    Metadata meta;
};

// The index of a sharded set: {"metadata": anything, "weight_map": {tensor: shard}}.
class Index : public JsonEvents {
public:
    struct Shard { std::string name; };
    struct Entry { std::string name; uint32_t shard, at; };

    explicit Index(const std::string& who) : who_(who) {}
    std::vector<Shard> shards;
    std::vector<Entry> entries;
    NameIndex<Entry> names{entries};

    void open(bool object) override {
        depth_++;
        if (!object && (depth_ == 1 || in_map_)) refuse(who_, at, "an array, expected an object");
        if (depth_ == 3 && in_map_) refuse(who_, at, "weight_map is nested, expected the name of a file");
    }
    void key(std::string& name) override {
        if (depth_ == 1) {
            in_map_ = name == "weight_map";
            if (!in_map_ && name != "metadata") refuse(who_, at, "unknown field %s", shown(name).c_str());
            if (in_map_ ? had_map_ : had_metadata_) refuse(who_, at, "the field %s stands twice", name.c_str());
            (in_map_ ? had_map_ : had_metadata_) = true;
        } else if (in_map_) {
            if (entries.size() == max_tensors) refuse(who_, at, "more than %zu tensors", max_tensors);
            entries.push_back({std::move(name), 0, uint32_t(at)});
            if (!names.add()) refuse(who_, at, "the tensor %s stands twice", shown(entries.back().name).c_str());
        }
    }
    void string(std::string& text) override {
        if (depth_ == 1 || depth_ == 0) refuse(who_, at, "the string %s, expected an object", shown(text).c_str());
        if (in_map_) entries.back().shard = shard(text);
    }
    void scalar(Json value) override {
        const char* expected = depth_ < 2 ? "an object" : "the name of a file";
        if (in_map_ || depth_ < 2) refuse(who_, at, "%s, expected %s", dump(value).c_str(), expected);
    }
    void close() override {
        if (--depth_ == 0 && !had_map_) refuse(who_, at, "weight_map is missing");
    }

private:
    uint32_t shard(std::string& text) {
        // Shards are many tensors in a row from one file, so the last one is nearly always the right one.
        if (!shards.empty() && shards.back().name == text) return uint32_t(shards.size() - 1);
        if (const Shard* known = shard_names_.find(text)) return uint32_t(known - shards.data());
        if (text.empty() || text == "." || text == ".." || text.find('/') != text.npos || !is_name(text))
            refuse(who_, at, "the shard %s is not a plain file name beside the index", shown(text).c_str());
        shards.push_back({std::move(text)});
        shard_names_.add();
        return uint32_t(shards.size() - 1);
    }

    const std::string& who_;
    NameIndex<Shard> shard_names_{shards};
    int depth_ = 0;
    bool in_map_ = false, had_map_ = false, had_metadata_ = false;
};

void read_shard(Tensors& all, const Index& index, uint32_t number, const std::string& file, const std::string& path) {
    all.files.push_back(std::make_unique<Mapped>(file));
    Tensors one(file);
    one.read({all.files.back()->data, all.files.back()->size});
    for (Stored& t : one.list) {
        const Index::Entry* entry = index.names.find(t.name);
        if (!entry || entry->shard != number)
            refuse(path, entry ? entry->at : 0, "%s holds the tensor %s, weight_map says %s", file.c_str(),
                   shown(t.name).c_str(), entry ? shown(index.shards[entry->shard].name).c_str() : "nothing of it");
        all.list.push_back(std::move(t));
        all.names.add();
    }
    if (number == 0) all.meta = std::move(one.meta);
}

std::unique_ptr<Safetensors> open_sharded(const std::string& path) {
    const Mapped map(path);
    if (map.size >> 30) fail(Exit::bad_input, "%s: an index of %zu bytes, the limit is 1 GiB", path.c_str(), map.size);
    Index index(path);
    stream_json({map.data, map.size}, path, 4, index);
    const std::string folder = path.substr(0, path.rfind('/') + 1);
    auto all = std::make_unique<Tensors>(path);
    for (uint32_t i = 0; i < index.shards.size(); i++) {
        const std::string file = folder + index.shards[i].name;
        if (!exists(file)) fail(Exit::bad_input, "%s: the shard %s is missing", path.c_str(), file.c_str());
        read_shard(*all, index, i, file, path);
    }
    if (all->list.size() != index.entries.size())
        for (const Index::Entry& e : index.entries)
            if (!all->names.find(e.name))
                refuse(path, e.at, "weight_map has the tensor %s in %s, which does not hold it", shown(e.name).c_str(),
                       shown(index.shards[e.shard].name).c_str());
    return all;
}

}  // namespace

std::unique_ptr<Safetensors> parse_safetensors(std::string_view bytes, const std::string& who) {
    auto file = std::make_unique<Tensors>(who);
    file->read(bytes);
    return file;
}

std::unique_ptr<Safetensors> open_safetensors(const std::string& path) {
    if (path.ends_with(".index.json")) return open_sharded(path);
    auto file = std::make_unique<Tensors>(path);
    file->files.push_back(std::make_unique<Mapped>(path));
    file->read({file->files[0]->data, file->files[0]->size});
    return file;
}
