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
set(alone dict_kills_spec named_buffer_spec sync_kills_spec queue_kills_spec lock_kills_spec journal_kills_spec pool_kills_spec pool_volume_spec short_memory_spec run_spec
  outcome_spec death_spec collector_spec heap_spec crowd_spec trees_spec moments_spec signals_spec forkserver_kills_spec)
# Specs that take longer than the others may: name=seconds.
set(slow collector_spec=600 heap_spec=600 cells_spec=300 allocation_spec=300 trees_spec=300 crowd_spec=600 command_spec=300 timeout_spec=300 program_spec=300 outcome_spec=300 bench_spec=600 output_spec=300 orphans_spec=300
  sweep_spec=600 memory_spec=900 queue_spec=600 instructions_spec=900 stress_spec=300 queue_kills_spec=600 lock_kills_spec=600
  short_memory_spec=300 signals_spec=300 moments_spec=300 start_method_spec=300 forkserver_kills_spec=300
  interrupt_spec=300 model_spec=900 sync_kills_spec=600 together_spec=300 queue_memory_spec=600 queue_family_spec=300 pipe_spec=300 deadlock_spec=300
  event_loop_spec=300 wait_shared_spec=300 pool_examples_spec=300 pool_kills_spec=900 pool_orphans_spec=300 pool_spec=600
  handler_spec=300 journal_spec=900 journal_file_spec=300 journal_kills_spec=600 statistics_spec=300 advice_spec=300 progress_spec=300
  dict_spec=300 dict_kills_spec=600 linear_spec=300 relay_spec=600 relay_order_spec=600 log_spec=300)

# Specs of processes run under the other start methods, too: each under one of them with
# each host. It is what a spec's processes begin with, where the spec does not say itself.
set(method_luamp forkserver)
set(method_lua5.4 spawn)
set(of_processes array asking barrier buffer cache command condition deadlock death dict either event event_loop foreign functions future futures handle interrupt journal limits
  linear list lock log moments
  named_buffer options orphans outcome output pipe pool pool_apply pool_batches pool_calls pool_ends pool_inputs pool_life pool_limits pool_orphans
  pool_spoils pool_submit pool_tasks priority progress progress_figures process process_end property queue queue_family random relay relay_order rwlock scope scope_nesting semaphore sending signals statistics terminal
  timeout trees tutorial value wait wait_shared)
if(LUAMP_SANITIZE)
  set(of_processes functions options pipe process queue random scope_nesting wait dict list)
elseif(LUAMP_FAULTS)
  set(of_processes)
endif()

function(add_spec spec name host method)
  set(test "${name} [${host}]")
  if(NOT method STREQUAL "fork")
    set(test "${name} [${host}, ${method}]")
  endif()
  add_test(NAME ${test} COMMAND spec/run ${spec} WORKING_DIRECTORY ${CMAKE_CURRENT_SOURCE_DIR})
  set_tests_properties(${test} PROPERTIES TIMEOUT 120 ENVIRONMENT
    "LUAMP_BUILD=${CMAKE_CURRENT_BINARY_DIR};LUAMP_HOST=${host};LUAMP_START_METHOD=${method};LUAMP_NAME=${test};LUAMP_SANITIZE=${LUAMP_SANITIZE}")
  if(name IN_LIST alone)
    set_tests_properties(${test} PROPERTIES RUN_SERIAL ON)
  endif()
  if("${slow}" MATCHES "(^|;)${name}=([0-9]+)")
    set_tests_properties(${test} PROPERTIES TIMEOUT ${CMAKE_MATCH_2})
  endif()
  if(LUAMP_FAULTS)
    set_tests_properties(${test} PROPERTIES LABELS faults)
  endif()
endfunction()

file(GLOB specs CONFIGURE_DEPENDS ${folder}/*_spec.lua)
foreach(spec ${specs})
  get_filename_component(name ${spec} NAME_WE)
  string(REGEX REPLACE "_spec$" "" about ${name})
  foreach(host ${hosts})
    if(about MATCHES "^(model|bench|stress)$" AND NOT "${host}/${LUAMP_SANITIZE}" STREQUAL "luamp/")
      continue() # models, the bench and the engine alone know of no host, and of no sanitizer
    endif()
    add_spec(${spec} ${name} ${host} fork)
    if(about IN_LIST of_processes)
      add_spec(${spec} ${name} ${host} ${method_${host}})
    endif()
  endforeach()
endforeach()
