// Errors of the C interface: the codes that its functions return, and the last message of each thread.
#ifndef GLUON_BNN_ERROR_H_
#define GLUON_BNN_ERROR_H_

#include <new>

#include "gluon_bnn.h"

namespace gluon_bnn {

using Long = long long;  // what printf knows, which int64_t need not be

// Keeps the message, as printf would write it, and returns GLUON_BNN_BAD_ARGUMENT.
int fail(const char* format, ...) __attribute__((format(printf, 1, 2)));

// The exception of this library: a code of the C interface and a message.
struct Failure {
  int code;
  char message[400];
};

// Throw a Failure: a file is damaged or of another kind, or cannot be read.
[[noreturn]] void bad_file(const char* format, ...) __attribute__((format(printf, 1, 2)));
[[noreturn]] void no_file(const char* format, ...) __attribute__((format(printf, 1, 2)));

// Calls work(), whose arguments have been checked. No exception leaves the C interface: Failure and std::bad_alloc, the
// only ones that there can be, become codes.
template <typename Work>
int call(const Work& work) {
  try {
    work();
  } catch (const Failure& failure) {
    fail("%s", failure.message);
    return failure.code;
  } catch (const std::bad_alloc&) {
    fail("there is not enough memory for the intermediate results of this call");
    return GLUON_BNN_NO_MEMORY;
  }
  return GLUON_BNN_OK;
}

}  // namespace gluon_bnn

#endif  // GLUON_BNN_ERROR_H_
