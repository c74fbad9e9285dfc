/* A net in C over an array of inputs, for `prove`. Prints a line of JSON, as classify.py.
 *
 *   classify NET INPUTS.npy OUTPUTS.npy
 *
 * Compiled with -DINPUT=uint8_t or float. With -DRUN=gluon_bnn_run_u8 or gluon_bnn_run our library runs the model file
 * NET; without, it is the net of net.h, whose directory must be among the include paths. The inputs are `prove`'s own,
 * in C order. */
#define _POSIX_C_SOURCE 199309L
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#ifdef RUN
#include "gluon_bnn.h"
static gluon_bnn_model* net;
#define LOAD(path) gluon_bnn_load(path, &net)
#define WHY gluon_bnn_error()
#define INPUTS (size_t)gluon_bnn_inputs(net)
#define OUTPUTS (size_t)gluon_bnn_outputs(net)
#define SCORES(x, y) RUN(net, x, 1, y)
#else
#include "net.h"
#define LOAD(path) 0
#define WHY ""
#define INPUTS NET_INPUTS
#define OUTPUTS NET_OUTPUTS
#define SCORES(x, y) (net_scores(x, y), 0)
#endif

static int fail(const char* what, const char* why) {
  fprintf(stderr, "%s: %s\n", what, why);
  return 1;
}

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

int main(int argc, char** argv) {
  const double started = now();
  unsigned char start[10];
  char header[128];
  long rows = 0;
  double loaded, seconds = 0;
  if (argc != 4) return fail("usage", "classify NET INPUTS.npy OUTPUTS.npy");
  if (LOAD(argv[1])) return fail(argv[1], WHY);
  loaded = now();
  INPUT* x = malloc(INPUTS * sizeof *x);
  float* y = malloc(OUTPUTS * sizeof *y);
  FILE *in = fopen(argv[2], "rb"), *out = fopen(argv[3], "wb");
  if (!x || !y) return fail(argv[1], "there is no memory for its inputs");
  if (!in || fread(start, 1, 10, in) != 10 || fseek(in, start[8] + 256L * start[9], SEEK_CUR)) {
    return fail(argv[2], "cannot be read");
  }
  if (!out || fseek(out, sizeof header, SEEK_SET)) return fail(argv[3], "cannot be written");
  for (; fread(x, sizeof *x, INPUTS, in) == INPUTS; ++rows) {
    const double began = now();
    if (SCORES(x, y)) return fail(argv[1], WHY);
    seconds += now() - began;
    if (fwrite(y, sizeof *y, OUTPUTS, out) != OUTPUTS) return fail(argv[3], "cannot be written");
  }
  memset(header, ' ', sizeof header);
  memcpy(header, "\x93NUMPY\1\0\x76", 10); /* 118 bytes follow; their upper byte is the 0 that ends the string */
  sprintf(header + 10, "{'descr': '<f4', 'fortran_order': False, 'shape': (%ld, %ld), }", rows, (long)OUTPUTS);
  header[10 + strlen(header + 10)] = ' ';
  header[127] = '\n';
  if (fseek(out, 0, SEEK_SET) || fwrite(header, sizeof header, 1, out) != 1 || fclose(out)) {
    return fail(argv[3], "cannot be written");
  }
  printf("{\"load_seconds\": %.9f, \"seconds_per_image\": {\"one_by_one\": %.9f}}\n", loaded - started,
         rows ? seconds / (double)rows : 0);
  return 0;
}
