// Sixteen numbers at a time: bfloat16 or float32 in memory, float32 in registers.
//
// Whole vectors and the masked rest of a row are two types, because masked stores are slow on some processors.
#pragma once
#include <immintrin.h>
#include <omp.h>
#include <stdint.h>

#include <algorithm>

#define INLINE static inline __attribute__((always_inline))
#define INLINE_MEMBER inline __attribute__((always_inline))

typedef uint16_t bfloat16;
constexpr long LANES = 16;

struct Whole {};
struct Rest {
    __mmask16 mask;
};

INLINE __m512 widen(__m256i x) { return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(x), 16)); }

INLINE __m256i narrow(__m512 x) { return (__m256i)_mm512_cvtneps_pbh(x); }

INLINE __m512 load(const bfloat16* x, Whole) { return widen(_mm256_loadu_si256((const __m256i*)x)); }
INLINE __m512 load(const bfloat16* x, Rest rest) { return widen(_mm256_maskz_loadu_epi16(rest.mask, x)); }
INLINE __m512 load(const float* x, Whole) { return _mm512_loadu_ps(x); }
INLINE __m512 load(const float* x, Rest rest) { return _mm512_maskz_loadu_ps(rest.mask, x); }

INLINE void store(bfloat16* y, __m512 x, Whole) { _mm256_storeu_si256((__m256i*)y, narrow(x)); }
INLINE void store(bfloat16* y, __m512 x, Rest rest) { _mm256_mask_storeu_epi16(y, rest.mask, narrow(x)); }
INLINE void store(float* y, __m512 x, Whole) { _mm512_storeu_ps(y, x); }
INLINE void store(float* y, __m512 x, Rest rest) { _mm512_mask_storeu_ps(y, rest.mask, x); }

// The largest of four, and which it is: what is not a number, else the first of equal ones, as in torch.
INLINE __m512 largest_of(const __m512 x[4], __m512i* place) {
    __m512 best = x[0];
    *place = _mm512_setzero_si512();
#pragma GCC unroll 3
    for (int one = 1; one < 4; one++) {
        const __mmask16 more =
            _mm512_cmp_ps_mask(x[one], best, _CMP_GT_OQ) | _mm512_cmp_ps_mask(x[one], x[one], _CMP_UNORD_Q);
        best = _mm512_mask_mov_ps(best, more, x[one]);
        *place = _mm512_mask_mov_epi32(*place, more, _mm512_set1_epi32(one));
    }
    return best;
}

// Call `act(channel, lanes)` for each sixteen of `channels`, the last of them masked.
template <class Act>
INLINE void over_channels(long channels, Act act) {
    long channel = 0;
    for (; channel + LANES <= channels; channel += LANES) act(channel, Whole());
    if (channel < channels) act(channel, Rest{(__mmask16)((1u << (channels - channel)) - 1)});
}

// Cut `count` things into one run a thread; the same cut for the same count and threads.
struct Share {
    long begin, end;
};
INLINE Share share_of(long count, long thread, long threads) {
    return {count * thread / threads, count * (thread + 1) / threads};
}
