/* Floats. The order of operations is that of gluon_bnn/graph/kinds, and a cast to float ends each one whose result
 * another one takes. y may be x where elements are taken one by one. */
#include <stdint.h>

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
