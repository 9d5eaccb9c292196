# What the library itself needs. Programs, tests and benchmarks look for their own packages where they are built.
find_package(Threads REQUIRED)
find_package(Boost 1.74 REQUIRED)
find_package(PkgConfig REQUIRED)
if(VUMEDIA_STATIC)
  set(CMAKE_FIND_LIBRARY_SUFFIXES .a)
endif()
pkg_check_modules(liburing REQUIRED IMPORTED_TARGET liburing>=2.3)
if(VUMEDIA_FFMPEG)
  # libavcodec 59.37 is FFmpeg 5.1.
  pkg_check_modules(libavcodec IMPORTED_TARGET libavcodec>=59.37 libavutil)
  if(NOT libavcodec_FOUND)
    message(FATAL_ERROR "vumedia: pkg-config does not find FFmpeg 5.1 or newer (libavcodec and libavutil, with their headers). "
      "Without the decoder there is no need of it: VUMEDIA_FFMPEG=OFF")
  endif()
endif()
