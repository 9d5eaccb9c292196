# `cpack` in the build directory makes Debian packages: libvumedia-dev (only text, for every architecture) and
# vumedia-tools.
set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME vumedia)
set(VUMEDIA_PACKAGE_CONTACT "vumedia maintainers <maintainers@vumedia.invalid>" CACHE STRING "Who maintains the packages")
set(CPACK_PACKAGE_CONTACT "${VUMEDIA_PACKAGE_CONTACT}")
# The first line of each package's description.
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "virtio-media devices over vhost-user")
set(CPACK_PACKAGE_DIRECTORY ${PROJECT_BINARY_DIR}/packages)
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_VERBATIM_VARIABLES ON)

set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_COMPONENTS_GROUPING ONE_PER_GROUP)
set(CPACK_COMPONENTS_ALL vumedia_dev)
if(TARGET vumedia-device)
  list(APPEND CPACK_COMPONENTS_ALL vumedia_tools)
endif()
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_RELEASE 1)
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
set(CPACK_DEBIAN_COMPRESSION_TYPE xz)

set(CPACK_DEBIAN_VUMEDIA_DEV_PACKAGE_NAME libvumedia-dev)
set(CPACK_DEBIAN_VUMEDIA_DEV_PACKAGE_SECTION libdevel)
set(CPACK_DEBIAN_VUMEDIA_DEV_PACKAGE_ARCHITECTURE all)
set(CPACK_DEBIAN_VUMEDIA_DEV_PACKAGE_DEPENDS "libboost-dev (>= 1.74), liburing-dev (>= 2.3), pkgconf | pkg-config")
# Only <vumedia/backends/ffmpeg_decoder.hpp> and the component `ffmpeg` need them.
set(CPACK_DEBIAN_VUMEDIA_DEV_PACKAGE_SUGGESTS "libavcodec-dev, libavutil-dev, cmake, vumedia-tools")
set(CPACK_COMPONENT_VUMEDIA_DEV_DESCRIPTION "Gives virtual machines cameras and video decoders: V4L2 over virtqueues,
served over vhost-user or built into a virtual machine monitor. The library
consists of C++23 headers, with files for CMake and pkg-config.")

set(CPACK_DEBIAN_VUMEDIA_TOOLS_PACKAGE_NAME vumedia-tools)
set(CPACK_DEBIAN_VUMEDIA_TOOLS_PACKAGE_SECTION video)
set(CPACK_DEBIAN_VUMEDIA_TOOLS_PACKAGE_SHLIBDEPS ON)
set(CPACK_COMPONENT_VUMEDIA_TOOLS_DESCRIPTION "vumedia-device serves a camera or a video decoder to a virtual machine.
vumedia-ctl talks to any vhost-user media device as a guest would: it shows
what the device offers, captures, decodes, and measures it.")
set(CPACK_DEBIAN_VUMEDIA_TOOLS_PACKAGE_SUGGESTS "qemu-system (>= 1:11.1)")

# Debian's policy requires some files in other places and compressed, but only in the package.
set(CPACK_PRE_BUILD_SCRIPTS ${PROJECT_SOURCE_DIR}/cmake/debian/prepare.cmake)
set(CPACK_VUMEDIA_SOURCE_DIR ${PROJECT_SOURCE_DIR})
include(CPack)
