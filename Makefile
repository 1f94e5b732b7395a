# Builds ./dd from every .cpp under the rooms; objects lie under build/, mirroring the tree. `make help` lists the targets.

CXX      ?= g++
BUILD    ?= build
JOBS     ?= $(shell nproc 2>/dev/null || echo 2)
OPT      ?= -O2
CXXFLAGS += -std=c++20 $(OPT) -g1 -Wall -Wextra -Wno-missing-field-initializers -ffp-contract=off -pthread -MMD -MP
LDLIBS   += -lpcre2-8 -lutf8proc -lpthread

ROOMS := kernels kernels/cpu engine models train eval verbs
LIB   := $(patsubst %.cpp,$(BUILD)/%.o,$(wildcard $(ROOMS:%=%/*.cpp)))
TESTS := $(patsubst %.cpp,$(BUILD)/%.o,$(wildcard tests/*.cpp))
# Ranks of mpirun, where there is an MPI with mpicc (libopenmpi-dev); MPI=0 builds without.
MPICC ?= mpicc
ifneq ($(MPI),0)
MPI_FLAGS := $(shell $(MPICC) -show 2>/dev/null)
endif
LIB    += $(BUILD)/train/mpi/$(if $(MPI_FLAGS),mpi,none).o
LDLIBS += $(filter -L% -l% -Wl%,$(MPI_FLAGS))
BENCH := $(patsubst %.cpp,$(BUILD)/%.o,$(wildcard bench/*.cpp))

.PHONY: all help deps demo demo-dpo demo-tiny test test-full bench lint fuzz asan tsan clean
.DEFAULT_GOAL := all

all: deps                       ## build ./dd (installs what is missing)
	@+$(MAKE) --no-print-directory -j$(JOBS) dd

help:                           ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

deps:                           ## install missing Debian packages
	@scripts/deps.sh

demo: all                       ## the main job on SmolLM2-135M: fetch, fine-tune, judge base against adapter (MODEL=path: without network)
	@scripts/demo.sh

demo-dpo: all                   ## preferences on top of the demo's adapter, judged as the demo is
	@scripts/demo_dpo.sh

demo-tiny: all                  ## the same job offline, on a tiny model trained from scratch
	@scripts/demo_tiny.sh

test: deps                      ## every test; no network, no GPU
	@+$(MAKE) --no-print-directory -j$(JOBS) dd $(BUILD)/tests/all
	$(BUILD)/tests/all --gtest_brief=1

test-full: all                  ## every preset at its real size, into bench/RESULTS.md (10 GB of disk at a time, half an hour)
	@scripts/test_full.sh

bench: all                      ## every kernel and the whole against this machine's limits, into bench/RESULTS.md
	@+$(MAKE) --no-print-directory -j$(JOBS) $(BUILD)/bench/all
	@scripts/bench.sh

lint: deps                      ## formatting, includes that go one way, sizes
	@scripts/lint.sh

fuzz: deps                      ## fuzz targets of every reader, built with clang's libFuzzer, run for FUZZ_SECONDS each (default 60)
	@scripts/fuzz.sh

asan: deps                      ## the tests under address and undefined-behaviour sanitizers
	@+$(MAKE) --no-print-directory -j$(JOBS) BUILD=$(BUILD)/asan OPT='-O1 -fsanitize=address,undefined -fno-sanitize-recover' LDFLAGS='-fsanitize=address,undefined' $(BUILD)/asan/tests/all
	$(BUILD)/asan/tests/all --gtest_brief=1

tsan: deps                      ## the pool, training and generation under the thread sanitizer
	@+$(MAKE) --no-print-directory -j$(JOBS) BUILD=$(BUILD)/tsan OPT='-O1 -fsanitize=thread' LDFLAGS='-fsanitize=thread' $(BUILD)/tsan/tests/all
	$(BUILD)/tsan/tests/all --gtest_brief=1 --gtest_filter='*Threads*:*Battery*:*Goldens*'

clean:                          ## remove what was built
	rm -rf build dd

dd: $(BUILD)/dd.o $(LIB)
	$(CXX) $(LDFLAGS) $^ -o $@ $(LDLIBS)

$(BUILD)/tests/all: $(TESTS) $(LIB)
	$(CXX) $(LDFLAGS) $^ -o $@ -lgtest -lgtest_main $(LDLIBS)

$(BUILD)/bench/all: $(BENCH) $(LIB)
	$(CXX) $(LDFLAGS) $^ -o $@ -lbenchmark $(LDLIBS)

# Fuzz targets, for scripts/fuzz.sh: clang brings their main().
$(BUILD)/fuzz-%: $(BUILD)/fuzz/%.o $(LIB)
	$(CXX) $(LDFLAGS) -fsanitize=fuzzer $^ -o $@ $(LDLIBS)

$(BUILD)/%.o: %.cpp
	@mkdir -p $(@D)
	$(CXX) $(CXXFLAGS) $(EXTRA) $(HEADERS) -c $< -o $@

# What computes is in kernels/ and in HOT. The rest builds a third faster at -O1 and with the headers that it shares
# parsed once (ccache keeps nothing that was built with parsed headers, so builds through it go without).
HOT  := $(patsubst %,$(BUILD)/engine/%.o,bpe normalize ops ops_delta pass sha256 split tokenizer unicode)
COLD := $(filter-out $(BUILD)/kernels/% $(HOT),$(LIB)) $(TESTS) $(BUILD)/dd.o
$(COLD) $(BUILD)/headers.h.gch: OPT = -O1
ifeq ($(findstring ccache,$(CXX)),)
$(COLD): HEADERS = -include $(BUILD)/headers.h
$(COLD): $(BUILD)/headers.h.gch
$(BUILD)/headers.h.gch: engine/headers.h
	@mkdir -p $(@D)
	@cp $< $(BUILD)/headers.h
	$(CXX) $(CXXFLAGS) -x c++-header $(BUILD)/headers.h -o $@
endif

$(BUILD)/tests/%.o: EXTRA = -DDD_TESTS='"$(CURDIR)/tests"' -DDD_BINARY='"$(CURDIR)/dd"'
$(BUILD)/train/mpi/mpi.o: EXTRA = -DOMPI_SKIP_MPICXX -DMPICH_SKIP_MPICXX $(filter -I%,$(MPI_FLAGS))
$(BUILD)/train/run_folder.o: EXTRA = -DDD_VERSION='"$(VERSION)"' -DDD_FLAGS='"$(CXXFLAGS)"'
VERSION := $(shell git describe --always --dirty 2>/dev/null || echo unknown)

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
