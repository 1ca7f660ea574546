// Products of bfloat16 numbers, in pairs: the processor adds two products to each of 16 sums an instruction.
#pragma once
#include "lanes.h"

constexpr long ROWS = 8, COLUMNS = 32;  // of a product of matrices that is made at once

INLINE __m512bh pairs(const bfloat16* x) { return (__m512bh)_mm512_loadu_si512(x); }
INLINE __m512bh one_pair(const bfloat16* x) {
    int pair;
    __builtin_memcpy(&pair, x, 4);
    return (__m512bh)_mm512_set1_epi32(pair);
}

// The lower and the upper sixteen numbers in turn: sixteen pairs.
INLINE __m512i interleaved(__m512i halves) {
    const __m512i order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6,
                                           21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    return _mm512_permutexvar_epi16(order, halves);
}

// Pixels `place` and `place + 1`, channel by channel: 16 pairs; the second pixel is zero if it is not `there`.
INLINE __m512i woven(const bfloat16* x, long channels, bool there) {
    const __m256i first = _mm256_loadu_si256((const __m256i*)x);
    const __m256i second = there ? _mm256_loadu_si256((const __m256i*)(x + channels)) : _mm256_setzero_si256();
    return interleaved(_mm512_inserti64x4(_mm512_castsi256_si512(first), second, 1));
}

// Two numbers of each of sixteen channels side by side, rounded.
INLINE __m512i interleaved(__m512 first, __m512 second) {
    return interleaved((__m512i)_mm512_cvtne2ps_pbh(second, first));
}

// Pairs of sixteen channels from `channel`, of a pair of rows, into [channels / PANEL][rows / 2][PANEL][2]; `pair` is
// twice the pair's number.
template <int PANEL>
INLINE void store_panel(bfloat16* to, long rows, long pair, long channel, __m512i both) {
    bfloat16* place = to + channel / PANEL * PANEL * rows + pair * PANEL + channel % PANEL * 2;
    if (PANEL >= 16) {
        _mm512_storeu_si512(place, both);
    } else {
        _mm256_storeu_si256((__m256i*)place, _mm512_castsi512_si256(both));
        _mm256_storeu_si256((__m256i*)(place + PANEL * rows), _mm512_extracti64x4_epi64(both, 1));
    }
}

// Add MANY x COLUMNS of a product of matrices: `count` pairs of numbers of each row, the next pair `step` further, rows
// `row` apart; the columns are [count][COLUMNS][2]. AHEAD: the rows behind these come next, and are asked for.
template <int MANY, bool AHEAD>
INLINE void add_products(__m512 sum[MANY][2], const bfloat16* rows, long row, long step, const bfloat16* columns,
                         long count) {
    for (long pair = 0; pair < count; pair++, rows += step, columns += 2 * COLUMNS) {
        if (AHEAD && pair % 16 == 0) {
#pragma GCC unroll 8
            for (int r = 0; r < MANY; r++) _mm_prefetch((const char*)(rows + (r + MANY) * row), _MM_HINT_T0);
        }
        const __m512bh a = pairs(columns), b = pairs(columns + 32);
#pragma GCC unroll 8
        for (int r = 0; r < MANY; r++) {
            const __m512bh both = one_pair(rows + r * row);
            sum[r][0] = _mm512_dpbf16_ps(sum[r][0], both, a);
            sum[r][1] = _mm512_dpbf16_ps(sum[r][1], both, b);
        }
    }
}

// The same of ROWS rows, [ROWS][COLUMNS] in memory, added to what is there if ADD.
template <bool ADD>
INLINE void multiply(const bfloat16* rows, long row, long step, const bfloat16* columns, long count, float* to) {
    __m512 sum[ROWS][2];
#pragma GCC unroll 8
    for (int r = 0; r < ROWS; r++) {
        sum[r][0] = ADD ? _mm512_loadu_ps(to + r * COLUMNS) : _mm512_setzero_ps();
        sum[r][1] = ADD ? _mm512_loadu_ps(to + r * COLUMNS + 16) : _mm512_setzero_ps();
    }
    add_products<ROWS, false>(sum, rows, row, step, columns, count);
#pragma GCC unroll 8
    for (int r = 0; r < ROWS; r++) {
        _mm512_storeu_ps(to + r * COLUMNS, sum[r][0]);
        _mm512_storeu_ps(to + r * COLUMNS + 16, sum[r][1]);
    }
}
