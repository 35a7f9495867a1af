-- Pools whose workers are killed: the owner's look at them, the board, and what is told of a death.

local function of_kills(name, file, from, to, filter, limit)
    return { name = name, file = file, from = from, to = to, spec = "spec/pool_kills_spec.lua", filter = filter,
        limit = limit }
end

local function of_faults(name, file, from, to, filter, edits)
    return { name = name, file = file, from = from, to = to, edits = edits, spec = "spec/faults/pool_spec.lua",
        filter = filter, limit = 100 }
end

-- Fewer kills than the spec takes by itself.
local under_maps = "env LUAMP_KILLS=100 spec/run spec/pool_kills_spec.lua --filter='under maps: %d+, collect'"

return {
    { name = "what a handler raises while a worker is replaced is taken for a failure to start", limit = 100,
        file = "src/lua/luamp/crew.lua", spec = "spec/faults/handler_spec.lua",
        filter = "what a handler raises is the script's",
        from = "    if w.process or errors.is_error(e) and", to = "    if errors.is_error(e) and" },
    of_kills("nobody looks which workers of a pool have died", "src/lua/luamp/crew.lua",
        "if w.process and process.has_ended(w.process) then", "if w.process and not w.state then",
        "each time fails after", 30),
    of_kills("the owner of a pool looks at no worker while results keep coming", "src/lua/luamp/dispatch.lua",
        "if must_look or d.crew:needs_look() then", "if must_look then", "while results keep coming"),
    of_kills("a killed worker is not replaced", "src/lua/luamp/crew.lua",
        "    if has_served then restart(c, w) else postpone(w) end\n",
        "    if not has_served then postpone(w) end\n",
        "that is idle is noticed"),
    of_kills("a worker that could not be replaced is forgotten", "src/lua/luamp/crew.lua",
        " else w.process = nil end\n    if not ok", " end\n    if not ok",
        "where no process can be made", 100),
    of_kills("workers that never serve are made for ever", "src/lua/luamp/crew.lua",
        "if n >= MOST_FAILED_STARTS then", "if n > 1 << 40 then",
        "later end the pool and all that it has", 30),
    of_kills("a worker that serves makes up for those that do not", "src/lua/luamp/crew.lua",
        [[w.state, w.delay = "serves", nil end]], [[w.state, w.delay, c.failed_starts = "serves", nil, {} end]],
        "others of which serve, end the pool"),
    of_kills("tasks that end do not show that workers can live", "src/lua/luamp/crew.lua",
        "if deaths.n_ends ~= c.n_ends then", "if not deaths.n_ends then", "no pool whose tasks come to their end"),
    of_kills("what a lost task's worker was is told of kills alone", "src/lua/luamp/crew.lua",
        "board.refusal(c.board, w.id) or cause_of(s)",
        "board.refusal(c.board, w.id) or s.exitcode ~= 0 and cause_of(s) or nil",
        "leaves by os.exit"),
    { name = "the first worker of a pool that the kernel kills for memory is one like any other",
        file = "src/lua/luamp/crew.lua", from = "    process.note_oom_kills()\n", to = "",
        spec = "spec/pool_limits_spec.lua", filter = "for memory says so" },
    of_kills("a lost task is answered twice", "src/lua/luamp/dispatch.lua",
        "        d:fail(call, index, e)\n    end\n",
        "        d:fail(call, index, e)\n        if how == \"lost\" then d:fail(call, index, e) end\n    end\n",
        "is killed fails with what that was"),
    { name = "a lost task runs again that may run once", command = under_maps, limit = 60, edits = {
        { file = "src/lua/luamp/failures.lua",
            from = "    if not retries or attempt > retries.n then return false, e end\n",
            to = "    if not retries then return attempt == 1, e end\n"
                .. "    if attempt > retries.n then return false, e end\n" },
        { file = "src/lua/luamp/dispatch.lua", from = "local backoff = call.retries.backoff or 0",
            to = "local backoff = call.retries and call.retries.backoff or 0" },
    } },
    of_kills("a pool that has no worker for a while is taken for a deadlock", "src/lua/luamp/dispatch.lua",
        "return next_moment(d) < math.huge or d.crew:is_renewing()",
        "return next_moment(d) < math.huge",
        "that is no deadlock"),
    { name = "a pool that was terminated goes on beside the script", file = "src/lua/luamp/dispatch.lua",
        from = "    d.submissions:fail_all(e, is_cancelled)\n    leave_if_idle(d)\n",
        to = "    d.submissions:fail_all(e, is_cancelled)\n",
        spec = "spec/pool_orphans_spec.lua", filter = "that is terminated has nothing" },
    { name = "a pool's workers have no name in a fresh interpreter", file = "src/lua/luamp/crew.lua",
        from = "core.renew_names(false)", to = "local _ = core.renew_names",
        command = "env LUAMP_START_METHOD=forkserver " .. under_maps:sub(5), limit = 60 },
    of_faults("what a dead worker had done is not found by its state", "src/engine/ends.c",
        "(is_lost || end_of(kind) != 0)", "is_lost", "F3: its task"),
    of_faults("tasks that a dead worker had taken and not begun are not looked for", "src/engine/lane.c",
        "    for (uint32_t i = 0; i < n; i++)\n        if (begin(i))\n",
        "    for (uint32_t i = n; i < n; i++)\n        if (begin(i))\n", "T1: its task"),
    of_faults("blocks of a dead worker that no slot names are kept", "src/engine/ends.c",
        "        if (!is_named)\n", "        if (!is_named && at == 0)\n", "F1: its task"),
    of_faults("a task is ready before its owner says so", nil, nil, nil, "P1:7, is stopped", {
        { file = "src/engine/board.c", from = "    mp_fault(\"board.put.P1\");\n", to = "" },
        { file = "src/engine/board.c", from = "    mp_fault(\"board.put.P2\");\n",
            to = "    mp_fault(\"board.put.P1\");\n    mp_fault(\"board.put.P2\");\n" },
    }),
    { name = "a task is begun without a swap", command = under_maps, limit = 60, edits = {
        { file = "src/engine/lane.c", from = "#include <string.h>\n",
            to = "#include <string.h>\n#include <unistd.h>\n" },
        { file = "src/engine/lane.c", from = [[
    return atomic_compare_exchange_strong_explicit(/* (B) */
                                                   &s->state, &state,
                                                   MP_SLOT_RUNNING + MP_STATES * me.number,
                                                   memory_order_acq_rel, memory_order_relaxed);
]], to = [[
    usleep(100);
    atomic_store(&s->state, MP_SLOT_RUNNING + MP_STATES * me.number);
    return 1;
]] },
    } },
}
