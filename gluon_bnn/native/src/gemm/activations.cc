// Activations, element by element, by operations that a compiler vectorises: no calls, no branches, sums unrolled.
#include "gemm/activations.h"

#include <cmath>
#include <cstring>
#include <iterator>

namespace gluon_bnn {
namespace {

// x^0 / first! + x^1 / (first + 1)! + ... + x^(13 - first) / 13!
template <int first>
double taylor(double x) {
  double factorial = 6227020800.0;  // 13!
  double sum = 1.0 / factorial;
#pragma GCC unroll 13
  for (int k = 12; k >= first; --k) {
    factorial /= k + 1;
    sum = sum * x + 1.0 / factorial;
  }
  return sum;
}

// exp(x) = 2^n exp(r), n the nearest integer to x / ln 2, so |r| <= ln(2) / 2: the Taylor series to r^13 is
// exact to one ulp of float64. ln 2 is subtracted in two parts, the first of which has trailing zeros.
double exponential(double x) {
  const double within = x < -708 ? -708 : x > 709 ? 709 : x;
  // 1.5 * 2^52 + n has no place for a fraction, and n in its lowest bits; the power has n + 1023 where its exponent is.
  constexpr double kWhole = 6755399441055744.0;
  const double whole = within * 1.4426950408889634 + kWhole, n = whole - kWhole;
  uint64_t bits;
  std::memcpy(&bits, &whole, sizeof(bits));
  bits = (bits + 1023) << 52;
  double power;
  std::memcpy(&power, &bits, sizeof(power));
  const double r = (within - n * 0.693147180369123816490) - n * 1.90821492927058770002e-10;
  return taylor<0>(r) * power;  // NaN where x is: r is
}

// exp(x) - 1: near 0, where the difference would lose digits, the series without its first term.
double exponential_minus_1(double x) {
  const double near = x * taylor<1>(x), elsewhere = exponential(x) - 1.0;
  return std::fabs(x) < 0.25 ? near : elsewhere;
}

// (1 + 2 x) exp(x^2) erfc(x) for x >= 0, as a polynomial of t = 1 - 7.5 / (x + 3.75), the constant first: 23 terms
// of its Chebyshev series on -1 <= t <= 1, the least of which is 2e-16 (Shepherd and Laframboise 1981).
constexpr double kErfc[] = {
    1.2375126308378275,     -0.14024059858554525,    0.0035854154854790257,   0.08227673848999506,
    -0.10880393014244462,   0.09230432116428125,     -0.05869339857664934,    0.02836227737211114,
    -0.009746579683265262,  0.0017556261651970652,   0.000293714378044958,    -0.00029015535246077655,
    5.164652974177416e-05,  2.2387565714911816e-05,  -1.1438048033346894e-05, -9.792625707303523e-07,
    1.7419821586224816e-06, -5.084465378687302e-08,  -2.4857126248016745e-07, 1.879082322370048e-08,
    3.197926671666804e-08,  -1.9551358868985616e-09, -2.623107347133476e-09,
};

// 1 - erf(x) for x >= 0.
double complementary_error(double x) {
  const double t = 1.0 - 7.5 / (x + 3.75);
  double sum = kErfc[std::size(kErfc) - 1];
#pragma GCC unroll 22
  for (int k = static_cast<int>(std::size(kErfc)) - 2; k >= 0; --k) sum = sum * t + kErfc[k];
  return exponential(-(x * x)) * (sum / (1.0 + 2.0 * x));
}

float sigmoid(float x) { return static_cast<float>(1.0 / (1.0 + exponential(-static_cast<double>(x)))); }

// Near zero 1 - 2 / (exp(2a) + 1) would lose what distinguishes it from a; beyond 20 it is 1.
float hyperbolic_tangent(float x) {
  const double a = std::fabs(static_cast<double>(x));
  const double near = a - a * a * a / 3.0, elsewhere = 1.0 - 2.0 / (exponential(2.0 * (a > 20 ? 20 : a)) + 1.0);
  const double t = a < 1.0 / 4096 ? near : elsewhere;
  return static_cast<float>(std::copysign(t, static_cast<double>(x)));
}

// log(1 + exp(x)) = max(x, 0) + log1p(u), u = exp(-|x|) <= 1; log1p(u) = 2 artanh(s), s = u / (2 + u) <= 1/3,
// whose series s + s^3/3 + ... ends at s^35, below a unit of float64.
float softrelu(float x) {
  const double u = exponential(-std::fabs(static_cast<double>(x)));
  const double s = u / (2.0 + u), q = s * s;
  double sum = 1.0 / 35.0;
#pragma GCC unroll 17
  for (int k = 33; k >= 1; k -= 2) sum = sum * q + 1.0 / k;
  const double above = x > 0 ? static_cast<double>(x) : 0.0;
  return static_cast<float>(above + (2.0 * s) * sum);
}

// x / 2 * (1 + erf(x / sqrt(2))), whose parenthesis is erfc(-x / sqrt(2)): exact where it is close to 0, too.
float gelu(float x) {
  const double wide = x, tail = complementary_error(std::fabs(wide) * 0.7071067811865476);
  return static_cast<float>(0.5 * wide * (x < 0 ? tail : 2.0 - tail));
}

// Functions of x alone, and of x and a slope.
struct Relu {
  float operator()(float x) const { return x <= 0 ? 0.0f : x; }  // NaN stays NaN
};
struct Gelu {
  float operator()(float x) const { return gelu(x); }
};
struct Sigmoid {
  float operator()(float x) const { return sigmoid(x); }
};
struct Tanh {
  float operator()(float x) const { return hyperbolic_tangent(x); }
};
struct Softrelu {
  float operator()(float x) const { return softrelu(x); }
};
struct Softsign {
  float operator()(float x) const { return x / (1.0f + std::fabs(x)); }
};
struct Sign {
  float operator()(float x) const { return x < 0 ? -1.0f : 1.0f; }
};
struct BinarySigmoid {
  float operator()(float x) const { return x < 0 ? 0.0f : 1.0f; }
};
struct Leaky {
  float operator()(float x, float slope) const { return x > 0 ? x : slope * x; }
};
struct Elu {
  float operator()(float x, float slope) const {
    const float below = static_cast<float>(static_cast<double>(slope) * exponential_minus_1(x));
    return x > 0 ? x : below;
  }
};
struct Swish {  // three operations of float32, as in MXNet
  float operator()(float x, float slope) const { return x * sigmoid(slope * x); }
};

template <typename Function>
void plain(const float* x, const float*, int64_t rows, int64_t channels, float* y) {
  const Function function;
  for (int64_t i = 0; i < rows * channels; ++i) y[i] = function(x[i]);
}

template <typename Function>
void of_layer(const float* x, const float* slope, int64_t rows, int64_t channels, float* y) {
  const Function function;
  for (int64_t i = 0; i < rows * channels; ++i) y[i] = function(x[i], slope[0]);
}

template <typename Function>
void of_channel(const float* x, const float* slope, int64_t rows, int64_t channels, float* y) {
  const Function function;
  for (int64_t r = 0; r < rows; ++r, x += channels, y += channels) {
    for (int64_t c = 0; c < channels; ++c) y[c] = function(x[c], slope[c]);
  }
}

}  // namespace

const ActivationFunction activation_functions[kActivationFunctions] = {
    {"relu", Slope::kNone, plain<Relu>},           {"leaky", Slope::kLayer, of_layer<Leaky>},
    {"prelu", Slope::kChannel, of_channel<Leaky>}, {"elu", Slope::kLayer, of_layer<Elu>},
    {"gelu", Slope::kNone, plain<Gelu>},           {"sigmoid", Slope::kNone, plain<Sigmoid>},
    {"tanh", Slope::kNone, plain<Tanh>},           {"softrelu", Slope::kNone, plain<Softrelu>},
    {"softsign", Slope::kNone, plain<Softsign>},   {"swish", Slope::kLayer, of_layer<Swish>},
    {"sign", Slope::kNone, plain<Sign>},           {"binary_sigmoid", Slope::kNone, plain<BinarySigmoid>},
};

}  // namespace gluon_bnn
