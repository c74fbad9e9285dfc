// The kernels for AVX-512 F, BW, DQ and VL; popcounts by table, since VPOPCNTDQ came later.
#include "kernels/avx512.h"

namespace gluon_bnn {

#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512DQ__) && defined(__AVX512VL__)
namespace {

// Popcounts are added up in bytes. A word adds at most 8 to a byte, so after 31 words they are widened to int32.
constexpr int64_t kBytes = 31;

template <int R, int B>
void xnor_tile(const uint32_t* x, int64_t stride, const uint32_t* w, int64_t block_stride, int64_t words,
               bool first_words, int32_t* counts) {
  const __m512i nibbles = _mm512_broadcast_i32x4(_mm_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4));
  const __m512i low = _mm512_set1_epi8(15);
  for (int64_t begin = 0; begin < words; begin += kBytes) {
    const int64_t end = smaller(words, begin + kBytes);
    __m512i bytes[R][B];
    for (auto& row : bytes) {
      for (auto& v : row) v = _mm512_setzero_si512();
    }
    for (int64_t word = begin; word < end; ++word) {
      for (int b = 0; b < B; ++b) {
        const __m512i weights = _mm512_loadu_si512(w + b * block_stride + word * kBlock);
        for (int r = 0; r < R; ++r) {
          const __m512i v = _mm512_xor_si512(weights, _mm512_set1_epi32(x[r * stride + word]));
          const __m512i right = _mm512_shuffle_epi8(nibbles, _mm512_and_si512(v, low));
          const __m512i left = _mm512_shuffle_epi8(nibbles, _mm512_and_si512(_mm512_srli_epi16(v, 4), low));
          bytes[r][b] = _mm512_add_epi8(bytes[r][b], _mm512_add_epi8(left, right));
        }
      }
    }
    for (int r = 0; r < R; ++r) {
      for (int b = 0; b < B; ++b) {
        int32_t* to = counts + r * kTileUnits + b * kBlock;
        const __m512i pairs = _mm512_maddubs_epi16(bytes[r][b], _mm512_set1_epi8(1));
        const __m512i sums = _mm512_madd_epi16(pairs, _mm512_set1_epi16(1));
        const __mmask16 there = first_words && begin == 0 ? 0 : 0xffff;
        _mm512_storeu_si512(to, _mm512_add_epi32(_mm512_maskz_loadu_epi32(there, to), sums));
      }
    }
  }
}

// acc + the signed sums of 4 pixels: pixels times +-1 in 16-bit pairs (at most 510), then in 32 bits.
struct Add4 {
  static __m512i run(__m512i acc, __m512i pixels, __m512i signs) {
    return _mm512_add_epi32(acc, _mm512_madd_epi16(_mm512_maddubs_epi16(pixels, signs), _mm512_set1_epi16(1)));
  }
};

void xnor_gemm(const uint32_t* x, int64_t stride, int64_t rows, const uint32_t* w, int64_t block_stride, int64_t blocks,
               int64_t words, bool begin, int32_t* counts) {
  by_shape<4, 2>(rows, blocks,
                 [&](auto r, auto b) { xnor_tile<r, b>(x, stride, w, block_stride, words, begin, counts); });
}

constexpr Kernels by_name() {
  Kernels k = portable_kernels("avx512");
  k.pack = pack;
  k.pack_u8 = pack_u8;
  k.xnor_gemm = xnor_gemm;
  k.xnor_rows = 4;
  k.xnor_blocks = 2;
  k.epilogue_xnor = epilogue_xnor_by<false>;
  k.epilogue_xnor_stream = epilogue_xnor_by<true>;
  k.epilogue_xnor_bits = epilogue_xnor_bits;
  k.lut_build = lut_build;
  k.lut_entries = kLutEntries;
  k.lut_gemm = lut_gemm;
  k.lut_rows = 4;
  k.u8_gemm = u8_gemm<Add4>;
  k.epilogue_u8_bits = epilogue_u8_bits;
  k.u8_rows = 6;
  k.u8_blocks = 4;
  k.dw_gemm = dw_gemm;
  k.dw_units = kDwUnits;
  k.dw_inputs = kDwInputs;
  k.winograd_dy = winograd_dy<kDwUnits>;
  k.winograd_x = winograd_x<kDwInputs>;
  return k;
}

}  // namespace

const Kernels* avx512_kernels() {
  static constexpr Kernels table = by_name();
  return &table;
}
#else
const Kernels* avx512_kernels() { return nullptr; }
#endif

}  // namespace gluon_bnn
