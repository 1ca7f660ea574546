// The largest of each 2x2 pixels, and which of the four it is; and its gradient.
#include <string.h>

#include "lanes.h"

struct PoolTask {
    const void* from;
    void* to;
    uint8_t* places;  // 0..3 for each number of the small map
    long images, height, width, channels, is_float, threads;
};

INLINE void store_bytes(uint8_t* y, __m512i x, Whole) { _mm_storeu_si128((__m128i*)y, _mm512_cvtepi32_epi8(x)); }
INLINE void store_bytes(uint8_t* y, __m512i x, Rest rest) { _mm512_mask_cvtepi32_storeu_epi8(y, rest.mask, x); }
INLINE __m512i load_bytes(const uint8_t* x, Whole) { return _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i*)x)); }
INLINE __m512i load_bytes(const uint8_t* x, Rest rest) {
    return _mm512_cvtepu8_epi32(_mm_maskz_loadu_epi8(rest.mask, x));
}

template <class T>
static void forward(const PoolTask& t) {
    const long high = t.height / 2, wide = t.width / 2, rows = t.images * high, line = t.width * t.channels;
#pragma omp parallel for schedule(static) num_threads(t.threads)
    for (long row = 0; row < rows; row++) {
        const T* from = (const T*)t.from + (row / high * t.height + row % high * 2) * line;
        T* to = (T*)t.to + row * wide * t.channels;
        uint8_t* places = t.places + row * wide * t.channels;
        for (long w = 0; w < wide; w++, to += t.channels, places += t.channels) {
            const T* corner = from + 2 * w * t.channels;
            over_channels(t.channels, [&](long c, auto lanes) {
                const __m512 four[4] = {load(corner + c, lanes), load(corner + t.channels + c, lanes),
                                        load(corner + line + c, lanes), load(corner + line + t.channels + c, lanes)};
                __m512i place;
                const __m512 best = largest_of(four, &place);
                store(to + c, best, lanes);
                store_bytes(places + c, place, lanes);
            });
        }
    }
}

template <class T>
static void backward(const PoolTask& t) {
    const long high = t.height / 2, wide = t.width / 2, rows = t.images * high, line = t.width * t.channels;
#pragma omp parallel for schedule(static) num_threads(t.threads)
    for (long row = 0; row < rows; row++) {
        const long h = row % high;
        T* to = (T*)t.to + (row / high * t.height + h * 2) * line;
        const T* from = (const T*)t.from + row * wide * t.channels;
        const uint8_t* places = t.places + row * wide * t.channels;
        for (long w = 0; w < wide; w++, from += t.channels, places += t.channels) {
            T* corner = to + 2 * w * t.channels;
            over_channels(t.channels, [&](long c, auto lanes) {
                T* at[4] = {corner + c, corner + t.channels + c, corner + line + c, corner + line + t.channels + c};
                const __m512 gradient = load(from + c, lanes);
                const __m512i place = load_bytes(places + c, lanes);
                for (int one = 0; one < 4; one++)
                    store(at[one],
                          _mm512_maskz_mov_ps(_mm512_cmpeq_epi32_mask(place, _mm512_set1_epi32(one)), gradient), lanes);
            });
        }
        if (t.width % 2)  // no window has the last column, nor the last row
            for (long r = 0; r < 2; r++) memset(to + r * line + 2 * wide * t.channels, 0, t.channels * sizeof(T));
        if (t.height % 2 && h == high - 1) memset(to + 2 * line, 0, line * sizeof(T));
    }
}

extern "C" int plusx_pool_forward(const PoolTask* task) {
    task->is_float ? forward<float>(*task) : forward<bfloat16>(*task);
    return 0;
}

extern "C" int plusx_pool_backward(const PoolTask* task) {
    task->is_float ? backward<float>(*task) : backward<bfloat16>(*task);
    return 0;
}
