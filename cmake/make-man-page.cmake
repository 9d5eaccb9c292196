# cmake -DPROGRAM=... -DSECTIONS=... -DCHANGELOG=... -DPAGE=... -P make-man-page.cmake: makes the page that PROGRAM
# prints, with the date of the newest release, followed by SECTIONS. The same inputs make the same bytes.
cmake_minimum_required(VERSION 3.25)
include(${CMAKE_CURRENT_LIST_DIR}/VumediaChangelog.cmake)

execute_process(COMMAND ${PROGRAM} --man-page OUTPUT_VARIABLE page COMMAND_ERROR_IS_FATAL ANY)
vumedia_newest_release(${CHANGELOG} version date)
if(NOT page MATCHES "^\\.TH [^\n]* \"\" ")
  message(FATAL_ERROR "the output of ${PROGRAM} --man-page does not begin with a title line to which a date can be added")
endif()
string(REGEX REPLACE "^(\\.TH [^\n]*) \"\" " "\\1 \"${date}\" " page "${page}")
file(READ ${SECTIONS} sections)
file(CONFIGURE OUTPUT ${PAGE} CONTENT "@page@@sections@" @ONLY)
