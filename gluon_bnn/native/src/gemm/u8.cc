// uint8 inputs times bits, exact in int32.
#include <cstring>

#include "gemm/lines.h"
#include "gemm/tiles.h"

namespace gluon_bnn {
namespace {

struct alignas(64) Buffers {
  int32_t sums[kTileRows * kTileUnits];
  float out[kTileRows * kTileUnits];
  uint8_t padded[kTileRows * kWord];  // the inputs of the last word, followed by zeros
};

// sums = the dot products of a strip. The kernel takes whole words of inputs, so the last word of each row is copied to
// a buffer with zeros after it, unless zeros follow it where it is.
void multiply(const Kernels& k, int64_t inputs, const uint8_t* rows, int64_t stride, const PackedWeights& weights,
              const Tile& strip, Buffers* buffers) {
  const int64_t whole = stride % kWord == 0 ? weights.words : inputs / kWord;
  const int64_t tail = stride % kWord == 0 ? 0 : inputs % kWord;
  std::memset(buffers->sums, 0, strip.rows * kTileUnits * sizeof(int32_t));
  k.u8_gemm(rows, stride, strip.rows, weights.at(strip.unit, 0), weights.block_stride(), strip.blocks(), whole,
            buffers->sums);
  if (tail == 0) return;
  std::memset(buffers->padded, 0, strip.rows * kWord);
  for (int64_t r = 0; r < strip.rows; ++r) {
    std::memcpy(buffers->padded + r * kWord, rows + r * stride + whole * kWord, tail);
  }
  k.u8_gemm(buffers->padded, kWord, strip.rows, weights.at(strip.unit, whole), weights.block_stride(), strip.blocks(),
            1, buffers->sums);
}

// Calls epilogue(strip, buffers) for all strips of all tiles.
template <typename RunEpilogue>
void u8_strips(const DenseSizes& sizes, const RowsOf<uint8_t>& rows_of, int64_t stride, const uint32_t* w,
               const RunEpilogue& epilogue) {
  const Kernels& k = kernels();
  const PackedWeights weights(w, sizes.inputs);
  const int threads = u8_threads(sizes);
  const Scratch<Buffers> scratch(threads, 1);
  for_each_tile(threads, sizes, k.u8_blocks * kBlock, [&](const Tile& tile, int thread) {
    Buffers* buffers = scratch[thread];
    for_each_strip(tile, k.u8_rows, [&](const Tile& strip) {
      multiply(k, sizes.inputs, rows_of(strip.row, strip.rows, thread), stride, weights, strip, buffers);
      epilogue(strip, buffers);
    });
  });
}

}  // namespace

int u8_threads(const DenseSizes& sizes) {
  return threads_for(0.3 * sizes.rows * sizes.units * ceil_div(sizes.inputs, kWord));
}

void u8_product(const DenseSizes& sizes, const RowsOf<uint8_t>& rows_of, int64_t stride, const uint32_t* w,
                const Epilogue& epilogue, const Result& result) {
  const Kernels& k = kernels();
  u8_strips(sizes, rows_of, stride, w, [&](const Tile& strip, Buffers* buffers) {
    write_tile(k, result, strip, sizes.units, buffers->out, [&](float* y, int64_t y_stride) {
      k.epilogue_u8(buffers->sums, strip.rows, strip.units, epilogue_at(epilogue, strip.unit), y, y_stride);
    });
  });
}

void u8_product_bits(const DenseSizes& sizes, const RowsOf<uint8_t>& rows_of, int64_t stride, const uint32_t* w,
                     const int32_t* threshold, uint32_t* bits) {
  const Kernels& k = kernels();
  const int64_t words = ceil_div(sizes.units, kWord);
  u8_strips(sizes, rows_of, stride, w, [&](const Tile& strip, Buffers* buffers) {
    k.epilogue_u8_bits(buffers->sums, strip.rows, strip.units, threshold + strip.unit,
                       bits + strip.row * words + strip.unit / kWord, words);
  });
}

void u8_lines(const ConvSizes& sizes, const uint8_t* x, const uint32_t* w, const Epilogue& epilogue,
              const Result& result) {
  const Kernels& k = kernels();
  pixels_by_lines(
      sizes, x, w, [&](int64_t place, int64_t rows, int64_t unit, int64_t units, int64_t, const int32_t* sums) {
        float out[kStripRows * kTileUnits];
        write_tile(k, result, {place, rows, unit, units}, sizes.units, out, [&](float* y, int64_t y_stride) {
          k.epilogue_u8(sums, rows, units, epilogue_at(epilogue, unit), y, y_stride);
        });
      });
}

void u8_lines_bits(const ConvSizes& sizes, const uint8_t* x, const uint32_t* w, const int32_t* threshold,
                   uint32_t* bits) {
  const Kernels& k = kernels();
  const int64_t words = ceil_div(sizes.units, kWord);
  pixels_by_lines(sizes, x, w,
                  [&](int64_t place, int64_t rows, int64_t unit, int64_t units, int64_t, const int32_t* sums) {
                    k.epilogue_u8_bits(sums, rows, units, threshold + unit, bits + place * words + unit / kWord, words);
                  });
}

void u8_dense(const DenseSizes& sizes, const uint8_t* x, const uint32_t* w, const Epilogue& epilogue,
              const Result& result) {
  u8_product(
      sizes, [&](int64_t row, int64_t, int) { return x + row * sizes.inputs; }, sizes.inputs, w, epilogue, result);
}

}  // namespace gluon_bnn
