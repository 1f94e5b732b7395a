// overlay.h - all that the overlays include before they set their target, so that no function of a header is compiled
// for a machine wider than the build's.
#pragma once
#include "../kernels.h"
#include "../parallel.h"
#include "../quant.h"
#include "draw.h"
#include "groups.h"
