# How every target of this repository is built. A folder's CMakeLists.txt is a list of calls to the
# functions below; flags, warnings and dependencies are decided here and nowhere else.

if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
  message(FATAL_ERROR "g++ ${CMAKE_CXX_COMPILER_VERSION} miscompiles C++20 coroutines "
                      "(libs/base/coroutine_idioms_test.cc shows how). Use clang-19: cmake --preset release")
endif()

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_CXX_FLAGS "${CMAKE_CXX_FLAGS} -pthread")
set(CMAKE_CXX_FLAGS_RELEASE "-O2 -DNDEBUG -g1")
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
set(CMAKE_PCH_INSTANTIATE_TEMPLATES ON)
set(AIMA_SANITIZE "" CACHE STRING "Sanitizers to build with, as -fsanitize takes them")
if(AIMA_SANITIZE)
  add_compile_options(-fsanitize=${AIMA_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${AIMA_SANITIZE})
endif()
option(AIMA_FUZZ "Build the fuzz targets; needs clang" OFF)
if(AIMA_FUZZ)
  # All of it has to tell the fuzzer where it goes. Little optimisation: what is built is used for a minute.
  add_compile_options(-fsanitize=fuzzer-no-link)
  set(CMAKE_CXX_FLAGS_RELEASE "-O1 -g1")
endif()
add_compile_options(-Wall -Wextra -Werror -Wno-unused-parameter -Wno-missing-field-initializers)
if(CMAKE_CXX_COMPILER_ID MATCHES Clang)
  # Debian's libraries are built by g++, from whose mangling of constrained templates clang departs since 18.
  add_compile_options(-fclang-abi-compat=17)
endif()
add_compile_definitions(BOOST_ASIO_NO_DEPRECATED BOOST_ASIO_DISABLE_BOOST_COROUTINE
                        SPDLOG_FMT_EXTERNAL SPDLOG_COMPILED_LIB)
include_directories(${CMAKE_SOURCE_DIR} ${CMAKE_BINARY_DIR}/proto)

find_program(CCACHE ccache)
if(CCACHE)
  # Hits across build folders and checkouts, precompiled headers included.
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CMAKE_COMMAND} -E env CCACHE_BASEDIR=${CMAKE_SOURCE_DIR}
      CCACHE_NOHASHDIR=1 CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime ${CCACHE})
  if(CMAKE_CXX_COMPILER_ID MATCHES Clang)
    add_compile_options("SHELL:-Xclang -fno-pch-timestamp")
  endif()
endif()
find_program(MOLD mold)
if(MOLD AND CMAKE_CXX_COMPILER_ID MATCHES Clang)
  add_link_options(-fuse-ld=mold)
endif()

find_package(Threads REQUIRED)
find_package(Protobuf REQUIRED)
find_package(gRPC CONFIG REQUIRED)  # the official client and server, which tests and benchmarks compare ours with
find_package(PkgConfig REQUIRED)
pkg_check_modules(nghttp2 REQUIRED IMPORTED_TARGET libnghttp2)
find_package(absl CONFIG REQUIRED)
find_package(PostgreSQL REQUIRED)
find_package(nlohmann_json CONFIG REQUIRED)
find_package(yaml-cpp CONFIG REQUIRED)
find_package(spdlog CONFIG REQUIRED)
find_package(prometheus-cpp CONFIG REQUIRED)
find_package(Boost 1.81 REQUIRED)
find_package(OpenSSL REQUIRED)
find_package(ZLIB REQUIRED)
find_package(mimalloc REQUIRED)
find_package(GTest REQUIRED)

# One precompiled header for everything: it halves a clean build on two cores.
function(_aima_pch target)
  if(NOT TARGET aima_pch)
    file(WRITE ${CMAKE_BINARY_DIR}/aima_pch.cc "// Carries the precompiled header.\n")
    add_library(aima_pch OBJECT ${CMAKE_BINARY_DIR}/aima_pch.cc)
    target_precompile_headers(aima_pch PRIVATE ${CMAKE_SOURCE_DIR}/libs/cmake/pch.h)
  endif()
  target_precompile_headers(${target} REUSE_FROM aima_pch)
endfunction()

# aima_protos(<name> <folder>): message classes of proto/<folder>/*.proto as target proto_<name>.
# A file's descriptors are there in every program that names one of its messages.
function(aima_protos domain folder)
  file(GLOB protos CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/proto/${folder}/*.proto)
  set(generated)
  foreach(proto ${protos})
    file(RELATIVE_PATH relative ${CMAKE_SOURCE_DIR}/proto ${proto})
    string(REPLACE ".proto" ".pb" stem ${CMAKE_BINARY_DIR}/proto/${relative})
    add_custom_command(
      OUTPUT ${stem}.cc ${stem}.h
      COMMAND protobuf::protoc -I ${CMAKE_SOURCE_DIR}/proto --cpp_out=${CMAKE_BINARY_DIR}/proto ${relative}
      DEPENDS ${proto} ${CMAKE_SOURCE_DIR}/proto/aima/unit/v1/unit.proto
      WORKING_DIRECTORY ${CMAKE_SOURCE_DIR}/proto COMMENT "protoc ${relative}" VERBATIM)
    list(APPEND generated ${stem}.cc)
  endforeach()
  add_library(proto_${domain} STATIC ${generated})
  target_compile_options(proto_${domain} PRIVATE -Wno-error -w)
  target_link_libraries(proto_${domain} PUBLIC protobuf::libprotobuf)
  if(folder MATCHES "^aima/" AND NOT domain STREQUAL unit)
    target_link_libraries(proto_${domain} PUBLIC proto_unit)
    add_dependencies(proto_${domain} proto_unit)
  endif()
endfunction()

# aima_library(<name> SOURCES a.cc … DEPS target …): target aima_<name> from this folder.
function(aima_library name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPS" ${ARGN})
  add_library(aima_${name} STATIC ${ARG_SOURCES})
  target_link_libraries(aima_${name} PUBLIC ${ARG_DEPS} Threads::Threads)
  _aima_pch(aima_${name})
endfunction()

# aima_service(<domain> SOURCES a.cc … DEPS target …): main.cc becomes bin/aima-<domain>; the rest is
# library aima_service_<domain>, which the tests beside the code link.
function(aima_service domain)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPS" ${ARGN})
  aima_library(service_${domain} SOURCES ${ARG_SOURCES} DEPS ${ARG_DEPS})
  add_executable(aima-${domain} main.cc)
  target_link_libraries(aima-${domain} PRIVATE aima_service_${domain})
  if(NOT AIMA_SANITIZE)  # whose allocators look for defects
    target_link_libraries(aima-${domain} PRIVATE mimalloc)  # a request costs a fifth less than with malloc
  endif()
  _aima_pch(aima-${domain})
  install(TARGETS aima-${domain} DESTINATION libexec/aima)
endfunction()

# aima_test(<name> SOURCES a_test.cc … DEPS target … [LABELS l …]): one gtest program, one ctest entry.
function(aima_test name)
  cmake_parse_arguments(ARG "" "TIMEOUT" "SOURCES;DEPS;LABELS" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE ${ARG_DEPS} GTest::gmock GTest::gtest_main)
  target_compile_definitions(${name} PRIVATE AIMA_SOURCE_DIR="${CMAKE_SOURCE_DIR}" AIMA_BINARY_DIR="${CMAKE_BINARY_DIR}")
  _aima_pch(${name})
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
  add_test(NAME ${name} COMMAND ${name})
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 300)
  endif()
  set_tests_properties(${name} PROPERTIES TIMEOUT ${ARG_TIMEOUT} LABELS "unit;${ARG_LABELS}")
endfunction()

# aima_fuzz(<name> SOURCES a.cc … DEPS target …): a libFuzzer program; tests/fuzz runs it.
function(aima_fuzz name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPS" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE ${ARG_DEPS} -fsanitize=fuzzer)
  target_compile_definitions(${name} PRIVATE AIMA_SOURCE_DIR="${CMAKE_SOURCE_DIR}" AIMA_BINARY_DIR="${CMAKE_BINARY_DIR}")
  _aima_pch(${name})
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
  add_dependencies(${name} units)
endfunction()
