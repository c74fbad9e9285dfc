/* What the functions of a header are taken from: each one that a net needs, with those that it calls.
 *
 * A function, with the comment above it, stands between two empty lines and has none inside; "net_" becomes the prefix
 * of the header. Formulas and the order of float operations are those of gluon_bnn/graph/kinds: a cast to float ends
 * each operation whose result another one takes, so that it is rounded there. Bit t of a word is element t: 1 where a
 * number is below 0. All sizes are those of one row; y may be x where elements are taken one by one. */
#include <stdint.h>

/* The windows of a convolution or a pool. step: what a place of the image has, in words, floats or pixels. */
typedef struct {
  int32_t height, width, step, columns; /* columns: the windows side by side */
  int32_t kernel[2], strides[2], padding[2], dilation[2];
} net_windows;

/* Where each tap of a window begins, -1 where it lies outside of the image. */
static void net_taps(const net_windows* of, int32_t window, int32_t* at) {
  const int32_t top = window / of->columns * of->strides[0] - of->padding[0];
  const int32_t left = window % of->columns * of->strides[1] - of->padding[1];
  int32_t i, j;
  for (i = 0; i < of->kernel[0]; ++i) {
    for (j = 0; j < of->kernel[1]; ++j) {
      const int32_t row = top + i * of->dilation[0], column = left + j * of->dilation[1];
      const int inside = row >= 0 && row < of->height && column >= 0 && column < of->width;
      *at++ = inside ? (row * of->width + column) * of->step : -1;
    }
  }
}

/* The floats of a window, channels from `begin` on, with `outside` outside of the image. */
static void net_window(const float* x, const int32_t* at, int32_t taps, int32_t begin, int32_t channels, float outside,
                       float* y) {
  int32_t i, c;
  for (i = 0; i < taps; ++i) {
    for (c = 0; c < channels; ++c) *y++ = at[i] < 0 ? outside : x[at[i] + begin + c];
  }
}

/* The pixels of a window, 0 outside of the image. */
static void net_window_pixels(const uint8_t* x, const int32_t* at, int32_t taps, int32_t channels, uint8_t* y) {
  int32_t i, c;
  for (i = 0; i < taps; ++i) {
    for (c = 0; c < channels; ++c) *y++ = (uint8_t)(at[i] < 0 ? 0 : x[at[i] + c]);
  }
}

/* The number of ones among the bits. */
static int32_t net_ones(uint32_t v) {
  v = v - ((v >> 1) & 0x55555555u);
  v = (v & 0x33333333u) + ((v >> 2) & 0x33333333u);
  v = (v + (v >> 4)) & 0x0f0f0f0fu;
  return (int32_t)((uint32_t)(v * 0x01010101u) >> 24);
}

/* The words of a window; outside of the image are the bits of +1, or with `minus` those of -1. */
static void net_window_bits(const uint32_t* x, const int32_t* at, int32_t taps, int32_t channels, int minus,
                            uint32_t* y) {
  const int32_t words = (channels + 31) / 32;
  int32_t i, w;
  for (i = 0; i < taps; ++i) {
    for (w = 0; w < words; ++w) {
      const uint32_t ones = 0xffffffffu >> (w + 1 < words ? 0 : 32 * words - channels);
      *y++ = at[i] >= 0 ? x[at[i] + w] : minus ? ones : 0;
    }
  }
}

/* Products of n bits with the signs of each unit: n - 2 * the number of bits that differ. */
static void net_dots(const uint32_t* x, int32_t words, int32_t n, const uint32_t* weights, int32_t units,
                     int32_t* dots) {
  int32_t unit, i;
  for (unit = 0; unit < units; ++unit) {
    int32_t differ = 0;
    for (i = 0; i < words; ++i) differ += net_ones(x[i] ^ *weights++);
    dots[unit] = n - 2 * differ;
  }
}

/* Takes what +1 outside of the image added to the products of a window, where a place outside counts 0. */
static void net_zero_outside(const int32_t* at, int32_t taps, int32_t channels, const uint32_t* weights, int32_t units,
                             int32_t* dots) {
  const int32_t words = (channels + 31) / 32;
  int32_t unit, i, w;
  for (i = 0; i < taps; ++i) {
    if (at[i] >= 0) continue;
    for (unit = 0; unit < units; ++unit) {
      const uint32_t* tap = weights + (unit * taps + i) * words;
      int32_t ones = 0;
      for (w = 0; w < words; ++w) ones += net_ones(tap[w]);
      dots[unit] -= channels - 2 * ones;
    }
  }
}

/* Products of pixels with the signs of each unit. For each four pixels all 16 sums of theirs with some signs are formed
 * once; four bits of a unit's weights choose one. */
static void net_pixel_dots(const uint8_t* x, int32_t n, const uint32_t* weights, int32_t units, int32_t* dots) {
  const int32_t words = (n + 31) / 32;
  int32_t unit, word;
  for (unit = 0; unit < units; ++unit) dots[unit] = 0;
  for (word = 0; word < words; ++word) {
    int16_t sums[8][16];
    const int32_t left = n - 32 * word, groups = left < 32 ? (left + 3) / 4 : 8;
    int32_t group, i, code;
    for (group = 0; group < groups; ++group) {
      int16_t* of = sums[group];
      of[0] = 0;
      for (i = 0; i < 4; ++i) {
        const int pixel = 4 * group + i < left ? x[32 * word + 4 * group + i] : 0;
        for (code = 0; code < 1 << i; ++code) {
          of[code + (1 << i)] = (int16_t)(of[code] - pixel);
          of[code] = (int16_t)(of[code] + pixel);
        }
      }
    }
    for (unit = 0; unit < units; ++unit) {
      uint32_t bits = weights[unit * words + word];
      int32_t dot = 0;
      for (group = 0; group < groups; ++group, bits >>= 4) dot += sums[group][bits & 15u];
      dots[unit] += dot;
    }
  }
}

/* A product, rounded: no compiler fuses a volatile with the sum that follows, whatever its options. */
static float net_product(float a, float b) {
  volatile const float product = a * b;
  return product;
}

/* -x where the bit is 1. */
static float net_signed(float x, uint32_t bit) { return bit & 1u ? -x : x; }

/* Products of floats with the signs of each unit: four at a time, the sums of 256 inputs on their own, then these. */
static void net_float_dots(const float* x, int32_t n, const uint32_t* weights, int32_t units, float* y) {
  int32_t unit, i;
  for (unit = 0; unit < units; ++unit) {
    float sum = 0.0f, part = 0.0f;
    uint32_t word = 0;
    for (i = 0; i < n; i += 4, word >>= 4) {
      float ab, cd;
      if (i % 32 == 0) word = *weights++;
      if (i > 0 && i % 256 == 0) {
        sum = (float)(sum + part);
        part = 0.0f;
      }
      ab = (float)(net_signed(x[i], word) + (i + 1 < n ? net_signed(x[i + 1], word >> 1) : 0.0f));
      cd = (float)((i + 2 < n ? net_signed(x[i + 2], word >> 2) : 0.0f) +
                   (i + 3 < n ? net_signed(x[i + 3], word >> 3) : 0.0f));
      part = (float)(part + (float)(ab + cd));
    }
    y[unit] = (float)(sum + part);
  }
}

/* Bits of a row: 1 where a product is below the unit's threshold. */
static void net_below(const int32_t* dots, const int32_t* threshold, int32_t n, uint32_t* y) {
  int32_t i;
  for (i = 0; i < n; ++i) {
    if (i % 32 == 0) y[i / 32] = 0;
    y[i / 32] |= (uint32_t)(dots[i] < threshold[i]) << i % 32;
  }
}

/* Products as floats. */
static void net_floats(const int32_t* dots, int32_t n, float* y) {
  int32_t i;
  for (i = 0; i < n; ++i) y[i] = (float)dots[i];
}

/* Products of 0 and 1 with signs, from those of +1 and -1 and the sums of the signs. */
static void net_floats01(const int32_t* dots, const int32_t* sums, int32_t n, float* y) {
  int32_t i;
  for (i = 0; i < n; ++i) y[i] = (float)((dots[i] + sums[i]) / 2);
}

/* alpha * x + bias. */
static void net_scale(const float* x, int32_t n, const float* alpha, const float* bias, float* y) {
  int32_t i;
  for (i = 0; i < n; ++i) y[i] = (float)(net_product(alpha[i], x[i]) + bias[i]);
}

/* (x - mean) * factor + beta, per channel. */
static void net_norm(const float* x, int32_t places, int32_t channels, const float* mean, const float* factor,
                     const float* beta, float* y) {
  int32_t i, c;
  for (i = 0; i < places; ++i) {
    for (c = 0; c < channels; ++c, ++x, ++y) *y = (float)(net_product((float)(*x - mean[c]), factor[c]) + beta[c]);
  }
}

/* The signs of floats, each place from a word of its own. */
static void net_pack(const float* x, int32_t places, int32_t channels, uint32_t* y) {
  int32_t i, c;
  for (i = 0; i < places; ++i, y += (channels + 31) / 32) {
    for (c = 0; c < channels; ++c) {
      if (c % 32 == 0) y[c / 32] = 0;
      y[c / 32] |= (uint32_t)(*x++ < 0.0f) << c % 32;
    }
  }
}

/* The signs of what pixels stand for. */
static void net_pack_pixels(const uint8_t* x, int32_t places, int32_t channels, const int16_t* threshold, uint32_t* y) {
  int32_t i, c;
  for (i = 0; i < places; ++i, y += (channels + 31) / 32) {
    for (c = 0; c < channels; ++c) {
      if (c % 32 == 0) y[c / 32] = 0;
      y[c / 32] |= (uint32_t)(*x++ < *threshold++) << c % 32;
    }
  }
}

/* Bits of an image as those of one row, without gaps. */
static void net_flatten(const uint32_t* x, int32_t places, int32_t channels, uint32_t* y) {
  int32_t i, c, to = 0;
  for (i = 0; i < places; ++i, x += (channels + 31) / 32) {
    for (c = 0; c < channels; ++c, ++to) {
      if (to % 32 == 0) y[to / 32] = 0;
      y[to / 32] |= (x[c / 32] >> c % 32 & 1u) << to % 32;
    }
  }
}

/* Products of floats with float weights: the sums of 256 inputs on their own, then these. A weight of the next input is
 * `step` further. */
static void net_dense(const float* x, int32_t n, const float* weights, int32_t step, int32_t units, float* y) {
  int32_t unit, i;
  for (unit = 0; unit < units; ++unit) {
    const float* weight = weights + unit;
    float sum = 0.0f, part = 0.0f;
    for (i = 0; i < n; ++i, weight += step) {
      if (i > 0 && i % 256 == 0) {
        sum = (float)(sum + part);
        part = 0.0f;
      }
      part = (float)(part + net_product(x[i], *weight));
    }
    y[unit] = (float)(sum + part);
  }
}

/* What uint8 pixels stand for: scale * p + shift. The next scale is `step` further. */
static void net_input(const uint8_t* x, int32_t n, const float* scale, int32_t step, const float* shift, float* y) {
  int32_t i;
  for (i = 0; i < n; ++i, scale += step) y[i] = (float)(net_product(*scale, (float)x[i]) + shift[i]);
}

/* An image of channels one after the other as one with the channels innermost. */
static void net_image(const float* x, int32_t places, int32_t channels, float* y) {
  int32_t i, c;
  for (i = 0; i < places; ++i) {
    for (c = 0; c < channels; ++c) *y++ = x[c * places + i];
  }
}

/* The same of pixels. */
static void net_image_pixels(const uint8_t* x, int32_t places, int32_t channels, uint8_t* y) {
  int32_t i, c;
  for (i = 0; i < places; ++i) {
    for (c = 0; c < channels; ++c) *y++ = x[c * places + i];
  }
}

/* Some channels of each place, to some channels of another value. */
static void net_copy(const float* x, int32_t x_step, int32_t places, int32_t channels, float* y, int32_t y_step) {
  int32_t i, c;
  for (i = 0; i < places; ++i, x += x_step, y += y_step) {
    for (c = 0; c < channels; ++c) y[c] = x[c];
  }
}

/* The largest of each channel of a window. NaN is ignored, and nothing is below the lowest float. */
static void net_max_pool(const float* x, const int32_t* at, int32_t taps, int32_t channels, float* y) {
  int32_t i, c;
  for (c = 0; c < channels; ++c) {
    float most = -3.4028234663852886e+38f;
    for (i = 0; i < taps; ++i) {
      if (at[i] >= 0 && x[at[i] + c] > most) most = x[at[i] + c];
    }
    y[c] = most;
  }
}

/* The bits of the largest of each channel. */
static void net_bit_pool(const uint32_t* x, const int32_t* at, int32_t taps, int32_t words, uint32_t* y) {
  int32_t i, w;
  for (w = 0; w < words; ++w) {
    uint32_t all = 0xffffffffu;
    for (i = 0; i < taps; ++i) all &= at[i] >= 0 ? x[at[i] + w] : 0xffffffffu;
    y[w] = all;
  }
}

/* The bits of the largest of each channel, of the smallest where the channel falls. */
static void net_falling_pool(const uint32_t* x, const int32_t* at, int32_t taps, int32_t words, const uint32_t* falls,
                             uint32_t* y) {
  int32_t i, w;
  for (w = 0; w < words; ++w) {
    uint32_t all = 0xffffffffu, any = 0;
    for (i = 0; i < taps; ++i) {
      if (at[i] >= 0) {
        all &= x[at[i] + w];
        any |= x[at[i] + w];
      }
    }
    y[w] = (all & ~falls[w]) | (any & falls[w]);
  }
}

/* How many places of a window along an axis count: those in the image, or with `all` in the padded image. */
static int32_t net_count(int32_t begin, int32_t kernel, int32_t size, int32_t padding, int all) {
  const int32_t end = all ? size + padding : size;
  return (begin + kernel < end ? begin + kernel : end) - (all || begin > 0 ? begin : 0);
}

/* The mean of each channel of a window: the sum is divided, or with `each` every element before it is added. */
static void net_average_pool(const float* x, const net_windows* of, int32_t window, const int32_t* at, int32_t channels,
                             int all, int each, float* y) {
  const int32_t top = window / of->columns * of->strides[0] - of->padding[0];
  const int32_t left = window % of->columns * of->strides[1] - of->padding[1];
  const float count = (float)(net_count(top, of->kernel[0], of->height, of->padding[0], all) *
                              net_count(left, of->kernel[1], of->width, of->padding[1], all));
  const int32_t taps = of->kernel[0] * of->kernel[1];
  int32_t i, c;
  for (c = 0; c < channels; ++c) {
    float sum = 0.0f;
    for (i = 0; i < taps; ++i) {
      if (at[i] >= 0) sum = (float)(sum + (each ? (float)(x[at[i] + c] / count) : x[at[i] + c]));
    }
    y[c] = each ? sum : (float)(sum / count);
  }
}

static void net_relu(const float* x, int32_t n, float* y) {
  int32_t i;
  for (i = 0; i < n; ++i) y[i] = x[i] <= 0.0f ? 0.0f : x[i];
}

/* slope * x where x is not above 0, with a slope per channel. */
static void net_leaky(const float* x, int32_t places, int32_t channels, const float* slope, float* y) {
  int32_t i, c;
  for (i = 0; i < places; ++i) {
    for (c = 0; c < channels; ++c, ++x, ++y) *y = *x > 0.0f ? *x : net_product(slope[c], *x);
  }
}

static void net_softsign(const float* x, int32_t n, float* y) {
  int32_t i;
  for (i = 0; i < n; ++i) y[i] = (float)(x[i] / (float)(1.0f + (x[i] < 0.0f ? -x[i] : x[i])));
}

static void net_sign(const float* x, int32_t n, float* y) {
  int32_t i;
  for (i = 0; i < n; ++i) y[i] = x[i] < 0.0f ? -1.0f : 1.0f;
}

static void net_binary_sigmoid(const float* x, int32_t n, float* y) {
  int32_t i;
  for (i = 0; i < n; ++i) y[i] = x[i] < 0.0f ? 0.0f : 1.0f;
}

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

/* x + operand, which has m elements and begins again behind the last; so the next ones. */
static void net_add(const float* x, int32_t n, const float* operand, int32_t m, float* y) {
  int32_t i, j = 0;
  for (i = 0; i < n; ++i, j = j + 1 < m ? j + 1 : 0) y[i] = (float)(x[i] + operand[j]);
}

static void net_subtract(const float* x, int32_t n, const float* operand, int32_t m, float* y) {
  int32_t i, j = 0;
  for (i = 0; i < n; ++i, j = j + 1 < m ? j + 1 : 0) y[i] = (float)(x[i] - operand[j]);
}

static void net_multiply(const float* x, int32_t n, const float* operand, int32_t m, float* y) {
  int32_t i, j = 0;
  for (i = 0; i < n; ++i, j = j + 1 < m ? j + 1 : 0) y[i] = net_product(x[i], operand[j]);
}

static void net_divide(const float* x, int32_t n, const float* operand, int32_t m, float* y) {
  int32_t i, j = 0;
  for (i = 0; i < n; ++i, j = j + 1 < m ? j + 1 : 0) y[i] = (float)(x[i] / operand[j]);
}

/* NaN where either number is NaN, the second of two equal ones. */
static void net_maximum(const float* x, int32_t n, const float* operand, int32_t m, float* y) {
  int32_t i, j = 0;
  for (i = 0; i < n; ++i, j = j + 1 < m ? j + 1 : 0) y[i] = x[i] > operand[j] || x[i] != x[i] ? x[i] : operand[j];
}

static void net_minimum(const float* x, int32_t n, const float* operand, int32_t m, float* y) {
  int32_t i, j = 0;
  for (i = 0; i < n; ++i, j = j + 1 < m ? j + 1 : 0) y[i] = x[i] < operand[j] || x[i] != x[i] ? x[i] : operand[j];
}

/* The index of the largest, the first of several; the first NaN where there is one. */
static int net_largest(const float* y, int32_t n) {
  int32_t i, most = 0;
  for (i = 1; i < n; ++i) {
    if (y[most] == y[most] && (y[i] > y[most] || y[i] != y[i])) most = i;
  }
  return (int)most;
}
