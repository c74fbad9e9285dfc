// Floats and uint8 to bits, and packed weights transposed. The layouts are those of gluon_bnn.h.
#ifndef GLUON_BNN_GEMM_PACK_H_
#define GLUON_BNN_GEMM_PACK_H_

#include <algorithm>

#include "kernels/table.h"
#include "parallel.h"

namespace gluon_bnn {

void pack_inputs(const float* x, int64_t rows, int64_t inputs, uint32_t* bits);
// threshold (thresholds, inputs): row r is compared with row r % thresholds of it.
void pack_inputs_u8(const uint8_t* x, const int32_t* threshold, int64_t thresholds, int64_t rows, int64_t inputs,
                    uint32_t* bits);

// Images: the signs of x (rows, channels, places) as bits (rows, places, ceil(channels / 32)).
void pack_image(const float* x, int64_t rows, int64_t channels, int64_t places, uint32_t* bits);

// The number of words that the packed weights of a layer have.
inline int64_t packed_size(int64_t units, int64_t inputs) {
  return ceil_div(units, kBlock) * ceil_div(inputs, kWord) * kBlock;
}

// Packs w (units, inputs). Right after the row of a unit it calls then(unit), while the row is in the L1 cache.
template <typename Then>
void pack_weights(const float* w, int64_t units, int64_t inputs, uint32_t* bits, const Then& then) {
  const Kernels& k = kernels();
  const int64_t words = ceil_div(inputs, kWord), blocks = ceil_div(units, kBlock);
  const int threads = threads_for(kTouch * units * inputs);
  const Scratch<uint32_t> rows(threads, words);
  parallel_for<Schedule::kDynamic>(threads, blocks, [&](int64_t block, int thread) {
    uint32_t* row = rows[thread];
    uint32_t* to = bits + block * words * kBlock;
    for (int64_t lane = 0; lane < kBlock; ++lane) {
      const int64_t unit = block * kBlock + lane;
      if (unit < units) {
        k.pack(w + unit * inputs, inputs, row);
        then(unit);
      } else {
        std::fill(row, row + words, 0u);
      }
      for (int64_t word = 0; word < words; ++word) to[word * kBlock + lane] = row[word];
    }
  });
}

// Bit t of word i becomes bit i of word t.
void transpose_bits(uint32_t words[kWord]);

// The packed weights (inputs, units) from those of (units, inputs).
void transpose_weights(const uint32_t* bits, int64_t units, int64_t inputs, uint32_t* transposed);

// The same from the bits of inputs (rows, inputs): packed weights with a unit for each input, whose inputs are the
// rows.
void transpose_inputs(const uint32_t* bits, int64_t rows, int64_t inputs, uint32_t* transposed);

}  // namespace gluon_bnn

#endif  // GLUON_BNN_GEMM_PACK_H_
