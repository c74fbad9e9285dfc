// What an instruction set has to provide: the inner tiles, one thread each, and nothing else.
// The loops around them (gemm/products.cc and others) and the checks (api/c_api.cc, inference/net.cc) are written once, for all.
//
// The layout of bits is that of gluon_bnn.h. A block is 16 units, the lanes of a vector of 32-bit words: the
// accumulators are the outputs, so there are no horizontal sums, and bits and floats read the same weights.
#ifndef GLUON_BNN_KERNELS_TABLE_H_
#define GLUON_BNN_KERNELS_TABLE_H_

#include <cstdint>

namespace gluon_bnn {

constexpr int64_t kWord = 32;    // inputs a word
constexpr int64_t kBlock = 16;   // units a block
constexpr int64_t kGroup = 4;    // float inputs a table
constexpr int64_t kTable = 16;   // signed sums a table
constexpr int64_t kWordGroups = kWord / kGroup;
constexpr int64_t kSumWords = 8; // words of float inputs that are added up before the sum is added to the total
constexpr int64_t kTileUnits = 64;  // most units of a tile, and the length of a row in its buffer
constexpr int64_t kTileRows = 8;    // most rows of a tile

// Static, as all functions of shared headers are here: a copy that was compiled for one instruction set must
// not be the one that the linker keeps for all.
static inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
static inline int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

struct AdamStep;  // training/adam.h

// What follows a dot product; pointers to the first unit of a tile. mean, factor and beta, or none of them;
// sums where the inputs are 0/1, else null.
struct Affine {
  const float *alpha, *bias, *mean, *factor, *beta;
  const int32_t* sums;
};

struct Kernels {
  const char* name;
  int64_t xnor_rows, xnor_blocks;  // the tile for which xnor has registers, 32 units at least
  int64_t add_rows;                // most rows of add, at most kTileRows / 2
  int64_t add_u8_rows, add_u8_blocks;
  int64_t table;                   // floats that tables writes for a group, at most kTable

  // bits[k / 32] gets the sign of x[k], or of x[k] - threshold[k].
  void (*pack)(const float* x, int64_t inputs, uint32_t* bits);
  void (*pack_u8)(const uint8_t* x, const int32_t* threshold, int64_t inputs, uint32_t* bits);

  // counts[r][u] = popcount(x[r] xor w[u]) over `words` words, added to what is there unless `begin`. x has
  // `stride` words a row, w has `block_stride` words a block; counts has kTileUnits numbers a row.
  void (*xnor)(const uint32_t* x, int64_t stride, int64_t rows, const uint32_t* w, int64_t block_stride,
               int64_t blocks, int64_t words, bool begin, int32_t* counts);

  // What add looks up for each group g of four: tables[g][n] = (+-x0 +- x1) + (+-x2 +- x3), where bit t of n is the
  // sign of x_t; or the two parts of that sum, 4 and 4 numbers.
  void (*tables)(const float* x, int64_t groups, float* tables);

  // sums[r][u] += what the entries of row r's tables that w[u] names, kWordGroups a word, add up to from 0: once
  // for every kSumWords words, in order. Past the last group there are tables of zeros to the end of the word.
  // `table_stride` floats from a row's tables to the next, `sums_stride` from its sums to the next.
  void (*add)(const float* tables, int64_t table_stride, int64_t rows, const uint32_t* w,
              int64_t block_stride, int64_t blocks, int64_t groups, float* sums, int64_t sums_stride);

  // sums[r][u] += sum of x[r][k] * sign of w[u][k]; x has 32 bytes a word, zeros past the last input.
  void (*add_u8)(const uint8_t* x, int64_t stride, int64_t rows, const uint32_t* w, int64_t block_stride,
                 int64_t blocks, int64_t words, int32_t* sums);

  // dot = inputs - 2 counts, or (dot + sums) / 2; y[r][u] = ((alpha dot + bias) - mean) factor + beta.
  void (*finish_counts)(const int32_t* counts, int64_t rows, int64_t units, int64_t inputs,
                        const Affine& affine, float* y, int64_t y_stride);
  // The same, written past the caches, for results that are larger than they are: y begins and goes on at
  // multiples of 64 bytes, units is a multiple of 16. Null where the instruction set has no such store.
  void (*stream_counts)(const int32_t* counts, int64_t rows, int64_t units, int64_t inputs,
                        const Affine& affine, float* y, int64_t y_stride);
  // y[r][u / 32] gets bit dot < threshold[u].
  void (*finish_bits)(const int32_t* counts, int64_t rows, int64_t units, int64_t inputs,
                      const int32_t* threshold, uint32_t* y, int64_t y_stride);
  // As finish_counts, from float and from int32 dots.
  void (*finish_sums)(const float* sums, int64_t sums_stride, int64_t rows, int64_t units,
                      const Affine& affine, float* y, int64_t y_stride);
  void (*finish_u8)(const int32_t* sums, int64_t rows, int64_t units, const Affine& affine, float* y,
                    int64_t y_stride);

  // For training: sums[u][k] = the sum of dy[m][u] x[m][k] over `rows` rows m, added to what is there unless `begin`,
  // for a tile of outer_units x outer_inputs. dy and x are packed, (rows, outer_units) and (rows, outer_inputs).
  int64_t outer_units, outer_inputs;
  void (*outer)(const float* dy, const float* x, int64_t rows, bool begin, float* sums, int64_t stride);

  // Sums over `size` numbers: sums[0] of l |w| and sums[1] of l, or of |w| alone where l is null; in float64.
  void (*magnitudes)(const float* w, const float* l, int64_t size, double sums[2]);

  // As `update` of training/adam.h, on one thread.
  void (*adam)(const AdamStep& step, const float* grad, int64_t size, float* weight, float* mean, float* var,
               float* curvature);

  // y[u] = sum_k x[k] w[k][u] + bias[u] (bias may be null), for `units` of a row of w; added as in `add`, one
  // product after the other.
  void (*dense)(const float* x, int64_t inputs, const float* w, int64_t w_stride, const float* bias,
                int64_t units, float* y);
};

// Each returns null where this build has no such kernels; whether the machine does, dispatch.cc asks.
const Kernels* serial_kernels();
const Kernels* avx2_kernels();
const Kernels* avx512_kernels();
const Kernels* avx512vpopcntdq_kernels();
const Kernels* neon_kernels();

// Those in use.
const Kernels& kernels();

}  // namespace gluon_bnn

#endif  // GLUON_BNN_KERNELS_TABLE_H_
