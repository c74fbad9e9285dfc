// What the GEMMs share: the iterator over the tiles of a result, addresses in packed weights, and the way from a tile
// to the result.
//
// A tile of units meets a chunk of rows: the tile's weights stay in the L1 cache for all rows of the chunk, and the
// rows of the chunk stay in the L2 cache for all tiles.
#ifndef GLUON_BNN_GEMM_TILES_H_
#define GLUON_BNN_GEMM_TILES_H_

#include <functional>

#include "gemm/gemm.h"
#include "parallel.h"

namespace gluon_bnn {

constexpr int64_t kChunkRows = 48;    // a multiple of the rows of all micro-kernels
constexpr int64_t kWordsBlock = 128;  // words of bits of a tile's weights at a time: 16 KB for 32 units
// Nanoseconds on one thread, for a word of bits by bits and for a product of two floats.
constexpr double kXnorProduct = 0.03, kFloatProduct = 0.05;

// A part of the result.
struct Tile {
  int64_t row, rows, unit, units;

  int64_t blocks() const { return ceil_div(units, kBlock); }
};

struct PackedWeights {
  const uint32_t* bits;
  int64_t words;  // per unit

  PackedWeights(const uint32_t* bits, int64_t inputs) : bits(bits), words(ceil_div(inputs, kWord)) {}
  int64_t block_stride() const { return words * kBlock; }
  const uint32_t* at(int64_t unit, int64_t word) const { return bits + (unit / kBlock * words + word) * kBlock; }
};

// Where products find `count` rows of their inputs from `row` on, one after the other: in an array, or in a buffer of
// the thread that they are copied to. It is called in parallel regions.
template <typename T>
using RowsOf = std::function<const T*(int64_t row, int64_t count, int thread)>;

// lut_dense and u8_dense over rows from anywhere, at most kTileRows at a time, and the threads that they use. Rows of
// uint8 are `stride` elements apart; where that is a whole number of words, zeros follow the last input.
void lut_product(const DenseSizes& sizes, const RowsOf<float>& rows_of, const uint32_t* w, const Epilogue& epilogue,
                 const Result& result);
void u8_product(const DenseSizes& sizes, const RowsOf<uint8_t>& rows_of, int64_t stride, const uint32_t* w,
                const Epilogue& epilogue, const Result& result);
void u8_product_bits(const DenseSizes& sizes, const RowsOf<uint8_t>& rows_of, int64_t stride, const uint32_t* w,
                     const int32_t* threshold, uint32_t* bits);
int lut_threads(const DenseSizes& sizes);
int u8_threads(const DenseSizes& sizes);

// Calls body(tile, thread) for all tiles of `tile_units` units. Threads get rows that lie together and, where there are
// enough rows, all units of these rows.
template <typename Body>
void for_each_tile(int threads, const DenseSizes& sizes, int64_t tile_units, const Body& body) {
  const int64_t tiles = ceil_div(sizes.units, tile_units), chunks = ceil_div(sizes.rows, kChunkRows);
  const int64_t chunk = ceil_div(sizes.rows, chunks);
  parallel_for<Schedule::kStatic>(threads, chunks * tiles, [&](int64_t i, int thread) {
    const int64_t row = i / tiles * chunk, unit = i % tiles * tile_units;
    if (row >= sizes.rows) return;
    body(Tile{row, smaller(chunk, sizes.rows - row), unit, smaller(tile_units, sizes.units - unit)}, thread);
  });
}

// Calls body(strip) for strips of at most `most` rows. Their heights are about equal: a last strip of a row or two
// would leave execution units of the processor idle.
template <typename Body>
void for_each_strip(const Tile& tile, int64_t most, const Body& body) {
  const int64_t strips = ceil_div(tile.rows, most), rows = tile.rows / strips, larger = tile.rows % strips;
  for (int64_t i = 0, row = tile.row; i < strips; ++i) {
    const Tile strip = {row, rows + (i < larger ? 1 : 0), tile.unit, tile.units};
    body(strip);
    row += strip.rows;
  }
}

// The epilogue of a tile that begins at `unit`.
inline Epilogue epilogue_at(const Epilogue& all, int64_t unit) {
  const auto move = [=](auto* pointer) { return pointer == nullptr ? nullptr : pointer + unit; };
  return {move(all.alpha), move(all.bias), move(all.mean), move(all.factor), move(all.beta), move(all.sums)};
}

// Runs epilogue(y, y_stride) for a tile of a result with `units` units: into the floats, or into `scratch`, kTileUnits
// floats per row, and from there into the bits.
template <typename RunEpilogue>
void write_tile(const Kernels& k, const Result& result, const Tile& tile, int64_t units, float* scratch,
                const RunEpilogue& epilogue) {
  if (result.y != nullptr) return epilogue(result.y + tile.row * units + tile.unit, units);
  epilogue(scratch, kTileUnits);
  const int64_t words = ceil_div(units, kWord);
  uint32_t* bits = result.bits + tile.row * words + tile.unit / kWord;
  for (int64_t r = 0; r < tile.rows; ++r) k.pack(scratch + r * kTileUnits, tile.units, bits + r * words);
}

}  // namespace gluon_bnn

#endif  // GLUON_BNN_GEMM_TILES_H_
