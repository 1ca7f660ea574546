// 1x1 convolutions: a product of matrices, pixels by channels, channels in multiples of 32.
#pragma once
#include "weights.h"

constexpr long CHANNELS_AT_ONCE = 512;  // of what is read: a panel of the weight stays in the first cache
constexpr long MOST_POINTWISE = 2048 * 512, MOST_KEPT = 256 * 1024 / 2;

// How many pixels are worked at together: what is made of them stays in the second cache.
INLINE long pixels_at_once(long to) { return std::min(256L, std::max(64L, 32768 / to / ROWS * ROWS)); }

INLINE bool is_pointwise(long from, long to) {
    return from % COLUMNS == 0 && to % COLUMNS == 0 && from * to <= MOST_POINTWISE;
}

// The weight as it is read, a run of 32 output channels of [to / 32][from / 2][32][2]; `turned`: of the gradient.
static void pack_pointwise(const Weight& w, bool turned, long block, bfloat16* to) {
    const long out = w.strides[turned], in = w.strides[!turned], pairs_in = (turned ? w.to : w.from) / 2;
    const float* from = w.numbers + block * COLUMNS * out;
    to += block * pairs_in * 2 * COLUMNS;
    for (long pair = 0; pair < pairs_in; pair++, from += 2 * in, to += 2 * COLUMNS)
        for (long half = 0; half < COLUMNS; half += 16) {
            float first[16], second[16];
            for (long i = 0; i < 16; i++) {
                first[i] = from[(half + i) * out];
                second[i] = from[(half + i) * out + in];
            }
            _mm512_storeu_si512(to + 2 * half, interleaved(_mm512_loadu_ps(first), _mm512_loadu_ps(second)));
        }
}

// `count` pairs of channels of PIXELS pixels: the products are added to `sums`, [PIXELS][32], unless this is the
// `start`; at the `end` they go to y, with what is in `first` unless that is null.
template <int PIXELS>
INLINE void multiply_pixels(const bfloat16* x, long from, const bfloat16* columns, long count, float* sums, bool start,
                            bool end, const bfloat16* first, bfloat16* y, long to) {
    __m512 sum[PIXELS][2];
#pragma GCC unroll 8
    for (int p = 0; p < PIXELS; p++) {
        sum[p][0] = start ? _mm512_setzero_ps() : _mm512_loadu_ps(sums + p * COLUMNS);
        sum[p][1] = start ? _mm512_setzero_ps() : _mm512_loadu_ps(sums + p * COLUMNS + 16);
    }
    add_products<PIXELS, true>(sum, x, from, 2, columns, count);
#pragma GCC unroll 8
    for (int p = 0; p < PIXELS; p++)
#pragma GCC unroll 2
        for (int half = 0; half < 2; half++) {
            if (!end) {
                _mm512_storeu_ps(sums + p * COLUMNS + 16 * half, sum[p][half]);
                continue;
            }
            const long place = p * to + 16 * half;
            const __m512 made = first ? _mm512_add_ps(sum[p][half], load(first + place, Whole())) : sum[p][half];
            store(y + place, made, Whole());
        }
}

// (pixels, from) times the packed weight: (pixels, to), added to `first` unless that is null; `sums`: pixels * 32.
static void convolve_pointwise(const bfloat16* x, long pixels, long from, long to, const bfloat16* weight,
                               const bfloat16* first, bfloat16* y, float* sums) {
    const auto some = [&](auto multiply, long p, long c, long block) __attribute__((always_inline)) {
        const long place = p * to + block, count = std::min(CHANNELS_AT_ONCE, from - c) / 2;
        multiply(x + p * from + c, from, weight + block * from + c * COLUMNS, count, sums + p * COLUMNS, c == 0,
                 c + CHANNELS_AT_ONCE >= from, first ? first + place : nullptr, y + place, to);
    };
    const long step = from * to <= MOST_KEPT ? ROWS : pixels;  // a weight that stays in the cache is read for each row
    for (long start = 0; start < pixels; start += step)
        for (long block = 0; block < to; block += COLUMNS)
            for (long c = 0; c < from; c += CHANNELS_AT_ONCE) {
                const long end = std::min(pixels, start + step);
                long p = start;
                for (; p + 8 <= end; p += 8) some(multiply_pixels<8>, p, c, block);
                for (; p + 4 <= end; p += 4) some(multiply_pixels<4>, p, c, block);
                for (; p < end; p++) some(multiply_pixels<1>, p, c, block);
            }
}

// Pixels in pairs, [channels / PANEL][pixels / 2][PANEL][2]; a missing last one is zero.
template <int PANEL>
INLINE void weave_pixels(const bfloat16* x, long pixels, long channels, bfloat16* to) {
    const long even = (pixels + 1) / 2 * 2;
    for (long p = 0; p < pixels; p += 2)
        for (long c = 0; c < channels; c += 16) {
            store_panel<PANEL>(to, even, p, c, woven(x + p * channels + c, channels, p + 1 < pixels));
        }
}

// Add to the gradient of the weight, [to / 32][from][32], what some pixels give.
static void weight_gradient_pointwise(const bfloat16* x, const bfloat16* gradient, long pixels, long from, long to,
                                      float* sums, bfloat16* x_room, bfloat16* gradient_room) {
    const long even = (pixels + 1) / 2 * 2;
    weave_pixels<ROWS>(x, pixels, from, x_room);
    weave_pixels<COLUMNS>(gradient, pixels, to, gradient_room);
    for (long block = 0; block < to; block += COLUMNS)
        for (long c = 0; c < from; c += ROWS)
            multiply<true>(x_room + c * even, 2, 2 * ROWS, gradient_room + block * even, even / 2,
                           sums + block * from + c * COLUMNS);
}

// Add the threads' gradients of a run of 32 output channels, in order.
static void gather_pointwise(const Weight& w, long block, const float* gradients, long threads, float* gradient) {
    const float* from = gradients + block * COLUMNS * w.from;
    for (long c = 0; c < w.from; c++, from += COLUMNS)
        for (long i = 0; i < COLUMNS; i++) {
            float sum = from[i];
            for (long t = 1; t < threads; t++) sum += from[i + t * w.from * w.to];
            gradient[(block * COLUMNS + i) * w.strides[0] + c * w.strides[1]] = sum;
        }
}
