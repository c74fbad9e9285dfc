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

}  // namespace gluon_bnn

extern "C" const char* gluon_bnn_error(void) { return gluon_bnn::message; }
