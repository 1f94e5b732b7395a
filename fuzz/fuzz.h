// fuzz.h - what the fuzz targets share. A target is one file, built with -fsanitize=fuzzer,address,undefined. Run as
// `target --seeds FOLDER` it writes its seeds, valid inputs made by our own writers, and leaves; otherwise it is
// libFuzzer's program: `target FOLDER -max_len=4096`.
#pragma once
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>
#include "../engine/file.h"
#include "../engine/reader.h"

std::vector<std::string> seeds();                               // each target has its own
void run(std::string_view input);                               // may throw Error, and nothing else

// A promise that an input broke.
inline void promise(bool kept) {
    if (!kept) __builtin_trap();
}

extern "C" int LLVMFuzzerInitialize(int* argc, char*** argv) {
    if (*argc != 3 || std::string_view((*argv)[1]) != "--seeds") return 0;
    const std::string folder = (*argv)[2];
    make_folders(folder);
    int count = 0;
    for (const std::string& seed : seeds()) write_file(folder + "/seed" + std::to_string(count++), seed);
    exit(0);
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    try {
        run({(const char*)data, size});
    } catch (const Error& e) {
        const std::string_view text = e.what();
        promise(e.code == Exit::bad_input && !text.empty() && text.size() < 1000 && text.find('\n') == text.npos);
        promise(valid_utf8(text) == text.size());
    }
    return 0;
}
