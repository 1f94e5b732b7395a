// safetensors_write.cpp - a header written beforehand, and rows put where they belong.
#include <algorithm>
#include <numeric>
#include <set>
#include "json.h"
#include "safetensors.h"

namespace {

size_t row_of(const SafetensorsWriter::Item& item) {
    size_t numbers = 1;
    for (size_t i = 1; i < item.shape.size(); i++) numbers *= size_t(item.shape[i]);
    return row_bytes(item.type, numbers);
}
size_t rows_of(const SafetensorsWriter::Item& item) { return item.shape.empty() ? 1 : size_t(item.shape[0]); }

}  // namespace

SafetensorsWriter::SafetensorsWriter(const std::string& path, const std::vector<Item>& items,
                                     const std::map<std::string, std::string>& metadata)
    : file_(path), offset_(items.size()), written_(items.size()) {
    std::set<std::string> names = {"__metadata__"};
    for (const Item& item : items) {
        require(info(item.type).block == 1 && item.type != Type::other, "%s: safetensors have no type %s for %s",
                path.c_str(), info(item.type).name, item.name.c_str());
        require(names.insert(item.name).second, "%s: the tensor %s stands twice", path.c_str(), item.name.c_str());
        row_bytes_.push_back(row_of(item));
        rows_.push_back(rows_of(item));
    }
    std::vector<size_t> order(items.size());
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(),
                     [&](size_t a, size_t b) { return info(items[a].type).bytes > info(items[b].type).bytes; });
    std::string header = "{";
    if (!metadata.empty()) header += "\"__metadata__\":" + dump(metadata);
    uint64_t end = 0;
    for (const size_t i : order) {
        const uint64_t begin = end;
        offset_[i] = begin;
        end += rows_[i] * row_bytes_[i];
        if (header.size() > 1) header += ',';
        const Json entry = {
            {"dtype", info(items[i].type).name}, {"shape", items[i].shape}, {"data_offsets", {begin, end}}};
        header += dump(items[i].name) + ":" + dump(entry);
    }
    header += '}';
    header.resize((header.size() + 7) / 8 * 8, ' ');
    const uint64_t length = header.size();
    for (uint64_t& offset : offset_) offset += 8 + length;
    file_.reserve(8 + length + end);
    file_.write(&length, 8);
    file_.write(header);
}

void SafetensorsWriter::write(size_t item, int64_t first, const void* data, int64_t rows) {
    require(item < rows_.size() && first >= 0 && rows >= 0 && uint64_t(first + rows) <= rows_[item],
            "safetensors: rows %ld..%ld of tensor %zu do not exist", first, first + rows, item);
    file_.write_at(offset_[item] + uint64_t(first) * row_bytes_[item], data, uint64_t(rows) * row_bytes_[item]);
    written_[item] += uint64_t(rows);
}

void SafetensorsWriter::commit() {
    for (size_t i = 0; i < rows_.size(); i++)
        require(written_[i] == rows_[i], "safetensors: tensor %zu: %lu of %lu rows written", i, written_[i], rows_[i]);
    file_.commit();
}
