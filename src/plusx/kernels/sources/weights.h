// A convolution's weight in the order in which the kernels read it, rounded, and its gradient in its own order.
#pragma once
#include "winograd.h"

struct Weight {
    const float* numbers;  // of `to` x `from` x 3 x 3
    const long* strides;   // of these four; the gradient has the same
    long from, to;
};

// The packed weight of one run of sixteen output channels; `turned`: that of the gradient, from `to` to `from`.
static void pack(const Weight& w, bool turned, long block, bfloat16* to) {
    const long *strides = w.strides, out = turned ? strides[1] : strides[0], in = turned ? strides[0] : strides[1];
    const long pairs_in = (turned ? w.to : w.from) / 2;
    const float* weight = w.numbers + block * 16 * out;
    to += block * 9 * pairs_in * 32;
    for (long row = 0; row < 3; row++)
        for (long pair = 0; pair < pairs_in; pair++)
            for (long column = 0; column < 3; column++, to += 32) {
                const float* from = weight + 2 * pair * in + (turned ? 2 - row : row) * strides[2] +
                                    (turned ? 2 - column : column) * strides[3];
                float numbers[32];
                for (long i = 0; i < 16; i++) {
                    numbers[2 * i] = from[i * out];
                    numbers[2 * i + 1] = from[i * out + in];
                }
                store(to, _mm512_loadu_ps(numbers), Whole());
                store(to + 16, _mm512_loadu_ps(numbers + 16), Whole());
            }
}

// G g G' of two input channels of sixteen output channels, the pair's first number first; g is [9][16] each.
INLINE void weight_to_frequencies(const Shape& s, const float g[2][9][16], long from, long to, bfloat16* weight) {
    const __m512 half = _mm512_set1_ps(0.5f);
    __m512 u[2][16];
#pragma GCC unroll 2
    for (int one = 0; one < 2; one++) {
        __m512 d[12];
#pragma GCC unroll 3
        for (int j = 0; j < 3; j++) {
            const __m512 a = _mm512_loadu_ps(g[one][j]), b = _mm512_mul_ps(half, _mm512_loadu_ps(g[one][3 + j]));
            const __m512 c = _mm512_loadu_ps(g[one][6 + j]);
            const __m512 ends = _mm512_mul_ps(half, _mm512_add_ps(a, c));
            d[j] = a;
            d[3 + j] = _mm512_add_ps(ends, b);
            d[6 + j] = _mm512_sub_ps(ends, b);
            d[9 + j] = c;
        }
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++) {
            const __m512 b = _mm512_mul_ps(half, d[3 * i + 1]);
            const __m512 ends = _mm512_mul_ps(half, _mm512_add_ps(d[3 * i], d[3 * i + 2]));
            u[one][4 * i] = d[3 * i];
            u[one][4 * i + 1] = _mm512_add_ps(ends, b);
            u[one][4 * i + 2] = _mm512_sub_ps(ends, b);
            u[one][4 * i + 3] = d[3 * i + 2];
        }
    }
    for (int f = 0; f < 16; f++)
        _mm512_storeu_si512(weight + frequency_place(s, f, from, to), interleaved(u[0][f], u[1][f]));
}

// The packed weight for products by frequencies: a run of sixteen output channels of [to / 32][16][from / 2][32][2].
static void pack_frequencies(const Weight& w, bool turned, long block, bfloat16* to) {
    const long *strides = w.strides, out = turned ? strides[1] : strides[0], in = turned ? strides[0] : strides[1];
    const Shape shape = {0, 0, turned ? w.to : w.from, turned ? w.from : w.to};
    const float* weight = w.numbers + block * 16 * out;
    for (long from = 0; from < shape.from; from += 2) {
        float g[2][9][16];
        for (long one = 0; one < 2; one++)
            for (long k = 0; k < 9; k++) {
                const long place = turned ? 8 - k : k;
                const float* here = weight + (from + one) * in + place / 3 * strides[2] + place % 3 * strides[3];
                for (long i = 0; i < 16; i++) g[one][k][i] = here[i * out];
            }
        weight_to_frequencies(shape, g, from, block * 16, to);
    }
}

// Add the threads' gradients, [to / 16][column][from][row][16], in order, for one run of sixteen output channels.
static void gather(const Weight& w, long block, const float* gradients, long threads, float* gradient) {
    const long *strides = w.strides, size = 9 * w.from * w.to;
    const float* from = gradients + block * 9 * w.from * 16;
    for (long column = 0; column < 3; column++)
        for (long c = 0; c < w.from; c++)
            for (long row = 0; row < 3; row++, from += 16) {
                __m512 sum = _mm512_loadu_ps(from);
                for (long t = 1; t < threads; t++) sum = _mm512_add_ps(sum, _mm512_loadu_ps(from + t * size));
                float numbers[16];
                _mm512_storeu_ps(numbers, sum);
                float* to = gradient + block * 16 * strides[0] + c * strides[1] + row * strides[2] +
                            column * strides[3];
                for (long i = 0; i < 16; i++) to[i * strides[0]] = numbers[i];
            }
}

// The gradient of a weight, [9][16] of sixteen output channels, from that of its frequencies: G' m G.
INLINE void weight_from_frequencies(const __m512 m[16], float g[9][16]) {
    const __m512 half = _mm512_set1_ps(0.5f);
    __m512 d[12];
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++) {
        const __m512 b = _mm512_mul_ps(half, m[4 + j]), c = _mm512_mul_ps(half, m[8 + j]);
        d[j] = _mm512_add_ps(m[j], _mm512_add_ps(b, c));
        d[4 + j] = _mm512_sub_ps(b, c);
        d[8 + j] = _mm512_add_ps(_mm512_add_ps(b, c), m[12 + j]);
    }
#pragma GCC unroll 3
    for (int i = 0; i < 3; i++) {
        const __m512 b = _mm512_mul_ps(half, d[4 * i + 1]), c = _mm512_mul_ps(half, d[4 * i + 2]);
        _mm512_storeu_ps(g[3 * i], _mm512_add_ps(d[4 * i], _mm512_add_ps(b, c)));
        _mm512_storeu_ps(g[3 * i + 1], _mm512_sub_ps(b, c));
        _mm512_storeu_ps(g[3 * i + 2], _mm512_add_ps(_mm512_add_ps(b, c), d[4 * i + 3]));
    }
}

// The same for gradients of frequencies, [16][to / 32][from][32].
static void gather_frequencies(const Weight& w, long block, const float* gradients, long threads, float* gradient) {
    const long *strides = w.strides, size = FREQUENCIES * w.from * w.to;
    const long start = block / 2 * 32 * w.from + block % 2 * 16;
    for (long c = 0; c < w.from; c++) {
        __m512 m[16];
        for (long f = 0; f < FREQUENCIES; f++) {
            const float* from = gradients + f * w.from * w.to + start + c * 32;
            m[f] = _mm512_loadu_ps(from);
            for (long t = 1; t < threads; t++) m[f] = _mm512_add_ps(m[f], _mm512_loadu_ps(from + t * size));
        }
        float g[9][16];
        weight_from_frequencies(m, g);
        float* to = gradient + block * 16 * strides[0] + c * strides[1];
        for (long k = 0; k < 9; k++)
            for (long i = 0; i < 16; i++) to[i * strides[0] + k / 3 * strides[2] + k % 3 * strides[3]] = g[k][i];
    }
}
