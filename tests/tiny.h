// tiny.h - tiny models that tests make for themselves, and the program run as its users run it.
#pragma once
#include "support.h"

// The sizes of a tiny model: "llama", "qwen3" or "gemma3".
Json tiny_config(const std::string& architecture);
// A random model of these sizes with the tokenizer of single bytes, made once for the process; not to be changed.
const std::string& tiny_model(const std::string& architecture = "llama");
// A copy of it in a folder of the test's own.
std::string copy_of_tiny(const TempFolder&, const std::string& architecture = "llama");
// The llama one as a GGUF file, tokenizer included.
void write_tiny_gguf(const std::string& path);
// A PEFT adapter for it, on every matrix of every block, with numbers that are not zero.
void write_tiny_adapter(const std::string& folder, int rank = 4);
// Rows of ids for it, of different lengths.
std::string tiny_rows(int n);

// How `dd` is run: nothing of the tests' environment reaches it but PATH.
struct How {
    std::vector<std::string> environment = {};      // "DD_THREADS=1"
    std::string input = "";                         // standard input
    std::string output = "";                        // file for standard output; empty: it is captured
    std::vector<int> closed = {};                   // standard streams that are not open
    size_t address_space = 0, file_size = 0;        // limits; 0: none
    std::string folder = "";                        // where it runs
    double seconds = 60;                            // longer is a failure
};
struct Ran {
    int code = -1, signal = 0;                      // signal: what ended it, 0 for none
    std::string out, err;
    size_t peak = 0;                                // most bytes resident, looked at every millisecond
};
Ran run_dd(const std::vector<std::string>& arguments, const How& = {});

// The program at work: its process, with standard output and error in files of `folder`.
class Running {
public:
    Running(const std::vector<std::string>& arguments, const How&, const TempFolder& folder);
    ~Running();
    void signal(int) const;
    Ran wait(double seconds = 60);                  // a run that takes longer is killed, and a failure
    const int pid;

private:
    const TempFolder& folder_;
    bool waited_ = false;
};
bool have_dd();                                     // whether the program has been built
