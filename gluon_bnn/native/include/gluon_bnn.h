/* The C interface of the 1-bit kernels: plain C, for the Python runtime and for any other program.
 *
 * Bits. bit = 1 where a number is below zero, so 0.0, -0.0 and NaN are 0, that is +1; tail bits are 0.
 * The product of K signs is then dot = K - 2 * popcount(a xor b), an exact int32, with no mask.
 *   inputs   (rows, words) row-major, words = ceil(inputs / 32): bit t of word w is input 32 w + t.
 *   weights  (ceil(units / 16), words, 16): word [b, w, l] holds unit 16 b + l, inputs 32 w .. 32 w + 31;
 *            units past the last are 0.
 *   images   (rows, height, width, words), words = ceil(channels / 32): a pixel is a row of channels. The weights
 *            of a convolution over them have words = kernel height * kernel width * ceil(channels / 32), each pixel
 *            of the kernel from a word of its own; over floats and uint8 all inputs of a window, channels
 *            innermost, are one row of bits.
 *
 * Arithmetic. Products are rounded, then sums: no fused multiply-add. Every instruction set, number of
 * rows and number of threads gives the same bits. Where inputs are floats they are added in one order: the
 * groups of four, ((+-x0 +- x1) + (+-x2 +- x3)), of 256 inputs one after the other, from 0; then these sums one
 * after the other, from 0. (Adding all groups in one go would be less exact than MXNet's own product.)
 *
 * Errors. Every function that can fail returns 0, or one of the codes below; gluon_bnn_error() then says what
 * was allowed and what arrived. No result is written in that case; after GLUON_BNN_NO_MEMORY results may have been
 * written in part. Pointers must be valid for the sizes given; those alone cannot be checked. All functions
 * but gluon_bnn_use may be called from several threads at once, whose stacks may be as small as 32 KB.
 *
 * Threads. Large work is shared among OpenMP's threads (OMP_NUM_THREADS), small work is not. A child of
 * fork() works on the calling thread alone, since OpenMP's threads do not survive a fork.
 */
#ifndef GLUON_BNN_H_
#define GLUON_BNN_H_

#include <stdint.h>

#define GLUON_BNN_EXPORT __attribute__((visibility("default")))

#ifdef __cplusplus
extern "C" {
#endif

enum {
  GLUON_BNN_OK = 0,
  GLUON_BNN_BAD_ARGUMENT = 1, /* a null pointer, or a number that is not allowed */
  GLUON_BNN_NO_MEMORY = 2,
  GLUON_BNN_BAD_FILE = 3, /* the file of a model is damaged, or another kind of file */
  GLUON_BNN_NO_FILE = 4   /* a file cannot be read */
};

/* Largest number of inputs: of bits, and of uint8 (255 times it must stay below 2^31). */
#define GLUON_BNN_MOST_INPUTS (INT64_C(1) << 30)
#define GLUON_BNN_MOST_INPUTS_U8 INT64_C(8421504)

/* Raised when a function or an operator changes meaning. GLUON_BNN_ABI is the number that a program was compiled with,
 * gluon_bnn_abi() that of the library which it has loaded. */
#define GLUON_BNN_ABI 9
GLUON_BNN_EXPORT int gluon_bnn_abi(void);

/* To be called in a child of fork() that loads this library while its parent, which had not loaded it, may
 * have used OpenMP: work is then not shared among threads. Later forks are noticed without it. */
GLUON_BNN_EXPORT void gluon_bnn_after_fork(void);

/* What went wrong in this thread's last call that failed; valid until its next one fails. */
GLUON_BNN_EXPORT const char* gluon_bnn_error(void);

/* The instruction set in use, and all that this machine has, from the slowest to the fastest,
 * separated by spaces: "serial", then "avx2", "avx512", "avx512vpopcntdq", or "neon". */
GLUON_BNN_EXPORT const char* gluon_bnn_instruction_set(void);
GLUON_BNN_EXPORT const char* gluon_bnn_instruction_sets(void);

/* Use this instruction set from now on, in all threads. */
GLUON_BNN_EXPORT int gluon_bnn_use(const char* instruction_set);

/* Signs of x (rows, inputs) as bits. */
GLUON_BNN_EXPORT int gluon_bnn_pack_inputs(const float* x, int64_t rows, int64_t inputs, int32_t* bits);

/* bit = x[row, k] < threshold[k]; threshold (inputs,), 0 and below: never, 256 and above: always. */
GLUON_BNN_EXPORT int gluon_bnn_pack_inputs_u8(const uint8_t* x, const int32_t* threshold, int64_t rows, int64_t inputs,
                                              int32_t* bits);

/* Signs of w (units, inputs) as weight bits. */
GLUON_BNN_EXPORT int gluon_bnn_pack_weights(const float* w, int64_t units, int64_t inputs, int32_t* weight_bits);

/* y (rows, units) = alpha * dot + bias, dot = signs of the inputs times signs of the weights.
 * alpha and bias (units,). */
GLUON_BNN_EXPORT int gluon_bnn_xnor_dense(const int32_t* bits, const int32_t* weight_bits, const float* alpha,
                                          const float* bias, int64_t rows, int64_t units, int64_t inputs, float* y);

/* The same with bits for the next layer as its output, (rows, ceil(units / 32)): bit = dot < threshold,
 * threshold (units,). */
GLUON_BNN_EXPORT int gluon_bnn_xnor_dense_bits(const int32_t* bits, const int32_t* weight_bits,
                                               const int32_t* threshold, int64_t rows, int64_t units, int64_t inputs,
                                               int32_t* y);

/* y = alpha * dot + bias, dot = x (rows, inputs) times signs of the weights. */
GLUON_BNN_EXPORT int gluon_bnn_binary_dense(const float* x, const int32_t* weight_bits, const float* alpha,
                                            const float* bias, int64_t rows, int64_t units, int64_t inputs, float* y);

/* The same for uint8 inputs; dot is an exact int32. */
GLUON_BNN_EXPORT int gluon_bnn_binary_dense_u8(const uint8_t* x, const int32_t* weight_bits, const float* alpha,
                                               const float* bias, int64_t rows, int64_t units, int64_t inputs,
                                               float* y);

/* A whole net, from the file that gluon_bnn.runtime.save writes: a graph of nodes, in safetensors. The file is
 * described in gluon_bnn/runtime/file.py; its kinds of node (binary_dense, dense, batch_norm, activation, pack,
 * flatten, image, arithmetic, concat, slice, binary_conv2d, conv2d, max_pool, average_pool) in
 * gluon_bnn/graph/kinds/, one file per kind, whose results these functions give to the bit. Inputs are rows, an image
 * in the order channels, height, width. */
typedef struct gluon_bnn_model gluon_bnn_model;

/* *model = the net in a file, or in the `size` bytes of one, which are not needed afterwards; null where that fails.
 * The whole file is checked first, its CRC-32 included, and is not trusted: a net that loads can be run. */
GLUON_BNN_EXPORT int gluon_bnn_load(const char* path, gluon_bnn_model** model);
GLUON_BNN_EXPORT int gluon_bnn_load_bytes(const void* bytes, int64_t size, gluon_bnn_model** model);

/* The model may be null. No other thread may be using it. */
GLUON_BNN_EXPORT void gluon_bnn_free(gluon_bnn_model* model);

/* Elements of an input and of an output, and whether the net takes uint8 inputs as well as floats: 1 or 0. All are 0
 * of a model that is null. */
GLUON_BNN_EXPORT int64_t gluon_bnn_inputs(const gluon_bnn_model* model);
GLUON_BNN_EXPORT int64_t gluon_bnn_outputs(const gluon_bnn_model* model);
GLUON_BNN_EXPORT int gluon_bnn_takes_u8(const gluon_bnn_model* model);

/* y (rows, outputs) from x (rows, inputs). Several threads may run one model at once. */
GLUON_BNN_EXPORT int gluon_bnn_run(const gluon_bnn_model* model, const float* x, int64_t rows, float* y);
GLUON_BNN_EXPORT int gluon_bnn_run_u8(const gluon_bnn_model* model, const uint8_t* x, int64_t rows, float* y);

/* classes (rows,): the index of each row's largest output, as NumPy's argmax gives it: the first of equal ones, and
 * that of the first NaN where there is one. */
GLUON_BNN_EXPORT int gluon_bnn_predict(const gluon_bnn_model* model, const float* x, int64_t rows, int64_t* classes);
GLUON_BNN_EXPORT int gluon_bnn_predict_u8(const gluon_bnn_model* model, const uint8_t* x, int64_t rows,
                                          int64_t* classes);

#ifdef __cplusplus
}
#endif

#endif /* GLUON_BNN_H_ */
