// The kernels for AVX-512 F, BW, DQ and VL; popcounts by table, since VPOPCNTDQ came later.
#include "kernels/portable.h"

#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512DQ__) && defined(__AVX512VL__)
#include "kernels/avx512.h"
#endif

namespace gluon_bnn {

#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512DQ__) && defined(__AVX512VL__)
namespace {

constexpr int kDwUnits = 8, kDwInputs = 32;

inline __mmask16 first(int64_t lanes) { return static_cast<__mmask16>(lanes >= 16 ? 0xffff : (1 << lanes) - 1); }

// Two comparisons of 16 numbers make a word. `below(begin, mask)` compares the numbers that the mask selects.
template <typename Below>
inline void pack_bits(int64_t inputs, uint32_t* bits, const Below& below) {
  int64_t begin = 0;
  for (; begin + kWord <= inputs; begin += kWord) {
    bits[begin / kWord] = below(begin, first(16)) | static_cast<uint32_t>(below(begin + 16, first(16))) << 16;
  }
  if (const int64_t size = inputs - begin) {
    uint32_t word = below(begin, first(size));
    if (size > 16) word |= static_cast<uint32_t>(below(begin + 16, first(size - 16))) << 16;
    bits[begin / kWord] = word;
  }
}

void pack(const float* x, int64_t inputs, uint32_t* bits) {
  pack_bits(inputs, bits, [=](int64_t k, __mmask16 mask) {
    return _mm512_mask_cmp_ps_mask(mask, _mm512_maskz_loadu_ps(mask, x + k), _mm512_setzero_ps(), _CMP_LT_OQ);
  });
}

void pack_u8(const uint8_t* x, const int32_t* threshold, int64_t inputs, uint32_t* bits) {
  pack_bits(inputs, bits, [=](int64_t k, __mmask16 mask) {
    const __m512i pixels = _mm512_cvtepu8_epi32(_mm_maskz_loadu_epi8(mask, x + k));
    return _mm512_mask_cmplt_epi32_mask(mask, pixels, _mm512_maskz_loadu_epi32(mask, threshold + k));
  });
}

void epilogue_xnor_bits(const int32_t* counts, int64_t rows, int64_t units, int64_t inputs, const int32_t* threshold,
                        uint32_t* y, int64_t y_stride) {
  const __m512i k = _mm512_set1_epi32(static_cast<int32_t>(inputs));
  for (int64_t r = 0; r < rows; ++r, counts += kTileUnits, y += y_stride) {
    pack_bits(units, y, [=](int64_t u, __mmask16 mask) {
      const __m512i dot = _mm512_sub_epi32(k, _mm512_slli_epi32(_mm512_loadu_si512(counts + u), 1));
      return _mm512_mask_cmplt_epi32_mask(mask, dot, _mm512_maskz_loadu_epi32(mask, threshold + u));
    });
  }
}

void epilogue_u8_bits(const int32_t* sums, int64_t rows, int64_t units, const int32_t* threshold, uint32_t* y,
                      int64_t y_stride) {
  for (int64_t r = 0; r < rows; ++r, sums += kTileUnits, y += y_stride) {
    pack_bits(units, y, [=](int64_t u, __mmask16 mask) {
      return _mm512_mask_cmplt_epi32_mask(mask, _mm512_loadu_si512(sums + u),
                                          _mm512_maskz_loadu_epi32(mask, threshold + u));
    });
  }
}

// One column of 16 units after the other, so that its scales stay in registers for all rows. dot and dot01 are computed
// as in portable.h.
template <bool kNorm, bool kSums, bool kStream>
void epilogue_columns(const int32_t* counts, int64_t rows, int64_t units, int64_t inputs, const Epilogue& a, float* y,
                      int64_t y_stride) {
  const __m512i half = _mm512_set1_epi32(static_cast<int32_t>((inputs + 1) / 2));
  for (int64_t u = 0; u < units; u += kBlock) {
    const __mmask16 mask = first(units - u);
    const auto load = [=](const float* from) { return _mm512_maskz_loadu_ps(mask, from + u); };
    const __m512 zero = _mm512_setzero_ps(), alpha = load(a.alpha), bias = load(a.bias);
    const __m512 mean = kNorm ? load(a.mean) : zero, factor = kNorm ? load(a.factor) : zero;
    const __m512 beta = kNorm ? load(a.beta) : zero;
    const __m512i all = kSums ? _mm512_add_epi32(half, _mm512_srai_epi32(_mm512_maskz_loadu_epi32(mask, a.sums + u), 1))
                              : _mm512_set1_epi32(static_cast<int32_t>(inputs));
    for (int64_t r = 0; r < rows; ++r) {
      const __m512i count = _mm512_loadu_si512(counts + r * kTileUnits + u);
      __m512i dot = _mm512_sub_epi32(all, count);
      if (!kSums) dot = _mm512_sub_epi32(dot, count);
      __m512 v = _mm512_add_ps(_mm512_mul_ps(alpha, _mm512_cvtepi32_ps(dot)), bias);
      if (kNorm) v = _mm512_add_ps(_mm512_mul_ps(_mm512_sub_ps(v, mean), factor), beta);
      if (kStream) {
        _mm512_stream_ps(y + r * y_stride + u, v);
      } else {
        _mm512_mask_storeu_ps(y + r * y_stride + u, mask, v);
      }
    }
  }
}

template <bool kStream>
void epilogue_xnor_by(const int32_t* counts, int64_t rows, int64_t units, int64_t inputs, const Epilogue& a, float* y,
                      int64_t y_stride) {
  const auto finish =
      a.mean == nullptr
          ? (a.sums == nullptr ? epilogue_columns<false, false, kStream> : epilogue_columns<false, true, kStream>)
          : (a.sums == nullptr ? epilogue_columns<true, false, kStream> : epilogue_columns<true, true, kStream>);
  finish(counts, rows, units, inputs, a, y, y_stride);
}

void lut_build(const float* x, int64_t groups, float* out) {
  const __m512 minus = _mm512_set1_ps(-0.0f), zero = _mm512_setzero_ps();
  const __m512 s0 = _mm512_mask_mov_ps(zero, 0xaaaa, minus), s1 = _mm512_mask_mov_ps(zero, 0xcccc, minus);
  const __m512 s2 = _mm512_mask_mov_ps(zero, 0xf0f0, minus), s3 = _mm512_mask_mov_ps(zero, 0xff00, minus);
  for (int64_t g = 0; g < groups; ++g, x += kGroup, out += kLutEntries) {
    const __m512 left = _mm512_add_ps(_mm512_xor_ps(_mm512_set1_ps(x[0]), s0), _mm512_xor_ps(_mm512_set1_ps(x[1]), s1));
    const __m512 right =
        _mm512_add_ps(_mm512_xor_ps(_mm512_set1_ps(x[2]), s2), _mm512_xor_ps(_mm512_set1_ps(x[3]), s3));
    _mm512_storeu_ps(out, _mm512_add_ps(left, right));
  }
}

// vpermps reads the low 4 bits of each lane: the weights are shifted to the next group, once for all rows. Every other
// row adds by a product with 1, the same bits, on units that a lookup and a plain addition leave alone, which takes a
// seventh off the product of floats on Zen 4.
template <int R, int B>
void lut_tile(const float* tables, int64_t table_stride, const uint32_t* w, int64_t block_stride, int64_t groups,
              float* sums, int64_t sums_stride) {
  const __m512 one = _mm512_set1_ps(1.0f);
  __m512 acc[R][B];
#pragma GCC unroll 8
  for (auto& row : acc) {
    for (auto& v : row) v = _mm512_setzero_ps();
  }
  for (int64_t begin = 0; begin < groups; begin += kWordGroups, w += kBlock) {
    const int64_t size = smaller(kWordGroups, groups - begin);
    __m512i v[B];
    for (int b = 0; b < B; ++b) v[b] = _mm512_loadu_si512(w + b * block_stride);
#pragma GCC unroll 1
    for (int64_t q = 0; q < size; ++q, tables += kLutEntries) {
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) {
        const __m512 table = _mm512_loadu_ps(tables + r * table_stride);
        for (int b = 0; b < B; ++b) {
          const __m512 four = _mm512_permutexvar_ps(v[b], table);
          acc[r][b] = r % 2 ? _mm512_fmadd_ps(four, one, acc[r][b]) : _mm512_add_ps(acc[r][b], four);
          if (r == R - 1) v[b] = _mm512_srli_epi32(v[b], 4);
        }
      }
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
    for (int b = 0; b < B; ++b) {
      float* to = sums + r * sums_stride + b * kBlock;
      _mm512_storeu_ps(to, _mm512_add_ps(_mm512_loadu_ps(to), acc[r][b]));
    }
  }
}

// One row alone, where a shift for every lookup would be the third operation on the same two units. The high
// half of a product with 2^12, 2^8 or 2^4 moves the next groups of each 16 bits down as well, on units that
// have nothing else to do.
template <int B>
void lut_row_tile(const float* tables, const uint32_t* w, int64_t block_stride, int64_t words, float* sums) {
  const __m512i by4 = _mm512_set1_epi16(1 << 12), by8 = _mm512_set1_epi16(1 << 8);
  const __m512i by12 = _mm512_set1_epi16(1 << 4);
  __m512 acc[B];
  for (auto& v : acc) v = _mm512_setzero_ps();
  for (int64_t word = 0; word < words; ++word) {
    __m512i v[B];
    for (int b = 0; b < B; ++b) v[b] = _mm512_loadu_si512(w + b * block_stride + word * kBlock);
#pragma GCC unroll 1
    for (int half = 0; half < 2; ++half, tables += 4 * kLutEntries) {
      const auto look_up = [&](int group, const auto& moved) {
        const __m512 table = _mm512_loadu_ps(tables + group * kLutEntries);
        for (int b = 0; b < B; ++b) acc[b] = _mm512_add_ps(acc[b], _mm512_permutexvar_ps(moved(v[b]), table));
      };
      look_up(0, [](__m512i bits) { return bits; });
      look_up(1, [=](__m512i bits) { return _mm512_mulhi_epu16(bits, by4); });
      look_up(2, [=](__m512i bits) { return _mm512_mulhi_epu16(bits, by8); });
      look_up(3, [=](__m512i bits) { return _mm512_mulhi_epu16(bits, by12); });
      for (int b = 0; b < B; ++b) v[b] = _mm512_srli_epi32(v[b], 16);
    }
  }
  for (int b = 0; b < B; ++b) {
    float* to = sums + b * kBlock;
    _mm512_storeu_ps(to, _mm512_add_ps(_mm512_loadu_ps(to), acc[b]));
  }
}

void lut_gemm(const float* tables, int64_t table_stride, int64_t rows, const uint32_t* w, int64_t block_stride,
              int64_t blocks, int64_t groups, float* sums, int64_t sums_stride) {
  constexpr int64_t kSumGroups = kSumWords * kWordGroups;
  const int64_t step = rows == 1 ? 4 : 5;
  for (int64_t block = 0; block < blocks; block += step) {
    for (int64_t g = 0; g < groups; g += kSumGroups) {
      const float* from = tables + g * kLutEntries;
      const uint32_t* weights = w + block * block_stride + g / kWordGroups * kBlock;
      const int64_t count = smaller(kSumGroups, groups - g);
      if (rows == 1) {
        by_shape<1, 4>(1, blocks - block, [&](auto, auto b) {
          lut_row_tile<b>(from, weights, block_stride, ceil_div(count, kWordGroups), sums + block * kBlock);
        });
      } else {
        by_shape<4, 5>(rows, blocks - block, [&](auto r, auto b) {
          lut_tile<r, b>(from, table_stride, weights, block_stride, count, sums + block * kBlock, sums_stride);
        });
      }
    }
  }
}

// The sums of a tile of 8 units and 32 inputs stay in registers while rows pass by.
void dw_gemm(const float* dy, const float* x, int64_t rows, bool begin, float* sums, int64_t stride) {
  const auto at = [=](int i) { return sums + i / 2 * stride + i % 2 * kBlock; };
  __m512 acc[2 * kDwUnits];
#pragma GCC unroll 16
  for (int i = 0; i < 2 * kDwUnits; ++i) acc[i] = _mm512_setzero_ps();
#pragma GCC unroll 1
  for (int64_t m = 0; m < rows; ++m, dy += kDwUnits, x += kDwInputs) {
    const __m512 low = _mm512_loadu_ps(x), high = _mm512_loadu_ps(x + kBlock);
#pragma GCC unroll 8
    for (int u = 0; u < kDwUnits; ++u) {
      const __m512 d = _mm512_set1_ps(dy[u]);
      acc[2 * u] = _mm512_fmadd_ps(d, low, acc[2 * u]);
      acc[2 * u + 1] = _mm512_fmadd_ps(d, high, acc[2 * u + 1]);
    }
  }
#pragma GCC unroll 16
  for (int i = 0; i < 2 * kDwUnits; ++i) {
    _mm512_storeu_ps(at(i), begin ? acc[i] : _mm512_add_ps(_mm512_loadu_ps(at(i)), acc[i]));
  }
}

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
#pragma GCC unroll 8
    for (auto& row : bytes) {
      for (auto& v : row) v = _mm512_setzero_si512();
    }
    for (int64_t word = begin; word < end; ++word) {
#pragma GCC unroll 8
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
#pragma GCC unroll 8
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
