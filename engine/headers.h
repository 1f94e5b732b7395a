// headers.h - headers from outside that take long to parse. The Makefile compiles them once and puts them before every
// file; no file relies on it (builds through ccache go without).
#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>
