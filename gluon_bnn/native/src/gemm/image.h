// Images between the layouts of MXNet, channels before places, and of this library, channels innermost.
#ifndef GLUON_BNN_GEMM_IMAGE_H_
#define GLUON_BNN_GEMM_IMAGE_H_

#include <cstdint>

namespace gluon_bnn {

// y (rows, places, channels) from x (rows, channels, places).
void channels_last(const float* x, int64_t rows, int64_t channels, int64_t places, float* y);
void channels_last(const uint8_t* x, int64_t rows, int64_t channels, int64_t places, uint8_t* y);
// y (rows, channels, places) from x (rows, places, channels).
void channels_first(const float* x, int64_t rows, int64_t channels, int64_t places, float* y);

// Rows of bits (rows, ceil(places * channels / 32)) from images of bits (rows, places, ceil(channels / 32)).
void flatten_bits(const uint32_t* x, int64_t rows, int64_t places, int64_t channels, uint32_t* bits);

}  // namespace gluon_bnn

#endif  // GLUON_BNN_GEMM_IMAGE_H_
