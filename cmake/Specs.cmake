# One CTest test for each spec file and host: a new spec file is a new test.
# The fault build runs the specs that need its fault points, and only those.
# A sanitizer has to be there first, so no stock interpreter loads its module.
set(folder spec)
if(LUAMP_FAULTS)
  set(folder spec/faults)
endif()
set(hosts luamp lua5.4)
if(LUAMP_SANITIZE)
  set(hosts luamp)
endif()

# Specs that measure time, fill the machine, or leave things in /dev/shm for
# the watch to find, run while no other does.
set(alone run_spec outcome_spec death_spec crowd_spec trees_spec)
# Specs that take longer than the others may: name=seconds.
set(slow trees_spec=300 crowd_spec=300 command_spec=300 timeout_spec=300 program_spec=300 outcome_spec=300 bench_spec=300 output_spec=300 orphans_spec=300)

file(GLOB specs CONFIGURE_DEPENDS ${folder}/*_spec.lua)
foreach(spec ${specs})
  get_filename_component(name ${spec} NAME_WE)
  foreach(host ${hosts})
    set(test "${name} [${host}]")
    add_test(NAME ${test} COMMAND spec/run ${spec} WORKING_DIRECTORY ${CMAKE_CURRENT_SOURCE_DIR})
    set_tests_properties(${test} PROPERTIES TIMEOUT 120 ENVIRONMENT
      "LUAMP_BUILD=${CMAKE_CURRENT_BINARY_DIR};LUAMP_HOST=${host};LUAMP_NAME=${test};LUAMP_SANITIZE=${LUAMP_SANITIZE}")
    if(name IN_LIST alone)
      set_tests_properties(${test} PROPERTIES RUN_SERIAL ON)
    endif()
    if("${slow}" MATCHES "(^|;)${name}=([0-9]+)")
      set_tests_properties(${test} PROPERTIES TIMEOUT ${CMAKE_MATCH_2})
    endif()
    if(LUAMP_FAULTS)
      set_tests_properties(${test} PROPERTIES LABELS faults)
    endif()
  endforeach()
endforeach()
