# cmake -DIN=file -DOUT=file.cc -DNAME=function -P embed.cmake: a C++ source whose function gives the file's text.
file(READ ${IN} text)
file(WRITE ${OUT} "// Made from ${NAME}'s file by cmake/embed.cmake.
#include <string_view>
namespace pagoda::server {
std::string_view ${NAME}() {
  static constexpr char text[] = R\"embedded_(${text})embedded_\";
  return {text, sizeof(text) - 1};
}
}  // namespace pagoda::server
")
