// The kernels in plain C++, which run on every machine. Tests compare the other instruction sets with them.
#include "kernels/portable.h"

namespace gluon_bnn {
namespace {

constexpr int kDwUnits = 4, kDwInputs = 8;

int32_t popcount(uint32_t v) {
  v -= (v >> 1) & 0x55555555u;
  v = (v & 0x33333333u) + ((v >> 2) & 0x33333333u);
  v = (v + (v >> 4)) & 0x0f0f0f0fu;
  return static_cast<int32_t>((v * 0x01010101u) >> 24);
}

// Bit k is below(k). The bits after the last input are 0.
template <typename Below>
void pack_bits(int64_t inputs, uint32_t* bits, const Below& below) {
  for (int64_t begin = 0; begin < inputs; begin += kWord) {
    const int64_t size = smaller(kWord, inputs - begin);
    uint32_t word = 0;
    for (int64_t t = 0; t < size; ++t) word |= static_cast<uint32_t>(below(begin + t)) << t;
    bits[begin / kWord] = word;
  }
}

void pack(const float* x, int64_t inputs, uint32_t* bits) {
  pack_bits(inputs, bits, [=](int64_t k) { return x[k] < 0; });
}

void pack_u8(const uint8_t* x, const int32_t* threshold, int64_t inputs, uint32_t* bits) {
  pack_bits(inputs, bits, [=](int64_t k) { return x[k] < threshold[k]; });
}

void xnor_gemm(const uint32_t* x, int64_t stride, int64_t rows, const uint32_t* w, int64_t block_stride, int64_t blocks,
               int64_t words, bool begin, int32_t* counts) {
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t b = 0; b < blocks; ++b) {
      int32_t* to = counts + r * kTileUnits + b * kBlock;
      for (int64_t l = 0; begin && l < kBlock; ++l) to[l] = 0;
      for (int64_t word = 0; word < words; ++word) {
        const uint32_t* v = w + b * block_stride + word * kBlock;
        for (int64_t l = 0; l < kBlock; ++l) to[l] += popcount(x[r * stride + word] ^ v[l]);
      }
    }
  }
}

void lut_build(const float* x, int64_t groups, float* out) {
  for (int64_t g = 0; g < groups; ++g, x += kGroup, out += kLutEntries) {
    for (int n = 0; n < kLutEntries; ++n) {
      out[n] = ((n & 1 ? -x[0] : x[0]) + (n & 2 ? -x[1] : x[1])) + ((n & 4 ? -x[2] : x[2]) + (n & 8 ? -x[3] : x[3]));
    }
  }
}

void lut_gemm(const float* tables, int64_t table_stride, int64_t rows, const uint32_t* w, int64_t block_stride,
              int64_t blocks, int64_t groups, float* sums, int64_t sums_stride) {
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t b = 0; b < blocks; ++b) {
      float* to = sums + r * sums_stride + b * kBlock;
      for (int64_t begin = 0; begin < groups; begin += kSumWords * kWordGroups) {
        float parts[kBlock] = {};
        for (int64_t g = begin; g < smaller(groups, begin + kSumWords * kWordGroups); ++g) {
          const uint32_t* v = w + b * block_stride + g / kWordGroups * kBlock;
          const float* table = tables + r * table_stride + g * kLutEntries;
          const int64_t shift = kGroup * (g % kWordGroups);
          for (int64_t l = 0; l < kBlock; ++l) parts[l] += table[v[l] >> shift & 15];
        }
        for (int64_t l = 0; l < kBlock; ++l) to[l] += parts[l];
      }
    }
  }
}

void u8_gemm(const uint8_t* x, int64_t stride, int64_t rows, const uint32_t* w, int64_t block_stride, int64_t blocks,
             int64_t words, int32_t* sums) {
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t b = 0; b < blocks; ++b) {
      int32_t* to = sums + r * kTileUnits + b * kBlock;
      for (int64_t k = 0; k < words * kWord; ++k) {
        const uint32_t* v = w + b * block_stride + k / kWord * kBlock;
        const int32_t pixel = x[r * stride + k];
        for (int64_t l = 0; l < kBlock; ++l) to[l] += v[l] >> (k % kWord) & 1 ? -pixel : pixel;
      }
    }
  }
}

void epilogue_xnor_bits(const int32_t* counts, int64_t rows, int64_t units, int64_t inputs, const int32_t* threshold,
                        uint32_t* y, int64_t y_stride) {
  const int32_t k = static_cast<int32_t>(inputs);
  for (int64_t r = 0; r < rows; ++r, counts += kTileUnits, y += y_stride) {
    pack_bits(units, y, [=](int64_t u) { return k - counts[u] - counts[u] < threshold[u]; });
  }
}

void epilogue_u8_bits(const int32_t* sums, int64_t rows, int64_t units, const int32_t* threshold, uint32_t* y,
                      int64_t y_stride) {
  for (int64_t r = 0; r < rows; ++r, sums += kTileUnits, y += y_stride) {
    pack_bits(units, y, [=](int64_t u) { return sums[u] < threshold[u]; });
  }
}

constexpr Kernels by_name() {
  Kernels k = portable_kernels("serial");
  k.pack = pack;
  k.pack_u8 = pack_u8;
  k.xnor_gemm = xnor_gemm;
  k.xnor_rows = 1;
  k.xnor_blocks = 2;
  k.epilogue_xnor_bits = epilogue_xnor_bits;
  k.lut_build = lut_build;
  k.lut_entries = kLutEntries;
  k.lut_gemm = lut_gemm;
  k.lut_rows = 1;
  k.u8_gemm = u8_gemm;
  k.epilogue_u8_bits = epilogue_u8_bits;
  k.u8_rows = 1;
  k.u8_blocks = 2;
  k.dw_gemm = dw_gemm<kDwUnits, kDwInputs>;
  k.dw_units = kDwUnits;
  k.dw_inputs = kDwInputs;
  k.winograd_dy = winograd_dy<kDwUnits>;
  k.winograd_x = winograd_x<kDwInputs>;
  return k;
}

}  // namespace

const Kernels* serial_kernels() {
  static constexpr Kernels table = by_name();
  return &table;
}

}  // namespace gluon_bnn
