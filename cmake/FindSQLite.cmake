# SQLite's header, for journals: the library itself is opened when the first one is.
#
#   sqlite_headers   defines MP_SQLITE where there is one; without it journals say that they are not built
find_path(SQLITE_HEADERS sqlite3.h)
add_library(sqlite_headers INTERFACE)
if(SQLITE_HEADERS)
  target_include_directories(sqlite_headers SYSTEM INTERFACE ${SQLITE_HEADERS})
  target_compile_definitions(sqlite_headers INTERFACE MP_SQLITE)
else()
  message(WARNING "built without journals: sqlite3.h was not found (Debian: libsqlite3-dev, Fedora: sqlite-devel); ./setup installs it")
endif()
