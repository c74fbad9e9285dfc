// The weight gradient of 3 x 3 convolutions by Winograd's minimal filtering: 16 products instead of 36. Results do not
// depend on the number of threads.
#ifndef GLUON_BNN_TRAINING_WINOGRAD_H_
#define GLUON_BNN_TRAINING_WINOGRAD_H_

#include "gemm/conv.h"

namespace gluon_bnn {

// Whether winograd_gradient may be called for these sizes, and takes less time than a sum over all windows.
bool winograd_pays(const ConvSizes& sizes);

// g (units, stride), in the order tap, channel, from dy (rows, units, out_height, out_width) and x (rows, channels,
// height, width), with `pad` outside. False if any of it is infinite or NaN. Then g is of no use: in a sum over windows
// such numbers reach fewer weights. Errors are of the size of those of a sum over windows of numbers that are all as
// large as the largest of a tile.
bool winograd_gradient(const ConvSizes& sizes, float pad, const float* dy, const float* x, int64_t stride, float* g);

}  // namespace gluon_bnn

#endif  // GLUON_BNN_TRAINING_WINOGRAD_H_
