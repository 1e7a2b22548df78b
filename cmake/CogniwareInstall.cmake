# What `cmake --install` puts where. Everything installed finds itself: the prefix may be moved.
include(CMakePackageConfigHelpers)

set(_package_dir "${CMAKE_INSTALL_LIBDIR}/cmake/Cogniware")

install(PROGRAMS "${COGNIWARE_LIBRARY_DIR}/libcogniware.so.${PROJECT_VERSION}" DESTINATION "${CMAKE_INSTALL_LIBDIR}")
install(FILES
  "${COGNIWARE_LIBRARY_DIR}/libcogniware.so.${COGNIWARE_SOVERSION}"
  "${COGNIWARE_LIBRARY_DIR}/libcogniware.so"
  "${COGNIWARE_LIBRARY_DIR}/libcogniware.a"
  DESTINATION "${CMAKE_INSTALL_LIBDIR}")
install(DIRECTORY "${CMAKE_CURRENT_SOURCE_DIR}/include/cogniware" DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}"
  FILES_MATCHING PATTERN "*.h" PATTERN "*.hpp")

if(EXISTS "${CMAKE_CURRENT_SOURCE_DIR}/models")
  install(DIRECTORY "${CMAKE_CURRENT_SOURCE_DIR}/models/" DESTINATION "${CMAKE_INSTALL_DATADIR}/cogniware/models")
endif()
foreach(_text IN ITEMS LICENSE LICENSE-APACHE)
  install(FILES "${CMAKE_CURRENT_SOURCE_DIR}/${_text}" DESTINATION "${CMAKE_INSTALL_DATADIR}/licenses/cogniware" OPTIONAL)
endforeach()

configure_package_config_file(cmake/CogniwareConfig.cmake.in "${CMAKE_CURRENT_BINARY_DIR}/CogniwareConfig.cmake"
  INSTALL_DESTINATION "${_package_dir}" PATH_VARS CMAKE_INSTALL_INCLUDEDIR CMAKE_INSTALL_LIBDIR
  NO_CHECK_REQUIRED_COMPONENTS_MACRO)
write_basic_package_version_file("${CMAKE_CURRENT_BINARY_DIR}/CogniwareConfigVersion.cmake" COMPATIBILITY SameMinorVersion)
install(FILES
  "${CMAKE_CURRENT_BINARY_DIR}/CogniwareConfig.cmake"
  "${CMAKE_CURRENT_BINARY_DIR}/CogniwareConfigVersion.cmake"
  cmake/CogniwareTargets.cmake
  DESTINATION "${_package_dir}")

# From the folder of the .pc file back to the prefix.
file(RELATIVE_PATH COGNIWARE_PC_PREFIX "/p/${CMAKE_INSTALL_LIBDIR}/pkgconfig" "/p")
string(REGEX REPLACE "/$" "" COGNIWARE_PC_PREFIX "${COGNIWARE_PC_PREFIX}")
string(REPLACE ";" " " COGNIWARE_PC_NATIVE_LIBS "${COGNIWARE_NATIVE_LIBS}")
configure_file(cmake/cogniware.pc.in "${CMAKE_CURRENT_BINARY_DIR}/cogniware.pc" @ONLY)
install(FILES "${CMAKE_CURRENT_BINARY_DIR}/cogniware.pc" DESTINATION "${CMAKE_INSTALL_LIBDIR}/pkgconfig")
