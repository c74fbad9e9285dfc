// Max pooling for training, forward and backward, of images as MXNet has them: planes (height, width), one for each row
// and channel. T is float or double. Results do not depend on the number of threads.
#ifndef GLUON_BNN_TRAINING_MAX_POOL_H_
#define GLUON_BNN_TRAINING_MAX_POOL_H_

#include "gemm/pool.h"

namespace gluon_bnn {

// `sizes.rows` are the planes, and there is one channel. x (rows, height, width), y (rows, out_height, out_width). The
// largest number of each window that is not NaN and not below the lowest finite T, as in MXNet; that one where there is
// none.
template <typename T>
void max_pool_planes(const PoolSizes& sizes, const T* x, T* y);

// dx: dy goes to the first place of its window that holds the largest number, row by row; to the first place where none
// does.
template <typename T>
void max_pool_planes_backward(const PoolSizes& sizes, const T* dy, const T* x, T* dx);

}  // namespace gluon_bnn

#endif  // GLUON_BNN_TRAINING_MAX_POOL_H_
