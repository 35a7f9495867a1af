-- model_spec.lua: the protocols of the queue, its locks, waits and a pool's board, in every order of their steps.
--
-- spin makes a program of each model in spec/model, pan, that goes through all its
-- states. The right protocol must have no error in any of them, with none left out and
-- no line of the model never reached; each wrong one must have an error.
local helper = require "spec.helper"

-- Two kills take minutes; one is enough for the daily run.
local complete = helper.is_everything

local has_spin = os.execute "command -v spin >/dev/null"

-- What pan says of the model with these options, compiled at this level: to optimise takes
-- longer than a short search.
local function check(model, options, level)
    local folder = helper.tmpdir()
    local pipe <close> = io.popen "pwd"
    local path = pipe:read "l" .. "/spec/model/" .. model
    local made = helper.run(("spin %s -a %s && cc %s -DSAFETY -DCOLLAPSE -DMEMLIM=4000 -o pan pan.c")
        :format(options, path, level), { cwd = folder })
    assert.equal(0, made.status, made.stdout .. made.stderr)
    return helper.run("./pan -w25 -m10000", { cwd = folder }).stdout
end

local function holds(model, options)
    local said = check(model, options, "-O2")
    assert.is_truthy(said:find("errors: 0\n", 1, true), said)
    assert.is_truthy(said:find("Full statespace search", 1, true), said)
    for _, word in ipairs { "not completed", "max search depth too small", "out of memory", "truncated" } do
        assert.is_nil(said:find(word, 1, true), said)
    end
    return said
end

local function fails(model, options, how)
    local said = check(model, options, "-O0")
    assert.is_truthy(said:find("errors: 1\n", 1, true), said)
    assert.is_truthy(said:find("pan:1: " .. how), said)
end

local function it_is(what, test)
    it(what, function()
        if not has_spin then
            pending "needs spin"
            return
        end
        test()
    end)
end

describe("the protocol of the queue", function()
    it_is("holds whoever is killed, and wherever", function()
        local said = holds("queue.pml", complete and "-DKILLS=2" or "-DKILLS=1")
        if not complete then return end -- what one death leads to is not all that two do
        for _, process in ipairs { "putter", "getter", "sweeper", "main" } do
            assert.is_truthy(said:find("unreached in proctype " .. process .. "\n\t%(0 of"), said)
        end
    end)

    for _, case in ipairs {
        { 1, 1, "the commit of a put comes before its position" },
        { 11, 1, "the commit of a get comes before its position" },
        { 2, 1, "who takes the lock of a dead one does not decide about its blocks" },
        { 3, 1, "blocks leave the hand before the commit" },
        { 6, 0, "blocks leave the hand one by one after the commit" },
        { 5, 1, "the lock of a dead one stays taken", "invalid end state" },
        { 7, 1, "the place of a move is told before the state that it began with" },
        { 8, 2, "who mends counts as the holder before it is mended" },
        { 9, 1, "a lock that is free names its last holder" },
        { 10, 2, "a sweep that is done again counts again" },
        { 12, 2, "a sweep that was begun need not be the next to end" },
    } do
        local wrong, kills, what, how = table.unpack(case)
        it_is("must not be that " .. what, function()
            fails("queue.pml", ("-DWRONG=%d -DKILLS=%d"):format(wrong, kills), how or "assertion violated")
        end)
    end
end)

describe("the protocol of waits", function()
    it_is("loses no wake-up", function()
        holds("wake.pml", "-DROOM=1")
        holds("wake.pml", "-DROOM=2")
    end)

    it_is("loses nothing at the close", function()
        holds("wake.pml", "-DCLOSE")
    end)

    for wrong, what in ipairs {
        "a waiter looks before it knows what it will wait with",
        "a waiter looks before it announces itself",
        "waiters are not announced while one is being woken",
        "a waker looks for waiters before its change",
        "a waker does not move the word on",
    } do
        it_is("must not be that " .. what, function()
            fails("wake.pml", "-DROOM=2 -DWRONG=" .. wrong, "invalid end state")
        end)
    end

    it_is("must not be that the close is not under the lock of the puts", function()
        fails("wake.pml", "-DCLOSE -DWRONG=6", "assertion violated")
    end)
end)

describe("the protocol of the board", function()
    local function reaches_all(said)
        for _, process in ipairs { "worker", "owner" } do
            assert.is_truthy(said:find("unreached in proctype " .. process .. "\n\t%(0 of"), said)
        end
    end

    it_is("holds whoever is killed, and wherever", function()
        reaches_all(holds("board.pml", complete and "-DACTS=1 -DKILLS=2 -DTASKS=3" or "-DACTS=1"))
    end)

    it_is("holds for tasks that are put again, for another worker", function()
        local said = holds("board.pml", "-DAGAIN=1 -DLOOKS" .. (complete and " -DACTS=1" or ""))
        if complete then reaches_all(said) end
    end)

    it_is("needs no new worker for what a dead one has taken and not begun", function()
        holds("board.pml", "-DALONE -DKILLS=2")
    end)

    it_is("lets others do what a worker comes late to", function()
        holds("board.pml", "-DLATE -DLOOKS")
    end)

    for _, case in ipairs {
        { 1, "", "a state is read, and then stored", "assertion violated" },
        { 2, "", "a task is in the ring before it is done", "assertion violated" },
        { 3, "", "a dead one's ring is read after its slots", "assertion violated" },
        { 4, "", "nobody looks at a dead one's slots", "invalid end state" },
        { 5, "-DACTS=1", "a task is taken back by a store", "assertion violated" },
        { 6, "-DALONE", "nobody is told to look for what a dead one had taken", "invalid end state" },
        { 7, "", "a task is done before its result is there", "assertion violated" },
        { 8, "-DACTS=1", "the end of a lane frees what a slot still names", "assertion violated" },
        { 9, "", "another one comes before the dead one is buried", "assertion violated" },
        { 10, "-DACTS=1", "who is killed for a task may have begun the next one", "assertion violated" },
        { 11, "-DAGAIN=1", "a place is passed by where others may begin", "invalid end state" },
        { 12, "-DALONE", "a worker has looked at all slots as of when it ends to", "invalid end state" },
        { 13, "", "a task is told of before it is ready", "invalid end state" },
        { 14, "-DACTS=1", "who ends a task does not look whether it is to end", "assertion violated" },
        { 15, "", "what a dead one has done counts as lost", "assertion violated" },
    } do
        local wrong, options, what, how = table.unpack(case)
        it_is("must not be that " .. what, function()
            fails("board.pml", ("-DWRONG=%d %s"):format(wrong, options), how)
        end)
    end

    it_is("must not be that only a wake-up ends a sleep", function()
        fails("board.pml", "-DLATE", "invalid end state")
    end)
end)

-- The rooms of src/engine that a process waits in by changes of several words.
local function all_reached(said, processes)
    for _, process in ipairs(processes) do
        assert.is_truthy(said:find("unreached in proctype " .. process .. "\n\t%(0 of"), said)
    end
end

describe("words that change as one", function()
    it_is("do so whoever is killed, and wherever", function()
        all_reached(holds("change.pml", "-DKILLS=2"), { "process" })
    end)

    for wrong, what in ipairs {
        "what is valid is so no longer before it is stored", "it is valid before it is noted",
        "nobody mends after a death", "a difference is noted",
    } do
        it_is("must not be that " .. what, function()
            fails("change.pml", "-DKILLS=1 -DWRONG=" .. wrong, "assertion violated")
        end)
    end
end)

describe("the protocol of a rwlock", function()
    it_is("holds whoever is killed, and wherever", function()
        all_reached(holds("rwlock.pml", complete and "-DKILLS=2" or "-DKILLS=1"), { "process" })
    end)

    for wrong, what in ipairs {
        "a reader passes a writer that waits", "a writer passes a reader that waits",
        "a dead writer has the lock", "a dead reader has a share", "a dead one stands in line",
        "a share is given back before it is noted", "a writer's death is not told",
        "who was told and died was told for good",
    } do
        it_is("must not be that " .. what, function()
            local stays = wrong == 3 or wrong == 5
            fails("rwlock.pml", "-DKILLS=2 -DWRONG=" .. wrong, stays and "invalid end state" or "assertion violated")
        end)
    end
end)

describe("the protocol of a barrier", function()
    it_is("holds whoever is killed, and wherever", function()
        holds("barrier.pml", complete and "-DKILLS=2" or "-DKILLS=1")
    end)

    it_is("holds with an action", function()
        holds("barrier.pml", "-DACTION -DKILLS=1")
    end)

    for wrong, what in ipairs {
        "who comes is counted before that is noted", "who leaves is counted before that is noted",
        "the death of who waits breaks nothing", "a broken one is whole while somebody has not left",
        "processes are let go before the action", "the action's end lets go a round that was broken meanwhile",
        "a time limit breaks a round that is over",
    } do
        it_is("must not be that " .. what, function()
            local acts = wrong == 5 or wrong == 6
            fails("barrier.pml", ("-DKILLS=1 %s -DWRONG=%d"):format(acts and "-DACTION" or "", wrong),
                "assertion violated")
        end)
    end
end)

describe("the protocol of a condition", function()
    it_is("holds whoever is killed, and wherever", function()
        all_reached(holds("condition.pml", "-DKILLS=2"), { "waiter", "actor" })
        holds("condition.pml", "-DKILLS=1 -DITEMS=2")
    end)

    for wrong, what in ipairs {
        "that it was told is not kept until a process goes on", "a lock is given up before the line is joined",
        "a process goes on before it has the lock", "what was told at the last moment is forgotten",
        "what a dead one was told is lost",
    } do
        it_is("must not be that " .. what, function()
            fails("condition.pml", "-DKILLS=1 -DWRONG=" .. wrong, "assertion violated")
        end)
    end
end)

describe("the protocol of a batch", function()
    it_is("holds whoever is killed, and wherever", function()
        local said = holds("batch.pml", "")
        for _, process in ipairs { "worker", "owner" } do
            assert.is_truthy(said:find("unreached in proctype " .. process .. "\n\t%(0 of"), said)
        end
    end)

    for wrong, what in ipairs {
        "the end is read before an item is begun", "a result counts before it is written",
        "the end is stored, whatever has been begun since", "what a dead one had begun is put again",
    } do
        it_is("must not be that " .. what, function()
            fails("batch.pml", "-DWRONG=" .. wrong, "assertion violated")
        end)
    end
end)
