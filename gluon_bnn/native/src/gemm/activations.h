// The activations of a deployed net: a new one is a line of the table in activations.cc. NumPy has to compute the same
// bits (gluon_bnn/graph/kinds/activation.py), so there is no libm in it: exp and erfc are polynomials in float64, far
// more exact than the float32 that they are rounded to.
#ifndef GLUON_BNN_GEMM_ACTIVATIONS_H_
#define GLUON_BNN_GEMM_ACTIVATIONS_H_

#include <cstdint>

namespace gluon_bnn {

enum class Slope { kNone, kLayer, kChannel };  // no slope, one number, or one for each channel

struct ActivationFunction {
  const char* name;
  Slope slope;
  // y = function(x), both (rows, channels).
  void (*run)(const float* x, const float* slope, int64_t rows, int64_t channels, float* y);
};

constexpr int kActivationFunctions = 12;
extern const ActivationFunction activation_functions[kActivationFunctions];

}  // namespace gluon_bnn

#endif  // GLUON_BNN_GEMM_ACTIVATIONS_H_
