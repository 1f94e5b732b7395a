// safetensors.cpp - any bytes as a safetensors file: refused, or a set of tensors that lie inside it, one after the
// other.
#include "../engine/safetensors.h"
#include "fuzz.h"

namespace {

std::string file_of(const std::string& header, size_t data) {
    const uint64_t length = header.size();
    return std::string((const char*)&length, 8) + header + std::string(data, 'd');
}

}  // namespace

std::vector<std::string> seeds() {
    return {file_of("{}", 0),
            file_of(R"({"a":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]}})", 24),
            file_of(R"({"__metadata__":{"format":"pt"},"b":{"dtype":"BF16","shape":[],"data_offsets":[4,6]},)"
                    R"("a":{"dtype":"I32","shape":[1],"data_offsets":[0,4]},"z":{"dtype":"U8","shape":[0],)"
                    R"("data_offsets":[6,6]}}   )", 6),
            file_of(R"({"\u00e9":{"dtype":"F4","shape":[1,1,1,1,1,1,1,2],"data_offsets":[0,1]}})", 1)};
}

void run(std::string_view input) {
    static const std::string who = "input";
    const auto file = parse_safetensors(input, who);
    const char* end = nullptr;
    uint64_t bytes = 0;
    for (const Stored& t : file->tensors()) {
        promise(t.data >= input.data() && t.bytes <= size_t(input.data() + input.size() - t.data));
        promise(!end || t.data == end);
        promise(file->find(t.name) == &t && t.shape.size() <= 8 && is_name(t.name));
        end = t.data + t.bytes;
        bytes += t.bytes;
    }
    promise(bytes + 8 <= input.size());
}
