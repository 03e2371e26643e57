// The version of the library that is linked.
#include "pagoda/pagoda.h"

namespace pagoda::api {

const char* version() { return PAGODA_VERSION; }

}  // namespace pagoda::api
