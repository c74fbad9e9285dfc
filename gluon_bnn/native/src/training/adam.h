// The arithmetic of the optimiser: one step of Adam, and what binary weights need right after it.
// Knows nothing of MXNet; the formulas are those of gluon_bnn/reference/optimizer.py.
//
// Each element depends only on the elements at the same place in the other arrays. So the results are the same bits for
// any number of threads and on every instruction set.
#ifndef GLUON_BNN_TRAINING_ADAM_H_
#define GLUON_BNN_TRAINING_ADAM_H_

#include "kernels/table.h"

namespace gluon_bnn {

// Updates weight, mean and var (mx.nd.adam_update) and clips the weights. Where curvature is not null, writes
// sqrt(var) + 1e-8 there. The arrays hold `size` numbers and do not overlap. NaN stays NaN.
void adam_update(const AdamStep& step, const float* grad, int64_t size, float* weight, float* mean, float* var,
                 float* curvature);
void adam_update(const AdamStep& step, const double* grad, int64_t size, double* weight, double* mean, double* var,
                 double* curvature);

}  // namespace gluon_bnn

#endif  // GLUON_BNN_TRAINING_ADAM_H_
