// What the two AVX-512 files share: the product of uint8 inputs, but for the product of bytes. Local to each of them.
#ifndef GLUON_BNN_KERNELS_AVX512_H_
#define GLUON_BNN_KERNELS_AVX512_H_

#include <immintrin.h>

#include "kernels/table.h"
#include "kernels/tile_dispatch.h"

namespace gluon_bnn {
namespace {

// Four bits of weight become four bytes +-1 by one permutation of a table of 16 words.
//
// Here and in the other tiles GCC has to be told to unroll the loops that hold loops. By itself it does so late, when
// the accumulators are an array in memory already, and copies each of them in every step.
template <typename Add4, int R, int B>
void u8_tile(const uint8_t* x, int64_t stride, const uint32_t* w, int64_t block_stride, int64_t words, int32_t* sums) {
  alignas(64) int8_t bytes[16][4];
  for (int n = 0; n < 16; ++n) {
    for (int t = 0; t < 4; ++t) bytes[n][t] = n >> t & 1 ? -1 : 1;
  }
  const __m512i signs_of = _mm512_load_si512(bytes);
  __m512i acc[R][B];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
    for (int b = 0; b < B; ++b) acc[r][b] = _mm512_loadu_si512(sums + r * kTileUnits + b * kBlock);
  }
  for (int64_t word = 0; word < words; ++word, x += kWord) {
    __m512i v[B];
    for (int b = 0; b < B; ++b) v[b] = _mm512_loadu_si512(w + b * block_stride + word * kBlock);
#pragma GCC unroll 1
    for (int q = 0; q < kWord / kGroup; ++q) {
      __m512i pixels[R];
      for (int r = 0; r < R; ++r) {
        int32_t four;
        __builtin_memcpy(&four, x + r * stride + q * kGroup, 4);
        pixels[r] = _mm512_set1_epi32(four);
      }
#pragma GCC unroll 8
      for (int b = 0; b < B; ++b) {
        const __m512i signs = _mm512_permutexvar_epi32(v[b], signs_of);
        for (int r = 0; r < R; ++r) acc[r][b] = Add4::run(acc[r][b], pixels[r], signs);
        v[b] = _mm512_srli_epi32(v[b], 4);
      }
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
    for (int b = 0; b < B; ++b) _mm512_storeu_si512(sums + r * kTileUnits + b * kBlock, acc[r][b]);
  }
}

template <typename Add4>
void u8_gemm(const uint8_t* x, int64_t stride, int64_t rows, const uint32_t* w, int64_t block_stride, int64_t blocks,
             int64_t words, int32_t* sums) {
  // Few rows need many blocks to keep the units busy, many rows have no registers for them.
  const int64_t step = rows <= 2 ? 4 : 2;
  for (int64_t block = 0; block < blocks; block += step) {
    const uint32_t* from = w + block * block_stride;
    int32_t* to = sums + block * kBlock;
    if (rows <= 2) {
      by_shape<2, 4>(rows, smaller(step, blocks - block),
                     [&](auto r, auto b) { u8_tile<Add4, r, b>(x, stride, from, block_stride, words, to); });
    } else {
      by_shape<6, 2>(rows, smaller(step, blocks - block),
                     [&](auto r, auto b) { u8_tile<Add4, r, b>(x, stride, from, block_stride, words, to); });
    }
  }
}

}  // namespace
}  // namespace gluon_bnn

#endif  // GLUON_BNN_KERNELS_AVX512_H_
