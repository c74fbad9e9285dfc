// The kernels for AVX2 and FMA: a block of 16 units is two vectors.
#include "kernels/portable.h"

#if defined(__AVX2__) && defined(__FMA__)
#include <immintrin.h>

#include "kernels/avx2_lines.h"
#include "kernels/avx2_u8.h"
#include "kernels/tile_dispatch.h"
#endif

namespace gluon_bnn {

#if defined(__AVX2__) && defined(__FMA__)
namespace {

constexpr int kDwUnits = 6, kDwInputs = 16;
// Popcounts are added up in bytes. A word adds at most 8 to a byte, so after 31 words they are widened to int32.
constexpr int64_t kBytes = 31;

// Four comparisons of 8 numbers make a word. `below(begin)` compares 8 numbers, `one(k)` a single one of the tail.
template <typename Below, typename One>
inline void pack_bits(int64_t inputs, uint32_t* bits, const Below& below, const One& one) {
  for (int64_t begin = 0; begin < inputs; begin += kWord) {
    const int64_t size = smaller(kWord, inputs - begin);
    uint32_t word = 0;
    int64_t t = 0;
    for (; t + kHalf <= size; t += kHalf) word |= static_cast<uint32_t>(below(begin + t)) << t;
    for (; t < size; ++t) word |= static_cast<uint32_t>(one(begin + t)) << t;
    bits[begin / kWord] = word;
  }
}

inline int mask_of(__m256i v) { return _mm256_movemask_ps(_mm256_castsi256_ps(v)); }

void pack(const float* x, int64_t inputs, uint32_t* bits) {
  pack_bits(
      inputs, bits,
      [=](int64_t k) {
        return _mm256_movemask_ps(_mm256_cmp_ps(_mm256_loadu_ps(x + k), _mm256_setzero_ps(), _CMP_LT_OQ));
      },
      [=](int64_t k) { return x[k] < 0; });
}

void pack_u8(const uint8_t* x, const int32_t* threshold, int64_t inputs, uint32_t* bits) {
  pack_bits(
      inputs, bits,
      [=](int64_t k) {
        const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(x + k));
        return mask_of(_mm256_cmpgt_epi32(load(threshold + k), _mm256_cvtepu8_epi32(bytes)));
      },
      [=](int64_t k) { return x[k] < threshold[k]; });
}

// Where the bytes of comparisons of 4 x 8 numbers, packed in two steps, come from.
inline uint32_t word_of(__m256i a, __m256i b, __m256i c, __m256i d) {
  const __m256i bytes = _mm256_packs_epi16(_mm256_packs_epi32(a, b), _mm256_packs_epi32(c, d));
  const __m256i ordered = _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
  return static_cast<uint32_t>(_mm256_movemask_epi8(ordered));
}

// Bits of `rows` rows of numbers: is_set(numbers, limits(threshold)), whose limits are found once for all rows.
template <typename Limits, typename IsSet>
inline void compare(const int32_t* numbers, int64_t rows, int64_t units, const int32_t* threshold, uint32_t* y,
                    int64_t y_stride, const Limits& limits, const IsSet& is_set) {
  for (int64_t u = 0; u < units; u += kWord, ++y) {
    const int32_t* from = threshold + u;
    int32_t some[kWord];
    uint32_t there = ~0u;
    if (u + kWord > units) {
      __builtin_memset(some, 0, sizeof(some));
      __builtin_memcpy(some, from, (units - u) * sizeof(int32_t));
      from = some;
      there = (1u << (units - u)) - 1;
    }
    __m256i limit[4];
    for (int i = 0; i < 4; ++i) limit[i] = limits(load(from + i * kHalf));
    for (int64_t r = 0; r < rows; ++r) {
      const int32_t* row = numbers + r * kTileUnits + u;
      y[r * y_stride] = there & word_of(is_set(load(row), limit[0]), is_set(load(row + 8), limit[1]),
                                        is_set(load(row + 16), limit[2]), is_set(load(row + 24), limit[3]));
    }
  }
}

// inputs - 2 count < t where count > (inputs - t) / 2, rounded down: inputs / 2 - t / 2, both rounded down, and 1 less
// where only t is odd. No step leaves 32 bits.
void epilogue_xnor_bits(const int32_t* counts, int64_t rows, int64_t units, int64_t inputs, const int32_t* threshold,
                        uint32_t* y, int64_t y_stride) {
  const __m256i half = _mm256_set1_epi32(static_cast<int32_t>(inputs / 2));
  const __m256i even = _mm256_set1_epi32(inputs % 2 == 0 ? 1 : 0);
  compare(
      counts, rows, units, threshold, y, y_stride,
      [=](__m256i t) {
        return _mm256_sub_epi32(_mm256_sub_epi32(half, _mm256_srai_epi32(t, 1)), _mm256_and_si256(t, even));
      },
      [](__m256i count, __m256i limit) { return _mm256_cmpgt_epi32(count, limit); });
}

void epilogue_u8_bits(const int32_t* sums, int64_t rows, int64_t units, const int32_t* threshold, uint32_t* y,
                      int64_t y_stride) {
  compare(
      sums, rows, units, threshold, y, y_stride, [](__m256i t) { return t; },
      [](__m256i sum, __m256i limit) { return _mm256_cmpgt_epi32(limit, sum); });
}

template <int R>
void xnor_tile(const uint32_t* x, int64_t stride, const uint32_t* w, int64_t words, bool first_words, int32_t* counts) {
  const __m256i nibbles = _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4));
  const __m256i low = _mm256_set1_epi8(15);
  for (int64_t begin = 0; begin < words; begin += kBytes) {
    const int64_t end = smaller(words, begin + kBytes);
    __m256i bytes[R][2];
    for (auto& row : bytes) row[0] = row[1] = _mm256_setzero_si256();
    for (int64_t word = begin; word < end; ++word) {
      for (int half = 0; half < 2; ++half) {
        const __m256i weights = load(w + word * kBlock + half * kHalf);
        for (int r = 0; r < R; ++r) {
          const __m256i v = _mm256_xor_si256(weights, _mm256_set1_epi32(x[r * stride + word]));
          const __m256i right = _mm256_shuffle_epi8(nibbles, _mm256_and_si256(v, low));
          const __m256i left = _mm256_shuffle_epi8(nibbles, _mm256_and_si256(_mm256_srli_epi16(v, 4), low));
          bytes[r][half] = _mm256_add_epi8(bytes[r][half], _mm256_add_epi8(left, right));
        }
      }
    }
    for (int r = 0; r < R; ++r) {
      for (int half = 0; half < 2; ++half) {
        int32_t* to = counts + r * kTileUnits + half * kHalf;
        const __m256i pairs = _mm256_maddubs_epi16(bytes[r][half], _mm256_set1_epi8(1));
        const __m256i sums = _mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
        store(to, first_words && begin == 0 ? sums : _mm256_add_epi32(load(to), sums));
      }
    }
  }
}

void xnor_gemm(const uint32_t* x, int64_t stride, int64_t rows, const uint32_t* w, int64_t block_stride, int64_t blocks,
               int64_t words, bool begin, int32_t* counts) {
  for (int64_t b = 0; b < blocks; ++b) {
    by_shape<4, 1>(rows, 1, [&](auto r, auto) {
      xnor_tile<r>(x, stride, w + b * block_stride, words, begin, counts + b * kBlock);
    });
  }
}

// The 16 sums of a group in two parts: +-x0 +- x1, then +-x2 +- x3. To look up both and add them takes half as long as
// one lookup among 8, whose instruction crosses the halves of a vector.
void lut_build(const float* x, int64_t groups, float* out) {
  const __m256 first = _mm256_setr_ps(0, -0.0f, 0, -0.0f, 0, -0.0f, 0, -0.0f);
  const __m256 second = _mm256_setr_ps(0, 0, -0.0f, -0.0f, 0, 0, -0.0f, -0.0f);
  for (int64_t g = 0; g < groups; ++g, x += kGroup, out += kHalf) {
    const __m256 four = _mm256_broadcast_ps(reinterpret_cast<const __m128*>(x));
    const __m256 left = _mm256_permutevar_ps(four, _mm256_setr_epi32(0, 0, 0, 0, 2, 2, 2, 2));
    const __m256 right = _mm256_permutevar_ps(four, _mm256_setr_epi32(1, 1, 1, 1, 3, 3, 3, 3));
    _mm256_storeu_ps(out, _mm256_add_ps(_mm256_xor_ps(left, first), _mm256_xor_ps(right, second)));
  }
}

template <int R>
void lut_tile(const float* tables, int64_t table_stride, const uint32_t* w, int64_t groups, float* sums,
              int64_t sums_stride) {
  const __m256 one = _mm256_set1_ps(1.0f);
  __m256 acc[R][2];
  for (auto& row : acc) row[0] = row[1] = _mm256_setzero_ps();
  for (int64_t begin = 0; begin < groups; begin += kWordGroups, w += kBlock) {
    const int64_t size = smaller(kWordGroups, groups - begin);
    __m256i v[2] = {load(w), load(w + kHalf)};
#pragma GCC unroll 1
    for (int64_t q = 0; q < size; ++q, tables += kHalf) {
      const __m256i next[2] = {_mm256_srli_epi32(v[0], 2), _mm256_srli_epi32(v[1], 2)};
      for (int r = 0; r < R; ++r) {
        const float* table = tables + r * table_stride;
        const __m256 low = _mm256_broadcast_ps(reinterpret_cast<const __m128*>(table));
        const __m256 high = _mm256_broadcast_ps(reinterpret_cast<const __m128*>(table + 4));
        for (int half = 0; half < 2; ++half) {
          const __m256 left = _mm256_permutevar_ps(low, v[half]), right = _mm256_permutevar_ps(high, next[half]);
          acc[r][half] = _mm256_add_ps(acc[r][half], _mm256_fmadd_ps(left, one, right));
        }
      }
      for (int half = 0; half < 2; ++half) v[half] = _mm256_srli_epi32(next[half], 2);
    }
  }
  for (int r = 0; r < R; ++r) {
    for (int half = 0; half < 2; ++half) {
      float* to = sums + r * sums_stride + half * kHalf;
      _mm256_storeu_ps(to, _mm256_add_ps(_mm256_loadu_ps(to), acc[r][half]));
    }
  }
}

void lut_gemm(const float* tables, int64_t table_stride, int64_t rows, const uint32_t* w, int64_t block_stride,
              int64_t blocks, int64_t groups, float* sums, int64_t sums_stride) {
  constexpr int64_t kSumGroups = kSumWords * kWordGroups;
  for (int64_t b = 0; b < blocks; ++b) {
    for (int64_t g = 0; g < groups; g += kSumGroups) {
      by_shape<4, 1>(rows, 1, [&](auto r, auto) {
        lut_tile<r>(tables + g * kHalf, table_stride, w + b * block_stride + g / kWordGroups * kBlock,
                    smaller(kSumGroups, groups - g), sums + b * kBlock, sums_stride);
      });
    }
  }
}

// The sums of a tile stay in 12 registers, which leaves 4 for x and dy. Without the pragmas GCC stores all of them to
// memory in every iteration.
void dw_gemm(const float* dy, const float* x, int64_t rows, bool begin, float* sums, int64_t stride) {
  const auto at = [=](int i) { return sums + i / 2 * stride + i % 2 * kHalf; };
  __m256 acc[2 * kDwUnits];
#pragma GCC unroll 12
  for (int i = 0; i < 2 * kDwUnits; ++i) acc[i] = _mm256_setzero_ps();
#pragma GCC unroll 1
  for (int64_t m = 0; m < rows; ++m, dy += kDwUnits, x += kDwInputs) {
    const __m256 low = _mm256_loadu_ps(x), high = _mm256_loadu_ps(x + kHalf);
#pragma GCC unroll 6
    for (int u = 0; u < kDwUnits; ++u) {
      const __m256 d = _mm256_broadcast_ss(dy + u);
      acc[2 * u] = _mm256_fmadd_ps(d, low, acc[2 * u]);
      acc[2 * u + 1] = _mm256_fmadd_ps(d, high, acc[2 * u + 1]);
    }
  }
#pragma GCC unroll 12
  for (int i = 0; i < 2 * kDwUnits; ++i) {
    _mm256_storeu_ps(at(i), begin ? acc[i] : _mm256_add_ps(_mm256_loadu_ps(at(i)), acc[i]));
  }
}

constexpr Kernels by_name() {
  Kernels k = portable_kernels("avx2");
  k.pack = pack;
  k.pack_u8 = pack_u8;
  k.xnor_gemm = xnor_gemm;
  k.xnor_rows = 4;
  k.xnor_blocks = 2;
  k.epilogue_xnor_bits = epilogue_xnor_bits;
  k.xnor_pairs = xnor_pairs;
  k.xnor_spread = xnor_spread;
  k.xnor_lookup = xnor_lookup;
  k.u8_spread = u8_spread;
  k.u8_runs = u8_runs;
  k.lut_build = lut_build;
  k.lut_entries = kHalf;
  k.lut_gemm = lut_gemm;
  k.lut_rows = 4;
  k.u8_gemm = u8_gemm;
  k.epilogue_u8_bits = epilogue_u8_bits;
  k.u8_rows = kTileRows;
  k.u8_blocks = 4;
  k.dw_gemm = dw_gemm;
  k.dw_units = kDwUnits;
  k.dw_inputs = kDwInputs;
  k.winograd_dy = winograd_dy<kDwUnits>;
  k.winograd_x = winograd_x<kDwInputs>;
  return k;
}

}  // namespace

const Kernels* avx2_kernels() {
  static constexpr Kernels table = by_name();
  return &table;
}
#else
const Kernels* avx2_kernels() { return nullptr; }
#endif

}  // namespace gluon_bnn
