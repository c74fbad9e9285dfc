/* A net as a C header over an array of inputs, for `prove`: classify INPUTS.npy OUTPUTS.npy
 *
 * Compiled with -DINPUT=uint8_t or float, and the directory of net.h among the include paths. Prints a line of JSON, as
 * classify.py. The inputs are `prove`'s own, in C order. */
#define _POSIX_C_SOURCE 199309L
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "net.h"

static int fail(const char* what) {
  fprintf(stderr, "%s cannot be read or written\n", what);
  return 1;
}

int main(int argc, char** argv) {
  static INPUT x[NET_INPUTS];
  static float y[NET_OUTPUTS];
  unsigned char start[10];
  char header[128];
  long rows = 0;
  double seconds = 0;
  FILE *in, *out;
  if (argc != 3) return fputs("usage: classify INPUTS.npy OUTPUTS.npy\n", stderr), 2;
  in = fopen(argv[1], "rb");
  if (!in || fread(start, 1, 10, in) != 10 || fseek(in, start[8] + 256L * start[9], SEEK_CUR)) return fail(argv[1]);
  out = fopen(argv[2], "wb");
  if (!out || fseek(out, 128, SEEK_SET)) return fail(argv[2]);
  while (fread(x, sizeof x, 1, in) == 1) {
    struct timespec began, ended;
    clock_gettime(CLOCK_MONOTONIC, &began);
    net_scores(x, y);
    clock_gettime(CLOCK_MONOTONIC, &ended);
    seconds += (double)(ended.tv_sec - began.tv_sec) + 1e-9 * (double)(ended.tv_nsec - began.tv_nsec);
    if (fwrite(y, sizeof y, 1, out) != 1) return fail(argv[2]);
    ++rows;
  }
  memset(header, ' ', sizeof header);
  memcpy(header, "\x93NUMPY\1\0\x76", 10); /* 118 bytes follow; their upper byte is the 0 that ends the string */
  sprintf(header + 10, "{'descr': '<f4', 'fortran_order': False, 'shape': (%ld, %ld), }", rows, (long)NET_OUTPUTS);
  header[10 + strlen(header + 10)] = ' ';
  header[127] = '\n';
  if (fseek(out, 0, SEEK_SET) || fwrite(header, sizeof header, 1, out) != 1 || fclose(out)) return fail(argv[2]);
  printf("{\"load_seconds\": 0, \"seconds_per_image\": {\"one_by_one\": %.9f}}\n", rows ? seconds / (double)rows : 0);
  return 0;
}
