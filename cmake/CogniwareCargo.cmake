# Builds the crate. Sets COGNIWARE_LIBRARY_DIR (the libraries under their installed names) and COGNIWARE_NATIVE_LIBS
# (what a program that links the static library needs besides), and makes the target cogniware_cargo.

find_program(COGNIWARE_CARGO cargo HINTS "$ENV{CARGO_HOME}/bin" "$ENV{HOME}/.cargo/bin")
find_program(COGNIWARE_RUSTC rustc HINTS "$ENV{CARGO_HOME}/bin" "$ENV{HOME}/.cargo/bin")
if(NOT COGNIWARE_CARGO OR NOT COGNIWARE_RUSTC)
  message(FATAL_ERROR "Cogniware is built by Rust 1.95 or newer: cargo and rustc are not on the PATH (https://rustup.rs installs them)")
endif()

set(_profile_dir "${COGNIWARE_CARGO_PROFILE}")
if(COGNIWARE_CARGO_PROFILE STREQUAL "dev")
  set(_profile_dir "debug")
endif()
set(_cargo_out "${COGNIWARE_CARGO_TARGET_DIR}/${_profile_dir}")
set(COGNIWARE_LIBRARY_DIR "${CMAKE_CURRENT_BINARY_DIR}/lib")
set(_real "libcogniware.so.${PROJECT_VERSION}")

# rustc knows what its standard library needs; a list written here would go stale.
function(_cogniware_native_libs out)
  set(probe "${CMAKE_CURRENT_BINARY_DIR}/native_libs_probe")
  file(WRITE "${probe}/probe.rs" "")
  execute_process(
    COMMAND "${COGNIWARE_RUSTC}" --crate-type staticlib --print native-static-libs probe.rs
    WORKING_DIRECTORY "${probe}" ERROR_VARIABLE said OUTPUT_VARIABLE said RESULT_VARIABLE failed)
  if(failed OR NOT said MATCHES "native-static-libs: ([^\n]*)")
    message(FATAL_ERROR "rustc does not tell the libraries of a static library:\n${said}")
  endif()
  string(REPLACE " " ";" libs "${CMAKE_MATCH_1}")
  # Rust names libgcc's unwinder and libc several times; once is enough, and libm belongs to our own arithmetic.
  list(APPEND libs -lm -ldl -lpthread)
  list(REMOVE_DUPLICATES libs)
  set(${out} "${libs}" PARENT_SCOPE)
endfunction()
_cogniware_native_libs(COGNIWARE_NATIVE_LIBS)

add_custom_target(cogniware_cargo ALL
  COMMAND "${CMAKE_COMMAND}" -E env "CARGO_TARGET_DIR=${COGNIWARE_CARGO_TARGET_DIR}"
          "${COGNIWARE_CARGO}" build --lib --locked --profile "${COGNIWARE_CARGO_PROFILE}"
          --manifest-path "${CMAKE_CURRENT_SOURCE_DIR}/Cargo.toml"
  COMMAND "${CMAKE_COMMAND}" -E make_directory "${COGNIWARE_LIBRARY_DIR}"
  COMMAND "${CMAKE_COMMAND}" -E copy_if_different "${_cargo_out}/libcogniware.so" "${COGNIWARE_LIBRARY_DIR}/${_real}"
  COMMAND "${CMAKE_COMMAND}" -E copy_if_different "${_cargo_out}/libcogniware.a" "${COGNIWARE_LIBRARY_DIR}/libcogniware.a"
  COMMAND "${CMAKE_COMMAND}" -E create_symlink "${_real}" "${COGNIWARE_LIBRARY_DIR}/libcogniware.so.${COGNIWARE_SOVERSION}"
  COMMAND "${CMAKE_COMMAND}" -E create_symlink "libcogniware.so.${COGNIWARE_SOVERSION}" "${COGNIWARE_LIBRARY_DIR}/libcogniware.so"
  BYPRODUCTS "${COGNIWARE_LIBRARY_DIR}/${_real}" "${COGNIWARE_LIBRARY_DIR}/libcogniware.a"
  COMMENT "Building Cogniware by cargo (${COGNIWARE_CARGO_PROFILE})"
  USES_TERMINAL VERBATIM)
