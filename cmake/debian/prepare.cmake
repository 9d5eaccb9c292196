# Run by cpack between installation and packaging, in every component's tree: adds what Debian's policy requires
# beyond an installation. Everything gets the date of the release, so that the same build makes the same package.
include(${CPACK_VUMEDIA_SOURCE_DIR}/cmake/VumediaChangelog.cmake)
vumedia_newest_release(${CPACK_VUMEDIA_SOURCE_DIR}/CHANGELOG.md version date)

function(run)
  execute_process(COMMAND ${ARGN} OUTPUT_VARIABLE output OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
  set(output "${output}" PARENT_SCOPE)
endfunction()

run(date -u -R -d ${date})
set(changelog "vumedia (${version}-${CPACK_DEBIAN_PACKAGE_RELEASE}) unstable; urgency=medium

  * New release; changelog.gz says what is new.

 -- ${CPACK_PACKAGE_CONTACT}  ${output}
")

foreach(component IN LISTS CPACK_COMPONENTS_ALL)
  string(TOUPPER ${component} upper)
  set(tree ${CPACK_TEMPORARY_DIRECTORY}/${component})
  set(doc ${tree}/usr/share/doc/${CPACK_DEBIAN_${upper}_PACKAGE_NAME})
  file(MAKE_DIRECTORY ${doc})
  configure_file(${CPACK_VUMEDIA_SOURCE_DIR}/cmake/debian/copyright ${doc}/copyright COPYONLY)
  configure_file(${CPACK_VUMEDIA_SOURCE_DIR}/CHANGELOG.md ${doc}/changelog COPYONLY)
  file(WRITE ${doc}/changelog.Debian "${changelog}")

  file(GLOB_RECURSE texts ${tree}/usr/share/man/* ${doc}/changelog*)
  foreach(text IN LISTS texts)
    run(gzip -9 -n ${text})
  endforeach()
  # The umask and the modes in a checkout depend on the builder.
  run(chmod -R u=rwX,go=rX ${tree})
  run(find ${tree} -exec touch --no-dereference --date=${date}T00:00:00Z {} +)
endforeach()
