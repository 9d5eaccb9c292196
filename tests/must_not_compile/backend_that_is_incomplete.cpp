// expect: media::Device<BackendType, Host>: BackendType is not complete here
// It is declared, and its definition comes too late.
#include "minimal_backend.hpp"

#ifdef CORRECTED
struct Backend : MinimalBackend {};
#else
struct Backend;
#endif

template class vumedia::media::Device<Backend, Host>;
