/* A neural network of 12 inputs, 12 floats, and 3 outputs, 97.71% of its test inputs right.
 * Written by gluon_bnn VERSION.
 *
 *   const float x[FORMAT2_LABELS_INPUTS] = ...;
 *   int largest = format2_labels_predict(x);   the index of the largest score, the first of several
 *   float scores[FORMAT2_LABELS_OUTPUTS];
 *   format2_labels_scores(x, scores);          all scores; they must not overlap x
 *
 * 36 bytes of constants, 12 bytes of static buffers: one call at a time.
 * It needs a C99 compiler, <stdint.h> and nothing else: no heap, no mathematical library, no operating system. Include
 * it in one source file, and compile this as suits the machine. Scores have the same bits everywhere, since floats are
 * rounded after each operation; with -ffast-math they would not be, and this is refused. */

#ifndef GLUON_BNN_format2_labels_H
#define GLUON_BNN_format2_labels_H

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

#ifdef FORMAT2_LABELS_INPUTS
#error "another header's name differs from this one's in nothing but upper and lower case: write one under another name"
#endif
#define FORMAT2_LABELS_INPUTS 12
#define FORMAT2_LABELS_OUTPUTS 3

/* A product, rounded: no compiler fuses a volatile with the sum that follows, whatever its options. */
static float format2_labels_product(float a, float b) {
  volatile const float product = a * b;
  return product;
}

/* -x where the bit is 1. */
static float format2_labels_signed(float x, uint32_t bit) { return bit & 1u ? -x : x; }

/* Products of floats with the signs of each unit: four at a time, the sums of 256 inputs on their own, then these. */
static void format2_labels_floatDots(const float* x, int32_t n, const uint32_t* weights, int32_t units, float* y) {
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
      ab = (float)(format2_labels_signed(x[i], word) + (i + 1 < n ? format2_labels_signed(x[i + 1], word >> 1) : 0.0f));
      cd = (float)((i + 2 < n ? format2_labels_signed(x[i + 2], word >> 2) : 0.0f) +
                   (i + 3 < n ? format2_labels_signed(x[i + 3], word >> 3) : 0.0f));
      part = (float)(part + (float)(ab + cd));
    }
    y[unit] = (float)(sum + part);
  }
}

/* alpha * x + bias. */
static void format2_labels_scale(const float* x, int32_t n, const float* alpha, const float* bias, float* y) {
  int32_t i;
  for (i = 0; i < n; ++i) y[i] = (float)(format2_labels_product(alpha[i], x[i]) + bias[i]);
}

/* The index of the largest, the first of several; the first NaN where there is one. */
static int format2_labels_largest(const float* y, int32_t n) {
  int32_t i, most = 0;
  for (i = 1; i < n; ++i) {
    if (y[most] == y[most] && (y[i] > y[most] || y[i] != y[i])) most = i;
  }
  return (int)most;
}

static const uint32_t format2_labels_1WeightBits[3] = {
    0x750, 0x8d5, 0xfc1};

static const float format2_labels_1Alpha[3] = {
    0.0213268623f, 0.49976626f, 1.73531699f};

static const float format2_labels_1Bias[3] = {
    -0.0573444068f, -0.149217457f, -0.0880199f};

static float format2_labels_floats0[3];

static void format2_labels_run(const float *x, float *y) {
  /* 1, binary_dense: float 12 -> float 3 */
  format2_labels_floatDots(x, 12, format2_labels_1WeightBits, 3, y);
  format2_labels_scale(y, 3, format2_labels_1Alpha, format2_labels_1Bias, y);
}

/* All scores of x, float [FORMAT2_LABELS_OUTPUTS]. */
static inline void format2_labels_scores(const float *x, float *scores) { format2_labels_run(x, scores); }

/* The index of the largest score of x, the first of several; the first NaN where there is one. */
static inline int format2_labels_predict(const float *x) {
  format2_labels_run(x, format2_labels_floats0);
  return format2_labels_largest(format2_labels_floats0, FORMAT2_LABELS_OUTPUTS);
}

/* The name of an output, in UTF-8; null where there is no such output. */
static inline const char *format2_labels_label(int output) {
  static const char *const labels[FORMAT2_LABELS_OUTPUTS] = {
      "cat",
      "a; b",
      "F\303\274\303\237e"};
  return output >= 0 && output < FORMAT2_LABELS_OUTPUTS ? labels[output] : 0;
}

#if defined(__clang__) && __clang_major__ >= 13
#pragma float_control(pop)
#pragma clang diagnostic pop
#endif

#endif /* GLUON_BNN_format2_labels_H */
