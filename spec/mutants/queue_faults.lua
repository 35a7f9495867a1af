-- What the family shares, when a process is killed in the midst of it: the engine's queues and
-- arena (spec/faults), and memory that is short.

local function of_faults(name, file, from, to, filter, edits)
    return { name = name, file = file, from = from, to = to, edits = edits, spec = "spec/faults/queue_spec.lua",
        filter = filter, limit = 200 }
end

return {
    of_faults("the position of a commit comes after it", nil, nil, nil, "with short leaves", {
        { file = "src/engine/record.c", from = [[
    q->sides[which].pos[~before & 1] = *p;
]], to = "" },
        { file = "src/engine/record.c", from = [[
    mp_fault(which == MP_Q_TAIL ? "queue.put.P4" : "queue.get.G4");
]], to = [[
    mp_fault(which == MP_Q_TAIL ? "queue.put.P4" : "queue.get.G4");
    if (p != NULL)
        q->sides[which].pos[~before & 1] = *p;
]] },
    }),
    of_faults("blocks on their way into a queue are not noted", "src/engine/arena.c",
        "atomic_store_explicit(&note->place, place, memory_order_release);",
        "atomic_store_explicit(&note->place, direction == MP_NOTE_IN ? 0 : place, memory_order_release);",
        "with long leaves"),
    of_faults("what a dead owner of a queue's lock left is not settled", "src/engine/queue.c",
        "        if (dead != MP_NOBODY)\n", "        if (dead == MP_NOBODY)\n", "with long leaves"),
    of_faults("the heap of a priority queue is not mended", "src/engine/queue.c",
        "mp_priority_mend(&q->ranks, mp_record_version(q, MP_Q_TAIL));", "mp_priority_done(&q->ranks);",
        "with ranks leaves"),
    of_faults("a heap that has grown forgets the entries before", "src/engine/record.c",
        "mp_arena_move(MP_NOTE_OUT, queue, version, old, 0);", "mp_arena_move(MP_NOTE_OUT, queue, version, 0, 0);",
        "with ranks leaves"),
    of_faults("what a dead one held is held for ever", "src/engine/hold.c",
        "    sweep_holds(member, &m->holds);\n",
        "    if (m->born == UINT64_MAX)\n        sweep_holds(member, &m->holds);\n",
        "with tasks leaves"),
    of_faults("objects that a dead one may have inherited stay", "src/engine/hold.c",
        "    if (m->born != 0)\n        sweep_limbo();\n", "    if (m->born == UINT64_MAX)\n        sweep_limbo();\n",
        "with handles leaves"),
    of_faults("a dead one's intent is forgotten", "src/engine/guard.c",
        "    finish(&a->intent, dead);\n", "    if (a->intent.op == MP_IDLE)\n        finish(&a->intent, dead);\n",
        "with long leaves"),
    of_faults("a block is freed without an intent", "src/engine/arena.c",
        "    mp_guard_intend(MP_FREEING, block, list);\n", "", "with long leaves"),
    of_faults("a span that is joined to the one before it still says that it is used", "src/engine/spans.c",
        "    set_word(s, page, n, FREE_SPAN | backed);\n    const uint64_t behind", "    const uint64_t behind",
        "with long leaves"),
    of_faults("a queue that is not made yet is drained", "src/engine/record.c",
        "    if (!atomic_load_explicit(&q->is_made, memory_order_acquire))\n        return;\n", "",
        "with objects leaves"),
    of_faults("a segment takes itself for the queue's own", "src/engine/record.c",
        "    s->is_in_queue = 0; /* a large block comes as it is */\n", "", "with crossing leaves"),
    of_faults("what a dead getter had taken is not counted", "src/engine/queue.c",
        "        hold->taken = hold->new_taken;\n    q->taker = 0;",
        "        hold->taken = hold->taken + 0;\n    q->taker = 0;",
        "with tasks leaves"),
    of_faults("a count of what is done is not done over", "src/engine/queue.c",
        "        settle_hold(q);\n        do_over(q);\n", "        settle_hold(q);\n", "a task whose end"),
    of_faults("a handle that was closed comes again with its object", "src/binding/shared.c",
        "    if (h != NULL && !h->is_closed && is_of_family(h)) {", "    if (h != NULL) {", "with handles leaves"),
    of_faults("a hold whose count was not stored is mended only in part", "src/engine/guard.c",
        "    case MP_HOLDING:\n        mp_guard_finish_hold(i);\n", "    case MP_HOLDING:\n", "with handles leaves"),
    { name = "the family's own limit is none", file = "src/engine/arena.c",
        from = "return wanted > limit_of(a) ? -EDQUOT : 0;", to = "return limit_of(a) == 0 ? -EDQUOT : 0;",
        spec = "spec/short_memory_spec.lua", filter = "own limit" },
    { name = "a getter's record comes twice", file = "src/engine/record.c",
        from = "    r->p.bytes += len;\n    r->n++;\n    return 1;", to = "    r->p.bytes += len;\n    r->n++;\n"
            .. "    if (len % 64 == 63)\n        r->n--;\n    return 1;",
        spec = "spec/queue_kills_spec.lua", filter = "leave the queue whole", limit = 120, host = "lua5.4" },
}
