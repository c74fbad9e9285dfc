/* Classifies images with a model that gluon_bnn.runtime.save wrote: C99 and the library's C interface, no Python.
 *
 *   make                      # or make LIB=/path/to/libgluon_bnn.so INCLUDE=/path/to/gluon_bnn/native/include
 *   gunzip -k t10k-images-idx3-ubyte.gz t10k-labels-idx1-ubyte.gz
 *   ./classify model.safetensors t10k-images-idx3-ubyte t10k-labels-idx1-ubyte      # 9715 of 10000 right (97.15%)
 *
 * With -p before the model it first prints the class of each image. The model must take uint8 inputs:
 * freeze(net, input_scale=...). Every size and place in the file is compared with what the layers need and the file
 * has, so a damaged one does no harm; its CRC-32 is not checked, as gluon_bnn.runtime.load does. For little-endian
 * machines. Exits with 1, saying why, where something is wrong, and with 2 for wrong arguments. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gluon_bnn.h"

enum { FORMAT = 1, MOST_LAYERS = 100 };
static const char* const kinds[] = {"", "binary_dense", "dense", "batch_norm", "activation", "pack", NULL};
static const char* const forms[] = {"float", "bits", "bits01", NULL};
static const char* const functions[] = {"",         "relu", "sigmoid",        "tanh", "softrelu",
                                        "softsign", "sign", "binary_sigmoid", NULL};
static const char *path, *header; /* the model's file and its JSON */
static const unsigned char* data; /* the data_size bytes after it */
static size_t data_size;

#define FAIL(file, ...) \
  (fprintf(stderr, "classify: %s ", file), fprintf(stderr, __VA_ARGS__), fputs("\n", stderr), exit(1))

static unsigned char* read_file(const char* name, size_t* size) {
  FILE* file = fopen(name, "rb");
  const long end = file && !fseek(file, 0, SEEK_END) ? ftell(file) : -1;
  unsigned char* bytes = end < 1 ? NULL : malloc(*size = (size_t)end);
  if (bytes == NULL || fseek(file, 0, SEEK_SET) || fread(bytes, 1, *size, file) != *size) {
    FAIL(name, "cannot be read, or is empty");
  }
  return fclose(file), bytes;
}

/* The tensor <owner>.<name>, `count` numbers of 4 bytes; null where the file has none. */
static const void* tensor(const char* owner, const char* name, const char* dtype, int64_t count) {
  char key[64], type[8];
  uint64_t begin, end;
  snprintf(key, sizeof key, "\"%s.%s\":{", owner, name);
  const char* entry = strstr(header, key);
  if (entry == NULL) return NULL;
  if (sscanf(entry + strlen(key),
             "\"dtype\":\"%7[A-Z0-9]\",\"shape\":[%*[0-9,]],\"data_offsets\":[%15" SCNu64 ",%15" SCNu64 "]", type,
             &begin, &end) != 3 ||
      strcmp(type, dtype) || begin > end || end > data_size || end - begin != 4 * (uint64_t)count ||
      (uintptr_t)(data + begin) % 4) {
    FAIL(path, "is damaged: %s.%s must be %" PRId64 " numbers %s in it", owner, name, count, dtype);
  }
  return data + begin;
}

static int find(const char* word, const char* const* words) {
  for (int index = 0; words[index]; ++index) {
    if (!strcmp(words[index], word)) return index;
  }
  FAIL(path, "has a layer that is unknown here: %s", word);
  return 0;
}

/* The layer of "<kind> <inputs> <units> <from> <to> [<function>]". Which arrays must be there the library says. */
static gluon_bnn_layer read_layer(const char* text, int index) {
  char kind[16], from[8], to[8], function[16] = "", owner[16];
  gluon_bnn_layer l = {0};
  if (sscanf(text, "%15[a-z_] %9" SCNd64 " %9" SCNd64 " %7[a-z0-9] %7[a-z0-9] %15[a-z_]", kind, &l.inputs, &l.units,
             from, to, function) < 5 ||
      l.inputs < 1 || l.units < 1) {
    FAIL(path, "has a layer that cannot be read, number %d", index);
  }
  l.kind = find(kind, kinds), l.function = find(function, functions);
  l.from = find(from, forms), l.to = find(to, forms);
  snprintf(owner, sizeof owner, "%d", index);
  l.weight_bits = tensor(owner, "weight_bits", "I32", (l.units + 15) / 16 * ((l.inputs + 31) / 32) * 16);
  l.weight = tensor(owner, "weight", "F32", l.inputs * l.units);
  const char* const names[] = {"alpha", "bias", "mean", "factor", "beta", "alpha_u8", "bias_u8"};
  const float** const floats[] = {&l.alpha, &l.bias, &l.mean, &l.factor, &l.beta, &l.alpha_u8, &l.bias_u8};
  for (int i = 0; i < 7; ++i) *floats[i] = tensor(owner, names[i], "F32", l.units);
  l.threshold = tensor(owner, "threshold", "I32", l.units), l.sums = tensor(owner, "sums", "I32", l.units);
  l.threshold_u8 = tensor(owner, "threshold_u8", "I32", l.inputs);
  return l;
}

/* The number of layers in the file at `path`, at most MOST_LAYERS. */
static int read_model(gluon_bnn_layer* layers) {
  size_t size;
  unsigned char* file = read_file(path, &size);
  uint64_t length = 0;
  for (int i = 7; i >= 0 && size > 8; --i) length = length << 8 | file[i];
  if (length < 2 || length > size - 8) FAIL(path, "is no safetensors file, or cut off");
  header = (const char*)file + 8, data = file + 8 + length, data_size = size - 8 - (size_t)length;
  file[8 + length - 1] = 0; /* in the place of a brace or a space */
  int format = 0, at = 0, count = 0;
  const char *key = "\"gluon_bnn\":\"", *text = strstr(header, key);
  if (text == NULL) FAIL(path, "is no model of gluon_bnn.runtime.save");
  sscanf(text += strlen(key), "format %9d; input %*[0-9x]; %n", &format, &at);
  if (format != FORMAT || at == 0) FAIL(path, "must have format %d and the shape of an input", FORMAT);
  text += at;
  do {
    if (count == MOST_LAYERS) FAIL(path, "has more than %d layers", MOST_LAYERS);
    layers[count] = read_layer(text, count);
    if ((text = strstr(text, "; ")) == NULL) FAIL(path, "is damaged: it has no crc32");
    ++count, text += 2;
  } while (strncmp(text, "crc32 ", 6));
  return count;
}

static uint64_t big_endian(const unsigned char* p) {
  return (uint64_t)p[0] << 24 | (uint64_t)p[1] << 16 | (uint64_t)p[2] << 8 | p[3];
}

/* The `count` items, of `item` bytes each, of an IDX file of bytes with 1 or 3 axes. */
static const unsigned char* read_idx(const char* name, size_t axes, uint64_t* count, uint64_t* item) {
  size_t size;
  const unsigned char* bytes = read_file(name, &size);
  const size_t start = 4 + 4 * axes;
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
  gluon_bnn_layer layers[MOST_LAYERS];
  path = argv[1 + print];
  const int layer_count = read_model(layers);
  const float *scale = tensor("input", "scale", "F32", 1), *shift = tensor("input", "shift", "F32", layers[0].inputs);
  if (!scale || !shift) FAIL(path, "takes no uint8 inputs: give input_scale to freeze");
  uint64_t count, label_count, pixels, one, right = 0;
  const unsigned char* images = read_idx(argv[2 + print], 3, &count, &pixels);
  const unsigned char* labels = read_idx(argv[3 + print], 1, &label_count, &one);
  if (label_count != count || pixels != (uint64_t)layers[0].inputs) {
    FAIL(argv[2 + print], "must have images of %" PRId64 " pixels and as many as labels", layers[0].inputs);
  }
  const size_t classes = (size_t)layers[layer_count - 1].units;
  float* y = calloc((size_t)count, classes * sizeof *y);
  if (y == NULL || gluon_bnn_run_u8(layers, layer_count, images, *scale, shift, (int64_t)count, y)) {
    FAIL(path, "cannot be run: %s", y ? gluon_bnn_error() : "there is no memory for the outputs");
  }
  for (const float* of = y; of < y + count * classes; of += classes, ++labels) {
    size_t best = 0;
    for (size_t k = 1; k < classes; ++k) best = of[k] > of[best] ? k : best;
    right += best == *labels;
    if (print) printf("%zu\n", best);
  }
  printf("%" PRIu64 " of %" PRIu64 " right (%.2f%%)\n", right, count, 100.0 * (double)right / (double)count);
  return 0;
}
