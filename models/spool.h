// spool.h - rows of ids on disk: what is read more than once need not be held.
#pragma once
#include <cstdio>
#include <string>
#include "session.h"

class Spool : public RowSource {
public:
    // A file without a name in the folder of `beside`; gone with this object. An error names `beside`.
    explicit Spool(const std::string& beside);
    ~Spool() override;
    Spool(const Spool&) = delete;
    Spool& operator=(const Spool&) = delete;
    void add(const std::vector<int>& ids);      // before the first rewind
    void rewind() override;
    bool next(std::vector<int>& ids) override;
    int64_t rows = 0, tokens = 0;

private:
    [[noreturn]] void failed(const char* doing) const;
    std::string beside_;
    FILE* file_ = nullptr;
};
