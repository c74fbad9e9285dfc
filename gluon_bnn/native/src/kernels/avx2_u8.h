// Products of uint8 inputs and bits on AVX2: weights become bytes of +1 and -1. Only avx2.cc includes this file.
#ifndef GLUON_BNN_KERNELS_AVX2_U8_H_
#define GLUON_BNN_KERNELS_AVX2_U8_H_

#include <immintrin.h>

#include "kernels/portable.h"
#include "kernels/tile_dispatch.h"

namespace gluon_bnn {
namespace {

constexpr int64_t kHalf = 8;  // units per vector

inline __m256i load(const void* from) { return _mm256_loadu_si256(static_cast<const __m256i*>(from)); }
inline void store(void* to, __m256i v) { _mm256_storeu_si256(static_cast<__m256i*>(to), v); }

// The weights of 8 units for 8 inputs as +1 and -1, from the lowest bytes of v: those of the first four inputs, then of
// the others. A byte is copied to the four bytes of its lane, and each of them tests one bit, which gives -1 where it
// is set, else 1.
struct Signs {
  __m256i left, right;
};

inline Signs lowest_signs(__m256i v) {
  const __m256i low = _mm256_set1_epi32(0x08040201), high = _mm256_set1_epi32(static_cast<int>(0x80402010));
  const __m256i one = _mm256_set1_epi8(1);
  const __m256i spread = _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 0, 0, 0, 4, 4, 4, 4, 8, 8, 8, 8, 12, 12, 12, 12));
  const __m256i bits = _mm256_shuffle_epi8(v, spread);
  return {_mm256_or_si256(_mm256_cmpeq_epi8(_mm256_and_si256(bits, low), low), one),
          _mm256_or_si256(_mm256_cmpeq_epi8(_mm256_and_si256(bits, high), high), one)};
}

// Sums of 2 pixels times +-1.
inline __m256i pairs(const uint8_t* x, __m256i signs) {
  int32_t four;
  __builtin_memcpy(&four, x, sizeof four);
  return _mm256_maddubs_epi16(_mm256_set1_epi32(four), signs);
}

// acc + the sums of 2 x 16 bits in each lane.
inline __m256i add_pairs(__m256i acc, __m256i pairs) {
  return _mm256_add_epi32(acc, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}

// One row or two, for which every sign is made where it is needed.
template <int R>
void u8_few(const uint8_t* x, int64_t stride, const uint32_t* w, int64_t words, int32_t* sums) {
  for (int half = 0; half < 2; ++half) {
    __m256i acc[R];
    for (int r = 0; r < R; ++r) acc[r] = load(sums + r * kTileUnits + half * kHalf);
    for (int64_t word = 0; word < words; ++word) {
      __m256i v = load(w + word * kBlock + half * kHalf);
      for (int64_t byte = 0; byte < 4; ++byte, v = _mm256_srli_epi32(v, 8)) {
        const Signs signs = lowest_signs(v);
        for (int r = 0; r < R; ++r) {
          const uint8_t* from = x + r * stride + word * kWord + byte * 8;
          acc[r] = add_pairs(acc[r], _mm256_add_epi16(pairs(from, signs.left), pairs(from + 4, signs.right)));
        }
      }
    }
    for (int r = 0; r < R; ++r) store(sums + r * kTileUnits + half * kHalf, acc[r]);
  }
}

// More rows share the signs of 8 words. As many sums of pairs, 8 for a word and each at most 510, still fit into 16
// bits.
constexpr int64_t kSignWords = 8, kQuads = kWord / 4;

// The signs of a block: for each four inputs those of its first 8 units, then those of the others. Inlined, its
// constants would take registers from the tile.
[[gnu::noinline]] void u8_signs(const uint32_t* w, int64_t words, __m256i* signs) {
  for (int64_t word = 0; word < words; ++word) {
    __m256i v[2] = {load(w + word * kBlock), load(w + word * kBlock + kHalf)};
    for (int byte = 0; byte < 4; ++byte, signs += 4) {
      for (int half = 0; half < 2; ++half) {
        const Signs found = lowest_signs(v[half]);
        signs[half] = found.left;
        signs[2 + half] = found.right;
        v[half] = _mm256_srli_epi32(v[half], 8);
      }
    }
  }
}

template <int R>
void u8_tile(const uint8_t* x, int64_t stride, const __m256i* signs, int64_t quads, int32_t* sums) {
  __m256i low[R], high[R];
  for (int r = 0; r < R; ++r) low[r] = high[r] = _mm256_setzero_si256();
#pragma GCC unroll 1
  for (int64_t q = 0; q < quads; ++q) {
    for (int r = 0; r < R; ++r) {
      low[r] = _mm256_add_epi16(low[r], pairs(x + r * stride + 4 * q, signs[2 * q]));
      high[r] = _mm256_add_epi16(high[r], pairs(x + r * stride + 4 * q, signs[2 * q + 1]));
    }
  }
  for (int r = 0; r < R; ++r) {
    int32_t* to = sums + r * kTileUnits;
    store(to, add_pairs(load(to), low[r]));
    store(to + kHalf, add_pairs(load(to + kHalf), high[r]));
  }
}

inline void u8_gemm(const uint8_t* x, int64_t stride, int64_t rows, const uint32_t* w, int64_t block_stride,
                    int64_t blocks, int64_t words, int32_t* sums) {
  constexpr int64_t kRows = 4;
  __m256i signs[2 * kQuads * kSignWords];
  for (int64_t b = 0; b < blocks; ++b, w += block_stride, sums += kBlock) {
    if (rows <= 2) {
      by_shape<2, 1>(rows, 1, [&](auto r, auto) { u8_few<r>(x, stride, w, words, sums); });
      continue;
    }
    for (int64_t word = 0; word < words; word += kSignWords) {
      const int64_t size = smaller(kSignWords, words - word);
      u8_signs(w + word * kBlock, size, signs);
      for (int64_t row = 0; row < rows; row += kRows) {
        const uint8_t* from = x + row * stride + word * kWord;
        by_shape<kRows, 1>(smaller(kRows, rows - row), 1, [&](auto r, auto) {
          u8_tile<r>(from, stride, signs, size * kQuads, sums + row * kTileUnits);
        });
      }
    }
  }
}

}  // namespace
}  // namespace gluon_bnn

#endif  // GLUON_BNN_KERNELS_AVX2_U8_H_
