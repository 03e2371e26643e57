# Helpers that every folder's CMakeLists.txt uses: flags, one library a folder, one test program a folder.

add_library(pagoda_flags INTERFACE)
target_include_directories(pagoda_flags INTERFACE ${PROJECT_SOURCE_DIR}/src)
# No contraction: a sum must not change with what the compiler fuses (kernels ask for fused multiply-add by name).
target_compile_options(pagoda_flags INTERFACE
  -Wall -Wextra -Wshadow -Wnon-virtual-dtor -Woverloaded-virtual -ffp-contract=off -fno-math-errno
  $<$<CXX_COMPILER_ID:GNU>:-Wno-restrict>)  # GCC 12 warns falsely inside std::string (its bug 105651)
target_compile_definitions(pagoda_flags INTERFACE PAGODA_VERSION="${PROJECT_VERSION}")
if(PAGODA_WERROR)
  target_compile_options(pagoda_flags INTERFACE -Werror)
endif()
if(PAGODA_DCHECK)
  target_compile_definitions(pagoda_flags INTERFACE PAGODA_DCHECK=1)
endif()
if(PAGODA_SANITIZE)
  target_compile_options(pagoda_flags INTERFACE -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer -O1
    $<IF:$<CONFIG:Debug>,-g,-g1>)  # -g1: lines, which reports need
  target_compile_definitions(pagoda_flags INTERFACE _GLIBCXX_ASSERTIONS)
  target_link_options(pagoda_flags INTERFACE -fsanitize=address,undefined)
endif()
if(PAGODA_FUZZ)
  target_compile_options(pagoda_flags INTERFACE -fsanitize=fuzzer-no-link)
endif()

# What tests compile with besides, behind the flags above: optimising them takes longer than what it saves.
add_library(pagoda_test_flags INTERFACE)
target_compile_options(pagoda_test_flags INTERFACE -O0)

# Parsing the headers of others takes half of a build. A target reads them precompiled, its own or (REUSE_FROM) another's that has
# the same flags. Never headers of ours: a change of one would compile everything again.
option(PAGODA_PCH "Precompile the headers of others" ${PROJECT_IS_TOP_LEVEL})
set(pagoda_std_headers
  <algorithm> <array> <atomic> <cerrno> <chrono> <cmath> <condition_variable> <cstdint> <cstdio> <cstdlib> <cstring> <deque> <filesystem>
  <functional> <limits> <map> <memory> <mutex> <numeric> <optional> <set> <sstream> <string> <string_view> <thread> <tuple>
  <unordered_map> <unordered_set> <utility> <variant> <vector> <fmt/format.h>)
function(pagoda_precompile target)
  if(PAGODA_PCH)
    target_precompile_headers(${target} ${ARGN})
    # With the first of each ccache can tell what a precompiled header holds. GCC 12 forgets that functions of std::string it inlines
    # are a system's, and warns falsely inside them.
    target_compile_options(${target} PRIVATE
      $<$<CXX_COMPILER_ID:GNU>:-fpch-preprocess$<SEMICOLON>-Wno-stringop-overflow$<SEMICOLON>-Wno-stringop-overread$<SEMICOLON>-Wno-array-bounds>
      $<$<CXX_COMPILER_ID:Clang>:SHELL:-Xclang -fno-pch-timestamp>)
  endif()
endfunction()

# pagoda_library(base DEPS ... LIBS ...): target pagoda_<name> from the .cc files of this folder.
# DEPS are folders of src/ (as in tools/layers.txt), LIBS third-party targets.
function(pagoda_library name)
  cmake_parse_arguments(ARG "" "" "DEPS;LIBS;SOURCES" ${ARGN})
  if(NOT ARG_SOURCES)
    file(GLOB ARG_SOURCES CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*.cc)
  endif()
  string(REPLACE "/" "_" target ${name})
  add_library(pagoda_${target} STATIC ${ARG_SOURCES})
  target_link_libraries(pagoda_${target} PUBLIC pagoda_flags ${ARG_LIBS})
  if(target STREQUAL "base")
    pagoda_precompile(pagoda_base PRIVATE ${pagoda_std_headers})
  else()
    pagoda_precompile(pagoda_${target} REUSE_FROM pagoda_base)
  endif()
  foreach(dep ${ARG_DEPS})
    target_link_libraries(pagoda_${target} PUBLIC pagoda_${dep})
  endforeach()
endfunction()

# pagoda_test(base LIBS ...): program <name>_test from the *_test.cc files of this folder.
function(pagoda_test name)
  cmake_parse_arguments(ARG "" "TIMEOUT" "DEPS;LIBS" ${ARGN})
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*_test.cc)
  if(NOT sources)
    return()
  endif()
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 600)
  endif()
  string(REPLACE "/" "_" target ${name})
  add_executable(${target}_test ${sources})
  target_link_libraries(${target}_test PRIVATE GTest::gtest GTest::gmock GTest::gtest_main ${ARG_LIBS})
  foreach(dep ${ARG_DEPS})
    target_link_libraries(${target}_test PRIVATE pagoda_${dep})
  endforeach()
  target_link_libraries(${target}_test PRIVATE pagoda_test_flags)
  pagoda_precompile(${target}_test REUSE_FROM pagoda_test_headers)
  target_include_directories(${target}_test PRIVATE ${PROJECT_SOURCE_DIR})
  target_compile_definitions(${target}_test PRIVATE PAGODA_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
  add_test(NAME ${target} COMMAND ${target}_test)
  set_tests_properties(${target} PROPERTIES TIMEOUT ${ARG_TIMEOUT})
endfunction()

add_library(rapidjson_headers INTERFACE)
