/* Activations with exp, in float64, by the same operations as gluon_bnn/graph/kinds/activation.py. */
#include <stdint.h>

/* A product of float64, rounded. */
static double net_product64(double a, double b) {
  volatile const double product = a * b;
  return product;
}

/* x^0 / first! + x^1 / (first + 1)! + ... + x^(13 - first) / 13! */
static double net_taylor(double x, int first) {
  double factorial = 6227020800.0, sum = 1.0 / 6227020800.0;
  int k;
  for (k = 12; k >= first; --k) {
    factorial /= k + 1;
    sum = net_product64(sum, x) + 1.0 / factorial;
  }
  return sum;
}

/* exp(x) = 2^n exp(r), n the integer nearest to x / ln 2: the sum with 1.5 * 2^52 has no place for a fraction. */
#if defined(__FLT_EVAL_METHOD__) && __FLT_EVAL_METHOD__ == 2
#error "float64 is not rounded after each operation: compile with -msse2 -mfpmath=sse"
#endif
#if defined(__SIZEOF_DOUBLE__) && __SIZEOF_DOUBLE__ != 8
#error "an activation with exp needs a double of 64 bits"
#endif
/* No compiler takes an array of a size below 0. */
typedef char net_needs_no_single_precision_constant[sizeof 1.0 == sizeof(double) ? 1 : -1];
static double net_exp(double x) {
  double n, r, power = 1.0, factor;
  volatile double whole;
  int left;
  if (x != x) return x;
  x = x < -708.0 ? -708.0 : x > 709.0 ? 709.0 : x;
  whole = net_product64(x, 1.4426950408889634) + 6755399441055744.0;
  n = whole - 6755399441055744.0;
  r = (x - net_product64(n, 0.693147180369123816490)) - net_product64(n, 1.90821492927058770002e-10);
  factor = n < 0 ? 0.5 : 2.0;
  for (left = (int)(n < 0 ? -n : n); left > 0; left /= 2, factor *= factor) {
    if (left % 2) power *= factor;
  }
  return net_taylor(r, 0) * power;
}

/* exp(x) - 1: near 0 the series without its first term. */
static double net_expm1(double x) {
  return x > -0.25 && x < 0.25 ? net_product64(x, net_taylor(x, 1)) : net_exp(x) - 1.0;
}

/* 1 - erf(x) for x >= 0: a polynomial of t, the constant last. */
static double net_erfc(double x) {
  static const double series[23] = {
      -2.623107347133476e-09,  -1.9551358868985616e-09, 3.197926671666804e-08,  1.879082322370048e-08,
      -2.4857126248016745e-07, -5.084465378687302e-08,  1.7419821586224816e-06, -9.792625707303523e-07,
      -1.1438048033346894e-05, 2.2387565714911816e-05,  5.164652974177416e-05,  -0.00029015535246077655,
      0.000293714378044958,    0.0017556261651970652,   -0.009746579683265262,  0.02836227737211114,
      -0.05869339857664934,    0.09230432116428125,     -0.10880393014244462,   0.08227673848999506,
      0.0035854154854790257,   -0.14024059858554525,    1.2375126308378275};
  const double t = 1.0 - 7.5 / (x + 3.75);
  double sum = 0.0;
  int k;
  for (k = 0; k < 23; ++k) sum = net_product64(sum, t) + series[k];
  return net_product64(net_exp(-net_product64(x, x)), sum / (1.0 + 2.0 * x));
}

static float net_logistic(float x) { return (float)(1.0 / (1.0 + net_exp(-(double)x))); }

static void net_sigmoid(const float* x, int32_t n, float* y) {
  int32_t i;
  for (i = 0; i < n; ++i) y[i] = net_logistic(x[i]);
}

/* x * sigmoid(slope * x). */
static void net_swish(const float* x, int32_t n, const float* slope, float* y) {
  int32_t i;
  for (i = 0; i < n; ++i) y[i] = net_product(x[i], net_logistic(net_product(*slope, x[i])));
}

/* slope * (exp(x) - 1) where x is not above 0. */
static void net_elu(const float* x, int32_t n, const float* slope, float* y) {
  int32_t i;
  for (i = 0; i < n; ++i) y[i] = x[i] > 0.0f ? x[i] : (float)((double)*slope * net_expm1((double)x[i]));
}

/* 1 - 2 / (exp(2 |x|) + 1) with the sign of x; near zero the series, which keeps what distinguishes it from x. */
static void net_tanh(const float* x, int32_t n, float* y) {
  int32_t i;
  for (i = 0; i < n; ++i) {
    const double a = x[i] < 0.0f ? -(double)x[i] : (double)x[i];
    const double series = a - a * a * a / 3.0;
    const double t = a < 1.0 / 4096 ? series : 1.0 - 2.0 / (net_exp(2.0 * (a > 20.0 ? 20.0 : a)) + 1.0);
    y[i] = x[i] == 0.0f ? x[i] : (float)(x[i] < 0.0f ? -t : t);
  }
}

/* log(1 + exp(x)) = max(x, 0) + log1p(exp(-|x|)), this by a series. */
static void net_softrelu(const float* x, int32_t n, float* y) {
  int32_t i;
  for (i = 0; i < n; ++i) {
    const double u = net_exp(x[i] < 0.0f ? (double)x[i] : -(double)x[i]);
    const double s = u / (2.0 + u), q = s * s;
    double sum = 1.0 / 35.0;
    int k;
    for (k = 33; k >= 1; k -= 2) sum = net_product64(sum, q) + 1.0 / k;
    y[i] = (float)((x[i] > 0.0f ? (double)x[i] : 0.0) + net_product64(2.0 * s, sum));
  }
}

/* x / 2 * (1 + erf(x / sqrt(2))). */
static void net_gelu(const float* x, int32_t n, float* y) {
  int32_t i;
  for (i = 0; i < n; ++i) {
    const double wide = x[i], tail = net_erfc(net_product64(x[i] < 0.0f ? -wide : wide, 0.7071067811865476));
    y[i] = (float)(0.5 * wide * (x[i] < 0.0f ? tail : 2.0 - tail));
  }
}
