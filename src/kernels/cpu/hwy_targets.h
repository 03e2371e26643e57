// Which instruction sets the Highway sources are compiled for; included before hwy/foreach_target.h.
#pragma once

// The portable table is the static target: SSSE3 on x86 (Highway 1.0.3 has no SSE2, and its one-lane fallback has too few
// operations), whatever the baseline elsewhere. AVX2 and AVX-512 are always compiled beside it and chosen by the caller.
#if defined(__x86_64__)
#define HWY_WANT_SSSE3 1
#define HWY_DISABLED_TARGETS (HWY_SSE4 | HWY_AVX3_DL | HWY_SCALAR | HWY_EMU128)
#define HWY_COMPILE_ALL_ATTAINABLE
#endif
