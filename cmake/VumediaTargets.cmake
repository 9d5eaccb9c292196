set(VUMEDIA_WARNINGS -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Werror)
if(CMAKE_CXX_COMPILER_ID STREQUAL GNU AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
  # GCC 12 warns of overlaps in std::string that are impossible (its bug 105651).
  list(APPEND VUMEDIA_WARNINGS -Wno-restrict)
endif()

# vumedia_add_program(NAME SOURCE...): a program of this project, with our warnings as errors and the requested
# sanitizers. It is linked with vumedia::ffmpeg if that is built, and then has VUMEDIA_WITH_FFMPEG defined.
function(vumedia_add_program name)
  add_executable(${name} ${ARGN})
  target_link_libraries(${name} PRIVATE vumedia::vumedia)
  target_compile_options(${name} PRIVATE ${VUMEDIA_WARNINGS})
  set_target_properties(${name} PROPERTIES CXX_EXTENSIONS OFF)
  if(VUMEDIA_FFMPEG)
    target_link_libraries(${name} PRIVATE vumedia::ffmpeg)
    target_compile_definitions(${name} PRIVATE VUMEDIA_WITH_FFMPEG)
  endif()
  if(VUMEDIA_STATIC)
    target_link_options(${name} PRIVATE -static)
  endif()
  if(VUMEDIA_SANITIZE)
    # Without the check of virtual table pointers: our code has none, and to check those of the standard library the
    # sanitizer opens a pipe. If it cannot, it reports a bad pointer, and some tests use up the process's descriptors.
    target_compile_options(${name} PRIVATE -fsanitize=${VUMEDIA_SANITIZE} -fno-sanitize=vptr -fno-sanitize-recover=all
                                           -fno-omit-frame-pointer)
    target_link_options(${name} PRIVATE -fsanitize=${VUMEDIA_SANITIZE})
  endif()
endfunction()
