// run_folder.h - what a run leaves on disk, so that it can be read, compared and taken up again.
//
//   run.json            every resolved flag, the build, the machine, hashes of model, adapter and data
//   log.jsonl           a line a step
//   adapter/, model/ or edits.json (with edits.safetensors)   the result
//   checkpoints/step-N/ parameters, moments, position; MANIFEST.json, written last, holds the size and SHA-256 of each
//                       file, and of run.json. A checkpoint takes its name when it is whole, and only then are older
//                       ones removed.
#pragma once
#include <cstdio>
#include <string>
#include <vector>
#include "../engine/json.h"
#include "trainer.h"

class RunFolder {
public:
    // A new folder: Exit::usage if it holds something already. resume: one that holds a run. A folder that was made
    // here goes away again if the run does not get as far as its description.
    RunFolder(const std::string& path, bool resume);
    ~RunFolder();
    RunFolder(const RunFolder&) = delete;
    RunFolder& operator=(const RunFolder&) = delete;
    const std::string path;

    void write_description(const Json& run);            // run.json: the run has begun
    Json description() const;
    void log(const Json& line);                         // flushed at once

    // Saves the state after `step`; keeps the newest `keep` (at least 2: the one before is there while this is
    // written).
    void save(Trainer&, int step, int keep);
    void prune(int keep);                               // takes away all checkpoints but the newest
    // Reads the newest checkpoint that is whole into the trainer, drops later lines of the log, and returns its step
    // (0: none). Those passed over are said on stderr with the reason.
    int resume(Trainer&);
    bool holds(int step) const;                         // a whole checkpoint of it
    int cut_log(int step);                              // drops lines of later steps; returns the step of the last left
    void write_result(Trainer&, Session&);              // adapter/, model/ or edits.json

private:
    std::string checkpoint(int step) const;
    std::string hash() const;                           // of run.json
    FILE* log_ = nullptr;
    bool begun_ = false, made_ = false;
};

// The state after `step` as the run in `folder` has saved it, into a trainer that is allocated.
void read_checkpoint(const std::string& folder, int step, Trainer&);
int newest_checkpoint(const std::string& folder);        // its step; 0: none is whole

// What of a checkpoint does not match its manifest; empty: it is whole.
std::string damage(const std::string& folder);
Json build_description();                               // compiler, flags, version, processor
