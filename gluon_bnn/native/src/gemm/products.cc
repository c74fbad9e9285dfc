// Tiles, blocks and threads around the kernels of one instruction set.
//
// A piece is a tile of units for a chunk of rows: its weights stay in the L1 cache while the rows pass by, the rows in
// the L2 cache while all tiles pass by.
#include "gemm/products.h"

#include <algorithm>
#include <cstring>

#include "parallel.h"

namespace gluon_bnn {
namespace {

constexpr int64_t kWordsBlock = 128;      // words of a tile's weights at a time: 16 KB for 32 units
constexpr int64_t kChunkRows = 48;        // rows of a piece, a multiple of the tiles
constexpr int64_t kTables = 4096;         // floats of tables, 16 KB, that stay in the L1 cache
constexpr int64_t kStreamed = 1 << 20;    // float results that no L2 cache holds: 4 MB
constexpr int64_t kChunkUnits = 1920;     // units of a piece, at most, where its sums stay in the cache with the tables

// Runs piece(row_begin, row_end, unit_begin, unit_end, thread) over all of (rows, units), `tile` units at a time. A
// thread gets rows that lie together, and for these all units, so far as there are rows enough.
template <typename Piece>
void over_tiles(int threads, int64_t rows, int64_t units, int64_t tile, const Piece& piece) {
  const int64_t tiles = ceil_div(units, tile), chunks = ceil_div(rows, kChunkRows);
  const int64_t chunk = ceil_div(rows, chunks);
  parallel_for<Schedule::kStatic>(threads, chunks * tiles, [&](int64_t i, int thread) {
    const int64_t row = i / tiles * chunk, unit = i % tiles * tile;
    if (row < rows) piece(row, std::min(row + chunk, rows), unit, std::min(unit + tile, units), thread);
  });
}

Epilogue at(const Epilogue& a, int64_t unit) {
  const auto move = [=](auto* pointer) { return pointer == nullptr ? nullptr : pointer + unit; };
  return {move(a.alpha), move(a.bias), move(a.mean), move(a.factor), move(a.beta), move(a.sums)};
}

// Stores past the caches are seen by other threads after this.
void store_fence() {
#if defined(__SSE__)
  __builtin_ia32_sfence();
#endif
}

// Calls finish(counts, row, rows, unit, units) with the popcounts of every tile.
template <typename Finish>
void xnor_tiles(const uint32_t* x, const uint32_t* w, int64_t rows, int64_t units, int64_t inputs,
                const Finish& finish) {
  const Kernels& k = kernels();
  const int64_t words = ceil_div(inputs, kWord);
  const int threads = threads_for(0.03 * rows * units * words);
  const Scratch<int32_t> scratch(threads, std::min(rows, kChunkRows) * kTileUnits);
  over_tiles(threads, rows, units, k.xnor_blocks * kBlock,
             [&](int64_t row, int64_t row_end, int64_t unit, int64_t unit_end, int thread) {
    int32_t* counts = scratch[thread];
    for (int64_t word = 0; word < words; word += kWordsBlock) {
      for (int64_t r = row, size; r < row_end; r += size) {
        // Tiles of about equal height: one of a row or two would leave units idle.
        size = ceil_div(row_end - r, ceil_div(row_end - r, k.xnor_rows));
        int32_t* to = counts + (r - row) * kTileUnits;
        k.xnor_gemm(x + r * words + word, words, size, w + (unit / kBlock * words + word) * kBlock, words * kBlock,
                    ceil_div(unit_end - unit, kBlock), std::min(kWordsBlock, words - word), word == 0, to);
        // At once, so that few stores at a time are waiting for the cache.
        if (word + kWordsBlock >= words) finish(to, r, size, unit, unit_end - unit);
      }
    }
    store_fence();
  });
}

// Float results of a piece, (rows, units) with kTileUnits a row, to bits.
void pack_rows(const Kernels& k, const float* y, int64_t rows, int64_t units, uint32_t* bits, int64_t stride) {
  for (int64_t r = 0; r < rows; ++r) k.pack(y + r * kTileUnits, units, bits + r * stride);
}

}  // namespace

void pack_inputs(const float* x, int64_t rows, int64_t inputs, uint32_t* bits) {
  const Kernels& k = kernels();
  const int64_t words = ceil_div(inputs, kWord);
  parallel_for<Schedule::kStatic>(threads_for(0.05 * rows * inputs), rows, [&](int64_t r, int) {
    k.pack(x + r * inputs, inputs, bits + r * words);
  });
}

void pack_inputs_u8(const uint8_t* x, const int32_t* threshold, int64_t rows, int64_t inputs, uint32_t* bits) {
  const Kernels& k = kernels();
  const int64_t words = ceil_div(inputs, kWord);
  parallel_for<Schedule::kStatic>(threads_for(0.05 * rows * inputs), rows, [&](int64_t r, int) {
    k.pack_u8(x + r * inputs, threshold, inputs, bits + r * words);
  });
}

void xnor_dense(const uint32_t* x, const uint32_t* w, const Epilogue& epilogue, int64_t rows, int64_t units,
                int64_t inputs, float* y) {
  const Kernels& k = kernels();
  const bool aligned = reinterpret_cast<uintptr_t>(y) % 64 == 0 && units % kBlock == 0;
  const bool stream = k.epilogue_xnor_stream != nullptr && aligned && rows * units >= kStreamed;
  const auto finish = stream ? k.epilogue_xnor_stream : k.epilogue_xnor;
  xnor_tiles(x, w, rows, units, inputs,
             [&](const int32_t* counts, int64_t row, int64_t size, int64_t unit, int64_t width) {
               finish(counts, size, width, inputs, at(epilogue, unit), y + row * units + unit, units);
             });
}

void xnor_dense_bits(const uint32_t* x, const uint32_t* w, const int32_t* threshold, int64_t rows,
                     int64_t units, int64_t inputs, uint32_t* bits) {
  const Kernels& k = kernels();
  const int64_t stride = ceil_div(units, kWord);
  xnor_tiles(
      x, w, rows, units, inputs, [&](const int32_t* counts, int64_t row, int64_t size, int64_t unit, int64_t width) {
        k.epilogue_xnor_bits(counts, size, width, inputs, threshold + unit, bits + row * stride + unit / kWord, stride);
      });
}

// The tables of a few rows are built for some words of inputs and used for all units before the next words, so
// that they stay in the L1 cache; the sums of these rows wait in scratch memory.
void binary_dense(const float* x, const uint32_t* w, const Epilogue& epilogue, int64_t rows, int64_t units,
                  int64_t inputs, float* y, uint32_t* bits) {
  const Kernels& k = kernels();
  const int64_t words = ceil_div(inputs, kWord), whole = inputs / kWord, tail = inputs % kWord;
  const int64_t tile_rows = std::min(k.lut_rows, rows), row_blocks = ceil_div(rows, tile_rows);
  const int64_t word_tables = kWordGroups * k.lut_entries;
  const int64_t words_block = kTables / word_tables / tile_rows / kSumWords * kSumWords;
  const int64_t table_stride = words_block * word_tables;
  const int threads = threads_for(0.4 * rows * units * words);
  // With few rows the units are shared among the threads, each of which builds the tables. The number of parts is a
  // multiple of the threads, and no part has more than kChunkUnits units.
  const int64_t parts = row_blocks >= 4 * threads ? 1 : threads;
  const int64_t chunks = parts * ceil_div(units, parts * kChunkUnits);
  const int64_t chunk = ceil_div(ceil_div(units, chunks), kWord) * kWord, stride = ceil_div(units, kWord);
  const Scratch<float> scratch(threads, kTables + tile_rows * (chunk + kTileUnits));
  parallel_for<Schedule::kDynamic>(threads, row_blocks * chunks, [&](int64_t i, int thread) {
    float* tables = scratch[thread];
    float* sums = tables + kTables;
    float* out = sums + tile_rows * chunk;
    const int64_t row = i / chunks * tile_rows, size = std::min(tile_rows, rows - row);
    const int64_t first = i % chunks * chunk, end = std::min(first + chunk, units);
    if (first >= end) return;
    std::memset(sums, 0, sizeof(float) * size * chunk);
    for (int64_t word = 0; word < words; word += words_block) {
      const int64_t count = std::min(words_block, words - word);
      for (int64_t r = 0; r < size; ++r) {
        const float* from = x + (row + r) * inputs + word * kWord;
        float* to = tables + r * table_stride;
        const int64_t full = std::min(count, whole - word);
        k.lut_build(from, full * kWordGroups, to);
        if (full < count) {
          float padded[kWord] = {};
          std::memcpy(padded, from + full * kWord, tail * sizeof(float));
          k.lut_build(padded, kWordGroups, to + full * word_tables);
        }
      }
      k.lut_gemm(tables, table_stride, size, w + (first / kBlock * words + word) * kBlock, words * kBlock,
                 ceil_div(end - first, kBlock), ceil_div(std::min(count * kWord, inputs - word * kWord), kGroup), sums,
                 chunk);
    }
    for (int64_t unit = first; unit < end; unit += kTileUnits) {
      const int64_t width = std::min(kTileUnits, end - unit);
      if (y != nullptr) {
        k.epilogue_lut(sums + unit - first, chunk, size, width, at(epilogue, unit), y + row * units + unit, units);
      } else {
        k.epilogue_lut(sums + unit - first, chunk, size, width, at(epilogue, unit), out, kTileUnits);
        pack_rows(k, out, size, width, bits + row * stride + unit / kWord, stride);
      }
    }
  });
}

namespace {

struct alignas(64) TileU8 {
  int32_t sums[kTileRows * kTileUnits];
  float out[kTileRows * kTileUnits];
  uint8_t padded[kTileRows * kWord];  // the inputs of the last word, with zeros up to its end
};

}  // namespace

void binary_dense_u8(const uint8_t* x, const uint32_t* w, const Epilogue& epilogue, int64_t rows, int64_t units,
                     int64_t inputs, float* y, uint32_t* bits) {
  const Kernels& k = kernels();
  const int64_t words = ceil_div(inputs, kWord), whole = inputs / kWord, tail = inputs % kWord;
  const int64_t stride = ceil_div(units, kWord);
  const int threads = threads_for(0.3 * rows * units * words);
  const Scratch<TileU8> scratch(threads, 1);
  over_tiles(threads, rows, units, k.u8_blocks * kBlock,
             [&](int64_t row, int64_t row_end, int64_t unit, int64_t unit_end, int thread) {
               TileU8& tile = *scratch[thread];
               for (int64_t r = row; r < row_end; r += k.u8_rows) {
                 const int64_t size = std::min(k.u8_rows, row_end - r), width = unit_end - unit;
                 std::memset(tile.sums, 0, size * kTileUnits * sizeof(int32_t));
                 const uint32_t* block = w + unit / kBlock * words * kBlock;
                 k.u8_gemm(x + r * inputs, inputs, size, block, words * kBlock, ceil_div(width, kBlock), whole,
                           tile.sums);
                 if (tail > 0) {
                   std::memset(tile.padded, 0, size * kWord);
                   for (int64_t s = 0; s < size; ++s) {
                     std::memcpy(tile.padded + s * kWord, x + (r + s) * inputs + whole * kWord, tail);
                   }
                   k.u8_gemm(tile.padded, kWord, size, block + whole * kBlock, words * kBlock, ceil_div(width, kBlock),
                             1, tile.sums);
                 }
                 if (y != nullptr) {
                   k.epilogue_u8(tile.sums, size, width, at(epilogue, unit), y + r * units + unit, units);
                 } else {
                   k.epilogue_u8(tile.sums, size, width, at(epilogue, unit), tile.out, kTileUnits);
                   pack_rows(k, tile.out, size, width, bits + r * stride + unit / kWord, stride);
                 }
               }
             });
}

void dense(const float* x, const float* w, const float* bias, int64_t rows, int64_t units, int64_t inputs,
           float* y) {
  const Kernels& k = kernels();
  over_tiles(threads_for(0.05 * rows * units * inputs), rows, units, kTileUnits,
             [&](int64_t row, int64_t row_end, int64_t unit, int64_t unit_end, int) {
    for (int64_t r = row; r < row_end; ++r) {
      k.dense_f32(x + r * inputs, inputs, w + unit, units, bias == nullptr ? nullptr : bias + unit, unit_end - unit,
                  y + r * units + unit);
    }
  });
}

}  // namespace gluon_bnn
