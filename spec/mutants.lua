-- mutants.lua: builds that are broken on purpose, one a proof, and the tests
-- that must notice; spec/mutate makes and runs them.
--
-- Each is `name`; `file` with the exact text `from`, which stands there once,
-- and `to` in its place; `spec` and `filter`, busted's pattern for the tests
-- that must fail, by an assertion or at the time limit of `limit` seconds (60);
-- and `host`, if not luamp.
return {
    {
        name = "the watch is blind to descriptors",
        file = "spec/helper.lua",
        from = [[["descriptor"] = helper.fds()]],
        to = [[["descriptor"] = {}]],
        spec = "spec/run_spec.lua",
        filter = "a descriptor",
    },
}
