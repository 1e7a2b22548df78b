# The targets of Cogniware, for the build tree and for the installed package alike.

# cogniware_targets(<include folder> <shared library> <static library> <soversion> <native libraries>)
#   Cogniware::headers    the include folders and C++17
#   Cogniware::shared     the shared library
#   Cogniware::static     the static library with what it needs from the system
#   Cogniware::cogniware  shared, or static where COGNIWARE_USE_STATIC is on
function(cogniware_targets include shared static soversion native)
  if(TARGET Cogniware::headers)
    return()
  endif()

  # Both folders: <cogniware/tenant.hpp> and "core/customized_kernel.h" are spelled from different ones.
  add_library(cogniware_headers INTERFACE IMPORTED GLOBAL)
  set_target_properties(cogniware_headers PROPERTIES
    INTERFACE_INCLUDE_DIRECTORIES "${include};${include}/cogniware"
    INTERFACE_COMPILE_FEATURES "cxx_std_17")
  add_library(Cogniware::headers ALIAS cogniware_headers)

  add_library(cogniware_shared SHARED IMPORTED GLOBAL)
  set_target_properties(cogniware_shared PROPERTIES
    IMPORTED_LOCATION "${shared}"
    IMPORTED_SONAME "libcogniware.so.${soversion}"
    INTERFACE_LINK_LIBRARIES cogniware_headers)
  add_library(Cogniware::shared ALIAS cogniware_shared)

  add_library(cogniware_static STATIC IMPORTED GLOBAL)
  set_target_properties(cogniware_static PROPERTIES
    IMPORTED_LOCATION "${static}"
    INTERFACE_LINK_LIBRARIES "cogniware_headers;${native}")
  add_library(Cogniware::static ALIAS cogniware_static)

  add_library(cogniware_facade INTERFACE IMPORTED GLOBAL)
  set(chosen cogniware_shared)
  if(COGNIWARE_USE_STATIC)
    set(chosen cogniware_static)
  endif()
  set_target_properties(cogniware_facade PROPERTIES INTERFACE_LINK_LIBRARIES ${chosen})
  add_library(Cogniware::cogniware ALIAS cogniware_facade)
endfunction()

# Makes Cogniware::pybind11 when pybind11 is there; documented arrays then convert to pybind11::array_t<float>.
function(cogniware_pybind11)
  if(NOT TARGET Cogniware::pybind11 AND TARGET pybind11::headers)
    add_library(cogniware_pybind11 INTERFACE IMPORTED GLOBAL)
    set_target_properties(cogniware_pybind11 PROPERTIES
      INTERFACE_COMPILE_DEFINITIONS COGNIWARE_WITH_PYBIND11
      INTERFACE_LINK_LIBRARIES "cogniware_facade;pybind11::headers")
    add_library(Cogniware::pybind11 ALIAS cogniware_pybind11)
  endif()
endfunction()
