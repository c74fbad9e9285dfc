// Activations and batch norm, element by element.
#include "inference/activations.h"

#include <cmath>
#include <limits>

#include "gluon_bnn.h"

namespace gluon_bnn {
namespace {

// exp(x) = 2^n exp(r), n the nearest integer to x / ln 2, so |r| <= ln(2) / 2: the Taylor series to r^13 is
// exact to a unit of float64. ln 2 is subtracted in two parts, the first of which has trailing zeros.
double exponential(double x) {
  if (x != x) return x;
  x = x < -708 ? -708 : x > 709 ? 709 : x;
  const double n = std::nearbyint(x * 1.4426950408889634);
  const double r = (x - n * 0.693147180369123816490) - n * 1.90821492927058770002e-10;
  double factorial = 6227020800.0;  // 13!
  double sum = 1.0 / factorial;
  for (int k = 12; k >= 0; --k) {
    factorial /= k + 1;
    sum = sum * r + 1.0 / factorial;
  }
  return std::ldexp(sum, static_cast<int>(n));
}

float sigmoid(float x) { return static_cast<float>(1.0 / (1.0 + exponential(-static_cast<double>(x)))); }

// Near zero 1 - 2 / (exp(2a) + 1) would lose what distinguishes it from a; beyond 20 it is 1.
float hyperbolic_tangent(float x) {
  const double a = std::fabs(static_cast<double>(x));
  const double t = a < 1.0 / 4096 ? a - a * a * a / 3.0 : 1.0 - 2.0 / (exponential(2.0 * (a > 20 ? 20 : a)) + 1.0);
  return static_cast<float>(std::copysign(t, static_cast<double>(x)));
}

// log(1 + exp(x)) = max(x, 0) + log1p(u), u = exp(-|x|) <= 1; log1p(u) = 2 artanh(s), s = u / (2 + u) <= 1/3,
// whose series s + s^3/3 + ... ends at s^35, below a unit of float64.
float softrelu(float x) {
  const double u = exponential(-std::fabs(static_cast<double>(x)));
  const double s = u / (2.0 + u), q = s * s;
  double sum = 1.0 / 35.0;
  for (int k = 33; k >= 1; k -= 2) sum = sum * q + 1.0 / k;
  const double above = x > 0 ? static_cast<double>(x) : 0.0;
  return static_cast<float>(above + (2.0 * s) * sum);
}

template <typename Function>
void each(const float* x, int64_t size, float* y, const Function& function) {
  for (int64_t i = 0; i < size; ++i) y[i] = function(x[i]);
}

}  // namespace

void activation(int32_t function, const float* x, int64_t size, float* y) {
  switch (function) {
    case GLUON_BNN_RELU:
      return each(x, size, y, [](float v) { return v <= 0 ? 0.0f : v; });
    case GLUON_BNN_SIGMOID:
      return each(x, size, y, sigmoid);
    case GLUON_BNN_TANH:
      return each(x, size, y, hyperbolic_tangent);
    case GLUON_BNN_SOFTRELU:
      return each(x, size, y, softrelu);
    case GLUON_BNN_SOFTSIGN:
      return each(x, size, y, [](float v) { return v / (1.0f + std::fabs(v)); });
    case GLUON_BNN_SIGN:
      return each(x, size, y, [](float v) { return v < 0 ? -1.0f : 1.0f; });
    case GLUON_BNN_BINARY_SIGMOID:
      return each(x, size, y, [](float v) { return v < 0 ? 0.0f : 1.0f; });
  }
}

void batch_norm(const float* x, const float* mean, const float* factor, const float* beta, int64_t rows, int64_t units,
                float* y) {
  for (int64_t r = 0; r < rows; ++r, x += units, y += units) {
    for (int64_t u = 0; u < units; ++u) y[u] = (x[u] - mean[u]) * factor[u] + beta[u];
  }
}

}  // namespace gluon_bnn
