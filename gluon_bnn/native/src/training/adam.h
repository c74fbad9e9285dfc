// The arithmetic of the optimiser: one step of Adam, and what binary weights need right after it.
// Knows nothing of MXNet; the formulas are those of gluon_bnn/reference/optimizer.py.
//
// Every number is computed from its own neighbours in the other arrays alone, so results are the same bits
// for any number of threads and on every instruction set.
#ifndef GLUON_BNN_TRAINING_ADAM_H_
#define GLUON_BNN_TRAINING_ADAM_H_

#include <cstdint>
#include <limits>

namespace gluon_bnn {

// As in mx.nd.adam_update, float also where T is double: both then compute with the same numbers. By default nothing is
// clipped.
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

// Updates weight, mean and var (mx.nd.adam_update) and clips the weights. Where curvature is not null, writes
// sqrt(var) + 1e-8 there. The arrays hold `size` numbers and do not overlap. NaN stays NaN.
void update(const AdamStep& step, const float* grad, int64_t size, float* weight, float* mean, float* var,
            float* curvature);
void update(const AdamStep& step, const double* grad, int64_t size, double* weight, double* mean, double* var,
            double* curvature);

}  // namespace gluon_bnn

#endif  // GLUON_BNN_TRAINING_ADAM_H_
