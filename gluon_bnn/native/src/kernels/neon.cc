// The kernels for 64-bit ARM, where NEON is part of the baseline: a block of 16 units is four vectors.
#if defined(__aarch64__)
#include <arm_neon.h>

#include "kernels/portable.h"
#include "kernels/tile_dispatch.h"
#else
#include "kernels/table.h"
#endif

namespace gluon_bnn {

#if defined(__aarch64__)
namespace {

constexpr int64_t kQuarter = 4;  // units per vector
constexpr int kQuarters = 4;
constexpr int kDwUnits = 4, kDwInputs = 16;
// Popcounts are added up in bytes. A word adds at most 8 to a byte, so after 31 words they are widened to int32.
constexpr int64_t kBytes = 31;

// Eight comparisons of 4 numbers make a word. `below(begin)` compares 4 numbers, `one(k)` a single one of the tail.
template <typename Below, typename One>
inline void pack_bits(int64_t inputs, uint32_t* bits, const Below& below, const One& one) {
  const uint32x4_t powers = {1, 2, 4, 8};
  for (int64_t begin = 0; begin < inputs; begin += kWord) {
    const int64_t size = smaller(kWord, inputs - begin);
    uint32_t word = 0;
    int64_t t = 0;
    for (; t + kQuarter <= size; t += kQuarter) word |= vaddvq_u32(vandq_u32(below(begin + t), powers)) << t;
    for (; t < size; ++t) word |= static_cast<uint32_t>(one(begin + t)) << t;
    bits[begin / kWord] = word;
  }
}

void pack(const float* x, int64_t inputs, uint32_t* bits) {
  pack_bits(inputs, bits, [=](int64_t k) { return vcltzq_f32(vld1q_f32(x + k)); }, [=](int64_t k) { return x[k] < 0; });
}

void pack_u8(const uint8_t* x, const int32_t* threshold, int64_t inputs, uint32_t* bits) {
  pack_bits(
      inputs, bits,
      [=](int64_t k) {
        const int32_t four[4] = {x[k], x[k + 1], x[k + 2], x[k + 3]};
        return vcltq_s32(vld1q_s32(four), vld1q_s32(threshold + k));
      },
      [=](int64_t k) { return x[k] < threshold[k]; });
}

void epilogue_xnor_bits(const int32_t* counts, int64_t rows, int64_t units, int64_t inputs, const int32_t* threshold,
                        uint32_t* y, int64_t y_stride) {
  const int32_t k = static_cast<int32_t>(inputs);
  for (int64_t r = 0; r < rows; ++r, counts += kTileUnits, y += y_stride) {
    pack_bits(
        units, y,
        [=](int64_t u) {
          const int32x4_t dot = vsubq_s32(vdupq_n_s32(k), vshlq_n_s32(vld1q_s32(counts + u), 1));
          return vcltq_s32(dot, vld1q_s32(threshold + u));
        },
        [=](int64_t u) { return k - counts[u] - counts[u] < threshold[u]; });
  }
}

void epilogue_u8_bits(const int32_t* sums, int64_t rows, int64_t units, const int32_t* threshold, uint32_t* y,
                      int64_t y_stride) {
  for (int64_t r = 0; r < rows; ++r, sums += kTileUnits, y += y_stride) {
    pack_bits(
        units, y, [=](int64_t u) { return vcltq_s32(vld1q_s32(sums + u), vld1q_s32(threshold + u)); },
        [=](int64_t u) { return sums[u] < threshold[u]; });
  }
}

template <int R>
void xnor_tile(const uint32_t* x, int64_t stride, const uint32_t* w, int64_t words, bool first_words, int32_t* counts) {
  for (int64_t begin = 0; begin < words; begin += kBytes) {
    const int64_t end = smaller(words, begin + kBytes);
    uint8x16_t bytes[R][kQuarters];
    for (auto& row : bytes) {
      for (auto& v : row) v = vdupq_n_u8(0);
    }
    for (int64_t word = begin; word < end; ++word) {
      for (int i = 0; i < kQuarters; ++i) {
        const uint32x4_t weights = vld1q_u32(w + word * kBlock + i * kQuarter);
        for (int r = 0; r < R; ++r) {
          const uint32x4_t v = veorq_u32(weights, vdupq_n_u32(x[r * stride + word]));
          bytes[r][i] = vaddq_u8(bytes[r][i], vcntq_u8(vreinterpretq_u8_u32(v)));
        }
      }
    }
    for (int r = 0; r < R; ++r) {
      for (int i = 0; i < kQuarters; ++i) {
        int32_t* to = counts + r * kTileUnits + i * kQuarter;
        const uint32x4_t sums = vpaddlq_u16(vpaddlq_u8(bytes[r][i]));
        const int32x4_t there = first_words && begin == 0 ? vdupq_n_s32(0) : vld1q_s32(to);
        vst1q_s32(to, vaddq_s32(there, vreinterpretq_s32_u32(sums)));
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

void lut_build(const float* x, int64_t groups, float* out) {
  for (int64_t g = 0; g < groups; ++g, x += kGroup, out += kLutEntries) {
    const float32x4_t left = {x[0] + x[1], -x[0] + x[1], x[0] - x[1], -x[0] - x[1]};
    const float right[4] = {x[2] + x[3], -x[2] + x[3], x[2] - x[3], -x[2] - x[3]};
    for (int i = 0; i < 4; ++i) vst1q_f32(out + 4 * i, vaddq_f32(left, vdupq_n_f32(right[i])));
  }
}

// A table of 16 floats is 64 bytes, and one lookup instruction can select from four registers of 16 bytes. To select
// float n it needs the bytes from 4 n on.
void lut_block(const float* tables, const uint32_t* w, int64_t words, float* sums) {
  float32x4_t acc[kQuarters];
  for (auto& v : acc) v = vdupq_n_f32(0);
  for (int64_t word = 0; word < words; ++word, tables += kWord / kGroup * kLutEntries) {
    uint32x4_t v[kQuarters];
    for (int i = 0; i < kQuarters; ++i) v[i] = vld1q_u32(w + word * kBlock + i * kQuarter);
    for (int q = 0; q < kWord / kGroup; ++q) {
      const uint8x16x4_t table = vld1q_u8_x4(reinterpret_cast<const uint8_t*>(tables + q * kLutEntries));
      for (int i = 0; i < kQuarters; ++i) {
        const uint32x4_t n = vandq_u32(v[i], vdupq_n_u32(15));
        const uint32x4_t bytes = vmlaq_u32(vdupq_n_u32(0x03020100), n, vdupq_n_u32(0x04040404));
        acc[i] = vaddq_f32(acc[i], vreinterpretq_f32_u8(vqtbl4q_u8(table, vreinterpretq_u8_u32(bytes))));
        v[i] = vshrq_n_u32(v[i], 4);
      }
    }
  }
  for (int i = 0; i < kQuarters; ++i) {
    vst1q_f32(sums + i * kQuarter, vaddq_f32(vld1q_f32(sums + i * kQuarter), acc[i]));
  }
}

void lut_gemm(const float* tables, int64_t table_stride, int64_t rows, const uint32_t* w, int64_t block_stride,
              int64_t blocks, int64_t groups, float* sums, int64_t sums_stride) {
  const int64_t words = ceil_div(groups, kWordGroups);
  for (int64_t b = 0; b < blocks; ++b) {
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t word = 0; word < words; word += kSumWords) {
        lut_block(tables + r * table_stride + word * (kWord / kGroup * kLutEntries),
                  w + b * block_stride + word * kBlock, smaller(kSumWords, words - word),
                  sums + r * sums_stride + b * kBlock);
      }
    }
  }
}

// sum s p = sum p - 2 * (sum of the p whose bit is set). A pair of pixels adds at most 510 to 16 bits: 128
// groups fit, that is 16 words.
void u8_block(const uint8_t* x, const uint32_t* w, int64_t words, int32_t* sums) {
  const uint8x16_t spread = {0, 0, 0, 0, 4, 4, 4, 4, 8, 8, 8, 8, 12, 12, 12, 12};
  const uint8x16_t low = vreinterpretq_u8_u32(vdupq_n_u32(0x08040201));
  const uint8x16_t high = vreinterpretq_u8_u32(vdupq_n_u32(0x80402010));
  for (int64_t begin = 0; begin < words; begin += 16) {
    const int64_t end = smaller(words, begin + 16);
    uint32_t total = 0;
    for (int64_t k = begin * kWord; k < end * kWord; ++k) total += x[k];
    for (int i = 0; i < kQuarters; ++i) {
      uint16x8_t set = vdupq_n_u16(0);
      for (int64_t word = begin; word < end; ++word) {
        uint32x4_t v = vld1q_u32(w + word * kBlock + i * kQuarter);
        for (int64_t byte = 0; byte < 4; ++byte, v = vshrq_n_u32(v, 8)) {
          const uint8x16_t bits = vqtbl1q_u8(vreinterpretq_u8_u32(v), spread);
          uint32_t four[2];
          __builtin_memcpy(four, x + word * kWord + byte * 8, 8);
          const uint8x16_t left = vreinterpretq_u8_u32(vdupq_n_u32(four[0]));
          const uint8x16_t right = vreinterpretq_u8_u32(vdupq_n_u32(four[1]));
          set = vpadalq_u8(set, vandq_u8(left, vtstq_u8(bits, low)));
          set = vpadalq_u8(set, vandq_u8(right, vtstq_u8(bits, high)));
        }
      }
      int32_t* to = sums + i * kQuarter;
      const int32x4_t twice = vreinterpretq_s32_u32(vshlq_n_u32(vpaddlq_u16(set), 1));
      const int32x4_t part = vsubq_s32(vdupq_n_s32(static_cast<int32_t>(total)), twice);
      vst1q_s32(to, vaddq_s32(vld1q_s32(to), part));
    }
  }
}

void u8_gemm(const uint8_t* x, int64_t stride, int64_t rows, const uint32_t* w, int64_t block_stride, int64_t blocks,
             int64_t words, int32_t* sums) {
  for (int64_t b = 0; b < blocks; ++b) {
    for (int64_t r = 0; r < rows; ++r) {
      u8_block(x + r * stride, w + b * block_stride, words, sums + r * kTileUnits + b * kBlock);
    }
  }
}

constexpr Kernels by_name() {
  Kernels k = portable_kernels("neon");
  k.pack = pack;
  k.pack_u8 = pack_u8;
  k.xnor_gemm = xnor_gemm;
  k.xnor_rows = 4;
  k.xnor_blocks = 2;
  k.epilogue_xnor_bits = epilogue_xnor_bits;
  k.lut_build = lut_build;
  k.lut_entries = kLutEntries;
  k.lut_gemm = lut_gemm;
  k.lut_rows = 1;
  k.u8_gemm = u8_gemm;
  k.epilogue_u8_bits = epilogue_u8_bits;
  k.u8_rows = 1;
  k.u8_blocks = 4;
  k.dw_gemm = dw_gemm<kDwUnits, kDwInputs>;
  k.dw_units = kDwUnits;
  k.dw_inputs = kDwInputs;
  k.winograd_dy = winograd_dy<kDwUnits>;
  k.winograd_x = winograd_x<kDwInputs>;
  return k;
}

}  // namespace

const Kernels* neon_kernels() {
  static constexpr Kernels table = by_name();
  return &table;
}
#else
const Kernels* neon_kernels() { return nullptr; }
#endif

}  // namespace gluon_bnn
