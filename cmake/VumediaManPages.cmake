# Manual pages, made from what a program says about its own options (examples/support/man_page.hpp) and the sections
# that only people can write (PROGRAM/data/PROGRAM.1.sections).

# vumedia_add_man_page(PROGRAM): makes build/.../man/PROGRAM.1 whenever the program is linked, and installs it. The
# program must be able to run here and now, so a cross build without an emulator has no pages; neither has a build
# with sanitizers, which is not for installing.
function(vumedia_add_man_page program)
  if(VUMEDIA_SANITIZE OR NOT VUMEDIA_INSTALL)
    return()
  endif()
  if(CMAKE_CROSSCOMPILING AND NOT CMAKE_CROSSCOMPILING_EMULATOR)
    message(STATUS "vumedia: no manual page for ${program}, because it cannot run on this machine")
    return()
  endif()
  set(sections ${CMAKE_CURRENT_SOURCE_DIR}/data/${program}.1.sections)
  set(page ${PROJECT_BINARY_DIR}/man/${program}.1)
  set_property(TARGET ${program} APPEND PROPERTY LINK_DEPENDS ${sections} ${PROJECT_SOURCE_DIR}/CHANGELOG.md
    ${PROJECT_SOURCE_DIR}/cmake/make-man-page.cmake)
  add_custom_command(TARGET ${program} POST_BUILD BYPRODUCTS ${page}
    COMMAND ${CMAKE_COMMAND} "-DPROGRAM=${CMAKE_CROSSCOMPILING_EMULATOR};$<TARGET_FILE:${program}>"
      -DSECTIONS=${sections} -DCHANGELOG=${PROJECT_SOURCE_DIR}/CHANGELOG.md -DPAGE=${page}
      -P ${PROJECT_SOURCE_DIR}/cmake/make-man-page.cmake
    VERBATIM)
  install(FILES ${page} DESTINATION ${CMAKE_INSTALL_MANDIR}/man1 COMPONENT vumedia_tools)
endfunction()
