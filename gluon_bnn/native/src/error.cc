#include "error.h"

#include <cstdarg>
#include <cstdio>

namespace gluon_bnn {
namespace {

thread_local char message[512] = "no call has failed yet";

}  // namespace

int fail(const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(message, sizeof(message), format, arguments);
  va_end(arguments);
  return GLUON_BNN_BAD_ARGUMENT;
}

#define GLUON_BNN_THROW(code, format)                                          \
  Failure failure = {code, ""};                                                \
  va_list arguments;                                                           \
  va_start(arguments, format);                                                 \
  std::vsnprintf(failure.message, sizeof(failure.message), format, arguments); \
  va_end(arguments);                                                           \
  throw failure

void bad_file(const char* format, ...) { GLUON_BNN_THROW(GLUON_BNN_BAD_FILE, format); }

void no_file(const char* format, ...) { GLUON_BNN_THROW(GLUON_BNN_NO_FILE, format); }

}  // namespace gluon_bnn

extern "C" const char* gluon_bnn_error(void) { return gluon_bnn::message; }
