# Lua 5.4, and no other: CMake's own FindLua takes whichever version it meets.
#
#   lua54_headers   the include path, for the module (the host brings Lua)
#   lua54_program   the library, for the program: the static one when there is
find_package(PkgConfig REQUIRED)
foreach(name lua5.4 lua-5.4 lua54 lua)
  pkg_check_modules(LUA54 QUIET ${name}>=5.4 ${name}<5.5)
  if(LUA54_FOUND)
    break()
  endif()
endforeach()
if(NOT LUA54_FOUND)
  message(FATAL_ERROR
    "Lua 5.4's headers were not found (Debian: liblua5.4-dev, Fedora: lua-devel); ./setup installs them")
endif()

add_library(lua54_headers INTERFACE)
target_include_directories(lua54_headers SYSTEM INTERFACE ${LUA54_INCLUDE_DIRS})

find_library(LUA54_STATIC NAMES liblua5.4.a liblua-5.4.a liblua.a
  HINTS ${LUA54_LIBRARY_DIRS} ${LUA54_LIBDIR})
add_library(lua54_program INTERFACE)
target_link_libraries(lua54_program INTERFACE lua54_headers)
if(LUA54_STATIC)
  # Whole, because C modules that are loaded later use more of it than we do.
  target_link_libraries(lua54_program INTERFACE
    -Wl,--whole-archive ${LUA54_STATIC} -Wl,--no-whole-archive m dl)
else()
  target_link_libraries(lua54_program INTERFACE ${LUA54_LINK_LIBRARIES} m dl)
endif()
