-- What the fuzzer must find: broken builds, as ../mutate says.
local command = "spec/fuzz/run 40000"

return {
    {
        name = "a count takes memory before it was compared with the bytes",
        file = "src/binding/decode.c",
        from = [[n[1] > (left - d->owed - n[0]) / 2)]],
        to = [[n[1] > UINT32_MAX)]],
        command = command,
    },
    {
        name = "a finalizer comes in with the second metatable",
        file = "src/binding/decode.c",
        from = [[if (!d->is_ours && (has_field]],
        to = [[if (i != 1 && !d->is_ours && (has_field]],
        command = command,
    },
    {
        name = "metatables take no room on the stack",
        file = "src/binding/codec.c",
        from = [[    mp_wire_need_stack(e->L, MP_LEVEL_SLOTS);
    if (mp_encoder_knows(e, lua_topointer(e->L, -1), &number)) {]],
        to = [[    if (mp_encoder_knows(e, lua_topointer(e->L, -1), &number)) {]],
        command = command,
    },
    {
        name = "a table is written a second time",
        file = "src/binding/codec.c",
        from = [[    if (mp_encoder_knows(e, object, &number)) {]],
        to = [[    if (mp_encoder_knows(e, object, &number) && number != 5) {]],
        command = command,
    },
}
