// What an instruction set has to provide: micro-kernels that run on one thread, and nothing else. The loops around them
// (the rooms gemm, training and inference) and the checks of arguments (api) are written once, for all instruction
// sets.
//
// The layout of bits is that of gluon_bnn.h. A block is 16 units, which are the lanes of a vector of 32-bit words. So
// the accumulators are the outputs, no sum goes across lanes, and kernels for bits and for floats read the same
// weights.
#ifndef GLUON_BNN_KERNELS_TABLE_H_
#define GLUON_BNN_KERNELS_TABLE_H_

#include <cstdint>
#include <limits>

namespace gluon_bnn {

constexpr int64_t kWord = 32;        // inputs per word of bits
constexpr int64_t kBlock = 16;       // units per block of packed weights
constexpr int64_t kGroup = 4;        // float inputs per lookup table (LUT)
constexpr int64_t kLutEntries = 16;  // signed sums of four inputs
constexpr int64_t kWordGroups = kWord / kGroup;
constexpr int64_t kSumWords = 8;  // words of float inputs that are added up before the sum is added to the total
constexpr int64_t kLanes = 32;    // lanes of a product of floats and bits by signed sums
constexpr int64_t kQuad = 4;      // lanes whose numbers are next to each other in any vector
constexpr int64_t kInOrder[kLanes / kQuad] = {0, 4, 8, 12, 16, 20, 24, 28};  // places of quads without gaps
constexpr int64_t kSignedSums = kWordGroups * kLutEntries * kLanes;          // numbers of a table of them: 16 KB
constexpr int64_t kCorrelatedUnits = 4;                                      // units of a call of `correlate`
constexpr int64_t kTileUnits = 64;  // most units of a tile, and the length of a row in its buffer
constexpr int64_t kTileRows = 24;   // most rows of a tile

// These and all other functions of headers that kernels include are static. Otherwise the linker would keep one copy
// for all files, perhaps one that was compiled for an instruction set that the machine does not have.
static inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
static inline int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

// What follows a dot product: y = ((alpha dot + bias) - mean) factor + beta. The pointers are to the first unit of a
// tile. mean, factor and beta are null where no batch norm follows. sums is not null where the bits stand for 0 and 1.
struct Epilogue {
  const float* alpha = nullptr;
  const float* bias = nullptr;
  const float* mean = nullptr;
  const float* factor = nullptr;
  const float* beta = nullptr;
  const int32_t* sums = nullptr;
};

// A step of Adam, as in mx.nd.adam_update: float also where the weights are double, so that both compute with the same
// numbers. By default nothing is clipped.
struct AdamStep {
  float lr = 0;  // bias correction included
  float beta1 = 0;
  float beta2 = 0;
  float epsilon = 0;
  float wd = 0;
  float rescale_grad = 1;
  float clip_gradient = std::numeric_limits<float>::infinity();
  float clip_weights = std::numeric_limits<float>::infinity();
};

// Places of images whose products are added up: `images` of them with `rows` rows of `size` places, a multiple of
// vector_lanes. The numbers of dy are next to each other; those of x begin x_image numbers after those of the image
// before, and x_row numbers after those of the row before.
struct CorrelatedPlaces {
  int64_t images, rows, size, x_image, x_row;
};

// A run of words, or at most kGroup of uint8, that the rows of a product have in the same place: `offset` numbers after
// a row's begin; `weights` tells where theirs begin. `is_last` where the next piece would be too much for sums in
// narrow lanes: after kPieceWords words, whose differing bits a byte counts, or kPiecePixels uint8, whose sums by twos
// 16 bits hold.
struct Piece {
  int64_t offset, size, weights;
  bool is_last;
};
constexpr int64_t kPieceWords = 7, kPiecePixels = 256;

struct Kernels {
  const char* name;

  // ---- Bits ----

  // bits[k / 32] gets the sign of x[k], or of x[k] - threshold[k].
  void (*pack)(const float* x, int64_t inputs, uint32_t* bits);
  void (*pack_u8)(const uint8_t* x, const int32_t* threshold, int64_t inputs, uint32_t* bits);

  // ---- Products of bits: popcounts, then one of the epilogues ----

  // counts[r][u] = popcount(x[r] xor w[u]) over `words` words, added to what is there unless `begin`. A row of x has
  // `stride` words, a block of w `block_stride` words, a row of counts kTileUnits numbers. The registers are enough for
  // a tile of xnor_rows rows and xnor_blocks blocks, which is at least 32 units.
  void (*xnor_gemm)(const uint32_t* x, int64_t stride, int64_t rows, const uint32_t* w, int64_t block_stride,
                    int64_t blocks, int64_t words, bool begin, int32_t* counts);
  int64_t xnor_rows, xnor_blocks;

  // y from dot = inputs - 2 counts, or from (dot + sums) / 2 where the epilogue has sums.
  void (*epilogue_xnor)(const int32_t* counts, int64_t rows, int64_t units, int64_t inputs, const Epilogue& epilogue,
                        float* y, int64_t y_stride);
  // The same with stores that bypass the caches, for results that are larger than the caches. y starts at a multiple of
  // 64 bytes, as do its rows, and units is a multiple of 16. Null where the instruction set has no such store.
  void (*epilogue_xnor_stream)(const int32_t* counts, int64_t rows, int64_t units, int64_t inputs,
                               const Epilogue& epilogue, float* y, int64_t y_stride);
  // y[r][u / 32] gets the bit dot < threshold[u].
  void (*epilogue_xnor_bits)(const int32_t* counts, int64_t rows, int64_t units, int64_t inputs,
                             const int32_t* threshold, uint32_t* y, int64_t y_stride);

  // ---- The same popcounts for many rows, by lookup. Null where counting bits is faster ----

  // Two rows x and next as the places of their tables: pairs[8 k + n], for nibble n of word k, is 16 times the number
  // whose lower four bits are the nibble of x[k] and whose upper ones are that of next[k].
  void (*xnor_pairs)(const uint32_t* x, const uint32_t* next, int64_t words, uint16_t* pairs);
  // Writes the weights of a tile, at most kTileUnits units, in the order in which xnor_lookup reads them: for each word
  // 256 bytes for 32 units, at a multiple of 32 bytes.
  void (*xnor_spread)(const uint32_t* w, int64_t block_stride, int64_t blocks, int64_t words, uint8_t* spread);
  // counts[2 p] and counts[2 p + 1] as from xnor_gemm for the rows of pair p, of at most two, which begins p * stride
  // numbers after the first. The words are those of the pieces. Counts of blocks that are not there may be written, up
  // to kTileUnits.
  void (*xnor_lookup)(const uint16_t* pairs, int64_t stride, int64_t count, const Piece* pieces, int64_t piece_count,
                      const uint8_t* spread, int64_t blocks, bool begin, int32_t* counts);

  // ---- Products of float inputs and bits, by lookup table ----

  // Builds the table of each group g of four inputs: tables[g][n] = (+-x0 +- x1) + (+-x2 +- x3), where bit t of n is
  // the sign of x_t. A table has lut_entries floats: these 16 sums, or the two halves of the sum, 4 and 4 numbers.
  void (*lut_build)(const float* x, int64_t groups, float* tables);
  int64_t lut_entries;

  // Each group of 4 bits of w[u] selects an entry of row r's tables. The entries of kSumWords words are added up from
  // zero, and that partial sum is added to sums[r][u]; then come the next kSumWords words. If the last group is not at
  // the end of a word, tables of zeros follow it up to there. `table_stride` floats lie between the tables of two rows,
  // `sums_stride` between their sums. At most lut_rows rows, which is at most kTileRows / 2.
  void (*lut_gemm)(const float* tables, int64_t table_stride, int64_t rows, const uint32_t* w, int64_t block_stride,
                   int64_t blocks, int64_t groups, float* sums, int64_t sums_stride);
  int64_t lut_rows;

  // y from dot = sums.
  void (*epilogue_lut)(const float* sums, int64_t sums_stride, int64_t rows, int64_t units, const Epilogue& epilogue,
                       float* y, int64_t y_stride);

  // ---- Products of float inputs and bits, many outputs of the same inputs ----

  // sums[g][n][lane] = (+-x0 +- x1) + (+-x2 +- x3) for the kWordGroups groups g of four rows x_t = x[4 g + t], each of
  // kLanes numbers; bit t of n is the sign of x_t. These are kSignedSums numbers. Lanes past the first `lanes` need not
  // be computed. Quad q of the lanes is at places[q] of a row; no gap is within vector_lanes lanes.
  void (*signed_sums)(const float* const* x, const int64_t* places, int64_t lanes, float* sums);
  // Adds the sums that the word bits[k] chooses, group after group, to the lanes at y + offsets[k], for each output k:
  // quad q at places[q] from there on, where no two vectors may overlap. `lanes` is that of the sums.
  void (*add_signed_sums)(const float* sums, int64_t lanes, const uint32_t* bits, const int64_t* offsets,
                          int64_t outputs, const int64_t* places, float* y);
  int64_t vector_lanes;

  // ---- Products of uint8 inputs and bits ----

  // sums[r][u] += sum of x[r][k] * sign of w[u][k]; x has 32 bytes per word, with zeros after the last input.
  void (*u8_gemm)(const uint8_t* x, int64_t stride, int64_t rows, const uint32_t* w, int64_t block_stride,
                  int64_t blocks, int64_t words, int32_t* sums);
  int64_t u8_rows, u8_blocks;

  // The same for many rows, with the weights spread. Null where u8_gemm is as fast.
  //
  // Writes `size` weights from the input `begin` on, of a tile of at most kTileUnits units, as bytes -1 and 1, and 0
  // up to a multiple of kGroup: for each group of inputs and two blocks 128 bytes, from a multiple of 32
  // bytes on.
  void (*u8_spread)(const uint32_t* w, int64_t block_stride, int64_t blocks, int64_t begin, int64_t size,
                    uint8_t* spread);
  // sums[r][u] = the dot products of the inputs in the pieces, added to what is there unless `begin`, for at most four
  // rows. Of each piece kGroup inputs are read. Sums of blocks that are not there may be written, up to
  // kTileUnits.
  void (*u8_runs)(const uint8_t* x, int64_t stride, int64_t rows, const Piece* pieces, int64_t piece_count,
                  const uint8_t* spread, int64_t blocks, bool begin, int32_t* sums);

  // y from dot = sums.
  void (*epilogue_u8)(const int32_t* sums, int64_t rows, int64_t units, const Epilogue& epilogue, float* y,
                      int64_t y_stride);

  // y[r][u / 32] gets the bit sums[r][u] < threshold[u].
  void (*epilogue_u8_bits)(const int32_t* sums, int64_t rows, int64_t units, const int32_t* threshold, uint32_t* y,
                           int64_t y_stride);

  // ---- Floats ----

  // y[u] = sum_k x[k] w[k][u] + bias[u] for `units` columns of w; bias may be null. The products are added one after
  // the other, in partial sums of kSumWords words of inputs as in lut_gemm.
  void (*dense_f32)(const float* x, int64_t inputs, const float* w, int64_t w_stride, const float* bias, int64_t units,
                    float* y);

  // ---- Training ----

  // A tile of the weights' gradient, dw_units by dw_inputs: sums[u][k] = the sum of dy[m][u] x[m][k] over `rows` rows
  // m, which is added to what is there unless `begin`. dy (rows, dw_units) and x (rows, dw_inputs) are packed.
  void (*dw_gemm)(const float* dy, const float* x, int64_t rows, bool begin, float* sums, int64_t stride);
  int64_t dw_units, dw_inputs;

  // The factors of the 16 products of Winograd's minimal filtering (winograd.h), for `tiles` tiles next to each other:
  // those of product i to to[i * part], (tiles, dw_units) from dy or (tiles, dw_inputs) from x. A tile is 2 x 2 places
  // of dy, 4 x 4 of x, and begins two places after the one before. `place` numbers lie between two places, `row`
  // numbers between two rows. Up to kLanes numbers after the first one of the last place are read.
  void (*winograd_dy)(const float* dy, int64_t place, int64_t row, int64_t tiles, float* to, int64_t part);
  void (*winograd_x)(const float* x, int64_t place, int64_t row, int64_t tiles, float* to, int64_t part);

  // sums[u * stride + k] += the sum over all places of dy[u * dy_stride + ...] x[offsets[k] + ...], for
  // kCorrelatedUnits units u and `inputs` inputs k.
  void (*correlate)(const CorrelatedPlaces& places, const float* dy, int64_t dy_stride, const float* x,
                    const int64_t* offsets, int64_t inputs, float* sums, int64_t stride);

  // Two sums over `size` elements, in float64: sums[0] of l |w| and sums[1] of l, where l = 1 if the pointer is null.
  void (*magnitudes)(const float* w, const float* l, int64_t size, double sums[2]);

  // As `adam_update` of training/adam.h, on one thread.
  void (*adam)(const AdamStep& step, const float* grad, int64_t size, float* weight, float* mean, float* var,
               float* curvature);
};

// The table in use.
const Kernels& kernels();

}  // namespace gluon_bnn

#endif  // GLUON_BNN_KERNELS_TABLE_H_
