-- The heap: broken builds, as ../mutate says.
local function of_heap(name, file, from, to, filter)
    return { name = name, file = "src/engine/" .. file, from = from, to = to, spec = "spec/heap_spec.lua",
        filter = filter, limit = 120 }
end

return { name = name, file = "src/engine/" .. file, from = from, to = to, spec = "spec/heap_spec.lua",
        filter = filter, limit = 120 }
end

local function of_collector(name, from, to, filter)
    return { name = name, file = "src/binding/collector.c", from = from, to = to, spec = "spec/collector_spec.lua",
        filter = filter, limit = 240 }
end

return {
    of_heap("a chunk's block goes to another chunk of its class", "heap.c",
        "    b->next = u->free;\n    u->free = b;\n    u->live--;\n",
        "    b->next = u->free;\n    u->free = b;\n    u->live--;\n    if (u->live == 1)\n        u->live = 0;\n",
        "by allocations at random"),
    of_heap("a free span is not joined with the one before it", "region.c",
        "    mp_unit *after = free_after(u, n), *before = free_before(u);",
        "    mp_unit *after = free_after(u, n), *before = NULL;", "60 GiB"),
    of_heap("a span is made longer into its neighbour", "region.c",
        "} else if (after != NULL && after->n >= more) {", "} else if (after != NULL) {", "by allocations at random"),
    of_heap("a child goes on with the free blocks of its parent", "heap.c",
        "    memset(classes, 0, sizeof classes);\n", "", "in children"),
    of_heap("a child goes on with the free spans of its parent", "region.c",
        "    *spans = (mp_zone){behind, behind, behind, region->end};\n", "", "in children"),
    of_heap("where a large step cannot be opened, a small one is not tried", "region.c",
        "        len = needed;\n        if (!open_up(z->open, len))\n            return 0;\n", "        return 0;\n",
        "a limit of a process's memory"),
    of_heap("memory that stays free is kept for good", "region.c",
        "    } else if (now - shrunk_since >= SHRUNK_FOR) {", "    } else if (now < shrunk_since) {",
        "gives its memory back"),
    of_heap("memory that is free for a moment goes back", "region.c",
        "#define SHRUNK_FOR ((mp_time)10 * 1000000000)", "#define SHRUNK_FOR ((mp_time)10)", "gives its memory back"),
    of_heap("pages that are shared count as copied", "region.c",
        "(words[i] >> 63 & 1) && (words[i] >> 56 & 1)", "(words[i] >> 63 & 1)", "what this process has itself"),
}
