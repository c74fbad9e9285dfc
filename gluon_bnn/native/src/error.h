// The last error of each thread, which gluon_bnn_error() tells.
#ifndef GLUON_BNN_ERROR_H_
#define GLUON_BNN_ERROR_H_

namespace gluon_bnn {

// Keeps the message, as printf would write it, and returns GLUON_BNN_BAD_ARGUMENT.
int fail(const char* format, ...) __attribute__((format(printf, 1, 2)));

}  // namespace gluon_bnn

#endif  // GLUON_BNN_ERROR_H_
