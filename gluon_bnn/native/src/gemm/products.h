// The binary products and what surrounds them in a net, over whole arrays: tiles, blocks and threads.
// Arguments are not checked here. Results do not depend on the number of threads.
#ifndef GLUON_BNN_GEMM_PRODUCTS_H_
#define GLUON_BNN_GEMM_PRODUCTS_H_

#include "kernels/table.h"

namespace gluon_bnn {

void pack_inputs(const float* x, int64_t rows, int64_t inputs, uint32_t* bits);
void pack_inputs_u8(const uint8_t* x, const int32_t* threshold, int64_t rows, int64_t inputs, uint32_t* bits);

// Each writes y (rows, units), or for the next layer bits (rows, ceil(units / 32)) where y is null.
void binary_dense(const float* x, const uint32_t* w, const Epilogue& epilogue, int64_t rows, int64_t units,
                  int64_t inputs, float* y, uint32_t* bits);
void binary_dense_u8(const uint8_t* x, const uint32_t* w, const Epilogue& epilogue, int64_t rows, int64_t units,
                     int64_t inputs, float* y, uint32_t* bits);

void xnor_dense(const uint32_t* x, const uint32_t* w, const Epilogue& epilogue, int64_t rows, int64_t units,
                int64_t inputs, float* y);
void xnor_dense_bits(const uint32_t* x, const uint32_t* w, const int32_t* threshold, int64_t rows,
                     int64_t units, int64_t inputs, uint32_t* bits);

// w (inputs, units), bias (units,) or null.
void dense(const float* x, const float* w, const float* bias, int64_t rows, int64_t units, int64_t inputs,
           float* y);

}  // namespace gluon_bnn

#endif  // GLUON_BNN_GEMM_PRODUCTS_H_
