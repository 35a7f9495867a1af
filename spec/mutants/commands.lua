-- Programs, limits, time, and what dies with its creator: broken builds, as ../mutate says.
return {
    {
        name = "descriptors reach a command",
        file = "src/engine/exec.c",
        from = "        close_range(3, ~0u, CLOSE_RANGE_CLOEXEC);\n",
        to = "",
        spec = "spec/command_spec.lua",
        filter = "a descriptor but 0, 1, 2",
    },
    {
        name = "a command has no tag",
        file = "src/engine/start.c",
        from = "tagged.env += spec->detached;",
        to = "tagged.env++;",
        spec = "spec/command_spec.lua",
        filter = "with all that it started",
        limit = 20,
    },
    {
        name = "a timeout never fires",
        file = "src/engine/keeper.c",
        from = "m->pid != 0 && now >= deadline)",
        to = "m->pid != 0 && now < 0)",
        spec = "spec/timeout_spec.lua",
        filter = "says so: a command",
        limit = 15,
    },
    {
        name = "a timeout counts in its parent's waits alone",
        edits = {
            { file = "src/engine/keeper.c", from = "m->pid != 0 && now >= deadline)", to = "m->pid != 0 && now < 0)" },
            { file = "src/lua/luamp/process.lua",
                from = "        local ended = (wait or life.await)(s.handle, deadline)\n",
                to = [[
        local limit = s.options.timeout
        local ended = core.await(s.handle, limit and core.deadline(limit) or deadline)
        if limit and ended == false then core.signal(s.handle, 15) end
]] },
        },
        spec = "spec/timeout_spec.lua",
        filter = "in force while the parent computes",
        limit = 20,
    },
    {
        name = "SIGKILL does not follow a timeout's SIGTERM",
        file = "src/engine/keeper.c",
        from = "first ? now + GRACE : 0;",
        to = "0;",
        spec = "spec/timeout_spec.lua",
        filter = "killed 5 s later",
        limit = 15,
    },
    {
        name = "limits are not set",
        file = "src/engine/setup.c",
        from = "    return value < 0 || setrlimit(",
        to = "    return value != INT64_MIN || setrlimit(",
        spec = "spec/limits_spec.lua",
        filter = "the first line: files",
    },
    {
        name = "a command's limits are set when it runs already",
        edits = {
            { file = "src/engine/exec.c", from = "#include <sys/prctl.h>\n",
                to = "#include <sys/prctl.h>\n#include <sys/resource.h>\n" },
            { file = "src/engine/exec.c", from = "        rc = mp_setup_apply(l->setup, 0, &step);\n", to = [[
        mp_setup early = *l->setup;
        early.limits = (mp_limits){-1, -1, -1, -1, -1};
        rc = mp_setup_apply(&early, 0, &step);
]] },
            { file = "src/engine/exec.c", from = "    *step = pid < 0 ? ", to = [[
    rlim_t files = (rlim_t)setup->limits.files;
    usleep(50000);
    if (pid > 0 && setup->limits.files >= 0)
        prlimit(pid, RLIMIT_NOFILE, &(struct rlimit){files, files}, NULL);
    *step = pid < 0 ? ]] },
        },
        spec = "spec/limits_spec.lua",
        filter = "the first line: files",
    },
    {
        name = "a child that became a program counts as dead",
        file = "src/engine/keeper.c",
        from = "dead_serial != mp_page->members[i].serial && has_become_program(i)",
        to = "dead_serial != mp_page->members[i].serial && has_become_program(i) < 0",
        spec = "spec/trees_spec.lua",
        filter = "becomes a program",
        limit = 20,
    },
    {
        name = "a keeper that dies at its birth is waited for",
        file = "src/engine/keeper.c",
        from = "        if (rc < 0 || comes())\n            return rc;",
        to = "        while (rc == 0 && !comes())\n            continue;\n        return rc;",
        spec = "spec/faults/sweep_spec.lua",
        filter = "keeper is killed in its birth",
    },
    {
        name = "a keeper that was killed keeps no time limit any more",
        file = "src/engine/proc.c",
        from = "        renew_keeper();\n        look = now",
        to = "        look = now",
        spec = "spec/timeout_spec.lua",
        filter = "though the keeper was killed",
        limit = 40,
    },
    {
        name = "a keeper that was killed is not missed at an end",
        file = "src/engine/proc.c",
        from = "    if (wants_keeper)\n        renew_keeper(); /*",
        to = "    /*",
        spec = "spec/trees_spec.lua",
        filter = "is made anew by what needs it",
        limit = 20,
    },
    {
        name = "a child that is stopped at its birth has no time limit",
        file = "src/engine/proc.c",
        from = "    if (!p->ended && is_stop(signo))\n        await_birth(p);\n",
        to = "    (void)await_birth, (void)is_stop;\n",
        spec = "spec/timeout_spec.lua",
        filter = "stopped at its birth",
        limit = 40,
    },
    {
        name = "the keeper waits for a program that it never held",
        file = "src/engine/keeper.c",
        from = "state_of(i) == PROGRAM && creator_lives(i);",
        to = "state_of(i) == PROGRAM;",
        spec = "spec/trees_spec.lua",
        filter = "has just started a program",
        limit = 30,
    },
    {
        name = "what a killed main process leaves is not found, at a random moment",
        file = "src/engine/start.c",
        from = "tagged.env += spec->detached;",
        to = "tagged.env++;",
        spec = "spec/trees_spec.lua",
        filter = "random moments leaves nothing",
        limit = 30,
    },
    {
        name = "what a killed main process leaves is not found, with 200 commands in flight",
        file = "src/engine/start.c",
        from = "tagged.env += spec->detached;",
        to = "tagged.env++;",
        spec = "spec/trees_spec.lua",
        filter = "with 200 commands in flight",
        limit = 30,
    },
    {
        name = "what a killed main process leaves is not found, under load",
        file = "src/engine/start.c",
        from = "tagged.env += spec->detached;",
        to = "tagged.env++;",
        spec = "spec/trees_spec.lua",
        filter = "under a load of four",
        limit = 30,
    },
}
