// Products of many rows, of bits or of uint8, for dense layers and convolutions, where the instruction set has kernels
// that take lines of an image in place of windows.
#ifndef GLUON_BNN_GEMM_LINES_H_
#define GLUON_BNN_GEMM_LINES_H_

#include <functional>

#include "gemm/conv.h"

namespace gluon_bnn {

constexpr int64_t kStripRows = 4;  // most places that `run` gets at a time

// What becomes of the sums of `rows` places from `place` on, kTileUnits for each, for `units` units from `unit` on. Of
// bits they are counts, and dot = inputs - 2 count. It is called in parallel regions.
using RunSums =
    std::function<void(int64_t place, int64_t rows, int64_t unit, int64_t units, int64_t inputs, const int32_t* sums)>;

// Whether this is the faster way: the instruction set has it, places are many, and the lines with what lies around them
// are not much more than the windows would be.
bool bits_in_lines(const ConvSizes& sizes);
bool pixels_in_lines(const ConvSizes& sizes);

// Calls `run` for all places and units of a convolution.
void bits_by_lines(const ConvSizes& sizes, const Border& border, const uint32_t* x, const uint32_t* w,
                   const RunSums& run);
// Outside of the image are zeros.
void pixels_by_lines(const ConvSizes& sizes, const uint8_t* x, const uint32_t* w, const RunSums& run);

// The same, with what follows the product as in u8_dense and u8_conv_bits.
void u8_lines(const ConvSizes& sizes, const uint8_t* x, const uint32_t* w, const Epilogue& epilogue,
              const Result& result);
void u8_lines_bits(const ConvSizes& sizes, const uint8_t* x, const uint32_t* w, const int32_t* threshold,
                   uint32_t* bits);

// A dense layer as the convolution of an image with a single line.
inline ConvSizes line_of(const DenseSizes& sizes) { return {1, 1, sizes.rows, sizes.inputs, sizes.units, 1, 1}; }

}  // namespace gluon_bnn

#endif  // GLUON_BNN_GEMM_LINES_H_
