# Headers that moelle includes: xsimd (8.1 to 14) and nlohmann/json; threads from the system.
set(THREADS_PREFER_PTHREAD_FLAG ON)
find_package(Threads REQUIRED)

# moelle_header_package(<package> <header> <Debian package>): target moelle::<package>. The header is looked for before the
# package's own CMake file, which Debian 12's xsimd gives a link to a library that does not exist.
function(moelle_header_package package header debian)
  if(TARGET moelle::${package})
    return()
  endif()
  find_path(MOELLE_${package}_INCLUDE_DIR ${header})
  mark_as_advanced(MOELLE_${package}_INCLUDE_DIR)
  set(directories ${MOELLE_${package}_INCLUDE_DIR})
  if(NOT directories)
    find_package(${package} CONFIG QUIET)
    foreach(target ${package} ${package}::${package})
      if(TARGET ${target})
        get_target_property(directories ${target} INTERFACE_INCLUDE_DIRECTORIES)
      endif()
    endforeach()
  endif()
  if(NOT directories)
    message(FATAL_ERROR "moelle: <${header}> must be installed; got none. On Debian and Ubuntu: apt-get install ${debian}")
  endif()
  add_library(moelle::${package} INTERFACE IMPORTED GLOBAL)
  target_include_directories(moelle::${package} INTERFACE ${directories})
endfunction()

moelle_header_package(xsimd xsimd/xsimd.hpp libxsimd-dev)
moelle_header_package(nlohmann_json nlohmann/json.hpp nlohmann-json3-dev)
find_package(Eigen3 CONFIG QUIET)  # a yardstick in tests and benchmarks
