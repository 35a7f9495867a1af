# One CTest test for each spec file, host and start method: a new spec file is a new test.
# The fault build runs the specs that need its fault points, and only those.
# A sanitizer has to be there first, so no stock interpreter loads its module.
#
# Each file runs under luamp with fork, and once more: with the stock host, or one that is
# about processes with another host or start method, which the file's name decides, so that
# neighbours are spread over all three. The rest is labelled `wide`, and so is what takes long
# and would find little more: a test run leaves that out, unless LUAMP_TESTS is `all`.
# What may depend on who the user is is labelled `user`: it runs as an ordinary one as well.
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
set(alone cluster_jobs cluster_loss cluster_net cluster_slurm dict_kills named_buffer sync_kills queue_kills lock_kills journal_kills pool_kills pool_volume short_memory
  run outcome death collector heap crowd trees moments signals forkserver_kills)
# Specs that mostly wait: more of them than there are processors run at a time.
set(waiting deadlock timeout output limits orphans pool_orphans)
# Specs that take longer than the others may: name=seconds.
set(slow advice=300 allocation=300 bench=600 cells=300 cluster=400 cluster_jobs=2400 cluster_loss=300 cluster_net=300 cluster_slurm=300
  collector=600 command=300 crowd=600 deadlock=300 dict=300
  dict_kills=600 event_loop=300 forkserver_kills=300 handler=300 heap=600 instructions=900 interrupt=300 journal=900
  journal_file=300 journal_kills=600 linear=300 lock_kills=600 log=300 memory=900 model=900 moments=300 orphans=300
  outcome=300 output=300 pipe=300 pool=600 pool_examples=300 pool_kills=900 pool_orphans=300 program=300 progress=300
  queue=600 queue_family=300 queue_kills=600 queue_memory=600 relay=600 relay_order=600 short_memory=300 signals=300
  start_method=300 statistics=300 stress=300 sweep=600 sync_kills=600 timeout=300 together=300 trees=300
  wait_shared=300)

# Specs of processes, which run under the other start methods, too. It is what a spec's
# processes begin with, where the spec does not say itself.
set(method_luamp forkserver)
set(method_lua5.4 spawn)
set(of_processes array asking barrier buffer cache command condition deadlock death dict either event event_loop foreign
  functions future futures handle interrupt journal limits linear list lock log moments named_buffer options orphans
  outcome output pipe pool pool_apply pool_batches pool_calls pool_ends pool_inputs pool_life pool_limits pool_orphans
  pool_spoils pool_submit pool_tasks priority progress progress_figures process process_end property queue queue_family
  random relay relay_order rwlock scope scope_nesting semaphore sending signals statistics terminal timeout trees
  tutorial value wait wait_shared)
if(LUAMP_SANITIZE)
  set(of_processes functions options pipe process queue random scope_nesting wait dict list)
elseif(LUAMP_FAULTS)
  set(of_processes)
endif()

# Specs that say the same under every host: of files, texts and the program, and those that kill
# processes by the hundred, or fill memory.
set(once cluster cluster_jobs cluster_loss cluster_net cluster_sharing cluster_slurm cluster_tasks cluster_values cluster_workers crowd collector deadlock dict_kills examples forkserver_kills heap journal_kills layers linear lock_kills mutants outcome
  pool_examples pool_kills pool_volume program property queue_kills queue_memory readme scope shared_property short_memory sync_kills
  tutorial types)
# With sanitizers: the specs that bring data and processes through most of the C code. The others say
# more of behaviour than of memory.
set(sanitized allocation array asking barrier buffer cache codec command condition console decode dict either event
  event_loop foreign forkserver frames functions future futures hold journal_file list lock pipe pool pool_apply
  pool_batches pool_calls pool_ends pool_life pool_limits pool_submit pool_tasks process property queue relay rwlock
  scope scope_nesting semaphore sending signals value wait)
# What may depend on the user: files, limits, signals, sockets, names, terminals.
set(user_asked buffer command forkserver fresh_image journal_file limits log named_buffer options orphans pool program
  progress queue run short_memory signals start_method terminal trees)

# Whether the test is of the daily run: sets `is_daily`.
function(ask_daily about host method)
  set(is_daily YES)
  if(LUAMP_FAULTS)
    if(NOT host STREQUAL "luamp")
      set(is_daily NO)
    endif()
  elseif(LUAMP_SANITIZE)
    if(NOT about IN_LIST sanitized OR NOT method STREQUAL "fork")
      set(is_daily NO)
    endif()
  elseif("${host}/${method}" STREQUAL "luamp/fork")
    # of each file
  elseif(about IN_LIST once)
    set(is_daily NO)
  elseif(about IN_LIST of_processes)
    string(SHA1 digest ${about})
    string(SUBSTRING ${digest} 0 6 digits)
    math(EXPR choice "0x${digits} % 3")
    list(GET others ${choice} other)
    if(NOT other STREQUAL "${host}/${method}")
      set(is_daily NO)
    endif()
  endif()
  set(is_daily ${is_daily} PARENT_SCOPE)
endfunction()
set(others luamp/forkserver lua5.4/fork lua5.4/spawn)

function(add_spec spec about host method)
  set(test "${about}_spec [${host}]")
  if(NOT method STREQUAL "fork")
    set(test "${about}_spec [${host}, ${method}]")
  endif()
  add_test(NAME ${test} COMMAND spec/run ${spec} WORKING_DIRECTORY ${CMAKE_CURRENT_SOURCE_DIR})
  set(labels)
  ask_daily(${about} ${host} ${method})
  if(NOT is_daily)
    list(APPEND labels wide)
  endif()
  if(about IN_LIST user_asked AND "${host}/${method}" STREQUAL "luamp/fork")
    list(APPEND labels user)
  endif()
  set_tests_properties(${test} PROPERTIES TIMEOUT 120 PROCESSORS 2 LABELS "${labels}" ENVIRONMENT
    "LUAMP_BUILD=${CMAKE_CURRENT_BINARY_DIR};LUAMP_HOST=${host};LUAMP_START_METHOD=${method};LUAMP_NAME=${test};LUAMP_SANITIZE=${LUAMP_SANITIZE}")
  if(about IN_LIST alone)
    set_tests_properties(${test} PROPERTIES RUN_SERIAL ON)
  elseif(about IN_LIST waiting)
    set_tests_properties(${test} PROPERTIES PROCESSORS 1)
  endif()
  if("${slow}" MATCHES "(^|;)${about}=([0-9]+)")
    set_tests_properties(${test} PROPERTIES TIMEOUT ${CMAKE_MATCH_2})
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
    add_spec(${spec} ${about} ${host} fork)
    if(about IN_LIST of_processes)
      add_spec(${spec} ${about} ${host} ${method_${host}})
    endif()
  endforeach()
endforeach()
