// The server's side of TLS: versions, certificate, clients' certificates.
#pragma once

#include "server/http_server.h"

typedef struct ssl_ctx_st SSL_CTX;

namespace pagoda::server {

// TLS 1.2 and 1.3. The caller frees it. kInvalidInput: a file that cannot be read, a key that is another certificate's.
SSL_CTX* new_tls_context(const HttpOptions& options);

}  // namespace pagoda::server
