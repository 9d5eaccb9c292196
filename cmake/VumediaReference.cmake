# `docs`: makes the reference of all public names from the comments of the headers, and fails at a name that has none.
# Public is what is in namespace vumedia, neither private nor in a namespace `detail`.
if(NOT PROJECT_IS_TOP_LEVEL)
  return()
endif()
find_package(Doxygen 1.9.4 QUIET)
if(NOT DOXYGEN_FOUND)
  add_custom_target(docs COMMAND ${CMAKE_COMMAND} -E echo "Doxygen is not there: cmake/debian-packages docs installs it"
    COMMAND ${CMAKE_COMMAND} -E false VERBATIM)
  return()
endif()

set(DOXYGEN_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/reference)
set(DOXYGEN_FILE_PATTERNS *.hpp README.md)
set(DOXYGEN_STRIP_FROM_PATH ${PROJECT_SOURCE_DIR}/include)
set(DOXYGEN_STRIP_FROM_INC_PATH ${PROJECT_SOURCE_DIR}/include)
set(DOXYGEN_USE_MDFILE_AS_MAINPAGE ${PROJECT_SOURCE_DIR}/include/vumedia/README.md)
# Quoted as Doxygen and a shell want it. Links of the README lead into the sources.
set(DOXYGEN_FILTER_PATTERNS "*.hpp=\"awk -f '${PROJECT_SOURCE_DIR}/cmake/reference.awk'\" \
  *.md=\"sed 's,](\\.\\./\\.\\./,](file://${PROJECT_SOURCE_DIR}/,'\"")
set(DOXYGEN_VERBATIM_VARS DOXYGEN_FILTER_PATTERNS)
set(DOXYGEN_EXCLUDE_SYMBOLS *::detail *::detail::*)
set(DOXYGEN_EXTRACT_LOCAL_CLASSES NO)
# The first sentence of a comment is its summary; one comment may describe several names, between @{ and @}.
set(DOXYGEN_JAVADOC_AUTOBRIEF YES)
set(DOXYGEN_DISTRIBUTE_GROUP_DOC YES)
set(DOXYGEN_SORT_MEMBER_DOCS NO)
# Without copies of the headers, and without Graphviz.
set(DOXYGEN_VERBATIM_HEADERS NO)
set(DOXYGEN_HAVE_DOT NO)
set(DOXYGEN_CLASS_GRAPH NO)
set(DOXYGEN_QUIET YES)
set(DOXYGEN_WARN_IF_UNDOCUMENTED YES)
set(DOXYGEN_WARN_AS_ERROR FAIL_ON_WARNINGS)
doxygen_add_docs(docs ${PROJECT_SOURCE_DIR}/include/vumedia ${PROJECT_SOURCE_DIR}/cmake/namespaces.dox
  COMMENT "The reference is made in ${DOXYGEN_OUTPUT_DIRECTORY}/html/index.html")
