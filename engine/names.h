// names.h - finds things by name, O(1): positions in a vector whose items have a `name`.
#pragma once
#include <cstdint>
#include <functional>
#include <string_view>
#include <vector>

// Open addressing with linear probing; 8 to 16 bytes an item and no copy of the names, so that a file which is all
// names cannot make us spend much more memory than it has bytes. The vector must outlive the index.
template <class Item> class NameIndex {
public:
    explicit NameIndex(const std::vector<Item>& items) : items_(items) {}

    // Takes in the last of the items; false when an earlier one has its name.
    bool add() {
        if (items_.size() * 2 > slots_.size()) grow();
        uint32_t& slot = slots_[place(items_.back().name)];
        if (slot != 0) return false;
        slot = uint32_t(items_.size());
        return true;
    }
    // Starts again after the items have changed their order.
    void rebuild() {
        slots_.assign(slots_.size(), 0);
        for (size_t i = 0; i < items_.size(); i++) slots_[place(items_[i].name)] = uint32_t(i + 1);
    }
    const Item* find(std::string_view name) const {
        if (slots_.empty()) return nullptr;
        const uint32_t slot = slots_[place(name)];
        return slot == 0 ? nullptr : &items_[slot - 1];
    }

private:
    // The slot that holds the name, or the free one where it would be put.
    size_t place(std::string_view name) const {
        const size_t mask = slots_.size() - 1;
        size_t i = std::hash<std::string_view>()(name) & mask;
        while (slots_[i] != 0 && items_[slots_[i] - 1].name != name) i = (i + 1) & mask;
        return i;
    }
    void grow() {
        slots_.assign(slots_.empty() ? 16 : slots_.size() * 2, 0);
        for (size_t i = 0; i + 1 < items_.size(); i++) slots_[place(items_[i].name)] = uint32_t(i + 1);
    }

    const std::vector<Item>& items_;
    std::vector<uint32_t> slots_;       // position + 1; 0 is free
};
