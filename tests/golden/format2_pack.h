/* A neural network of 40 inputs, 40 pixels, and 3 outputs.
 * Written by gluon_bnn VERSION.
 *
 *   const uint8_t x[FORMAT2_PACK_INPUTS] = ...;
 *   int largest = format2_pack_predict(x);   the index of the largest score, the first of several
 *   float scores[FORMAT2_PACK_OUTPUTS];
 *   format2_pack_scores(x, scores);          all scores; they must not overlap x
 *
 * 956 bytes of constants, 292 bytes of static buffers: one call at a time.
 * It needs a C99 compiler, <stdint.h> and nothing else: no heap, no mathematical library, no operating system. Include
 * it in one source file, and compile this as suits the machine. Scores have the same bits everywhere, since floats are
 * rounded after each operation; with -ffast-math they would not be, and this is refused. */

#ifndef GLUON_BNN_format2_pack_H
#define GLUON_BNN_format2_pack_H

#include <stdint.h>

#if defined(__FLT_EVAL_METHOD__) && (__FLT_EVAL_METHOD__ == 1 || __FLT_EVAL_METHOD__ == 2)
#if defined(__cplusplus) || !defined(__STRICT_ANSI__)
#error "floats are not rounded after each operation: compile C with -std=c99, or on x86 with -msse2 -mfpmath=sse"
#endif
#endif
/* GCC's macro is 0 with each option that changes floats. Without floats in hardware it is always 0. */
#if defined(__FAST_MATH__) || (defined(__FINITE_MATH_ONLY__) && __FINITE_MATH_ONLY__) || \
    (defined(__GCC_IEC_559) && __GCC_IEC_559 == 0 && \
     (defined(__x86_64__) || defined(__i386__) || defined(__aarch64__) || defined(__ARM_FP)))
#error "options such as -ffast-math and -fno-signed-zeros change the scores: compile without"
#endif
/* Clang has no macro for parts of -ffast-math, but on most processors this, which takes their effect away. */
#if defined(__clang__) && __clang_major__ >= 13
#pragma clang diagnostic push
#pragma clang diagnostic ignored "-Wignored-pragmas"
#pragma float_control(push)
#pragma float_control(precise, on)
#endif

#ifdef FORMAT2_PACK_INPUTS
#error "another header's name differs from this one's in nothing but upper and lower case: write one under another name"
#endif
#define FORMAT2_PACK_INPUTS 40
#define FORMAT2_PACK_OUTPUTS 3

/* The number of ones among the bits. */
static int32_t format2_pack_ones(uint32_t v) {
  v = v - ((v >> 1) & 0x55555555u);
  v = (v & 0x33333333u) + ((v >> 2) & 0x33333333u);
  v = (v + (v >> 4)) & 0x0f0f0f0fu;
  return (int32_t)((uint32_t)(v * 0x01010101u) >> 24);
}

/* Products of n bits with the signs of each unit: n - 2 * the number of bits that differ. */
static void format2_pack_dots(const uint32_t* x, int32_t words, int32_t n, const uint32_t* weights, int32_t units,
                     int32_t* dots) {
  int32_t unit, i;
  for (unit = 0; unit < units; ++unit) {
    int32_t differ = 0;
    for (i = 0; i < words; ++i) differ += format2_pack_ones(x[i] ^ *weights++);
    dots[unit] = n - 2 * differ;
  }
}

/* Bits of a row: 1 where a product is below the unit's threshold. */
static void format2_pack_below(const int32_t* dots, const int32_t* threshold, int32_t n, uint32_t* y) {
  int32_t i;
  for (i = 0; i < n; ++i) {
    if (i % 32 == 0) y[i / 32] = 0;
    y[i / 32] |= (uint32_t)(dots[i] < threshold[i]) << i % 32;
  }
}

/* The signs of what pixels stand for. */
static void format2_pack_packPixels(const uint8_t* x, int32_t places, int32_t channels, const int16_t* threshold, uint32_t* y) {
  int32_t i, c;
  for (i = 0; i < places; ++i, y += (channels + 31) / 32) {
    for (c = 0; c < channels; ++c) {
      if (c % 32 == 0) y[c / 32] = 0;
      y[c / 32] |= (uint32_t)(*x++ < *threshold++) << c % 32;
    }
  }
}

/* A product, rounded: no compiler fuses a volatile with the sum that follows, whatever its options. */
static float format2_pack_product(float a, float b) {
  volatile const float product = a * b;
  return product;
}

/* Products as floats. */
static void format2_pack_floats(const int32_t* dots, int32_t n, float* y) {
  int32_t i;
  for (i = 0; i < n; ++i) y[i] = (float)dots[i];
}

/* alpha * x + bias. */
static void format2_pack_scale(const float* x, int32_t n, const float* alpha, const float* bias, float* y) {
  int32_t i;
  for (i = 0; i < n; ++i) y[i] = (float)(format2_pack_product(alpha[i], x[i]) + bias[i]);
}

/* (x - mean) * factor + beta, per channel. */
static void format2_pack_norm(const float* x, int32_t places, int32_t channels, const float* mean, const float* factor,
                     const float* beta, float* y) {
  int32_t i, c;
  for (i = 0; i < places; ++i) {
    for (c = 0; c < channels; ++c, ++x, ++y) *y = (float)(format2_pack_product((float)(*x - mean[c]), factor[c]) + beta[c]);
  }
}

/* The index of the largest, the first of several; the first NaN where there is one. */
static int format2_pack_largest(const float* y, int32_t n) {
  int32_t i, most = 0;
  for (i = 1; i < n; ++i) {
    if (y[most] == y[most] && (y[i] > y[most] || y[i] != y[i])) most = i;
  }
  return (int)most;
}

static const int16_t format2_pack_1ThresholdU8[40] = {
    186, 49, 182, 172, 147, 13, 196, 94,
    51, 223, 23, 236, 255, 248, 91, 27,
    133, 98, 224, 155, 139, 116, 74, 251,
    113, 45, 13, 211, 39, 213, 156, 241,
    219, 223, 182, 113, 76, 82, 207, 66};

static const uint32_t format2_pack_2WeightBits[130] = {
    0x1ff7df80, 0x89, 0x1fbabef6, 0x52, 0xb9c21f3e, 0x3b, 0xebc3cd32, 0x17,
    0x97034514, 0xe5, 0xa6980218, 0x35, 0x8a186dbf, 0xe5, 0x57e04aec, 0xa5,
    0x57e8745e, 0x69, 0xcb655602, 0xbe, 0xace70f85, 0xf1, 0x6054f1f8, 0xcd,
    0xe7ee487c, 0x68, 0x18ba82c3, 0x54, 0xd0c29f4a, 0x8f, 0xd44ac228, 0x13,
    0xd5b82455, 0xd, 0x82289d87, 0x4a, 0x28a2fcd4, 0x53, 0x3227bddf, 0xb5,
    0xefc6e3fe, 0x81, 0x34be0d61, 0xd7, 0xac0940ad, 0x83, 0x421f0fe6, 0x4f,
    0x1a98bc2a, 0xd6, 0x4f957c7a, 0x47, 0x65d7eeb1, 0x46, 0x906a9e75, 0x4f,
    0xa780a4e7, 0x33, 0x95948f88, 0x1b, 0x9d1f789e, 0x9e, 0xa36e2750, 0x9b,
    0xe8c484e7, 0xbf, 0x9ef9b1a7, 0x26, 0x5ab8a065, 0x27, 0x2022753b, 0x5e,
    0x4e9812e9, 0xc6, 0xb4027350, 0xcc, 0xb9cd18b5, 0x70, 0xfdaee5d8, 0x66,
    0x4645e929, 0xb0, 0x3108b62e, 0xcc, 0xad7028d1, 0xe3, 0xfa6e56c2, 0xcd,
    0xff23255f, 0x65, 0x459f5a0d, 0xa9, 0x67b5b969, 0x19, 0xc1efedff, 0x5d,
    0x9cd74249, 0xce, 0x97f64a9e, 0xf5, 0xe8ab9d27, 0xe7, 0xffce630e, 0xa6,
    0x20e88014, 0x7f, 0x20c890a4, 0x14, 0xcc37b3e5, 0xd7, 0xcd1a60b4, 0xd1,
    0x139e7393, 0xa, 0xcd97d228, 0xe5, 0xc9210b22, 0xc5, 0x7bbf72d, 0x8f,
    0xfda859d7, 0x6c, 0xb1d2bd4f, 0x5b, 0x5b8724dc, 0xa0, 0x7ce77000, 0x61,
    0xc6b03876, 0x2e};

static const int32_t format2_pack_2Threshold[65] = {
    2, 1, -3, -1, -2, -3, -1, 0,
    2, 1, 2, 2, 0, 2, -2, 2,
    2, -1, -2, -2, 0, 2, 0, -1,
    -2, 1, 1, 0, 1, 2, -1, -1,
    2, -2, 0, 2, -2, 0, -3, -1,
    -1, 2, 0, -3, -1, -2, 0, 1,
    0, -3, -3, -3, -1, -2, 2, 0,
    -3, -2, 0, 2, 1, -1, 0, 1,
    1};

static const uint32_t format2_pack_3WeightBits[9] = {
    0x9bd99c3e, 0x3685d3d0, 0x0, 0x970a6ae7, 0xb6d9cf43, 0x0, 0x74cf4a4b, 0x637fcd65,
    0x1};

static const float format2_pack_3Alpha[3] = {
    1.32266557f, -1.22906077f, -0.520518005f};

static const float format2_pack_3Bias[3] = {
    -0.262908101f, 0.0172809288f, 0.218975052f};

static const float format2_pack_3Mean[3] = {
    -0.122819506f, 0.0642224699f, 0.066070579f};

static const float format2_pack_3Factor[3] = {
    1.40116847f, 2.47799087f, 0.589607477f};

static const float format2_pack_3Beta[3] = {
    0.0522754304f, -0.0968520641f, 0.0121278875f};

static uint32_t format2_pack_uint32s0[2];
static uint32_t format2_pack_uint32s1[3];
static int32_t format2_pack_int32s0[65];
static float format2_pack_floats0[3];

static void format2_pack_run(const uint8_t *x, float *y) {
  /* 1, pack: float 40 -> bits 40 */
  format2_pack_packPixels(x, 1, 40, format2_pack_1ThresholdU8, format2_pack_uint32s0);
  /* 2, binary_dense: bits 40 -> bits 65 */
  format2_pack_dots(format2_pack_uint32s0, 2, 40, format2_pack_2WeightBits, 65, format2_pack_int32s0);
  format2_pack_below(format2_pack_int32s0, format2_pack_2Threshold, 65, format2_pack_uint32s1);
  /* 3, binary_dense: bits 65 -> float 3 */
  format2_pack_dots(format2_pack_uint32s1, 3, 65, format2_pack_3WeightBits, 3, format2_pack_int32s0);
  format2_pack_floats(format2_pack_int32s0, 3, y);
  format2_pack_scale(y, 3, format2_pack_3Alpha, format2_pack_3Bias, y);
  format2_pack_norm(y, 1, 3, format2_pack_3Mean, format2_pack_3Factor, format2_pack_3Beta, y);
}

/* All scores of x, float [FORMAT2_PACK_OUTPUTS]. */
static inline void format2_pack_scores(const uint8_t *x, float *scores) { format2_pack_run(x, scores); }

/* The index of the largest score of x, the first of several; the first NaN where there is one. */
static inline int format2_pack_predict(const uint8_t *x) {
  format2_pack_run(x, format2_pack_floats0);
  return format2_pack_largest(format2_pack_floats0, FORMAT2_PACK_OUTPUTS);
}

#if defined(__clang__) && __clang_major__ >= 13
#pragma float_control(pop)
#pragma clang diagnostic pop
#endif

#endif /* GLUON_BNN_format2_pack_H */
