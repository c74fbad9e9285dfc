// Files that are read from the beginning to the end.
#ifndef GLUON_BNN_API_READ_FILE_H_
#define GLUON_BNN_API_READ_FILE_H_

#include <cstdio>
#include <memory>

#include "inference/model_file.h"

namespace gluon_bnn {

// An open file that is neither a directory nor a FIFO nor a device: these could be read for ever.
class RegularFile {
 public:
  // Throws a Failure, GLUON_BNN_NO_FILE, where there is none that can be read.
  explicit RegularFile(const char* path);

  // Its size, and its next bytes. The file must outlive what this returns.
  FileBytes bytes();

 private:
  struct Close {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };
  int64_t size_ = 0;
  std::unique_ptr<std::FILE, Close> file_;
};

}  // namespace gluon_bnn

#endif  // GLUON_BNN_API_READ_FILE_H_
