# Builds ./dd from every .cpp under the rooms; objects lie under build/, mirroring the tree. `make help` lists the targets.

CXX      ?= g++
BUILD    ?= build
JOBS     ?= $(shell nproc 2>/dev/null || echo 2)
OPT      ?= -O2
CXXFLAGS += -std=c++20 $(OPT) -g1 -Wall -Wextra -Wno-missing-field-initializers -ffp-contract=off -pthread -MMD -MP
LDLIBS   += -lpcre2-8 -lutf8proc -lpthread

# With nvcc the CUDA kernels are compiled for the GPU (CUDA=0: not). Without it a stub says so when the GPU is asked for.
NVCC     ?= $(firstword $(shell command -v nvcc 2>/dev/null) $(wildcard /usr/local/cuda/bin/nvcc))
CUDA     ?= $(if $(NVCC),1,0)
NVFLAGS  ?= -std=c++20 -O3 -lineinfo -fmad=false -Werror all-warnings \
            -Xcompiler -Wall,-Wextra,-Wno-missing-field-initializers,-pthread \
            -gencode arch=compute_90a,code=sm_90a -gencode arch=compute_80,code=compute_80
ifeq ($(CUDA),1)
GPU      := $(patsubst %.cu,$(BUILD)/%.o,$(wildcard kernels/cuda/*.cu kernels/cuda/gpu/*.cu))
LDLIBS   += -L$(dir $(NVCC))../lib64 -lcudart_static -ldl -lrt
else
GPU      := $(BUILD)/kernels/cuda/none.o
endif
LADDER   := $(wildcard bench/ladder/matmul_*.cu bench/ladder/attention_*.cu)
# The same files, compiled as C++ and executed on the CPU by the tests, with or without nvcc.
ON_CPU   := $(patsubst %.cu,$(BUILD)/on_cpu/%.o,$(wildcard kernels/cuda/*.cu) $(LADDER)) \
            $(patsubst %.cpp,$(BUILD)/on_cpu/%.o,$(wildcard kernels/cuda/on_cpu/*.cpp))

ROOMS := kernels kernels/cpu engine models train eval verbs
LIB   := $(patsubst %.cpp,$(BUILD)/%.o,$(wildcard $(ROOMS:%=%/*.cpp))) $(GPU)
TESTS := $(patsubst %.cpp,$(BUILD)/%.o,$(wildcard tests/*.cpp))
# Ranks of mpirun, where there is an MPI with mpicc (libopenmpi-dev); MPI=0 builds without.
MPICC ?= mpicc
ifneq ($(MPI),0)
MPI_FLAGS := $(shell $(MPICC) -show 2>/dev/null)
endif
LIB    += $(BUILD)/train/mpi/$(if $(MPI_FLAGS),mpi,none).o
LDLIBS += $(filter -L% -l% -Wl%,$(MPI_FLAGS))
BENCH := $(patsubst %.cpp,$(BUILD)/%.o,$(wildcard bench/*.cpp))

.PHONY: always all cpu help deps demo demo-dpo demo-tiny test closeness test-full bench lint fuzz asan tsan mutants test-long test-gpu test-pretend \
        gpu-kit \
        gpu-session ladder cuda-report cuda-layouts clean
.DEFAULT_GOAL := all

all: deps                       ## build ./dd (installs what is missing)
	@+$(MAKE) --no-print-directory -j$(JOBS) dd

# What runs on the CPU does not wait for nvcc: the demos and tests are built with CUDA if that has been built, else
# without.
BUILT    := $(if $(filter-out file,$(origin CUDA)),$(CUDA),$(or $(strip $(shell cat $(BUILD)/cuda.flag 2>/dev/null)),0))
cpu: deps
	@+$(MAKE) --no-print-directory -j$(JOBS) CUDA=$(BUILT) dd

help:                           ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

deps:                           ## install missing Debian packages
	@scripts/deps.sh

demo: cpu                       ## the main job on SmolLM2-135M: fetch, fine-tune, judge base against adapter (MODEL=path: without network)
	@scripts/demo.sh

demo-dpo: cpu                   ## preferences on top of the demo's adapter, judged as the demo is
	@scripts/demo_dpo.sh

demo-tiny: cpu                  ## the same job offline, on a tiny model trained from scratch
	@scripts/demo_tiny.sh

test: deps                      ## every test; no network, no GPU
	@+$(MAKE) --no-print-directory -j$(JOBS) CUDA=$(BUILT) dd $(BUILD)/tests/all
	$(BUILD)/tests/all --gtest_brief=1 --gtest_filter='-Long*'

test-long: deps                 ## what `make test` leaves out: every golden and the battery through the CUDA kernels on the CPU
	@+$(MAKE) --no-print-directory -j$(JOBS) CUDA=$(BUILT) $(BUILD)/tests/all $(BUILD)/bench/played
	$(BUILD)/tests/all --gtest_brief=1 --gtest_filter='Long*'
	$(BUILD)/bench/played --benchmark_min_time=0.001 >/dev/null

closeness: deps                 ## how far each tiny model is from its reference, as the tests find it
	@+$(MAKE) --no-print-directory -j$(JOBS) CUDA=$(BUILT) $(BUILD)/tests/all
	DD_CLOSENESS=1 $(BUILD)/tests/all --gtest_brief=1 --gtest_filter='Models/Goldens.*'

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
	@+$(MAKE) --no-print-directory -j$(JOBS) CUDA=0 BUILD=$(BUILD)/asan OPT='-O1 -fsanitize=address,undefined -fno-sanitize-recover' LDFLAGS='-fsanitize=address,undefined' $(BUILD)/asan/tests/all
	$(BUILD)/asan/tests/all --gtest_brief=1 --gtest_filter='-Long*'

tsan: deps                      ## the pool, training and generation under the thread sanitizer
	@+$(MAKE) --no-print-directory -j$(JOBS) CUDA=0 BUILD=$(BUILD)/tsan OPT='-O1 -fsanitize=thread' LDFLAGS='-fsanitize=thread' $(BUILD)/tsan/tests/all
	$(BUILD)/tsan/tests/all --gtest_brief=1 --gtest_filter='*Threads*:Models/*Battery*:Models/*Goldens*:CudaKernel*:CudaLadder*'

mutants: deps                   ## every planted bug of tests/mutants.txt, which the tests must see (MUTANTS='NAME ..': some)
	@+$(MAKE) --no-print-directory -j$(JOBS) CUDA=0 $(BUILD)/tests/all $(BUILD)/kernels/cuda/none.o
	@BUILD=$(BUILD) CXX="$(CXX)" LDLIBS="$(LDLIBS)" scripts/mutants.py $(MUTANTS)

test-gpu:                       ## the CUDA kernels and every golden on a GPU, and compute-sanitizer; into build/gpu.txt
	@+$(MAKE) --no-print-directory -j$(JOBS) CUDA=1 dd $(BUILD)/tests/gpu
	@scripts/test_gpu.sh $(BUILD)

test-pretend:                   ## what dd does for a GPU (memory, recording, launches), by a CUDA runtime that computes nothing; needs nvcc
	@+$(MAKE) --no-print-directory -j$(JOBS) CUDA=1 $(BUILD)/pretend/dd
	@scripts/test_pretend.sh $(BUILD)/pretend/dd

gpu-kit:                        ## what scripts/gpu_session.sh runs, linked for another machine, into build/kit.tar.xz
	@+$(MAKE) --no-print-directory -j$(JOBS) CUDA=1 $(addprefix $(BUILD)/kit/,dd tests bench ladder)
	tar -C $(BUILD) -c kit | xz -9 >$(BUILD)/kit.tar.xz
	@ls -l $(BUILD)/kit.tar.xz

gpu-session: gpu-kit            ## everything that a GPU is wanted for, in under ten minutes, into build/gpu-session
	@scripts/gpu_session.sh $(BUILD)/gpu-session $(BUILD)/kit.tar.xz

ladder:                         ## matmul and attention from naive to shipped (bench/ladder), timed on a GPU
	@+$(MAKE) --no-print-directory -j$(JOBS) CUDA=1 $(BUILD)/bench/ladder/run
	$(BUILD)/bench/ladder/run

cuda-report:                    ## registers, shared memory and occupancy of every CUDA kernel, as compiler and tests tell
	@+$(MAKE) --no-print-directory -j$(JOBS) CUDA=$(BUILT) $(BUILD)/tests/all
	@NVCC="$(NVCC)" scripts/cuda_report.py $(BUILD)

cuda-layouts:                   ## the fragments of mma.sync and ldmatrix against what ptxas makes of wmma (wants nvdisasm)
	@mkdir -p $(BUILD)
	$(NVCC) -std=c++20 -arch=sm_80 -cubin scripts/layouts.cu -o $(BUILD)/layouts.cubin
	python3 scripts/layouts.py $(BUILD)/layouts.cubin

clean:                          ## remove what was built
	rm -rf build dd

dd: $(BUILD)/dd.o $(LIB) $(BUILD)/cuda.flag
	$(CXX) $(LDFLAGS) -Wl,--compress-debug-sections=zlib $(filter %.o,$^) -o $@ $(LDLIBS)

$(BUILD)/tests/all: $(TESTS) $(ON_CPU) $(LIB) $(BUILD)/cuda.flag
	$(CXX) $(LDFLAGS) $(filter %.o,$^) -o $@ -lgtest -lgtest_main $(LDLIBS)

$(BUILD)/bench/all: $(BENCH) $(LIB) $(BUILD)/cuda.flag
	$(CXX) $(LDFLAGS) $(filter %.o,$^) -o $@ -lbenchmark $(LDLIBS)

# The same program with the CPU in the GPU's place: whether every case runs, not how fast.
$(BUILD)/bench/played: $(BUILD)/bench/played.o $(ON_CPU) $(LIB) $(BUILD)/cuda.flag
	$(CXX) $(LDFLAGS) $(filter %.o,$^) -o $@ -lbenchmark $(LDLIBS)
$(BUILD)/bench/played.o: bench/kernels.cpp
	@mkdir -p $(@D)
	$(CXX) $(CXXFLAGS) -Wno-unknown-pragmas -DDD_PLAYED -DDD_CUDA=cuda_on_cpu -c $< -o $@

# The same tests, with the GPU's kernels in place of those that the CPU executes.
GPU_TESTS := $(patsubst tests/%.cpp,$(BUILD)/gpu_tests/%.o,$(filter-out tests/cuda_layouts.cpp,$(wildcard tests/cuda*.cpp)) \
             tests/battery.cpp tests/goldens.cpp tests/kernels_bench.cpp)
$(BUILD)/bench/ladder/run: $(LADDER:%.cu=$(BUILD)/%.o) $(BUILD)/bench/ladder/run.o $(LIB)
	$(CXX) $(LDFLAGS) $(filter %.o,$^) -o $@ $(LDLIBS)
$(BUILD)/tests/gpu: $(GPU_TESTS) $(BUILD)/tests/gpu.o $(LADDER:%.cu=$(BUILD)/%.o) $(LIB)
	$(CXX) $(LDFLAGS) $(filter %.o,$^) -o $@ -lgtest -lgtest_main $(LDLIBS)
$(BUILD)/gpu_tests/%.o: tests/%.cpp
	@mkdir -p $(@D)
	$(CXX) $(CXXFLAGS) -Wno-unknown-pragmas -DDD_ON_GPU -DDD_CUDA=gpu -DDD_TESTS='"tests"' -c $< -o $@

# The four programs for a machine with a GPU and little else: from the same objects, without MPI, with what they need in
# them or beside them.
KIT      := $(BUILD)/kit
KIT_LIB  := $(filter-out $(BUILD)/train/mpi/%,$(LIB)) $(BUILD)/train/mpi/none.o
KIT_LINK  = $(CXX) -s -static-libstdc++ -static-libgcc -Wl,-rpath,'$$ORIGIN' $(filter %.o,$^) -o $@
KIT_LIBS := -l:libpcre2-8.a -l:libutf8proc.a -lpthread -L$(dir $(NVCC))../lib64 -lcudart_static -ldl -lrt
$(KIT)/dd: $(BUILD)/dd.o $(KIT_LIB)
	@mkdir -p $(@D)
	$(KIT_LINK) $(KIT_LIBS)
$(KIT)/tests: $(GPU_TESTS) $(BUILD)/tests/gpu.o $(LADDER:%.cu=$(BUILD)/%.o) $(KIT_LIB)
	@mkdir -p $(@D)
	$(KIT_LINK) -lgtest -lgtest_main $(KIT_LIBS)
$(KIT)/ladder: $(LADDER:%.cu=$(BUILD)/%.o) $(BUILD)/bench/ladder/run.o $(KIT_LIB)
	@mkdir -p $(@D)
	$(KIT_LINK) $(KIT_LIBS)
$(KIT)/bench: $(BENCH) $(KIT_LIB)
	@mkdir -p $(@D)
	so=$$($(CXX) -print-file-name=libbenchmark.so); cp -L $$so $(KIT)/$$(objdump -p $$so | awk '/SONAME/ {print $$2}')
	$(KIT_LINK) -lbenchmark $(KIT_LIBS)

# The same four with a runtime that computes nothing in the place of NVIDIA's: what the host does for a GPU, without one.
PRETEND  := $(BUILD)/pretend
$(PRETEND)/runtime.o: kernels/cuda/gpu/pretend.cpp
	@mkdir -p $(@D)
	$(CXX) $(CXXFLAGS) -I$(dir $(NVCC))../include -c $< -o $@
PRETEND_LINK = $(CXX) $(filter %.o,$^) -o $@ -lpcre2-8 -lutf8proc -lpthread -ldl
$(PRETEND)/dd: $(BUILD)/dd.o $(KIT_LIB) $(PRETEND)/runtime.o
	$(PRETEND_LINK)
$(PRETEND)/tests: $(GPU_TESTS) $(BUILD)/tests/gpu.o $(LADDER:%.cu=$(BUILD)/%.o) $(KIT_LIB) $(PRETEND)/runtime.o
	$(PRETEND_LINK) -lgtest -lgtest_main
$(PRETEND)/ladder: $(LADDER:%.cu=$(BUILD)/%.o) $(BUILD)/bench/ladder/run.o $(KIT_LIB) $(PRETEND)/runtime.o
	$(PRETEND_LINK)
$(PRETEND)/bench: $(BENCH) $(KIT_LIB) $(PRETEND)/runtime.o
	$(PRETEND_LINK) -lbenchmark

# Newer than what was linked with the other choice.
$(BUILD)/cuda.flag: always
	@mkdir -p $(@D)
	@echo '$(CUDA)' | cmp -s - $@ || echo '$(CUDA)' > $@
# Newer than what was compiled at another commit.
$(BUILD)/version.flag: always
	@mkdir -p $(@D)
	@echo '$(VERSION)' | cmp -s - $@ || echo '$(VERSION)' > $@
always:

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

$(BUILD)/%.o: %.cu
	@mkdir -p $(@D)
	$(NVCC) $(NVFLAGS) -MMD -MP -c $< -o $@

ON_CPU_FLAGS = $(CXXFLAGS) -Wno-unknown-pragmas -DDD_CUDA=cuda_on_cpu
$(BUILD)/on_cpu/%.o: %.cu
	@mkdir -p $(@D)
	$(CXX) $(ON_CPU_FLAGS) -x c++ -c $< -o $@
$(BUILD)/on_cpu/%.o: %.cpp
	@mkdir -p $(@D)
	$(CXX) $(ON_CPU_FLAGS) -c $< -o $@

$(BUILD)/tests/%.o: EXTRA = -Wno-unknown-pragmas -DDD_CUDA=cuda_on_cpu -DDD_TESTS='"$(CURDIR)/tests"' -DDD_BINARY='"$(CURDIR)/dd"'
$(BUILD)/train/mpi/mpi.o: EXTRA = -DOMPI_SKIP_MPICXX -DMPICH_SKIP_MPICXX $(filter -I%,$(MPI_FLAGS))
$(BUILD)/train/build.o: $(BUILD)/version.flag
$(BUILD)/train/build.o: EXTRA = -DDD_VERSION='"$(VERSION)"' -DDD_FLAGS='"$(CXXFLAGS)"'
VERSION := $(shell git describe --always --dirty 2>/dev/null || echo unknown)

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
