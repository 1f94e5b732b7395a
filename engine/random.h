#include "../kernels/random.h"
