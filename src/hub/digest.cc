// Digests by OpenSSL's EVP interface.
#include "hub/digest.h"

#include <openssl/evp.h>

#include <climits>
#include <new>

#include "base/error.h"
#include "base/file.h"

namespace pagoda::hub {

Digest::Digest(Kind kind) : kind_(kind), context_(EVP_MD_CTX_new()) {
  if (context_ == nullptr) throw std::bad_alloc();
  restart();
}

Digest::~Digest() { EVP_MD_CTX_free(static_cast<EVP_MD_CTX*>(context_)); }

void Digest::restart() {
  const EVP_MD* method = kind_ == Kind::kSha256 ? EVP_sha256() : EVP_sha1();
  if (EVP_DigestInit_ex(static_cast<EVP_MD_CTX*>(context_), method, nullptr) != 1) {
    fail(ErrorKind::kDevice, "checksum", "OpenSSL refuses {}: need a build that offers it",
         kind_ == Kind::kSha256 ? "SHA-256" : "SHA-1");
  }
}

void Digest::update(const void* data, size_t size) {
  if (EVP_DigestUpdate(static_cast<EVP_MD_CTX*>(context_), data, size) != 1) {
    fail(ErrorKind::kInternal, "checksum", "OpenSSL failed");
  }
}

std::string Digest::hex() {
  unsigned char bytes[EVP_MAX_MD_SIZE];
  unsigned size = 0;
  if (EVP_DigestFinal_ex(static_cast<EVP_MD_CTX*>(context_), bytes, &size) != 1) {
    fail(ErrorKind::kInternal, "checksum", "OpenSSL failed");
  }
  static constexpr char kHex[] = "0123456789abcdef";
  std::string out;
  for (unsigned i = 0; i < size; ++i) {
    out += kHex[bytes[i] >> 4];
    out += kHex[bytes[i] & 15];
  }
  return out;
}

std::string sha256_hex(std::string_view bytes) {
  Digest digest(Digest::Kind::kSha256);
  digest.update(bytes.data(), bytes.size());
  return digest.hex();
}

std::string git_blob_hex(std::string_view bytes) {
  Digest digest(Digest::Kind::kSha1);
  const std::string head = "blob " + std::to_string(bytes.size());
  digest.update(head.c_str(), head.size() + 1);
  digest.update(bytes.data(), bytes.size());
  return digest.hex();
}

std::string git_blob_hex_of_file(const std::string& path) { return git_blob_hex(MappedFile::open(path)->bytes()); }

std::string base64(std::string_view bytes) {
  if (bytes.size() > INT_MAX / 2) invalid("base64", "too long: got {} bytes, need at most {}", bytes.size(), INT_MAX / 2);
  std::string out(4 * ((bytes.size() + 2) / 3) + 1, '\0');  // OpenSSL ends it with a NUL
  out.resize(static_cast<size_t>(EVP_EncodeBlock(reinterpret_cast<unsigned char*>(out.data()),
                                                 reinterpret_cast<const unsigned char*>(bytes.data()),
                                                 static_cast<int>(bytes.size()))));
  return out;
}

}  // namespace pagoda::hub
