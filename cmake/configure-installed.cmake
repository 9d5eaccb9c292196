# Part of the install script: makes `made` from `input`, with CMAKE_INSTALL_FULL_* for the prefix of this installation.
foreach(kind IN ITEMS BINDIR SYSCONFDIR RUNSTATEDIR)
  set(path "${CMAKE_INSTALL_${kind}}")
  if(NOT IS_ABSOLUTE "${path}")
    # As in GNUInstallDirs and the Filesystem Hierarchy Standard: /usr has no etc and run of its own.
    if(CMAKE_INSTALL_PREFIX MATCHES "^/(usr/?)?$" AND kind MATCHES "^(SYSCONFDIR|RUNSTATEDIR)$")
      set(path "/${path}")
      # This is where /var/run leads, and the path that systemd expects.
      string(REGEX REPLACE "^/var/run$" "/run" path "${path}")
    else()
      set(path "${CMAKE_INSTALL_PREFIX}/${path}")
    endif()
  endif()
  set(CMAKE_INSTALL_FULL_${kind} "${path}")
endforeach()
configure_file("${input}" "${made}" @ONLY)
