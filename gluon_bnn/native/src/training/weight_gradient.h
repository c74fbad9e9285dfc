// The gradient of a binary layer's weights, in float32. Results do not depend on the number of threads.
#ifndef GLUON_BNN_TRAINING_WEIGHT_GRADIENT_H_
#define GLUON_BNN_TRAINING_WEIGHT_GRADIENT_H_

#include "gemm/gemm.h"
#include "training/sign_scale.h"

namespace gluon_bnn {

// dw (units, inputs) by the rule from g = dy^T . x. alpha is (units,); clip is +infinity where nothing is masked.
// Where `signs` is not null, the layer's inputs are these bits (rows, words), and x is not read.
void weight_gradient(const DenseSizes& sizes, Scale scale, Gradient gradient, float clip, const float* dy,
                     const float* x, const uint32_t* signs, const float* w, const float* alpha, float* dw);

}  // namespace gluon_bnn

#endif  // GLUON_BNN_TRAINING_WEIGHT_GRADIENT_H_
