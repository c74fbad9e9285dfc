// The activations of a deployed net. NumPy has to compute the same bits (graph/engine.py), so there is no libm in
// it: exp is a polynomial in float64, far more exact than the float32 that it is rounded to.
#ifndef GLUON_BNN_INFERENCE_ACTIVATIONS_H_
#define GLUON_BNN_INFERENCE_ACTIVATIONS_H_

#include <cstdint>

namespace gluon_bnn {

// y[i] = function(x[i]), function one of GLUON_BNN_RELU to GLUON_BNN_BINARY_SIGMOID; y may be x.
void activation(int32_t function, const float* x, int64_t size, float* y);

// y = (x - mean) * factor + beta over rows of `units`; y may be x.
void batch_norm(const float* x, const float* mean, const float* factor, const float* beta, int64_t rows, int64_t units,
                float* y);

}  // namespace gluon_bnn

#endif  // GLUON_BNN_INFERENCE_ACTIVATIONS_H_
