# `cmake --install`: two components.
#
#   vumedia_dev     the headers, and packages for find_package(vumedia [COMPONENTS ffmpeg]) and for pkg-config
#   vumedia_tools   the programs with their manual pages, systemd units, and the descriptor that virtual machine
#                   managers look for in share/vhost-user
include(CMakePackageConfigHelpers)

set(package_dir ${CMAKE_INSTALL_DATADIR}/cmake/vumedia)

install(DIRECTORY include/vumedia DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} COMPONENT vumedia_dev
  FILES_MATCHING PATTERN "*.hpp")
install(TARGETS vumedia EXPORT vumedia-core)
install(EXPORT vumedia-core NAMESPACE vumedia:: DESTINATION ${package_dir} COMPONENT vumedia_dev)
if(TARGET vumedia_ffmpeg)
  # A separate export set, so that the core does not need FFmpeg.
  install(TARGETS vumedia_ffmpeg EXPORT vumedia-ffmpeg)
  install(EXPORT vumedia-ffmpeg NAMESPACE vumedia:: DESTINATION ${package_dir} COMPONENT vumedia_dev)
endif()

configure_package_config_file(cmake/vumedia-config.cmake.in ${PROJECT_BINARY_DIR}/vumedia-config.cmake
  INSTALL_DESTINATION ${package_dir})
# Before 1.0 a minor version may change the interface.
write_basic_package_version_file(${PROJECT_BINARY_DIR}/vumedia-config-version.cmake
  COMPATIBILITY SameMinorVersion ARCH_INDEPENDENT)
install(FILES ${PROJECT_BINARY_DIR}/vumedia-config.cmake ${PROJECT_BINARY_DIR}/vumedia-config-version.cmake
  DESTINATION ${package_dir} COMPONENT vumedia_dev)

# Nothing in them depends on the architecture. The prefix is derived from the location of the file, so that the tree
# may move.
set(pkgconfig_dir ${CMAKE_INSTALL_DATADIR}/pkgconfig)
if(IS_ABSOLUTE ${CMAKE_INSTALL_DATADIR} OR IS_ABSOLUTE ${CMAKE_INSTALL_INCLUDEDIR})
  set(pkgconfig_prefix ${CMAKE_INSTALL_PREFIX})
  set(pkgconfig_includedir ${CMAKE_INSTALL_FULL_INCLUDEDIR})
else()
  file(RELATIVE_PATH up /prefix/${pkgconfig_dir} /prefix)
  string(REGEX REPLACE "/$" "" up "${up}")
  set(pkgconfig_prefix "\${pcfiledir}/${up}")
  set(pkgconfig_includedir "\${prefix}/${CMAKE_INSTALL_INCLUDEDIR}")
endif()
set(pkgconfig_files vumedia)
if(TARGET vumedia_ffmpeg)
  list(APPEND pkgconfig_files vumedia-ffmpeg)
endif()
foreach(file IN LISTS pkgconfig_files)
  configure_file(cmake/${file}.pc.in ${PROJECT_BINARY_DIR}/${file}.pc @ONLY)
  install(FILES ${PROJECT_BINARY_DIR}/${file}.pc DESTINATION ${pkgconfig_dir} COMPONENT vumedia_dev)
endforeach()

foreach(program IN ITEMS vumedia-device vumedia-ctl)
  if(TARGET ${program})
    install(TARGETS ${program} DESTINATION ${CMAKE_INSTALL_BINDIR} COMPONENT vumedia_tools)
  endif()
endforeach()

# vumedia_install_configured(FILE.in DESTINATION): FILE with the paths of this installation in it. They are filled in
# at installation, because `cmake --install --prefix` and packages choose a different prefix from the build.
function(vumedia_install_configured input destination)
  cmake_path(GET input STEM LAST_ONLY name)
  set(made ${PROJECT_BINARY_DIR}/configured/${name})
  set(settings "")
  foreach(kind IN ITEMS BINDIR SYSCONFDIR RUNSTATEDIR)
    string(APPEND settings "  set(CMAKE_INSTALL_${kind} \"${CMAKE_INSTALL_${kind}}\")\n")
  endforeach()
  install(CODE "${settings}  set(input \"${input}\")\n  set(made \"${made}\")\n"
    COMPONENT vumedia_tools)
  install(SCRIPT ${PROJECT_SOURCE_DIR}/cmake/configure-installed.cmake COMPONENT vumedia_tools)
  install(FILES ${made} DESTINATION ${destination} COMPONENT vumedia_tools)
endfunction()

set(VUMEDIA_SYSTEMD_UNIT_DIR lib/systemd/system CACHE STRING "Where systemd units are installed, below the prefix or absolute")
if(TARGET vumedia-device)
  set(data ${PROJECT_SOURCE_DIR}/examples/vumedia-device/data)
  # Virtual machine managers look there for programs that serve a kind of device.
  file(GLOB descriptors CONFIGURE_DEPENDS ${data}/*.json.in)
  foreach(file IN LISTS descriptors)
    vumedia_install_configured(${file} ${CMAKE_INSTALL_DATADIR}/vhost-user)
  endforeach()
  file(GLOB units CONFIGURE_DEPENDS ${data}/*.service.in ${data}/*.socket.in)
  foreach(file IN LISTS units)
    vumedia_install_configured(${file} ${VUMEDIA_SYSTEMD_UNIT_DIR})
  endforeach()
endif()
