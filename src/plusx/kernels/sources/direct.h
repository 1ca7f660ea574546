// 3x3 convolutions of stride 1 or 2, padded by 1, of one channels_last bfloat16 image, channels in multiples of 16.
//
// The processor multiplies pairs: 16 sums of two products an instruction. Forwards the pair is two input channels, and
// one pixel's pair meets the three weights of a kernel row at once, for the three pixels that it reaches; backwards to
// the weights the pair is two pixels of a row, and a row of the image meets the three rows of gradients around it.
#pragma once
#include "products.h"

struct Shape {
    long height, width, from, to;  // of what is read; channels `from` -> channels `to`
};

// The sums of PIXELS pixels from `place`, 16 * BLOCKS channels of `to` each: what is in `first`, or zero.
template <int PIXELS, int BLOCKS>
INLINE void begin_sums(__m512 sum[PIXELS][BLOCKS], const bfloat16* first, long place, long to) {
#pragma GCC unroll 16
    for (int p = 0; p < PIXELS; p++)
#pragma GCC unroll 2
        for (int b = 0; b < BLOCKS; b++)
            sum[p][b] = first ? load(first + place + p * to + b * 16, Whole()) : _mm512_setzero_ps();
}

template <int PIXELS, int BLOCKS>
INLINE void store_sums(const __m512 sum[PIXELS][BLOCKS], bfloat16* y, long place, long to) {
#pragma GCC unroll 16
    for (int p = 0; p < PIXELS; p++)
#pragma GCC unroll 2
        for (int b = 0; b < BLOCKS; b++) store(y + place + p * to + b * 16, sum[p][b], Whole());
}

// PIXELS of row h, from pixel w, 16 * BLOCKS channels from `block`, added to `first` unless that is null; LEFT and
// RIGHT: the image ends there.
template <int STRIDE, int PIXELS, int BLOCKS, bool LEFT, bool RIGHT>
INLINE void convolve_tile(const Shape& s, const bfloat16* x, const bfloat16* weight, const bfloat16* first,
                          bfloat16* y, long h, long w, long block) {
    const long place = (h * (s.width / STRIDE) + w) * s.to + block * 16;
    __m512 sum[PIXELS][BLOCKS];
    begin_sums<PIXELS, BLOCKS>(sum, first, place, s.to);
    const long pairs_in = s.from / 2, block_size = 9 * pairs_in * 32, source = h * STRIDE - 1;
    for (long row = source < 0 ? 1 : 0; row < 3 && source + row < s.height; row++) {
        const bfloat16* kernel = weight + block * block_size + row * pairs_in * 96;
        const bfloat16* from = x + ((source + row) * s.width + w * STRIDE) * s.from;
        for (long pair = 0; pair < pairs_in; pair++, kernel += 96, from += 2) {
            __m512bh k[BLOCKS][3];
#pragma GCC unroll 2
            for (int b = 0; b < BLOCKS; b++)
#pragma GCC unroll 3
                for (int c = 0; c < 3; c++) k[b][c] = pairs(kernel + b * block_size + c * 32);
#pragma GCC unroll 32
            for (int q = -1; q <= (PIXELS - 1) * STRIDE + 1; q++) {
                if ((LEFT && q == -1) || (RIGHT && q == PIXELS * STRIDE)) continue;
                const __m512bh pixel = one_pair(from + q * s.from);
#pragma GCC unroll 3
                for (int c = 0; c < 3; c++) {
                    const int to = (q - c + 1) / STRIDE;
                    if (q - c + 1 < 0 || (q - c + 1) % STRIDE || to >= PIXELS) continue;
#pragma GCC unroll 2
                    for (int b = 0; b < BLOCKS; b++) sum[to][b] = _mm512_dpbf16_ps(sum[to][b], pixel, k[b][c]);
                }
            }
        }
    }
    store_sums<PIXELS, BLOCKS>(sum, y, place, s.to);
}

// The gradient of what a convolution of stride 2 reads: PIXELS of row h, twice as wide as the gradients `x`, from pixel
// w; the weight is turned. A pixel of x meets three weights again, for the three pixels that it came from.
template <int PIXELS, int BLOCKS, bool RIGHT>
INLINE void spread_tile(const Shape& s, const bfloat16* x, const bfloat16* weight, const bfloat16* first, bfloat16* y,
                        long h, long w, long block) {
    const long place = (h * 2 * s.width + w) * s.to + block * 16;
    __m512 sum[PIXELS][BLOCKS];
    begin_sums<PIXELS, BLOCKS>(sum, first, place, s.to);
    const long pairs_in = s.from / 2, block_size = 9 * pairs_in * 32;
    for (long row = (h + 1) % 2; row < 3; row += 2) {  // h = 2 source + 1 - row
        const long source = (h + row - 1) / 2;
        if (source >= s.height) continue;
        const bfloat16* kernel = weight + block * block_size + row * pairs_in * 96;
        const bfloat16* from = x + (source * s.width + w / 2) * s.from;
        for (long pair = 0; pair < pairs_in; pair++, kernel += 96, from += 2) {
            __m512bh k[BLOCKS][3];
#pragma GCC unroll 2
            for (int b = 0; b < BLOCKS; b++)
#pragma GCC unroll 3
                for (int c = 0; c < 3; c++) k[b][c] = pairs(kernel + b * block_size + c * 32);
#pragma GCC unroll 32
            for (int q = 0; q <= PIXELS / 2; q++) {
                if (RIGHT && q == PIXELS / 2) continue;
                const __m512bh pixel = one_pair(from + q * s.from);
#pragma GCC unroll 3
                for (int c = 0; c < 3; c++) {
                    const int to = 2 * q + 1 - c;
                    if (to < 0 || to >= PIXELS) continue;
#pragma GCC unroll 2
                    for (int b = 0; b < BLOCKS; b++) sum[to][b] = _mm512_dpbf16_ps(sum[to][b], pixel, k[b][c]);
                }
            }
        }
    }
    store_sums<PIXELS, BLOCKS>(sum, y, place, s.to);
}

// What the gradient of the weight reads of some images: one part a thread, in the second cache.
//
// columns: [from][image][row][columns_width], a pixel at its place + 1, zeros beside it: pairs of pixels of a channel;
// at stride 2 the even pixels of a row, then its odd ones, as two rows of half the width.
// rows: [to / 16][image][height + 2][pairs_wide][16][2], zeros above and below: pairs of pixels of sixteen channels.
struct Scratch {
    long images, columns_width, pairs_wide;
    bfloat16 *columns, *rows;
};

INLINE long columns_width(const Shape& s) { return (s.width + 7) / 8 * 8 + 8; }
INLINE long pairs_wide(const Shape& s) { return (s.width + 1) / 2; }
INLINE long columns_size(const Shape& s) { return s.from * s.height * columns_width(s) + 32; }  // an image; of x
INLINE long rows_size(const Shape& s) { return s.to * (s.height + 2) * pairs_wide(s) * 2; }

INLINE void fill_rows(const Shape& s, const Scratch& scratch, const bfloat16* gradient, long image) {
    const long wide = scratch.pairs_wide * 32, all = (s.height + 2) * wide;
    for (long block = 0; block < s.to / 16; block++) {
        bfloat16* to = scratch.rows + (block * scratch.images + image) * all;
        for (long i = 0; i < wide; i += 32) {
            _mm512_storeu_si512(to + i, _mm512_setzero_si512());
            _mm512_storeu_si512(to + all - wide + i, _mm512_setzero_si512());
        }
        to += wide;
        for (long h = 0; h < s.height; h++)
            for (long w = 0; w < s.width; w += 2, to += 32)
                _mm512_storeu_si512(to, woven(gradient + (h * s.width + w) * s.to + block * 16, s.to, w + 1 < s.width));
    }
}

template <int STRIDE>
INLINE void fill_columns(const Shape& s, const Scratch& scratch, const bfloat16* x, long image) {
    const long rows = s.height * STRIDE, width = s.width / STRIDE, step = s.from * STRIDE;
    const long plane = rows * scratch.columns_width, channel = scratch.images * plane;
    for (long c = 0; c < s.from; c += 16)
        for (long h = 0; h < rows; h++) {
            bfloat16* to = scratch.columns + c * channel + image * plane + h * scratch.columns_width;
            for (int i = 0; i < 16; i++) to[i * channel] = 0;
            for (long w = 0; w < width; w += 8) {
                const bfloat16* from = x + (h / STRIDE * s.width + h % STRIDE + w * STRIDE) * s.from + c;
                __m512i p[4];
#pragma GCC unroll 4
                for (int i = 0; i < 4; i++)
                    p[i] = w + 2 * i < width ? woven(from + 2 * i * step, step, w + 2 * i + 1 < width)
                                             : _mm512_setzero_si512();
                const __m512i a = _mm512_unpacklo_epi32(p[0], p[1]), b = _mm512_unpackhi_epi32(p[0], p[1]);
                const __m512i d = _mm512_unpacklo_epi32(p[2], p[3]), e = _mm512_unpackhi_epi32(p[2], p[3]);
                const __m512i turned[4] = {_mm512_unpacklo_epi64(a, d), _mm512_unpackhi_epi64(a, d),
                                           _mm512_unpacklo_epi64(b, e), _mm512_unpackhi_epi64(b, e)};
#pragma GCC unroll 4
                for (int i = 0; i < 4; i++) {
                    bfloat16* here = to + i * channel + w + 1;
                    _mm_storeu_si128((__m128i*)here, _mm512_castsi512_si128(turned[i]));
                    _mm_storeu_si128((__m128i*)(here + 4 * channel), _mm512_extracti32x4_epi32(turned[i], 1));
                    _mm_storeu_si128((__m128i*)(here + 8 * channel), _mm512_extracti32x4_epi32(turned[i], 2));
                    _mm_storeu_si128((__m128i*)(here + 12 * channel), _mm512_extracti32x4_epi32(turned[i], 3));
                }
            }
            const long last = (width + 7) / 8 * 8 + 1;
            for (int i = 0; i < 16; i++) to[i * channel + last] = 0;
        }
}

// Add to the gradient of the weight, [to / 16][column][from][row][16], what the first `images` in the scratch give.
INLINE void weight_gradient(const Shape& s, const Scratch& scratch, long images, float* gradient) {
    const long plane = s.height * scratch.columns_width, channel = scratch.images * plane;
    const long wide = scratch.pairs_wide * 32, all = (s.height + 2) * wide;
    for (long block = 0; block < s.to / 16; block++)
        for (long c = 0; c < s.from; c += 8)
            for (long column = 0; column < 3; column++) {
                __m512 sum[8][3];
                float* to = gradient + ((block * 3 + column) * s.from + c) * 48;
#pragma GCC unroll 24
                for (int i = 0; i < 24; i++) sum[i / 3][i % 3] = _mm512_loadu_ps(to + 16 * i);
                for (long image = 0; image < images; image++) {
                    const bfloat16* x = scratch.columns + c * channel + image * plane + column;
                    const bfloat16* g = scratch.rows + (block * scratch.images + image) * all;
                    for (long h = 0; h < s.height; h++, x += scratch.columns_width, g += wide)
                        for (long pair = 0; pair < scratch.pairs_wide; pair++) {
                            // Row h of the image meets the gradients of the rows h + 1, h and h - 1.
                            const __m512bh below = pairs(g + 2 * wide + pair * 32), here = pairs(g + wide + pair * 32);
                            const __m512bh above = pairs(g + pair * 32);
#pragma GCC unroll 8
                            for (int i = 0; i < 8; i++) {
                                const __m512bh two = one_pair(x + i * channel + 2 * pair);
                                sum[i][0] = _mm512_dpbf16_ps(sum[i][0], below, two);
                                sum[i][1] = _mm512_dpbf16_ps(sum[i][1], here, two);
                                sum[i][2] = _mm512_dpbf16_ps(sum[i][2], above, two);
                            }
                        }
                }
#pragma GCC unroll 24
                for (int i = 0; i < 24; i++) _mm512_storeu_ps(to + 16 * i, sum[i / 3][i % 3]);
            }
}

// The same for stride 2: s is that of x; 32 channels at once, as one row of the image meets one row of gradients.
INLINE void weight_gradient_strided(const Shape& s, const Scratch& scratch, long images, float* gradient) {
    const long height = s.height / 2, row_size = 2 * scratch.columns_width, plane = s.height * row_size;
    const long channel = scratch.images * plane, wide = scratch.pairs_wide * 32, all = (height + 2) * wide;
    for (long block = 0; block < s.to / 16; block += 2)
        for (long c = 0; c < s.from; c += 8)
            for (long column = 0; column < 3; column++)
                for (long row = 0; row < 3; row++) {
                    // Pixel 2 w + column - 1 is, at its place + 1: odd w - 1, even w, odd w.
                    const long start = column == 1 ? 1 : scratch.columns_width + column / 2;
                    const long above = row == 0;
                    float* to = gradient + ((block * 3 + column) * s.from + c) * 48 + row * 16;
                    const long next = 3 * s.from * 48;
                    __m512 sum[8][2];
#pragma GCC unroll 16
                    for (int i = 0; i < 16; i++) sum[i / 2][i % 2] = _mm512_loadu_ps(to + i / 2 * 48 + i % 2 * next);
                    for (long image = 0; image < images; image++) {
                        const bfloat16* x = scratch.columns + c * channel + image * plane + start +
                                            (2 * above + row - 1) * row_size;
                        const bfloat16* g = scratch.rows + (block * scratch.images + image) * all + (1 + above) * wide;
                        for (long h = above; h < height; h++, x += 2 * row_size, g += wide)
                            for (long pair = 0; pair < scratch.pairs_wide; pair++) {
                                const __m512bh one = pairs(g + pair * 32);
                                const __m512bh two = pairs(g + scratch.images * all + pair * 32);
#pragma GCC unroll 8
                                for (int i = 0; i < 8; i++) {
                                    const __m512bh both = one_pair(x + i * channel + 2 * pair);
                                    sum[i][0] = _mm512_dpbf16_ps(sum[i][0], one, both);
                                    sum[i][1] = _mm512_dpbf16_ps(sum[i][1], two, both);
                                }
                            }
                    }
#pragma GCC unroll 16
                    for (int i = 0; i < 16; i++) _mm512_storeu_ps(to + i / 2 * 48 + i % 2 * next, sum[i / 2][i % 2]);
                }
}

// One image, in tiles of PIXELS that divide the width of what is made.
template <int STRIDE, int PIXELS, int BLOCKS>
static void convolve_in(const Shape& s, const bfloat16* x, const bfloat16* weight, const bfloat16* first, bfloat16* y) {
    constexpr bool ENDS = STRIDE == 1;  // at stride 2 and an even width the last pixel that is read is there
    const long last = s.width / STRIDE - PIXELS;
    for (long block = 0; block < s.to / 16; block += BLOCKS)
        for (long h = 0; h < s.height / STRIDE; h++) {
            if (last == 0) {
                convolve_tile<STRIDE, PIXELS, BLOCKS, true, ENDS>(s, x, weight, first, y, h, 0, block);
                continue;
            }
            convolve_tile<STRIDE, PIXELS, BLOCKS, true, false>(s, x, weight, first, y, h, 0, block);
            for (long w = PIXELS; w < last; w += PIXELS)
                convolve_tile<STRIDE, PIXELS, BLOCKS, false, false>(s, x, weight, first, y, h, w, block);
            convolve_tile<STRIDE, PIXELS, BLOCKS, false, ENDS>(s, x, weight, first, y, h, last, block);
        }
}

template <int PIXELS, int BLOCKS>
static void spread_in(const Shape& s, const bfloat16* x, const bfloat16* weight, const bfloat16* first, bfloat16* y) {
    const long last = 2 * s.width - PIXELS;
    for (long block = 0; block < s.to / 16; block += BLOCKS)
        for (long h = 0; h < 2 * s.height; h++) {
            for (long w = 0; w < last; w += PIXELS) spread_tile<PIXELS, BLOCKS, false>(s, x, weight, first, y, h, w, block);
            spread_tile<PIXELS, BLOCKS, true>(s, x, weight, first, y, h, last, block);
        }
}

// Whether these are sizes that the functions below know, and no weight so large that its order in memory is what counts:
// it is read once an image, which for few pixels takes longer than what is done with it.
constexpr long MOST_WEIGHTS = 9 * 256 * 256, MOST_WEIGHTS_OF_FEW_PIXELS = 9 * 128 * 128;
INLINE bool convolves(const Shape& s, long stride) {
    if (s.from % 16 || s.to % 16 || 9 * s.from * s.to > MOST_WEIGHTS) return false;
    const bool tiles = s.width % 16 == 0 || s.width % 14 == 0;
    if (stride == 1 && (s.width == 3 || s.width == 4)) return 9 * s.from * s.to <= MOST_WEIGHTS_OF_FEW_PIXELS;
    if (stride == 1) return tiles || s.width % 12 == 0 || (s.width > 5 && s.width < 9);
    return stride == 2 && s.to % 32 == 0 && s.height % 2 == 0 && tiles;
}

template <int PIXELS>
INLINE void convolve_narrow(const Shape& s, const bfloat16* x, const bfloat16* weight, const bfloat16* first, bfloat16* y) {
    s.to % 32 ? convolve_in<1, PIXELS, 1>(s, x, weight, first, y) : convolve_in<1, PIXELS, 2>(s, x, weight, first, y);
}

INLINE void convolve(const Shape& s, const bfloat16* x, const bfloat16* weight, const bfloat16* first, bfloat16* y) {
    if (s.width % 16 == 0) return convolve_in<1, 16, 1>(s, x, weight, first, y);
    if (s.width % 14 == 0) return convolve_in<1, 14, 1>(s, x, weight, first, y);
    if (s.width % 12 == 0) return convolve_in<1, 12, 1>(s, x, weight, first, y);
    switch (s.width) {
        case 8: return convolve_narrow<8>(s, x, weight, first, y);
        case 7: return convolve_narrow<7>(s, x, weight, first, y);
        case 6: return convolve_narrow<6>(s, x, weight, first, y);
        case 4: return convolve_narrow<4>(s, x, weight, first, y);
        default: return convolve_narrow<3>(s, x, weight, first, y);
    }
}

INLINE void convolve_strided(const Shape& s, const bfloat16* x, const bfloat16* weight, const bfloat16* first, bfloat16* y) {
    s.width % 16 == 0 ? convolve_in<2, 8, 2>(s, x, weight, first, y) : convolve_in<2, 7, 2>(s, x, weight, first, y);
}

// s is that of the gradients x: half as high and wide as y.
INLINE void spread(const Shape& s, const bfloat16* x, const bfloat16* weight, const bfloat16* first, bfloat16* y) {
    s.width % 8 == 0 ? spread_in<16, 1>(s, x, weight, first, y) : spread_in<14, 1>(s, x, weight, first, y);
}
