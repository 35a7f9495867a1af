-- What members print: broken builds, as ../mutate says.
return {
    {
        name = "long writes take no turn",
        file = "src/engine/output.c",
        from = "        t->ticket = mp_family_stream_lock(&t->identity, MP_FOREVER);",
        to = "        t->ticket = -1;",
        spec = "spec/output_spec.lua",
        filter = "by io.write, 5000 bytes wide, into a pipe",
    },
    {
        name = "a buffer is handed over in the middle of a call",
        file = "src/engine/output.c",
        from = "    if (__fpending(stream) + len >= room)\n        return 0;",
        to = "    if (room <= 1)\n        return 0;",
        spec = "spec/output_spec.lua",
        filter = "by io.write, 60 bytes wide, into a file",
    },
    {
        name = "buffers are neither written before a fork nor dropped after it",
        edits = {
            { file = "src/engine/start.c",
                from = "        mp_output_flush(stdout);\n        fflush(NULL);\n    }\n    return rc;",
                to = "    }\n    return rc;" },
            { file = "src/engine/start.c", from = "    drop_buffers(b->spec);\n", to = "    (void)drop_buffers;\n" },
            { file = "src/binding/process.c", from = "n + 2);\n    mp_output_flush_all(L);\n", to = "n + 2);\n" },
        },
        spec = "spec/output_spec.lua",
        filter = "not written twice",
    },
    {
        name = "an uncaught error is reported in pieces",
        file = "src/lua/luamp/life.lua",
        from = [[core.report("luamp: " .. text .. "\n")]],
        to = [[for c in ("luamp: " .. text .. "\n"):gmatch "." do core.report(c) end]],
        spec = "spec/output_spec.lua",
        filter = "one whole each",
    },
    {
        name = "output that found no room is not missed",
        file = "src/engine/proc.c",
        from = "if (lost != 0 && lost != -EBADF)",
        to = "if (lost > 0)",
        spec = "spec/options_spec.lua",
        filter = "that took not all are told of",
    },
    {
        name = "a file takes the place of a stream that is closed",
        edits = {
            { file = "src/engine/sys.c", from = "if (fcntl(fd, F_GETFD) == -1 && errno == EBADF)", to = "if (fd < 0)" },
            { file = "src/engine/sys.c", from = "    if (fd < 0 || fd >= 10)\n", to = "    if (fd < 10 || fd > 9)\n" },
        },
        spec = "spec/options_spec.lua",
        filter = "are kept apart when this process has none",
    },
}
