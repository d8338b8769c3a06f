# Build type, compiler cache, sanitizers and the warnings that moelle's own targets are compiled with.
if(PROJECT_IS_TOP_LEVEL AND NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "" FORCE)
endif()

find_program(MOELLE_CCACHE ccache)
if(PROJECT_IS_TOP_LEVEL AND MOELLE_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${MOELLE_CCACHE})
endif()

if(MOELLE_SANITIZE)
  add_compile_options(-fsanitize=${MOELLE_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer -g1)
  add_link_options(-fsanitize=${MOELLE_SANITIZE})
endif()

# moelle_own_target(<target> [<optimisation flag>]): warnings for our own code; -O2 unless another level is given. With sanitizers
# -O0: they find the same, and compile four times as fast.
function(moelle_own_target target)
  set(level -O2)
  if(ARGC GREATER 1)
    set(level ${ARGV1})
  endif()
  if(MOELLE_SANITIZE)
    set(level -O0)
  endif()
  set_target_properties(${target} PROPERTIES CXX_EXTENSIONS OFF)
  target_compile_options(${target} PRIVATE $<$<NOT:$<CONFIG:Debug>>:${level}> -Wall -Wextra -Wshadow -Wconversion
                                           $<$<BOOL:${MOELLE_WERROR}>:-Werror>)
endfunction()
