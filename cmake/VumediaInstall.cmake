# `cmake --install`: the headers, the programs, and a package for find_package(vumedia [COMPONENTS ffmpeg]).
include(CMakePackageConfigHelpers)
include(GNUInstallDirs)

set(package_dir ${CMAKE_INSTALL_DATADIR}/cmake/vumedia)

install(DIRECTORY include/vumedia DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} FILES_MATCHING PATTERN "*.hpp")
install(TARGETS vumedia EXPORT vumedia-core)
install(EXPORT vumedia-core NAMESPACE vumedia:: DESTINATION ${package_dir})
if(TARGET vumedia_ffmpeg)
  # An export set of its own: who asks for the core needs no FFmpeg.
  install(TARGETS vumedia_ffmpeg EXPORT vumedia-ffmpeg)
  install(EXPORT vumedia-ffmpeg NAMESPACE vumedia:: DESTINATION ${package_dir})
endif()

configure_package_config_file(cmake/vumedia-config.cmake.in ${PROJECT_BINARY_DIR}/vumedia-config.cmake
  INSTALL_DESTINATION ${package_dir})
# Before 1.0 a minor version may change the interface.
write_basic_package_version_file(${PROJECT_BINARY_DIR}/vumedia-config-version.cmake
  COMPATIBILITY SameMinorVersion ARCH_INDEPENDENT)
install(FILES ${PROJECT_BINARY_DIR}/vumedia-config.cmake ${PROJECT_BINARY_DIR}/vumedia-config-version.cmake
  DESTINATION ${package_dir})

foreach(program IN ITEMS vumedia-device vumedia-ctl)
  if(TARGET ${program})
    install(TARGETS ${program} DESTINATION ${CMAKE_INSTALL_BINDIR})
  endif()
endforeach()
