#include "spool.h"
#include <cerrno>
#include "../engine/file.h"

Spool::Spool(const std::string& beside) : beside_(beside), file_(fdopen(open_nameless(beside), "w+b")) {
    if (!file_) failed("opening a temporary file beside it");
}

Spool::~Spool() {
    if (file_) fclose(file_);
}

void Spool::failed(const char* doing) const {
    fail_to_write(beside_, doing, uint64_t(rows + tokens) * sizeof(int), errno);
}

void Spool::add(const std::vector<int>& ids) {
    int n = int(ids.size());
    if (fwrite(&n, sizeof n, 1, file_) != 1 || fwrite(ids.data(), sizeof(int), ids.size(), file_) != ids.size())
        failed("writing the ids of its rows beside it");
    rows++, tokens += n;
}

void Spool::rewind() {
    if (fflush(file_) || fseek(file_, 0, SEEK_SET)) failed("writing the ids of its rows beside it");
}

bool Spool::next(std::vector<int>& ids) {
    int n;
    if (fread(&n, sizeof n, 1, file_) != 1) {
        if (ferror(file_)) failed("reading the ids of its rows");
        return false;
    }
    ids.resize(size_t(n));
    if (fread(ids.data(), sizeof(int), ids.size(), file_) != ids.size()) failed("reading the ids of its rows");
    return true;
}
