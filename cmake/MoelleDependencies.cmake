# Headers that moelle includes: xsimd (8.1 to 14) and nlohmann/json; threads from the system.
set(THREADS_PREFER_PTHREAD_FLAG ON)
find_package(Threads REQUIRED)

# moelle_header_package(<package> <target> <header> <Debian package>): the package's own CMake file, or its header alone.
function(moelle_header_package package target header debian)
  find_package(${package} CONFIG QUIET GLOBAL)
  if(TARGET ${target})
    return()
  endif()
  find_path(${package}_INCLUDE_DIR ${header})
  if(NOT ${package}_INCLUDE_DIR)
    message(FATAL_ERROR "moelle: <${header}> must be installed; got none. On Debian and Ubuntu: apt-get install ${debian}")
  endif()
  add_library(${target} INTERFACE IMPORTED GLOBAL)
  target_include_directories(${target} INTERFACE ${${package}_INCLUDE_DIR})
endfunction()

moelle_header_package(xsimd xsimd xsimd/xsimd.hpp libxsimd-dev)
moelle_header_package(nlohmann_json nlohmann_json::nlohmann_json nlohmann/json.hpp nlohmann-json3-dev)
find_package(Eigen3 CONFIG QUIET)  # a yardstick in tests and benchmarks
