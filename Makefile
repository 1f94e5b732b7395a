# A first Makefile; see `make help` later.
CXX ?= g++
CXXFLAGS = -std=c++20 -O2 -g1 -Wall -Wextra -Wno-missing-field-initializers -ffp-contract=off -MMD -MP -pthread
LDLIBS = -lpcre2-8 -lutf8proc -lpthread
O = build
SRC := $(filter-out %.cu,$(wildcard kernels/*.cpp kernels/cpu/*.cpp engine/*.cpp models/*.cpp train/*.cpp eval/*.cpp verbs/*.cpp))
LIB := $(SRC:%.cpp=$(O)/%.o)
TESTS := $(wildcard tests/*.cpp)
all: dd
dd: $(O)/dd.o $(LIB) ; $(CXX) $^ -o $@ $(LDLIBS)
$(O)/tests/all: $(TESTS:%.cpp=$(O)/%.o) $(LIB) ; $(CXX) $^ -o $@ -lgtest -lgtest_main $(LDLIBS)
$(O)/%.o: %.cpp ; @mkdir -p $(@D) ; $(CXX) $(CXXFLAGS) -c $< -o $@
-include $(shell find $(O) -name '*.d' 2>/dev/null)
