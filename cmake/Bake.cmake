# luamp_bake(FORM OUTPUT name=file...): a C file that holds Lua modules.
# FORM is `bytecode` (made by the Lua that the program links) or `source`.
add_executable(luamp_baker src/bake.c)
target_compile_definitions(luamp_baker PRIVATE _GNU_SOURCE)
target_link_libraries(luamp_baker PRIVATE lua54_program)

function(luamp_bake form output)
  set(files)
  foreach(module ${ARGN})
    string(REGEX REPLACE "^[^=]*=" "${CMAKE_CURRENT_SOURCE_DIR}/" file ${module})
    list(APPEND files ${file})
  endforeach()
  add_custom_command(OUTPUT ${CMAKE_CURRENT_BINARY_DIR}/${output}
    COMMAND luamp_baker ${form} ${CMAKE_CURRENT_BINARY_DIR}/${output} ${ARGN}
    WORKING_DIRECTORY ${CMAKE_CURRENT_SOURCE_DIR}
    DEPENDS luamp_baker ${files} VERBATIM)
endfunction()
