// 3x3 convolutions of stride 1, padded by 1, with 16 products where the definition has 36: Winograd's F(2x2, 3x3).
//
// Lavin and Gray 2015, "Fast algorithms for convolutional neural networks", arXiv:1509.09308, section 4.1. A tile is
// 2x2 pixels of what is made; it depends on 4x4 of what is read. Both and the weight go to 16 frequencies, where a
// convolution is a product of matrices, and back: y = A' [(G g G') * (B' d B)] A, summed over channels. The numbers of
// a frequency are rounded to bfloat16 once more, which the direct sums do not do.
#pragma once
#include "direct.h"

constexpr long FREQUENCIES = 16, MOST_CHANNELS = 1024;
alignas(64) static const bfloat16 NOTHING[MOST_CHANNELS] = {};

INLINE long tiles_of(const Shape& s) { return (s.height + 1) / 2 * ((s.width + 1) / 2); }

// How many tiles are multiplied at once, so that they stay in the second cache; a multiple of ROWS.
INLINE long tiles_at_once(long channels) { return std::min(128L, std::max(32L, 16384 / channels / ROWS * ROWS)); }

// How far a frequency's numbers are from the next one's: not a power of two, or all would want the same cache lines.
INLINE long plane_size(long tiles, long channels) { return tiles * channels + 32; }

// What a thread needs: the pixels' frequencies and the products of COLUMNS channels.
INLINE long frequencies_size(long channels) { return FREQUENCIES * plane_size(tiles_at_once(channels), channels); }
INLINE long products_size(long channels) { return FREQUENCIES * tiles_at_once(channels) * COLUMNS; }

// The SIDE x SIDE pixels of some tiles, `channels` each, from one row and column before the tile if SIDE is 4; what is
// outside of the image, or beyond the last tile, is nothing.
template <int SIDE>
INLINE void look(long height, long width, long channels, const bfloat16* x, long tile, long tiles,
                 const bfloat16* pixel[SIDE * SIDE]) {
    const long high = (height + 1) / 2, wide = (width + 1) / 2, before = SIDE == 4;
    const long row = tile / wide % high * 2 - before, column = tile % wide * 2 - before;
    x += tile / (high * wide) * height * width * channels;
    for (long i = 0; i < SIDE; i++)
        for (long j = 0; j < SIDE; j++) {
            const long h = row + i, w = column + j;
            const bool there = tile < tiles && h >= 0 && h < height && w >= 0 && w < width;
            pixel[i * SIDE + j] = there ? x + (h * width + w) * channels : NOTHING;
        }
}

// B' d B of sixteen channels.
INLINE void to_frequencies(const bfloat16* const pixel[16], long channel, __m512 v[16]) {
    __m512 d[16];
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++) {
        const __m512 a = load(pixel[j] + channel, Whole()), b = load(pixel[4 + j] + channel, Whole());
        const __m512 c = load(pixel[8 + j] + channel, Whole()), e = load(pixel[12 + j] + channel, Whole());
        d[j] = _mm512_sub_ps(a, c);
        d[4 + j] = _mm512_add_ps(b, c);
        d[8 + j] = _mm512_sub_ps(c, b);
        d[12 + j] = _mm512_sub_ps(b, e);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 16; i += 4) {
        v[i] = _mm512_sub_ps(d[i], d[i + 2]);
        v[i + 1] = _mm512_add_ps(d[i + 1], d[i + 2]);
        v[i + 2] = _mm512_sub_ps(d[i + 2], d[i + 1]);
        v[i + 3] = _mm512_sub_ps(d[i + 1], d[i + 3]);
    }
}

// A g A' of sixteen channels: the way back of `from_frequencies`, for the gradients of a tile.
INLINE void gradient_to_frequencies(const bfloat16* const pixel[4], long channel, __m512 v[16]) {
    __m512 d[8];
#pragma GCC unroll 2
    for (int j = 0; j < 2; j++) {
        const __m512 a = load(pixel[j] + channel, Whole()), b = load(pixel[2 + j] + channel, Whole());
        d[j] = a;
        d[2 + j] = _mm512_add_ps(a, b);
        d[4 + j] = _mm512_sub_ps(a, b);
        d[6 + j] = _mm512_sub_ps(_mm512_setzero_ps(), b);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        v[4 * i] = d[2 * i];
        v[4 * i + 1] = _mm512_add_ps(d[2 * i], d[2 * i + 1]);
        v[4 * i + 2] = _mm512_sub_ps(d[2 * i], d[2 * i + 1]);
        v[4 * i + 3] = _mm512_sub_ps(_mm512_setzero_ps(), d[2 * i + 1]);
    }
}

// A' m A of sixteen channels: the 2x2 pixels of a tile.
INLINE void from_frequencies(const __m512 m[16], __m512 y[4]) {
    __m512 d[8];
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++) {
        d[j] = _mm512_add_ps(_mm512_add_ps(m[j], m[4 + j]), m[8 + j]);
        d[4 + j] = _mm512_sub_ps(_mm512_sub_ps(m[4 + j], m[8 + j]), m[12 + j]);
    }
#pragma GCC unroll 2
    for (int i = 0; i < 2; i++) {
        y[2 * i] = _mm512_add_ps(_mm512_add_ps(d[4 * i], d[4 * i + 1]), d[4 * i + 2]);
        y[2 * i + 1] = _mm512_sub_ps(_mm512_sub_ps(d[4 * i + 1], d[4 * i + 2]), d[4 * i + 3]);
    }
}

// Where the weight of a frequency is: [to / 32][16][from / 2][to % 32][2].
INLINE long frequency_place(const Shape& s, long frequency, long from, long to) {
    return (((to / COLUMNS * FREQUENCIES + frequency) * (s.from / 2) + from / 2) * COLUMNS + to % COLUMNS) * 2;
}

struct Frequencies {
    bfloat16* pixels;  // frequencies_size of the channels that are read
    float* products;   // products_size of the same
};

// A tile's 2x2 pixels from `row` and `column`, of sixteen channels from `channel`, added to `first` unless that is null.
INLINE void store_tile(const Shape& s, const __m512 made[4], long image, long row, long column, long channel,
                       const bfloat16* first, bfloat16* y) {
    for (long i = 0; i < 2; i++)
        for (long j = 0; j < 2; j++) {
            if (row + i >= s.height || column + j >= s.width) continue;
            const long here = ((image * s.height + row + i) * s.width + column + j) * s.to + channel;
            const __m512 sum = made[2 * i + j];
            store(y + here, first ? _mm512_add_ps(sum, load(first + here, Whole())) : sum, Whole());
        }
}

// The largest of a tile's pixels and which of the four it is; an odd last row or column is left out.
INLINE void store_largest(const Shape& s, const __m512 made[4], long image, long row, long column, long channel,
                          bfloat16* y, uint8_t* places) {
    if (row + 1 >= s.height || column + 1 >= s.width) return;
    __m512i place;
    const __m512 best = largest_of(made, &place);
    const long here = ((image * (s.height / 2) + row / 2) * (s.width / 2) + column / 2) * s.to + channel;
    store(y + here, best, Whole());
    _mm_storeu_si128((__m128i*)(places + here), _mm512_cvtepi32_epi8(place));
}

// The gradients of an image's pixels from those of the largest of each 2x2.
INLINE void spread_largest(const Shape& s, const bfloat16* gradient, const uint8_t* places, bfloat16* to) {
    const long line = s.width * s.to;
    for (long row = 0; row < s.height / 2; row++, to += 2 * line) {
        for (long column = 0; column < s.width / 2; column++)
            for (long c = 0; c < s.to; c += 16, gradient += 16, places += 16) {
                const __m256i g = _mm256_loadu_si256((const __m256i*)gradient);
                const __m256i place = _mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i*)places));
                bfloat16* corner = to + 2 * column * s.to + c;
#pragma GCC unroll 4
                for (int i = 0; i < 4; i++)
                    _mm256_storeu_si256((__m256i*)(corner + i / 2 * line + i % 2 * s.to),
                                        _mm256_maskz_mov_epi16(_mm256_cmpeq_epi16_mask(place, _mm256_set1_epi16(i)), g));
            }
        if (s.width % 2)
            for (long i = 1; i < 3; i++) std::fill(to + i * line - s.to, to + i * line, 0);
    }
    if (s.height % 2) std::fill(to, to + line, 0);
}

// The convolution of some images that follow each other, added to `first` unless that is null; or, with `places`, the
// largest of each 2x2 of it.
static void convolve_frequencies(const Shape& s, const bfloat16* x, long images, const bfloat16* weight,
                                 const bfloat16* first, bfloat16* y, uint8_t* places, const Frequencies& room) {
    const long tiles = images * tiles_of(s), at_once = tiles_at_once(s.from);
    const long high = (s.height + 1) / 2, wide = (s.width + 1) / 2;
    for (long begin = 0; begin < tiles; begin += at_once) {
        const long rows = (std::min(at_once, tiles - begin) + ROWS - 1) / ROWS * ROWS, plane = plane_size(rows, s.from);
        for (long t = 0; t < rows; t++) {
            const bfloat16* pixel[16];
            look<4>(s.height, s.width, s.from, x, begin + t, tiles, pixel);
            for (long c = 0; c < s.from; c += 16) {
                __m512 v[16];
                to_frequencies(pixel, c, v);
#pragma GCC unroll 16
                for (int f = 0; f < 16; f++) store(room.pixels + f * plane + t * s.from + c, v[f], Whole());
            }
        }
        for (long to = 0; to < s.to; to += COLUMNS) {
            for (long f = 0; f < FREQUENCIES; f++)
                for (long t = 0; t < rows; t += ROWS)
                    multiply<false>(room.pixels + f * plane + t * s.from, s.from, 2, weight + frequency_place(s, f, 0, to),
                                    s.from / 2, room.products + (f * rows + t) * COLUMNS);
            for (long t = 0; t < std::min(rows, tiles - begin); t++) {
                const long tile = begin + t, row = tile / wide % high * 2, column = tile % wide * 2;
                for (long c = 0; c < COLUMNS; c += 16) {
                    __m512 m[16], made[4];
#pragma GCC unroll 16
                    for (int f = 0; f < 16; f++) m[f] = _mm512_loadu_ps(room.products + (f * rows + t) * COLUMNS + c);
                    from_frequencies(m, made);
                    if (places)
                        store_largest(s, made, tile / (high * wide), row, column, to + c, y, places);
                    else
                        store_tile(s, made, tile / (high * wide), row, column, to + c, first, y);
                }
            }
        }
    }
}

// What the gradient of the weight reads at once, in pairs of tiles: of the image [16][from / 8][tiles / 2][8][2], of the
// gradients [16][to / 32][tiles / 2][32][2].
INLINE long pair_tiles(const Shape& s) {
    return std::min(256L, std::max(64L, 65536 / std::max(s.from, s.to) / 2 * 2));
}
INLINE long woven_size(const Shape& s, long channels) { return FREQUENCIES * plane_size(pair_tiles(s), channels); }

template <int SIDE, int PANEL, class Transform>
INLINE void weave(const Shape& s, long channels, const bfloat16* x, long begin, long rows, long tiles, bfloat16* to,
                  Transform transform) {
    for (long t = 0; t < rows; t += 2) {
        const bfloat16 *one[SIDE * SIDE], *two[SIDE * SIDE];
        look<SIDE>(s.height, s.width, channels, x, begin + t, tiles, one);
        look<SIDE>(s.height, s.width, channels, x, begin + t + 1, tiles, two);
        for (long c = 0; c < channels; c += 16) {
            __m512 v[16], w[16];
            transform(one, c, v);
            transform(two, c, w);
#pragma GCC unroll 16
            for (int f = 0; f < 16; f++) {
                store_panel<PANEL>(to + f * plane_size(rows, channels), rows, t, c, interleaved(v[f], w[f]));
            }
        }
    }
}

// Add to the gradient of the weight's frequencies, [16][to / 32][from][32], what some images give.
static void weight_gradient_frequencies(const Shape& s, const bfloat16* x, const bfloat16* gradient, long images,
                                        float* sums, bfloat16* image_room, bfloat16* gradient_room) {
    const long tiles = images * tiles_of(s), at_once = pair_tiles(s);
    for (long begin = 0; begin < tiles; begin += at_once) {
        const long rows = (std::min(at_once, tiles - begin) + 1) / 2 * 2;
        weave<4, ROWS>(s, s.from, x, begin, rows, tiles, image_room, to_frequencies);
        weave<2, COLUMNS>(s, s.to, gradient, begin, rows, tiles, gradient_room, gradient_to_frequencies);
        for (long f = 0; f < FREQUENCIES; f++)
            for (long to = 0; to < s.to; to += COLUMNS)
                for (long from = 0; from < s.from; from += ROWS)
                    multiply<true>(image_room + f * plane_size(rows, s.from) + from * rows, 2, 2 * ROWS,
                                   gradient_room + f * plane_size(rows, s.to) + to * rows, rows / 2,
                                   sums + ((f * s.to + to) * s.from + from * COLUMNS));
    }
}

// How many images are worked at together: those whose tiles are multiplied at once.
INLINE long images_at_once(const Shape& s) { return std::max(1L, pair_tiles(s) / tiles_of(s)); }

// Whether this way is the faster one: a weight so large that it is read more often than the pixels is not.
INLINE bool by_frequencies(const Shape& s, long stride) {
    return stride == 1 && s.from % COLUMNS == 0 && s.to % COLUMNS == 0 && 9 * s.from * s.to <= MOST_WEIGHTS &&
           std::max(s.from, s.to) <= MOST_CHANNELS;
}
