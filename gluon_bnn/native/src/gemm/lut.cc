// Floats times bits by lookup table. The tables of a few rows are built for some words of inputs and used for all units
// before the next words, so that they stay in the L1 cache. The sums of these rows stay in a scratch buffer.
#include <cstring>

#include "gemm/tiles.h"

namespace gluon_bnn {
namespace {

constexpr int64_t kTables = 4096;      // floats of tables: 16 KB, which the L1 cache holds
constexpr int64_t kChunkUnits = 1920;  // most units whose sums stay in the cache together with the tables

// How the result is cut into tiles of `rows` by `units`, and the inputs into blocks of `words` words.
struct Plan {
  int64_t rows, words, table_stride;
  int threads;
  int64_t chunks, units;

  Plan(const Kernels& k, const DenseSizes& sizes) : threads(lut_threads(sizes)) {
    const int64_t word_tables = kWordGroups * k.lut_entries;
    rows = smaller(k.lut_rows, sizes.rows);
    words = kTables / word_tables / rows / kSumWords * kSumWords;
    table_stride = words * word_tables;
    // Where rows are few, the threads share the units, and each of them builds the tables. The number of chunks is then
    // a multiple of the threads, and in any case so large that a chunk has at most about kChunkUnits units.
    const int64_t parts = ceil_div(sizes.rows, rows) >= 4 * threads ? 1 : threads;
    chunks = parts * ceil_div(sizes.units, parts * kChunkUnits);
    units = ceil_div(ceil_div(sizes.units, chunks), kWord) * kWord;
  }

  int64_t tiles(const DenseSizes& sizes) const { return ceil_div(sizes.rows, rows) * chunks; }

  // The last tiles of a row may have no units, since `units` is rounded up.
  Tile tile(const DenseSizes& sizes, int64_t i) const {
    const int64_t row = i / chunks * rows, unit = i % chunks * units;
    return {row, smaller(rows, sizes.rows - row), unit, smaller(units, sizes.units - unit)};
  }
};

// Builds the tables of some rows of inputs for `words` words from `word` on, with zeros after the last input.
void build_tables(const Kernels& k, int64_t inputs, const float* x, int64_t rows, int64_t word, int64_t words,
                  int64_t table_stride, float* tables) {
  const int64_t whole = smaller(words, inputs / kWord - word);
  for (int64_t r = 0; r < rows; ++r, tables += table_stride) {
    const float* from = x + r * inputs + word * kWord;
    k.lut_build(from, whole * kWordGroups, tables);
    if (whole == words) continue;
    float padded[kWord] = {};
    std::memcpy(padded, from + whole * kWord, inputs % kWord * sizeof(float));
    k.lut_build(padded, kWordGroups, tables + whole * kWordGroups * k.lut_entries);
  }
}

}  // namespace

int lut_threads(const DenseSizes& sizes) {
  return threads_for(0.4 * sizes.rows * sizes.units * ceil_div(sizes.inputs, kWord));
}

void lut_product(const DenseSizes& sizes, const RowsOf<float>& rows_of, const uint32_t* w, const Epilogue& epilogue,
                 const Result& result) {
  const Kernels& k = kernels();
  const PackedWeights weights(w, sizes.inputs);
  const Plan plan(k, sizes);
  const Scratch<float> scratch(plan.threads, kTables + plan.rows * (plan.units + kTileUnits));
  parallel_for<Schedule::kDynamic>(plan.threads, plan.tiles(sizes), [&](int64_t i, int thread) {
    const Tile tile = plan.tile(sizes, i);
    if (tile.units <= 0) return;
    const float* x = rows_of(tile.row, tile.rows, thread);
    float* tables = scratch[thread];
    float* sums = tables + kTables;
    float* out = sums + plan.rows * plan.units;
    std::memset(sums, 0, sizeof(float) * tile.rows * plan.units);
    for (int64_t word = 0; word < weights.words; word += plan.words) {
      const int64_t words = smaller(plan.words, weights.words - word);
      const int64_t groups = ceil_div(smaller(words * kWord, sizes.inputs - word * kWord), kGroup);
      build_tables(k, sizes.inputs, x, tile.rows, word, words, plan.table_stride, tables);
      k.lut_gemm(tables, plan.table_stride, tile.rows, weights.at(tile.unit, word), weights.block_stride(),
                 tile.blocks(), groups, sums, plan.units);
    }
    for (int64_t u = 0; u < tile.units; u += kTileUnits) {
      const Tile part = {tile.row, tile.rows, tile.unit + u, smaller(kTileUnits, tile.units - u)};
      write_tile(k, result, part, sizes.units, out, [&](float* y, int64_t y_stride) {
        k.epilogue_lut(sums + u, plan.units, part.rows, part.units, epilogue_at(epilogue, part.unit), y, y_stride);
      });
    }
  });
}

void lut_dense(const DenseSizes& sizes, const float* x, const uint32_t* w, const Epilogue& epilogue,
               const Result& result) {
  lut_product(sizes, [&](int64_t row, int64_t, int) { return x + row * sizes.inputs; }, w, epilogue, result);
}

}  // namespace gluon_bnn
