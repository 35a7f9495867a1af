-- How much memory may still be taken: broken builds, as ../mutate says.
return {
    {
        name = "the limits of the groups above are not looked at",
        file = "src/engine/budget.c",
        from = "if (*end == '\\0' || *end == '/' || end",
        to = "if (*end == '\\0' || end",
        spec = "spec/budget_spec.lua",
        filter = "on the whole way up",
    },
    {
        name = "files that the kernel can drop are not counted as free",
        file = "src/engine/budget.c",
        from = "limit - usage + (cache > 0 ? cache : 0)",
        to = "limit - usage + 0 * cache",
        spec = "spec/budget_spec.lua",
        filter = "in version 1",
    },
    {
        name = "groups of version 1 set no limit",
        file = "src/engine/budget.c",
        from = "for (int v = 0; v < 2; v++) {\n        int64_t left",
        to = "for (int v = 1; v < 2; v++) {\n        int64_t left",
        spec = "spec/budget_spec.lua",
        filter = "in a real group",
    },
    {
        name = "a mount's path is taken as mountinfo writes it",
        file = "src/engine/budget.c",
        from = "    unescape(point);\n",
        to = "",
        spec = "spec/budget_spec.lua",
        filter = "a container",
    },
}
