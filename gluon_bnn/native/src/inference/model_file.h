// The file of a deployed net: reads the texts of its nodes and its tensors. What they mean is checked by each kind.
//
// It is a safetensors file: eight bytes with the length of the header, the header, which is JSON, and the tensors. In
// the header's metadata is one line of text, in format 2 of the nodes, in format 1 (format1.cc) of the layers of a
// chain:
//
//   format 2; input shape=1x28x28; binary_dense 0 units=64 to=bits; binary_dense 1 units=10 to=float; crc32 0123abcd
//
// The CRC-32 is that of the text before "; crc32" and then of each tensor by name: its name and its bytes. Before
// "; crc32" there may be lines with the net's accuracy and a label for each output, which are checked and left out. The
// same files are accepted as by gluon_bnn/runtime/file.py. The file is not trusted, and the memory that is allocated is
// a small multiple of its size.
#ifndef GLUON_BNN_INFERENCE_MODEL_FILE_H_
#define GLUON_BNN_INFERENCE_MODEL_FILE_H_

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "parallel.h"

namespace gluon_bnn {

// A node as the line has it. Its tensors are called <tensors>.<array>.
struct NodeText {
  std::string kind;
  std::vector<int64_t> sources;
  std::vector<std::string> attributes;  // name=value
  std::string tensors;
};

struct Tensor {
  std::string name;
  bool is_float = false;  // else int32
  std::vector<int64_t> shape;
  int64_t begin = 0, count = 0;  // the first byte after the header; 4-byte numbers
  const void* data = nullptr;    // at a multiple of 64 bytes
  bool taken = false;            // by a node
};

struct ModelFile {
  bool is_format1;
  std::vector<NodeText> nodes;
  int64_t labels;               // their number: one for each output, or 0
  std::vector<Tensor> tensors;  // by name
  Scratch<char> memory;         // of the tensors
};

// The bytes of a file: its size, and a function that copies the next `size` bytes of it, or throws a Failure.
struct FileBytes {
  int64_t size;
  std::function<void(void* to, int64_t size)> take;
};

// Throws a Failure where it is not the file of a net.
ModelFile read_model_file(const FileBytes& bytes);

// The nodes of a chain, from the entries of the line of format 1.
std::vector<NodeText> read_format1(const std::vector<std::string_view>& entries);

}  // namespace gluon_bnn

#endif  // GLUON_BNN_INFERENCE_MODEL_FILE_H_
