/* Loads the library that its first argument names as Python does, with dlopen, runs the functions of its C interface on
 * fixed numbers, and the models that the other arguments name, and writes what they return to the standard output. The
 * library must give the same bytes on every machine. What differs, its instruction sets, goes to the standard error. */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

#include "gluon_bnn.h"

enum { ROWS = 70, INPUTS = 203, HIDDEN = 97 };
enum { WORDS = (INPUTS + 31) / 32, HIDDEN_WORDS = (HIDDEN + 31) / 32, BLOCKS = (HIDDEN + 15) / 16 };

static void* library;
static uint32_t state = 20161;

static void* symbol(const char* name) {
  void* found = dlsym(library, name);
  return found ? found : (fprintf(stderr, "%s\n", dlerror()), exit(1), NULL);
}
#define CALL(name) ((__typeof__(&gluon_bnn_##name))symbol("gluon_bnn_" #name))
#define CHECK(code) ((code) ? (fprintf(stderr, "%s\n", CALL(error)()), exit(1)) : (void)0)

static uint32_t number(void) { return (state = state * 1664525 + 1013904223) >> 8; }

static float* floats(int64_t count) {
  float* x = malloc(count * sizeof *x);
  for (int64_t i = 0; i < count; ++i) x[i] = (float)((int)(number() % 4001) - 2000) / 512;
  return x;
}

static int32_t* integers(int count, int most) {
  int32_t* x = malloc(count * sizeof *x);
  for (int i = 0; i < count; ++i) x[i] = (int)(number() % (2 * most + 1)) - most;
  return x;
}

static int32_t* weights(int units, int inputs) {
  int32_t* bits = malloc((units + 15) / 16 * ((inputs + 31) / 32) * 16 * sizeof *bits);
  CHECK(CALL(pack_weights)(floats(units * inputs), units, inputs, bits));
  return bits;
}

int main(int argc, char** argv) {
  if (argc < 2 || (library = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL)) == NULL) {
    return fprintf(stderr, "%s\n", argc >= 2 ? dlerror() : "usage: wheel LIBRARY [MODEL...]"), 1;
  }
  fprintf(stderr, "%s\n", CALL(instruction_sets)());
  int (*operators_version)(void) = (int (*)(void))symbol("_opVersion");
  int (*operators)(void) = (int (*)(void))symbol("_opRegSize");
  const int32_t versions[] = {CALL(abi)(), operators_version(), operators()};
  fwrite(versions, sizeof versions, 1, stdout);

  const float *x = floats(ROWS * INPUTS), *alpha = floats(HIDDEN), *bias = floats(HIDDEN);
  const int32_t *w = weights(HIDDEN, INPUTS), *threshold = integers(HIDDEN, 20), *below = integers(INPUTS, 255);
  static uint8_t pixels[ROWS * INPUTS];
  for (int i = 0; i < ROWS * INPUTS; ++i) pixels[i] = (uint8_t)number();
  static int32_t bits[ROWS * WORDS], hidden[ROWS * HIDDEN_WORDS];
  static float y[ROWS * HIDDEN];
#define WRITE(code, array) (CHECK(code), (void)fwrite(array, sizeof array, 1, stdout))
  fwrite(w, sizeof *w, BLOCKS * WORDS * 16, stdout);
  WRITE(CALL(pack_inputs_u8)(pixels, below, ROWS, INPUTS, bits), bits);
  WRITE(CALL(pack_inputs)(x, ROWS, INPUTS, bits), bits);
  WRITE(CALL(xnor_dense)(bits, w, alpha, bias, ROWS, HIDDEN, INPUTS, y), y);
  WRITE(CALL(xnor_dense_bits)(bits, w, threshold, ROWS, HIDDEN, INPUTS, hidden), hidden);
  WRITE(CALL(binary_dense)(x, w, alpha, bias, ROWS, HIDDEN, INPUTS, y), y);
  WRITE(CALL(binary_dense_u8)(pixels, w, alpha, bias, ROWS, HIDDEN, INPUTS, y), y);

  /* Nets of all kinds of node, from files. Every function in them is computed without libm. */
  for (int i = 2; i < argc; ++i) {
    gluon_bnn_model* model;
    CHECK(CALL(load)(argv[i], &model));
    const int64_t inputs = CALL(inputs)(model), outputs = CALL(outputs)(model);
    float *numbers = floats(ROWS * inputs), *results = malloc(ROWS * outputs * sizeof *results);
    uint8_t* bytes = malloc(ROWS * inputs);
    for (int k = 0; k < ROWS * inputs; ++k) bytes[k] = (uint8_t)number();
    CHECK(CALL(run)(model, numbers, ROWS, results));
    fwrite(results, sizeof *results, ROWS * outputs, stdout);
    if (CALL(takes_u8)(model)) {
      int64_t classes[ROWS];
      CHECK(CALL(run_u8)(model, bytes, ROWS, results));
      fwrite(results, sizeof *results, ROWS * outputs, stdout);
      WRITE(CALL(predict_u8)(model, bytes, ROWS, classes), classes);
    }
    CALL(free)(model);
  }
  return 0;
}
