-- luamp.relay: what the workers of a pool write, given out by its owner: the pool's options `output` and `tag`.
--
-- Each worker, with all that it runs, writes to two files in memory (engine/relay.h), which stand for its stdout and
-- its stderr; the owner gives their bytes to its own streams whenever it looks after the pool: 20 times a second in
-- luamp's waits, and at each end of a task, before anybody has its result. Workers do not wait for that.
--
--   line     whole lines, as they come
--   group    what a task has written, together, when it has ended
--   ordered  the same, in the order of the call's input
--
-- Where a task begins and ends in the files is told by marks, which workers put into a queue: each says how far both
-- files are written. So also the order between the two is told: a mark comes before the first byte that stdout gets
-- after stderr has got some, by the worker's own writes or perhaps by a program. Between two marks stdout goes first.
--
-- Promise: no byte is given twice, none is lost while the owner lives, and of a killed worker all that it wrote is
-- there. A mark that was not put, for want of memory, joins what it would have parted.

local core = require "luamp.core"
local options = require "luamp.options"

local relay = {}
local methods = {}
relay.meta = { __index = methods }

local FORMAT <const> = "<i4i4i8i8i4i8i4" -- of a mark: file set, event, stdout, stderr, call, index, attempt
local SWITCH <const>, OUTSIDE <const>, BEGUN <const>, DONE <const>, FAILED <const> = 0, 1, 2, 3, 4
local OUT <const>, ERR <const> = 1, 2 -- descriptors, of workers and of the owner
local MOST_MARKS <const> = 4096 -- that are taken at once
local WORTH <const> = 1 << 20 -- bytes of memory that are given back at once
local BACKLOG <const>, PAUSE <const> = 64 << 20, 0.05 -- bytes that a worker may have unread between tasks; seconds
local modes = { inherit = true, line = true, group = true, ordered = true }

local give, size_of, memory_of = core.relay.give, core.relay.size, core.relay.memory
local pack, unpack = string.pack, string.unpack

-- --- options --------------------------------------------------------------------

local fields = { name = true, worker = true, pid = true, task = true, attempt = true }

local function check_tag(where, tag)
    if tag == true then return "[{name}] " end
    if type(tag) ~= "string" or tag == "" or tag:find "%c" then
        options.misuse(where, "option 'tag' must be true, or the text before each line, as \"{name} {task}: \", not %s",
            options.describe(tag))
    end
    for field in tag:gmatch "{(.-)}" do
        if not fields[field] then
            options.misuse(where, "option 'tag': unknown field '{%s}'%s", field, options.meant(field, fields))
        end
    end
    return tag
end

-- Puts `output` and `tag` into a pool's own options, if its workers' output is to be relayed.
function relay.check(where, given, own)
    if given.output and not modes[given.output] then
        options.misuse(where, "option 'output' must be \"inherit\", \"line\", \"group\" or \"ordered\", not %s%s",
            options.describe(given.output), options.meant(given.output, modes))
    end
    local mode = given.output or given.tag and "line" or "inherit"
    if mode == "inherit" and given.tag then
        options.misuse(where, "option 'tag' is for output that is relayed, and 'output' is \"inherit\"")
    end
    if mode == "inherit" then return end
    own.output, own.tag = mode, given.tag and check_tag(where, given.tag) or nil
end

-- --- the worker's side ----------------------------------------------------------

-- Of a worker's files: where the last line begins of what was looked through, and how far that is.
local last_line, looked = { 0, 0 }, { 0, 0 }

-- How many bytes of the file the owner may give out and has not. A line whose end was not written is not of them.
local function unread(output, stream)
    if output ~= "line" then return memory_of(stream) end
    local size = size_of(stream)
    local to = core.relay.end_of_lines(stream, looked[stream], size)
    if to > looked[stream] then last_line[stream] = to end
    looked[stream] = size
    return memory_of(stream) - (size - last_line[stream])
end

-- Between two tasks: while much was written that the owner has not read, this worker begins no other. Not where the
-- owner may have to keep it until others have done what comes first.
local function await_reader(output)
    while output ~= "ordered" and memory_of(OUT) + memory_of(ERR) > BACKLOG
        and unread(output, OUT) + unread(output, ERR) > BACKLOG do
        if not core.poll({}, core.deadline(PAUSE)) then return end
    end
end

-- This process is a worker whose output is relayed: its files are those of that number. Hooks of its tasks (worker.c):
-- before each, when one has ended, and after that.
function relay.serve(given, number)
    local marks, output = given.marks, given.output
    local total = 0 -- bytes of both files as of the last mark that ends a group
    local function mark(event, call, index, attempt)
        local err, out = size_of(ERR), size_of(OUT)
        if event >= DONE then
            if output == "group" and out + err == total then return end
            total = out + err
        end
        pcall(marks.put, marks, pack(FORMAT, number, event, out, err, call or 0, index or 0, attempt or 0))
    end
    core.mark_streams(function() mark(SWITCH) end)
    mark(OUTSIDE)
    local tells_begin = output == "line" and given.tag and (given.tag:find "{task}" or given.tag:find "{attempt}")
    local before = tells_begin and function(index) mark(BEGUN, 0, index, (select(2, core.worker.task()))) end or nil
    local ended = output ~= "line" and function(call, index, attempt, how)
        mark(how == "done" and DONE or FAILED, call, index, attempt)
    end or nil
    return before, ended, function() await_reader(output) end
end

-- --- giving out -----------------------------------------------------------------
--
-- A worker's files are a table f, in which f[OUT] and f[ERR] have: fd; at: what lies before it was given; to: so far
-- it belongs to a group, or was looked through for ends of lines; size: as it was seen last; freed: its memory up to
-- there.

-- A stream of the owner that takes no more: that is told once, if it was not closed, and what comes is dropped.
local function fail(r, stream, message, code)
    r.failed[stream] = true
    if code == "EBADF" then return end
    core.report(("luamp: the output of the workers of pool '%s' is lost: %s\n"):format(r.crew.name, message))
end

-- Gives a part of a file: how far that went. known: up to there no line ends.
local function write(r, f, stream, from, to, how, tag, known)
    if from >= to then return from end
    if r.failed[stream] then return to end
    local reached, message, code = give(f[stream].fd, from, to, stream, how, tag, known)
    if not reached then fail(r, stream, message, code) end
    return reached or to
end

local function tag_of(r, f, index, attempt)
    if not r.tag then return nil end
    local values = { name = f.name, worker = f.id, pid = f.pid(), task = index or "-", attempt = attempt or "-" }
    return (r.tag:gsub("{(.-)}", function(field) return tostring(values[field] or "-") end))
end

-- Memory that nobody reads any more goes back; of a worker that has ended, the files, which others may have inherited.
local function free(f, is_over)
    for stream = OUT, ERR do
        local s = f[stream]
        if s.fd and is_over then
            core.relay.free(s.fd, 0, size_of(s.fd) + WORTH)
            core.close(s.fd)
            s.fd = nil
        elseif s.at - s.freed >= WORTH then
            core.relay.free(s.fd, s.freed, s.at)
            s.freed = s.at
        end
    end
end

-- Lines, as they come: up to there.
local function give_lines(r, f, out, err, how)
    local tag = tag_of(r, f, f.index, f.attempt)
    for stream, to in ipairs { out, err } do
        local s = f[stream]
        s.at = write(r, f, stream, s.at, to, how, tag, s.to)
        s.to = math.max(s.to, to)
    end
end

-- A group is a list of stretches {out from, to, err from, to}, which lie one behind the other in the files.
local function lengthen(f, out, err)
    local group, of_out, of_err = f.group, f[OUT], f[ERR]
    local last = group[#group]
    if last and last[3] == last[4] then
        last[2], last[4] = out, err
    elseif last and out == last[2] then
        last[4] = err
    else
        group[#group + 1] = { of_out.to, out, of_err.to, err }
    end
    of_out.to, of_err.to = out, err
end

-- What lies before the first group that was not given is of no use any more.
local function let_go(f)
    while f.first < f.next and f.groups[f.first].is_given do
        local group = f.groups[f.first]
        f[OUT].at, f[ERR].at = group[#group][2], group[#group][4]
        f.groups[f.first], f.first = nil, f.first + 1
    end
    free(f, f.has_ended and f.first == f.next)
end

-- Bytes as they are; with a tag, and of a task that was torn off, the last line gets an end if it has none.
local function give_group(r, group)
    local f = group.f
    local tag = tag_of(r, f, group.index, group.attempt)
    local at_out, at_err = group[1][1], group[1][3]
    for i, stretch in ipairs(group) do
        local how = i == #group and (tag or group.is_torn) and "end" or "bytes"
        at_out = write(r, f, OUT, at_out, stretch[2], how, tag)
        at_err = write(r, f, ERR, at_err, stretch[4], how, tag)
    end
    group.is_given = true
    let_go(f)
end

-- The group of the task ends here.
local function cut(f, index, attempt)
    local group = f.group
    f.group = {}
    if not group[1] then return nil end
    group.f, group.index, group.attempt = f, index, attempt
    f.groups[f.next], f.next = group, f.next + 1
    return group
end

-- --- order ----------------------------------------------------------------------

-- What is known of a call: which index comes next, what waits for it, and which have ended for good.
local function order_of(r, call)
    if r.crew.by_call[call] == nil then return nil end -- a single task, which has no place among others
    local o = r.orders[call]
    if not o then
        o = { next = 1, groups = {}, is_over = {}, greatest = 0 }
        r.orders[call] = o
    end
    return o
end

local function give_index(r, o, index)
    for _, group in ipairs(o.groups[index] or {}) do give_group(r, group) end
    o.groups[index] = nil
end

-- A group of the task, if it has written anything.
local function add(r, call, index, group)
    if not group then return end
    local o = r.mode == "ordered" and order_of(r, call)
    if not o or index < o.next then return give_group(r, group) end
    o.groups[index] = o.groups[index] or {}
    table.insert(o.groups[index], group)
    o.greatest = math.max(o.greatest, index)
end

-- No run of the task is to come.
local function note_over(r, call, index)
    local o = order_of(r, call)
    if not o or index < o.next then return end
    o.is_over[index] = true
    while o.is_over[o.next] do
        give_index(r, o, o.next)
        o.is_over[o.next], o.next = nil, o.next + 1
    end
end

-- The call has ended, and nothing is to come before what is there.
function methods.end_call(r, call)
    r:look()
    local o = r.orders[call]
    if not o then return end
    r.orders[call] = nil
    for index = o.next, o.greatest do give_index(r, o, index) end
end

-- --- looking --------------------------------------------------------------------

local function advance(r, f, out, err)
    if r.mode == "line" then return give_lines(r, f, out, err, "lines") end
    if out > f[OUT].to or err > f[ERR].to then lengthen(f, out, err) end
end

local function obey(r, f, event, call, index, attempt)
    if event == BEGUN then
        f.index, f.attempt = index, attempt
    elseif r.mode == "line" or event == SWITCH then
        return
    elseif event == OUTSIDE then
        add(r, 0, 0, cut(f))
    else
        add(r, call, index, cut(f, index, attempt))
        if r.mode == "ordered" and event == DONE then note_over(r, call, index) end
    end
end

-- A place that a mark names, which may be of something else: a worker may have put that in the place of its files.
local function within(s, place)
    if place > s.size then s.size = size_of(s.fd) end
    return math.max(s.to, math.min(place, s.size))
end

-- What the marks say that have come.
local function take_marks(r)
    local list
    repeat
        list = r.marks:get_many(MOST_MARKS, 0)
        for _, mark in ipairs(list or {}) do
            local number, event, out, err, call, index, attempt = unpack(FORMAT, mark)
            local f = r.files[number]
            if f then
                advance(r, f, within(f[OUT], out), within(f[ERR], err))
                obey(r, f, event, call, index, attempt)
            end
        end
    until not list or #list < MOST_MARKS
end

-- Gives out what may be given. Sizes are taken before the marks: what lies behind the last mark was written behind it;
-- and that of stderr before that of stdout, which was written first where there is no mark.
function methods.look(r)
    if r.is_busy or r.has_left then return end
    r.is_busy = true
    local sizes = {}
    for number, f in pairs(r.files) do
        f[ERR].size = size_of(f[ERR].fd)
        f[OUT].size = size_of(f[OUT].fd)
        sizes[number] = { f[OUT].size, f[ERR].size }
    end
    local ok, e = pcall(take_marks, r)
    r.is_busy = false
    if not ok then error(e, 0) end
    for number, f in pairs(r.files) do
        advance(r, f, math.max(sizes[number][OUT], f[OUT].to), math.max(sizes[number][ERR], f[ERR].to))
        if r.mode == "line" then free(f, false) end
    end
end

-- --- workers --------------------------------------------------------------------

-- A descriptor by that function; once more if there may be more of them.
local function opened(by, ...)
    local fd, message, code = by(...)
    if not fd and code == "EMFILE" and core.raise_file_limit() then fd, message = by(...) end
    return fd, message
end

-- Two files, and two Lua files for a start, by which the worker gets them; or nil and why not.
local function open_all()
    local fds = {}
    for i, by in ipairs { core.relay.open, core.relay.open, core.duplicate, core.duplicate } do
        local fd, message = opened(by, fds[i - 2])
        if not fd then
            for _, other in ipairs(fds) do core.close(other) end
            return nil, message
        end
        fds[i] = fd
    end
    return fds[1], fds[2], assert(core.open_stream(fds[3], "w")), assert(core.open_stream(fds[4], "w"))
end

-- Before the start of a worker: its files, in the options of its process. The number that it is to be given.
function methods.open(r, w, given)
    local out, err, stdout, stderr = open_all()
    if not out then options.misuse(r.crew.where or "mp.pool", "cannot start '%s': %s", given.name, err) end
    r.n = r.n + 1
    local f = { id = w.id, name = given.name, number = r.n, group = {}, groups = {}, first = 1, next = 1,
        for_start = { stdout, stderr } }
    for stream, fd in ipairs { out, err } do f[stream] = { fd = fd, at = 0, to = 0, size = 0, freed = 0 } end
    f.pid = function() return f.known_pid or w.process and w.process.pid end
    r.files[r.n], w.files = f, f
    given.stdout, given.stderr = stdout, stderr
    return r.n
end

-- The worker has ended, or was never there. What it had begun is heard of after this, if this is not the end.
function methods.close(r, w, is_end)
    local f = w.files
    if not f then return end
    w.files, f.known_pid = nil, w.process and w.process.pid
    for _, file in ipairs(f.for_start) do
        if io.type(file) == "file" then file:close() end
    end
    r:look()
    r.files[f.number], f.has_ended = nil, true
    if r.mode == "line" then
        give_lines(r, f, size_of(f[OUT].fd), size_of(f[ERR].fd), "end")
        return free(f, true)
    end
    local group = cut(f, nil, nil)
    if group then group.is_torn = true end
    if is_end then add(r, 0, 0, group) else r.torn[f.id] = group end
    let_go(f)
end

-- What was written by workers that have ended and by no task that is known.
local function give_torn(r)
    for id, group in pairs(r.torn) do
        r.torn[id] = nil
        add(r, 0, 0, group)
    end
end

-- --- the crew's -----------------------------------------------------------------

-- Calls collect, and gives out what those that have ended wrote.
local function collect(r, ...)
    local c = r.crew
    local lists, arrivals, futures, hear = ...
    local n = r.collect(c, lists, arrivals, futures, function(whose, index, how, id, attempt, ...)
        local group = how == "lost" and r.torn[id]
        if group then
            r.torn[id] = nil
            group.index, group.attempt = index, attempt
            add(r, math.type(whose) == "integer" and whose or 0, index, group)
        end
        return hear(whose, index, how, id, attempt, ...)
    end)
    give_torn(r)
    if n > 0 then r:look() end
    return n
end

local function apply(r, ...)
    local results = table.pack(r.apply(r.crew, ...))
    r:look()
    return table.unpack(results, 1, results.n)
end

-- The relay of a crew, some of whose methods it wraps; `marks` goes to its workers with what they are given.
function relay.new(c, given)
    local r = setmetatable({ crew = c, mode = given.output, tag = given.tag, files = {}, n = 0, orders = {}, torn = {},
        failed = {}, marks = require "luamp.sharing".queue(), collect = c.collect, apply = c.apply }, relay.meta)
    given.marks, c.by_call = r.marks, {}
    local look, unkeep = c.look, c.unkeep
    c.collect = function(_, ...) return collect(r, ...) end
    c.apply = function(_, ...) return apply(r, ...) end
    c.look = function(_, ...)
        look(c, ...)
        r:look()
    end
    c.unkeep = function(_, call)
        r:end_call(call)
        return unkeep(c, call)
    end
    return r
end

-- The ledger of the crew: which calls there are, and what has failed for good.
function methods.attach(r, d)
    r.crew.by_call = d.by_call
    local fail_for_good = d.fail
    d.fail = function(_, call, index, e)
        r:look()
        if r.mode == "ordered" then note_over(r, call.call, index) end
        return fail_for_good(d, call, index, e)
    end
end

-- All workers have ended.
function methods.leave(r)
    local c = r.crew
    give_torn(r)
    for call in pairs(r.orders) do r:end_call(call) end
    c.collect, c.apply, c.look, c.unkeep, c.relay, r.has_left = nil, nil, nil, nil, nil, true
    r.marks:close()
end

return relay
