// OpenSSL's context for a server of HTTP/1.1.
#include "server/http_tls.h"

#include <openssl/err.h>
#include <openssl/ssl.h>

#include <memory>
#include <string_view>

#include "base/error.h"

namespace pagoda::server {

namespace {

std::string openssl_reason() {
  const unsigned long code = ERR_peek_last_error();
  const char* text = code != 0 ? ERR_reason_error_string(code) : nullptr;
  ERR_clear_error();
  return text != nullptr ? text : "it cannot be read";
}

// OpenSSL would ask for a password at the terminal and wait.
int no_password(char*, int, int, void*) { return 0; }

int choose_protocol(SSL*, const unsigned char** out, unsigned char* out_size, const unsigned char* offered, unsigned int size,
                    void*) {
  static constexpr unsigned char kHttp11[] = "\x08http/1.1";
  unsigned char* chosen = nullptr;
  if (SSL_select_next_proto(&chosen, out_size, kHttp11, sizeof(kHttp11) - 1, offered, size) != OPENSSL_NPN_NEGOTIATED) {
    return SSL_TLSEXT_ERR_NOACK;
  }
  *out = chosen;
  return SSL_TLSEXT_ERR_OK;
}

}  // namespace

SSL_CTX* new_tls_context(const HttpOptions& options) {
  ERR_clear_error();
  std::unique_ptr<SSL_CTX, decltype(&SSL_CTX_free)> context(SSL_CTX_new(TLS_server_method()), &SSL_CTX_free);
  if (!context) fail(ErrorKind::kOutOfMemory, "tls", "no context: {}", openssl_reason());
  SSL_CTX_set_min_proto_version(context.get(), TLS1_2_VERSION);
  SSL_CTX_set_options(context.get(), SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION | SSL_OP_CIPHER_SERVER_PREFERENCE);
  // Thousands of connections wait most of the time: they need no buffers then. Writes may come from another place when retried.
  SSL_CTX_set_mode(context.get(),
                   SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  SSL_CTX_set_default_passwd_cb(context.get(), no_password);
  SSL_CTX_set_alpn_select_cb(context.get(), choose_protocol, nullptr);
  if (SSL_CTX_use_certificate_chain_file(context.get(), options.ssl_certfile.c_str()) != 1) {
    invalid("tls", "bad certificate file '{}': {}, need PEM", options.ssl_certfile, openssl_reason());
  }
  if (SSL_CTX_use_PrivateKey_file(context.get(), options.ssl_keyfile.c_str(), SSL_FILETYPE_PEM) != 1 ||
      SSL_CTX_check_private_key(context.get()) != 1) {
    invalid("tls", "bad key file '{}': {}, need the certificate's key as PEM without password", options.ssl_keyfile,
            openssl_reason());
  }
  if (!options.ssl_ca_certs.empty()) {
    if (SSL_CTX_load_verify_locations(context.get(), options.ssl_ca_certs.c_str(), nullptr) != 1) {
      invalid("tls", "bad file of client authorities '{}': {}, need PEM", options.ssl_ca_certs, openssl_reason());
    }
    SSL_CTX_set_client_CA_list(context.get(), SSL_load_client_CA_file(options.ssl_ca_certs.c_str()));
    SSL_CTX_set_verify(context.get(), SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
    // Resumed sessions of verified clients are refused without one.
    static constexpr std::string_view kName = "pagoda";
    SSL_CTX_set_session_id_context(context.get(), reinterpret_cast<const unsigned char*>(kName.data()), kName.size());
  }
  return context.release();
}

}  // namespace pagoda::server
