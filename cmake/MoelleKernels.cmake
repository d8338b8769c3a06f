# moelle_kernels: every kernel domain compiled once per instruction set, and the choice among them at run time.
#
# A domain is a folder with kernels_simd.hpp; python/src/isa/<domain>.cpp instantiates its table. Each instruction set renames
# the namespaces xsimd and Eigen, so that all symbols carry its name and the linker cannot take one copy for another
# (tests/check_isa_symbols.py proves it).
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64|amd64")
  set(MOELLE_ISAS baseline avx2 avx2_vnni avx512 avx512_bf16)
  set(MOELLE_FLAGS_baseline -march=x86-64)
  set(MOELLE_FLAGS_avx2 -march=x86-64-v3)
  set(MOELLE_FLAGS_avx2_vnni -march=x86-64-v3 -mavxvnni)
  set(MOELLE_DOMAINS_avx2_vnni gemm_packed)  # nothing else has a use for the instruction (dispatch.cpp)
  set(MOELLE_FLAGS_avx512 -march=x86-64-v4)
  set(MOELLE_FLAGS_avx512_bf16 -march=x86-64-v4 -mavx512bf16 -mavx512vnni -mavx512vbmi -mgfni)
else()
  set(MOELLE_ISAS neon)
  set(MOELLE_FLAGS_neon "")
endif()

add_library(moelle_kernels STATIC ${PROJECT_SOURCE_DIR}/python/src/isa/dispatch.cpp)
add_library(moelle::kernels ALIAS moelle_kernels)
set_target_properties(moelle_kernels PROPERTIES EXPORT_NAME kernels POSITION_INDEPENDENT_CODE ON)
target_link_libraries(moelle_kernels PUBLIC moelle)
target_compile_definitions(moelle_kernels PUBLIC MOELLE_COMPILED_KERNELS)
moelle_own_target(moelle_kernels)

set(kernel_level -O3)
if(MOELLE_SANITIZE)
  set(kernel_level -O1)
endif()
file(GLOB isa_sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/python/src/isa/*.cpp)
list(REMOVE_ITEM isa_sources ${PROJECT_SOURCE_DIR}/python/src/isa/dispatch.cpp)
foreach(isa IN LISTS MOELLE_ISAS)
  set(objects moelle_isa_${isa})
  set(sources ${isa_sources})
  if(MOELLE_DOMAINS_${isa})
    list(TRANSFORM MOELLE_DOMAINS_${isa} REPLACE "(.+)" "${PROJECT_SOURCE_DIR}/python/src/isa/\\1.cpp" OUTPUT_VARIABLE sources)
  endif()
  add_library(${objects} OBJECT ${sources})
  target_link_libraries(${objects} PRIVATE moelle)
  target_compile_definitions(${objects} PRIVATE MOELLE_COMPILED_KERNELS xsimd=xsimd_${isa} Eigen=Eigen_${isa})
  # -O3 in every build type: an unoptimised object would keep mergeable copies of inline functions. Sanitizers would, too,
  # hence the renamed namespaces rather than trust in inlining.
  target_compile_options(${objects} PRIVATE ${MOELLE_FLAGS_${isa}} ${kernel_level} -fvisibility=hidden -fvisibility-inlines-hidden -Wall -Wextra)
  set_target_properties(${objects} PROPERTIES POSITION_INDEPENDENT_CODE ON CXX_EXTENSIONS OFF)
  target_sources(moelle_kernels PRIVATE $<TARGET_OBJECTS:${objects}>)
endforeach()
