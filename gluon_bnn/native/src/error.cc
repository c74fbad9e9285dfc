#include "error.h"

#include <cstdarg>
#include <cstdio>

namespace gluon_bnn {
namespace {

thread_local char message[512] = "no call has failed yet";

Failure failure_of(int code, const char* format, va_list arguments) {
  Failure failure = {code, ""};
  std::vsnprintf(failure.message, sizeof(failure.message), format, arguments);
  return failure;
}

}  // namespace

int fail(const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(message, sizeof(message), format, arguments);
  va_end(arguments);
  return GLUON_BNN_BAD_ARGUMENT;
}

void bad_file(const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  const Failure failure = failure_of(GLUON_BNN_BAD_FILE, format, arguments);
  va_end(arguments);
  throw failure;
}

void no_file(const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  const Failure failure = failure_of(GLUON_BNN_NO_FILE, format, arguments);
  va_end(arguments);
  throw failure;
}

}  // namespace gluon_bnn

extern "C" const char* gluon_bnn_error(void) { return gluon_bnn::message; }
