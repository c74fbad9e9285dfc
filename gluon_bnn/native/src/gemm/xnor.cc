// Bits times bits: popcounts in tiles, then an epilogue that makes floats or the next layer's bits of them.
#include "gemm/lines.h"
#include "gemm/tiles.h"

namespace gluon_bnn {
namespace {

constexpr int64_t kStreamed = 1 << 20;  // float results that no L2 cache holds: 4 MB

// Makes stores that bypass the caches visible to other threads.
void store_fence() {
#if defined(__SSE__)
  __builtin_ia32_sfence();
#endif
}

// Calls epilogue(row, rows, unit, units, inputs, counts) for all strips of all tiles.
template <typename RunEpilogue>
void xnor_gemm(const DenseSizes& sizes, const uint32_t* x, const uint32_t* w, const RunEpilogue& epilogue) {
  const Kernels& k = kernels();
  const ConvSizes line = line_of(sizes);
  if (bits_in_lines(line)) {
    return bits_by_lines(line, Border(line, Pad::kPlus, w), x, w, epilogue);
  }
  const PackedWeights weights(w, sizes.inputs);
  const int64_t words = weights.words;
  const int threads = threads_for(kXnorProduct * sizes.rows * sizes.units * words);
  const Scratch<int32_t> scratch(threads, smaller(sizes.rows, kChunkRows) * kTileUnits);
  for_each_tile(threads, sizes, k.xnor_blocks * kBlock, [&](const Tile& tile, int thread) {
    for (int64_t word = 0; word < words; word += kWordsBlock) {
      const int64_t count = smaller(kWordsBlock, words - word);
      for_each_strip(tile, k.xnor_rows, [&](const Tile& strip) {
        int32_t* counts = scratch[thread] + (strip.row - tile.row) * kTileUnits;
        k.xnor_gemm(x + strip.row * words + word, words, strip.rows, weights.at(strip.unit, word),
                    weights.block_stride(), strip.blocks(), count, word == 0, counts);
        // The epilogue follows at once, so that only a few stores at a time wait for the cache.
        if (word + count == words) epilogue(strip.row, strip.rows, strip.unit, strip.units, sizes.inputs, counts);
      });
    }
    store_fence();
  });
}

}  // namespace

void xnor_dense(const DenseSizes& sizes, const uint32_t* x, const uint32_t* w, const Epilogue& epilogue, float* y) {
  const Kernels& k = kernels();
  const bool aligned = reinterpret_cast<uintptr_t>(y) % 64 == 0 && sizes.units % kBlock == 0;
  const bool stream = k.epilogue_xnor_stream != nullptr && aligned && sizes.rows * sizes.units >= kStreamed;
  const auto run = stream ? k.epilogue_xnor_stream : k.epilogue_xnor;
  xnor_gemm(sizes, x, w,
            [&](int64_t row, int64_t rows, int64_t unit, int64_t units, int64_t inputs, const int32_t* counts) {
              run(counts, rows, units, inputs, epilogue_at(epilogue, unit), y + row * sizes.units + unit, sizes.units);
            });
}

void xnor_dense_bits(const DenseSizes& sizes, const uint32_t* x, const uint32_t* w, const int32_t* threshold,
                     uint32_t* bits) {
  const Kernels& k = kernels();
  const int64_t words = ceil_div(sizes.units, kWord);
  xnor_gemm(
      sizes, x, w, [&](int64_t row, int64_t rows, int64_t unit, int64_t units, int64_t inputs, const int32_t* counts) {
        k.epilogue_xnor_bits(counts, rows, units, inputs, threshold + unit, bits + row * words + unit / kWord, words);
      });
}

}  // namespace gluon_bnn
