/* Classifies images with a model that gluon_bnn.runtime.save wrote: C99 and the library's C interface, no Python.
 *
 *   make                      # or make LIB=/path/to/libgluon_bnn.so INCLUDE=/path/to/gluon_bnn/native/include
 *   gunzip -k t10k-images-idx3-ubyte.gz t10k-labels-idx1-ubyte.gz
 *   ./classify model.safetensors t10k-images-idx3-ubyte t10k-labels-idx1-ubyte      # 9752 of 10000 right (97.52%)
 *
 * So many are right with the net that comes with the package, gluon_bnn/zoo/mnist.safetensors.
 *
 * With -p before the model it first prints the class of each image. The model must take uint8 inputs:
 * freeze(net, input_scale=...). Exits with 1, saying why, where something is wrong, and with 2 for wrong arguments. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gluon_bnn.h"

#define FAIL(file, ...) \
  (fprintf(stderr, "classify: %s ", file), fprintf(stderr, __VA_ARGS__), fputs("\n", stderr), exit(1))

static uint64_t big_endian(const unsigned char* p) {
  return (uint64_t)p[0] << 24 | (uint64_t)p[1] << 16 | (uint64_t)p[2] << 8 | p[3];
}

/* The `count` items, of `item` bytes each, of an IDX file of bytes with 1 or 3 axes. */
static const unsigned char* read_idx(const char* name, size_t axes, uint64_t* count, uint64_t* item) {
  FILE* file = fopen(name, "rb");
  const long end = file && !fseek(file, 0, SEEK_END) ? ftell(file) : -1;
  const size_t size = end < 1 ? 0 : (size_t)end, start = 4 + 4 * axes;
  unsigned char* bytes = size ? malloc(size) : NULL;
  if (bytes == NULL || fseek(file, 0, SEEK_SET) || fread(bytes, 1, size, file) != size) {
    FAIL(name, "cannot be read, or is empty");
  }
  fclose(file);
  if (size <= start || big_endian(bytes) != 2048 + axes) FAIL(name, "must be an IDX file of bytes; gunzip it first");
  *count = big_endian(bytes + 4), *item = axes == 3 ? big_endian(bytes + 8) * big_endian(bytes + 12) : 1;
  if (*item == 0 || (size - start) / *item != *count || (size - start) % *item) FAIL(name, "is damaged or cut off");
  return bytes + start;
}

int main(int argc, char** argv) {
  const int print = argc == 5 && !strcmp(argv[1], "-p");
  if (argc != 4 + print) return fputs("usage: classify [-p] MODEL.safetensors IMAGES-idx3 LABELS-idx1\n", stderr), 2;
  if (gluon_bnn_abi() != GLUON_BNN_ABI)
    FAIL("libgluon_bnn", "has interface %d, not %d", gluon_bnn_abi(), GLUON_BNN_ABI);
  const char *path = argv[1 + print], *images_path = argv[2 + print];
  gluon_bnn_model* model;
  if (gluon_bnn_load(path, &model)) return fprintf(stderr, "classify: %s\n", gluon_bnn_error()), 1;
  if (!gluon_bnn_takes_u8(model)) FAIL(path, "takes no uint8 inputs: give input_scale to freeze");
  uint64_t count, label_count, pixels, one, right = 0;
  const unsigned char* images = read_idx(images_path, 3, &count, &pixels);
  const unsigned char* labels = read_idx(argv[3 + print], 1, &label_count, &one);
  if (label_count != count || pixels != (uint64_t)gluon_bnn_inputs(model)) {
    FAIL(images_path, "must have images of %" PRId64 " pixels and as many as labels", gluon_bnn_inputs(model));
  }
  int64_t* classes = calloc((size_t)count, sizeof *classes);
  if (classes == NULL || gluon_bnn_predict_u8(model, images, (int64_t)count, classes)) {
    FAIL(path, "cannot be run: %s", classes ? gluon_bnn_error() : "there is no memory for the classes");
  }
  for (uint64_t i = 0; i < count; ++i) {
    right += classes[i] == labels[i];
    if (print) printf("%" PRId64 "\n", classes[i]);
  }
  printf("%" PRIu64 " of %" PRIu64 " right (%.2f%%)\n", right, count, 100.0 * (double)right / (double)count);
  return 0;
}
