# Installs headers and the CMake package. The Python wheel carries headers only: a user's build has its own flags.
include(CMakePackageConfigHelpers)
if(SKBUILD)
  set(include_dir moelle/include)
  set(cmake_dir moelle/share/cmake/moelle)
else()
  set(include_dir ${CMAKE_INSTALL_INCLUDEDIR})
  set(cmake_dir ${CMAKE_INSTALL_LIBDIR}/cmake/moelle)
endif()

set(targets moelle)
if(NOT SKBUILD)
  list(APPEND targets moelle_kernels)
endif()
if(MOELLE_CUDA)
  list(APPEND targets moelle_cuda)
endif()
install(TARGETS ${targets} EXPORT moelleTargets
        FILE_SET HEADERS DESTINATION ${include_dir} COMPONENT headers
        ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT headers)
install(EXPORT moelleTargets NAMESPACE moelle:: DESTINATION ${cmake_dir} COMPONENT headers)

configure_package_config_file(cmake/moelleConfig.cmake.in moelleConfig.cmake INSTALL_DESTINATION ${cmake_dir})
write_basic_package_version_file(moelleConfigVersion.cmake COMPATIBILITY SameMinorVersion ARCH_INDEPENDENT)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/moelleConfig.cmake ${CMAKE_CURRENT_BINARY_DIR}/moelleConfigVersion.cmake
              ${PROJECT_SOURCE_DIR}/cmake/MoelleDependencies.cmake
        DESTINATION ${cmake_dir} COMPONENT headers)
