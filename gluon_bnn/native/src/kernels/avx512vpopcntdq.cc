// What VPOPCNTDQ and VNNI add to AVX-512 (Ice Lake, Zen 4 and later): popcount and the product of bytes are one
// instruction each. All other kernels are those of avx512.cc.
#if defined(__AVX512VPOPCNTDQ__) && defined(__AVX512VNNI__)
#include "kernels/avx512.h"
#else
#include "kernels/table.h"
#endif

namespace gluon_bnn {

#if defined(__AVX512VPOPCNTDQ__) && defined(__AVX512VNNI__)
const Kernels* avx512_kernels();

namespace {

template <int R, int B>
void xnor_tile(const uint32_t* x, int64_t stride, const uint32_t* w, int64_t block_stride, int64_t words, bool begin,
               int32_t* counts) {
  __m512i acc[R][B];
  const __mmask16 there = begin ? 0 : 0xffff;
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
    for (int b = 0; b < B; ++b) {
      acc[r][b] = _mm512_maskz_loadu_epi32(there, counts + r * kTileUnits + b * kBlock);
    }
  }
  for (int64_t word = 0; word < words; ++word) {
    __m512i v[B];
    for (int b = 0; b < B; ++b) v[b] = _mm512_loadu_si512(w + b * block_stride + word * kBlock);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      const __m512i inputs = _mm512_set1_epi32(x[r * stride + word]);
      for (int b = 0; b < B; ++b) {
        acc[r][b] = _mm512_add_epi32(acc[r][b], _mm512_popcnt_epi32(_mm512_xor_si512(inputs, v[b])));
      }
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
    for (int b = 0; b < B; ++b) _mm512_storeu_si512(counts + r * kTileUnits + b * kBlock, acc[r][b]);
  }
}

void xnor_gemm(const uint32_t* x, int64_t stride, int64_t rows, const uint32_t* w, int64_t block_stride, int64_t blocks,
               int64_t words, bool begin, int32_t* counts) {
  by_shape<6, 2>(rows, blocks,
                 [&](auto r, auto b) { xnor_tile<r, b>(x, stride, w, block_stride, words, begin, counts); });
}

struct Add4 {
  static __m512i run(__m512i acc, __m512i pixels, __m512i signs) { return _mm512_dpbusd_epi32(acc, pixels, signs); }
};

Kernels by_name() {
  Kernels k = *avx512_kernels();
  k.name = "avx512vpopcntdq";
  k.xnor_gemm = xnor_gemm;
  k.xnor_rows = 6;
  k.xnor_blocks = 2;
  k.u8_gemm = u8_gemm<Add4>;
  return k;
}

}  // namespace

const Kernels* avx512vpopcntdq_kernels() {
  if (avx512_kernels() == nullptr) return nullptr;  // a build whose compiler failed on that file goes without both
  static const Kernels table = by_name();
  return &table;
}
#else
const Kernels* avx512vpopcntdq_kernels() { return nullptr; }
#endif

}  // namespace gluon_bnn
