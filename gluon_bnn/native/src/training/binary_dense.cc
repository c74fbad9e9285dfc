// Forward: multiply with the bits of the weights. Backward: transpose these bits and multiply for dx; dw is in
// weight_gradient.cc.
#include "training/binary_dense.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "gemm/pack.h"
#include "parallel.h"
#include "training/scale_bias.h"
#include "training/sign.h"
#include "training/weight_gradient.h"

namespace gluon_bnn {
namespace {

// The words that the signs of a layer's inputs take.
int64_t bits_of(const DenseSizes& sizes) { return sizes.rows * ceil_div(sizes.inputs, kWord); }

}  // namespace

void binary_dense_weights(const DenseSizes& sizes, Scale scale, const float* w, const float* curvature, uint32_t* bits,
                          float* alpha) {
  std::vector<double> sums(2 * sizes.units);  // per unit, so that they do not depend on the threads
  pack_weights(w, sizes.units, sizes.inputs, bits, [&](int64_t unit) {
    const int64_t at = unit * sizes.inputs;
    if (scale == Scale::kNone) return;
    kernels().magnitudes(w + at, scale == Scale::kLoss ? curvature + at : nullptr, sizes.inputs, &sums[2 * unit]);
  });
  alpha_of(scale, sums.data(), sizes.units, alpha);
  if (scale != Scale::kChannel) std::fill(alpha + 1, alpha + sizes.units, alpha[0]);
}

void binary_dense_forward(const DenseSizes& sizes, const uint32_t* bits, const float* alpha, const float* x,
                          const float* bias, uint32_t* signs, float* y) {
  const std::vector<float> none(bias == nullptr ? sizes.units : 0, -0.0f);  // v + -0.0 is v for every v
  const Epilogue epilogue = {alpha, bias == nullptr ? none.data() : bias};
  const bool found = signs == nullptr && all_signs(x, sizes.rows * sizes.inputs);
  const Scratch<uint32_t> input_bits(1, found ? bits_of(sizes) : 0);
  if (found) signs = input_bits[0];
  if (signs == nullptr) return lut_dense(sizes, x, bits, epilogue, {y});
  pack_inputs(x, sizes.rows, sizes.inputs, signs);
  xnor_dense(sizes, signs, bits, epilogue, y);
}

void binary_dense_backward(const DenseSizes& sizes, Scale scale, Gradient gradient, float clip, const float* dy,
                           const float* x, const uint32_t* signs, float sign_clip, const float* w, const uint32_t* bits,
                           const float* alpha, float* dx, float* dw, float* dbias) {
  const bool same = scale == Scale::kNone && dbias == nullptr;  // ddot is dy
  const Scratch<float> scaled(1, same ? 0 : sizes.rows * sizes.units);
  if (!same) binary_dense_ddot(sizes, scale, dy, alpha, scaled[0], dbias);
  const float bound = signs == nullptr ? std::numeric_limits<float>::infinity() : sign_clip;
  binary_dense_dx(sizes, same ? dy : scaled[0], bits, x, bound, dx);
  binary_dense_dw(sizes, scale, gradient, clip, dy, x, signs, w, alpha, dw);
}

void binary_dense_ddot(const DenseSizes& sizes, Scale scale, const float* dy, const float* alpha, float* ddot,
                       float* dbias) {
  if (dbias != nullptr) {
    const Scratch<float> unused(1, sizes.units);
    scale_bias_backward<float>(dy, dy, alpha, true, false, sizes.rows, sizes.units, ddot, unused[0], dbias);
  } else if (scale != Scale::kNone) {
    scale_bias<float>(dy, alpha, true, nullptr, sizes.rows, sizes.units, ddot);
  } else {
    std::copy(dy, dy + sizes.rows * sizes.units, ddot);
  }
}

void binary_dense_dx(const DenseSizes& sizes, const float* ddot, const uint32_t* bits, const float* x, float sign_clip,
                     float* dx) {
  const std::vector<float> one(sizes.inputs, 1.0f), zero(sizes.inputs, -0.0f);
  const Scratch<uint32_t> transposed(1, packed_size(sizes.inputs, sizes.units));
  transpose_weights(bits, sizes.units, sizes.inputs, transposed[0]);
  lut_dense({sizes.rows, sizes.inputs, sizes.units}, ddot, transposed[0], {one.data(), zero.data()}, {dx});
  if (std::isfinite(sign_clip)) sign_backward<float>(true, sign_clip, dx, x, sizes.rows * sizes.inputs, dx);
}

void binary_dense_dw(const DenseSizes& sizes, Scale scale, Gradient gradient, float clip, const float* dy,
                     const float* x, const uint32_t* signs, const float* w, const float* alpha, float* dw) {
  const bool found = signs == nullptr && all_signs(x, sizes.rows * sizes.inputs);
  const Scratch<uint32_t> input_bits(1, found ? bits_of(sizes) : 0);
  if (found) {
    pack_inputs(x, sizes.rows, sizes.inputs, input_bits[0]);
    signs = input_bits[0];
  }
  weight_gradient(sizes, scale, gradient, clip, dy, x, signs, w, alpha, dw);
}

}  // namespace gluon_bnn
