// The functions that MXNet looks up in an extension, version 11 of its interface (MXNet 1.9). Their names, arguments
// and order of calls are MXNet's; tests/native/test_extension.py compares them with the header in MXNet's wheel.
//
// MXNet asks once for every operator (_opRegSize, _opRegGet) and keeps the addresses of its functions. To call one it
// gives that address back, with the attributes of the call as two arrays of texts and with everything else as plain
// arrays. A call returns 1, or 0 and leaves a message, which MXNet then reads on the same thread.
#include "mxnet/extension.h"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <exception>
#include <iterator>
#include <limits>
#include <new>
#include <stdexcept>

#include "parallel.h"

namespace {

using namespace gluon_bnn::mxnet;

constexpr int kVersion = 11;
constexpr int kFail = 0, kSuccess = 1;

const Operator* const kOperators[] = {
    &kSignScale,        &kScaleBias, &kSign,       &kBinaryDense,   &kDataGradient, &kBinaryConv,
    &kConvDataGradient, &kMaxPool,   &kBatchNorm,  &kSquaredHinge,  &kAdam,         &kPack,
    &kPackedDense,      &kPackImage, &kPackedConv, &kPackedMaxPool, &kPackedFlatten};

using Count = decltype(Operator::count);
using InferType = decltype(Operator::infer_type);
using InferShape = decltype(Operator::infer_shape);
using Compute = Operator::Compute;
using Mutated = decltype(Operator::mutated);
using Function = void (*)();  // what this library neither gives to MXNet nor calls

// What the last call of this thread that failed has to say.
thread_local char message[4096];

// MXNet reads it as UTF-8, so it is never cut inside a character.
void keep_message(const char* text) {
  constexpr char kCut[] = " ... (cut off)";
  size_t length = std::strlen(text);
  if (length < sizeof message) {
    std::memcpy(message, text, length + 1);
    return;
  }
  length = sizeof message - sizeof kCut;
  while (length > 0 && (text[length] & 0xC0) == 0x80) --length;
  std::memcpy(message, text, length);
  std::memcpy(message + length, kCut, sizeof kCut);
}

// No exception may pass into MXNet.
template <typename Run>
int without_exceptions(const Run& run) {
  try {
    run();
    return kSuccess;
  } catch (const std::bad_alloc&) {
    keep_message("there is not enough memory");
  } catch (const std::exception& error) {
    keep_message(error.what());
  } catch (...) {
    keep_message("an exception of an unknown type");
  }
  return kFail;
}

// How MXNet shows a size that is not known yet.
constexpr unsigned int kUnknownToMXNet = std::numeric_limits<unsigned int>::max();

// The arrays that a call returns. MXNet copies them at once and on this thread, so the thread's next call may have
// the same memory, and there is nothing to free.
class Returned {
 public:
  void set(const Shapes& shapes, unsigned int*** rows, int** axes) {
    sizes_.clear();
    rows_.clear();
    axes_.clear();
    for (const Shape& shape : shapes) {
      axes_.push_back(static_cast<int>(shape.size()));
      for (int64_t size : shape) sizes_.push_back(to_mxnet(size));
    }
    unsigned int* row = sizes_.data();
    for (int count : axes_) {
      rows_.push_back(row);
      row += count;
    }
    *rows = rows_.data();
    *axes = axes_.data();
  }

 private:
  static unsigned int to_mxnet(int64_t size) {
    if (size == kUnknown) return kUnknownToMXNet;
    if (size < 0 || size >= kUnknownToMXNet) refuse("an axis of ", size, " elements is too large for MXNet");
    return static_cast<unsigned int>(size);
  }

  std::vector<unsigned int> sizes_;
  std::vector<unsigned int*> rows_;
  std::vector<int> axes_;
};

thread_local Returned returned_in, returned_out;
thread_local std::vector<int> returned_indices;

Shapes shapes_of(unsigned int** rows, const int* axes, int count) {
  Shapes shapes(count);
  for (int i = 0; i < count; ++i) {
    for (int axis = 0; axis < axes[i]; ++axis) {  // -1 axes where their number is not known
      shapes[i].push_back(rows[i][axis] == kUnknownToMXNet ? kUnknown : rows[i][axis]);
    }
  }
  return shapes;
}

Tensors tensors_of(void** addresses, const int64_t** shapes, const int* axes, const int* types, int count) {
  Tensors tensors;
  tensors.reserve(count);
  for (int i = 0; i < count; ++i) tensors.push_back({addresses[i], {shapes[i], axes[i]}, types[i]});
  return tensors;
}

}  // namespace

void gluon_bnn::mxnet::Part::write(int64_t number) {
  text_ = {digits_, static_cast<size_t>(std::to_chars(digits_, std::end(digits_), number).ptr - digits_)};
}

void gluon_bnn::mxnet::Part::write(double number) {
  text_ = {digits_, static_cast<size_t>(std::to_chars(digits_, std::end(digits_), number).ptr - digits_)};
}

void gluon_bnn::mxnet::refuse(std::initializer_list<Part> parts) {
  std::string message;
  for (const Part& part : parts) message += part.text();
  throw std::invalid_argument(message);
}

extern "C" {

int _opVersion() { return kVersion; }

int initialize(int version) { return kSuccess; }  // every MXNet that speaks kVersion will do

int _msgSize(void) { return message[0] != '\0'; }

int _msgGet(int idx, const char** msg) {
  *msg = message;
  return kSuccess;
}

int _opRegSize(void) { return static_cast<int>(std::size(kOperators)); }

int _opRegGet(int idx, const char** name, int* isSGop, const char*** forward_ctx, Compute** forward_fp,
              int* forward_count, const char*** backward_ctx, Compute** backward_fp, int* backward_count,
              const char*** create_op_ctx, Function** create_op_fp, int* create_op_count, Count* parse, InferType* type,
              Function* stype, InferShape* shape, Mutated* mutate) {
  static const char* device = "cpu";
  const Operator& op = *kOperators[idx];
  *name = op.name;
  *isSGop = 0;
  *forward_ctx = *backward_ctx = *create_op_ctx = &device;
  *forward_fp = const_cast<Compute*>(&op.forward);
  *forward_count = 1;
  *backward_fp = const_cast<Compute*>(&op.backward);
  *backward_count = op.backward != nullptr;
  *create_op_fp = nullptr;
  *create_op_count = 0;
  *parse = op.count;
  *type = op.infer_type;
  *stype = nullptr;  // MXNet then refuses sparse arrays itself
  *shape = op.infer_shape;
  *mutate = op.mutated;
  return kSuccess;
}

int _opCallFree(void* ptr) { return kSuccess; }

int _opCallParseAttrs(Count parseAttrs, const char* const* keys, const char* const* vals, int num, int* num_in,
                      int* num_out) {
  return without_exceptions([&] { parseAttrs(Attributes(keys, vals, num), num_in, num_out); });
}

int _opCallInferShape(InferShape inferShape, const char* const* keys, const char* const* vals, int num,
                      unsigned int** inshapes, int* indims, int num_in, unsigned int*** mod_inshapes, int** mod_indims,
                      unsigned int*** outshapes, int** outdims, int num_out) {
  return without_exceptions([&] {
    Shapes in = shapes_of(inshapes, indims, num_in), out(num_out);
    inferShape(Attributes(keys, vals, num), &in, &out);
    for (int i = 0; i < num_in; ++i) {  // MXNet would take the answer "no axes" for a fact
      if (indims[i] < 0 && in[i].empty()) refuse("the shape of input ", i, " cannot be inferred");
    }
    returned_in.set(in, mod_inshapes, mod_indims);
    returned_out.set(out, outshapes, outdims);
  });
}

int _opCallInferType(InferType inferType, const char* const* keys, const char* const* vals, int num, int* intypes,
                     int num_in, int* outtypes, int num_out) {
  return without_exceptions([&] {
    std::fill_n(outtypes, num_out, static_cast<int>(kAnyType));
    inferType(Attributes(keys, vals, num), {intypes, num_in}, {outtypes, num_out});
  });
}

int _opCallFCompute(Compute fcomp, const char* const* keys, const char* const* vals, int num, const int64_t** inshapes,
                    int* indims, void** indata, int* intypes, size_t* inIDs, const char** indev_type, int* indev_id,
                    int num_in, const int64_t** outshapes, int* outdims, void** outdata, int* outtypes, size_t* outIDs,
                    const char** outdev_type, int* outdev_id, int num_out, Function cpu_malloc, void* cpu_alloc,
                    Function gpu_malloc, void* gpu_alloc, void* cuda_stream, Function sparse_malloc, void* sparse_alloc,
                    int* instypes, int* outstypes, void** in_indices, void** out_indices, void** in_indptr,
                    void** out_indptr, int64_t* in_indices_shapes, int64_t* out_indices_shapes,
                    int64_t* in_indptr_shapes, int64_t* out_indptr_shapes, void* rng_cpu_states, void* rng_gpu_states) {
  return without_exceptions([&] {
    const gluon_bnn::InEngine in_engine;
    const Tensors in = tensors_of(indata, inshapes, indims, intypes, num_in);
    for (const Tensor& each : in) {  // without MXNet's NumPy shapes a size of 0 counts as unknown until here
      if (each.size() == 0) {
        refuse("a layer takes at least one number, got an array of shape ",
               Shape(each.shape.begin(), each.shape.end()));
      }
    }
    fcomp(Attributes(keys, vals, num), in, tensors_of(outdata, outshapes, outdims, outtypes, num_out));
  });
}

int _opCallMutateInputs(Mutated mutate, const char* const* keys, const char* const* vals, int num, int** mutate_indices,
                        int* indices_size) {
  return without_exceptions([&] {
    returned_indices = mutate(Attributes(keys, vals, num));
    *mutate_indices = returned_indices.data();
    *indices_size = static_cast<int>(returned_indices.size());
  });
}

// The library has no operators with a state or for sparse arrays, no partitioners and no graph passes. MXNet looks
// the rest up all the same, and calls the two that say how many there are.
int _partRegSize(void) { return 0; }
int _passRegSize(void) { return 0; }
int _opCallInferSType(void) { return kFail; }
int _opCallCreateOpState(void) { return kFail; }
int _opCallDestroyOpState(void) { return kFail; }
int _opCallFStatefulCompute(void) { return kFail; }
int _partRegGetCount(void) { return 0; }
int _partRegGet(void) { return kFail; }
int _partCallSupportedOps(void) { return kFail; }
int _partCallCreateSelector(void) { return kFail; }
int _partCallSelect(void) { return kFail; }
int _partCallSelectInput(void) { return kFail; }
int _partCallSelectOutput(void) { return kFail; }
int _partCallFilter(void) { return kFail; }
int _partCallReset(void) { return kFail; }
int _partCallReviewSubgraph(void) { return kFail; }
int _passRegGet(void) { return kFail; }
int _passCallGraphPass(void) { return kFail; }

}  // extern "C"
