// The products of a net over whole arrays: tiles, cache blocks and threads around the micro-kernels of one instruction
// set. One file per kind of input: xnor.cc (bits), lut.cc (floats, by lookup table), u8.cc (uint8) and dense.cc (float
// inputs and float weights).
//
// Arguments are not checked here. Results do not depend on the number of threads.
#ifndef GLUON_BNN_GEMM_GEMM_H_
#define GLUON_BNN_GEMM_GEMM_H_

#include "kernels/table.h"

namespace gluon_bnn {

struct DenseSizes {
  int64_t rows, units, inputs;
};

// Where results go: float32 (rows, units), or bits for the next layer (rows, ceil(units / 32)). One of them is null.
struct Result {
  float* y = nullptr;
  uint32_t* bits = nullptr;
};

// The weights w are packed: see gluon_bnn.h. All pointers of the epilogue are to the first unit.
void xnor_dense(const DenseSizes& sizes, const uint32_t* x, const uint32_t* w, const Epilogue& epilogue, float* y);
void xnor_dense_bits(const DenseSizes& sizes, const uint32_t* x, const uint32_t* w, const int32_t* threshold,
                     uint32_t* bits);
void lut_dense(const DenseSizes& sizes, const float* x, const uint32_t* w, const Epilogue& epilogue,
               const Result& result);
void u8_dense(const DenseSizes& sizes, const uint8_t* x, const uint32_t* w, const Epilogue& epilogue,
              const Result& result);

// w (inputs, units), bias (units,) or null.
void dense(const DenseSizes& sizes, const float* x, const float* w, const float* bias, float* y);

}  // namespace gluon_bnn

#endif  // GLUON_BNN_GEMM_GEMM_H_
