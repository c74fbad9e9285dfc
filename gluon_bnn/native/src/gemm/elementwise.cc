#include "gemm/elementwise.h"

#include "kernels/normalise.h"

namespace gluon_bnn {
namespace {

template <typename Function>
void loop(const float* x, const float* z, Operand operand, int64_t rows, int64_t size, float* y) {
  const Function function;
  for (int64_t r = 0; r < rows; ++r, x += size, y += size) {
    if (operand == Operand::kNumber) {
      const float number = z[0];
      for (int64_t i = 0; i < size; ++i) y[i] = function(x[i], number);
    } else {
      for (int64_t i = 0; i < size; ++i) y[i] = function(x[i], z[i]);
      if (operand == Operand::kRows) z += size;
    }
  }
}

struct Add {
  float operator()(float a, float b) const { return a + b; }
};
struct Subtract {
  float operator()(float a, float b) const { return a - b; }
};
struct Multiply {
  float operator()(float a, float b) const { return a * b; }
};
struct Divide {
  float operator()(float a, float b) const { return a / b; }
};
// As in MXNet, these give NaN where either number is NaN, and the second of two equal ones, which matters for 0.0 and
// -0.0.
struct Maximum {
  float operator()(float a, float b) const { return a > b || a != a ? a : b; }
};
struct Minimum {
  float operator()(float a, float b) const { return a < b || a != a ? a : b; }
};

}  // namespace

const ArithmeticFunction arithmetic_functions[kArithmeticFunctions] = {
    {"add", loop<Add>},       {"subtract", loop<Subtract>}, {"multiply", loop<Multiply>},
    {"divide", loop<Divide>}, {"maximum", loop<Maximum>},   {"minimum", loop<Minimum>}};

void normalise(const float* x, const float* mean, const float* factor, const float* beta, int64_t rows, int64_t size,
               float* y) {
  for (int64_t r = 0; r < rows; ++r, x += size, y += size) {
    float* __restrict to = y;
    for (int64_t u = 0; u < size; ++u) to[u] = normalised(x[u], mean[u], factor[u], beta[u]);
  }
}

void scale_pixels(const uint8_t* p, const float* scale, bool one_scale, const float* shift, int64_t rows, int64_t size,
                  float* x) {
  for (int64_t r = 0; r < rows; ++r, p += size, x += size) {
    if (one_scale) {
      const float number = scale[0];
      for (int64_t k = 0; k < size; ++k) x[k] = number * p[k] + shift[k];
    } else {
      for (int64_t k = 0; k < size; ++k) x[k] = scale[k] * p[k] + shift[k];
    }
  }
}

}  // namespace gluon_bnn
