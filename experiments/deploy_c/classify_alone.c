/* Classifies images with a model that is a header: C99 and no library at all, not even for the model.
 *
 *   make alone MODEL=model.safetensors                     # writes net.h, compiles this with it
 *   gunzip -k t10k-images-idx3-ubyte.gz t10k-labels-idx1-ubyte.gz
 *   ./classify_alone t10k-images-idx3-ubyte t10k-labels-idx1-ubyte      # 9752 of 10000 right (97.52%)
 *
 * So many are right with the net that comes with the package, gluon_bnn/zoo/mnist.safetensors.
 *
 * stdio is for the files of images: net.h itself needs no operating system. The model must take uint8 inputs:
 * freeze(net, input_scale=...). Exits with 1, saying why, where something is wrong, and with 2 for wrong arguments. */
#include <stdio.h>

#include "net.h"

/* An IDX file of bytes with 1 or 3 axes, open at its first item; count: its items, of `item` bytes each. */
static FILE* open_idx(const char* name, int axes, unsigned long* count, unsigned long* item) {
  FILE* file = fopen(name, "rb");
  unsigned char h[16];
  if (file == NULL || fread(h, 4 + 4 * (size_t)axes, 1, file) != 1 || h[0] || h[1] || h[2] != 8 || h[3] != axes) {
    fprintf(stderr, "classify_alone: %s must be an IDX file of bytes with %d axes; gunzip it first\n", name, axes);
    return NULL;
  }
  *count = (unsigned long)h[4] << 24 | (unsigned long)h[5] << 16 | (unsigned long)h[6] << 8 | h[7];
  *item = axes == 1 ? 1 : (h[8] | h[9] | h[12] | h[13]) ? 0 : (h[10] * 256ul + h[11]) * (h[14] * 256ul + h[15]);
  return file;
}

int main(int argc, char** argv) {
  static uint8_t image[NET_INPUTS];
  unsigned long count, labels, pixels, one, i, right = 0;
  if (argc != 3) return fputs("usage: classify_alone IMAGES-idx3 LABELS-idx1\n", stderr), 2;
  FILE* images_file = open_idx(argv[1], 3, &count, &pixels);
  FILE* labels_file = images_file ? open_idx(argv[2], 1, &labels, &one) : NULL;
  if (labels_file == NULL) return 1;
  if (labels != count || pixels != NET_INPUTS) {
    fprintf(stderr, "classify_alone: %s must have images of %d pixels and as many as labels\n", argv[1], NET_INPUTS);
    return 1;
  }
  for (i = 0; i < count; ++i) {
    const int label = fread(image, sizeof image, 1, images_file) == 1 ? getc(labels_file) : EOF;
    if (label == EOF) return fprintf(stderr, "classify_alone: the files end at image %lu of %lu\n", i, count), 1;
    right += net_predict(image) == label;
  }
  printf("%lu of %lu right (%.2f%%)\n", right, count, 100.0 * (double)right / (double)(count ? count : 1));
  return 0;
}
