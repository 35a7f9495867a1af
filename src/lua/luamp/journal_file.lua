-- luamp.journal_file: the file of a journal: what is in it, who may write to it, and what it says when that fails.
--
-- It is a database of SQLite (journal.c), in WAL mode. docs/long-runs.md tells its readers what the tables hold.
--
-- Promise: one process writes to it at a time, and another one is told of that. Who writes has the file from its
-- first call with that journal to its end, with a transaction open, and with that SQLite's lock of writers; a commit is
-- followed at once by the next transaction. Who gets that lock in between sees in `runs` whose run has not ended, and
-- that it lives.
-- What is committed stays, also when this process is killed the next moment; not when the machine is (the log is
-- written, but not forced to the disk).
--
-- A file that is not a journal, or is a damaged one, stays as it is: its head is read before SQLite sees it, and
-- it is checked whole before anything is written.

local core = require "luamp.core"
local life = require "luamp.life"
local options = require "luamp.options"

local sql = core.journal

local journal_file = {}
local methods = {}
local meta = { __index = methods }

local APPLICATION <const>, VERSION <const> = 0x6C75616D, 1 -- "luam"

-- What SQLite's numbers mean for a file. Our statements fit our tables: that one does not compile is damage, too.
local BUSY <const>, READONLY <const>, CORRUPT <const>, CANTOPEN <const> = 5, 8, 11, 14
local meanings = {
    [1] = "is damaged: ", [CORRUPT] = "is damaged: ", [26] = "is damaged: ", -- ERROR, NOTADB
    [READONLY] = "cannot be written: ", [10] = "cannot be written: ", [13] = "cannot be written: ", -- IOERR, FULL
    [CANTOPEN] = "cannot be opened, or its folder not be written, where its log goes: ",
}

local SCHEMA = ([[
    CREATE TABLE runs (
        run INTEGER PRIMARY KEY, pid INTEGER NOT NULL, birth TEXT NOT NULL, script TEXT,
        started REAL NOT NULL, ended REAL);
    CREATE TABLE calls (
        call INTEGER PRIMARY KEY, run INTEGER NOT NULL, name TEXT NOT NULL, place TEXT, function_hash TEXT NOT NULL,
        items INTEGER, answered INTEGER NOT NULL DEFAULT 0, started REAL NOT NULL, ended REAL);
    CREATE TABLE tasks (
        call INTEGER NOT NULL, key NOT NULL, task INTEGER NOT NULL, status TEXT NOT NULL, kind TEXT, text TEXT,
        function_hash TEXT NOT NULL, argument_hash TEXT NOT NULL, result BLOB, worker INTEGER, attempt INTEGER NOT NULL,
        started REAL, ended REAL NOT NULL, cpu REAL, memory INTEGER, run INTEGER NOT NULL, PRIMARY KEY (call, key));
    PRAGMA application_id = %d;
    PRAGMA user_version = %d;]]):format(APPLICATION, VERSION)

-- What is wrong, as an error of this room: {words=, code=}.
local failure = {}

-- Raises what went wrong with the file, of which `words` tell, for `protected` below.
local function raise(words, code)
    error(setmetatable({ words = words, code = code }, failure), 0)
end

-- Calls f: what it returns; or nil and words that name the file.
local function protected(path, f, ...)
    local results = table.pack(pcall(f, ...))
    if results[1] then return table.unpack(results, 2, results.n) end
    local e = results[2]
    if getmetatable(e) ~= failure then error(e, 0) end
    return nil, ("journal '%s' %s%s"):format(path, meanings[e.code] or "", e.words)
end

local function checked(ok, words, code)
    if ok == nil then raise(words, code) end
    return ok
end

-- One statement; true and the columns of its first row, or false.
local function run(db, text, ...)
    local results = table.pack(sql.run(db, text, ...))
    if results[1] == nil then raise(results[2], results[3]) end
    return table.unpack(results, 1, results.n)
end

-- --- who writes -----------------------------------------------------------------

-- When that process was born, which tells it from all that have its number later, or nil.
local function birth_of(pid)
    local file <close> = io.open(("/proc/%d/stat"):format(pid))
    local boot <close> = io.open "/proc/sys/kernel/random/boot_id"
    local ticks = file and (file:read "a" or ""):match "^.*%) %a (.*)$"
    ticks = ticks and ticks:match(("%S+ "):rep(18) .. "(%S+)")
    return ticks and (boot and boot:read "l" or "") .. " " .. ticks
end

-- The process whose run has not ended, and lives: its number, or nil.
local function writer_of(db)
    local ok, pid, birth = run(db, "SELECT pid, birth FROM runs WHERE ended IS NULL ORDER BY run DESC LIMIT 1")
    if ok and pid ~= core.getpid() and birth_of(pid) == birth then return pid end
end

local function raise_used(db)
    local ok, pid = pcall(writer_of, db)
    raise(ok and pid and ("is in use by process %d"):format(pid) or "is in use by another program", BUSY)
end

-- Takes the lock of writers; after a commit, in one call with that: nothing comes in between.
local function begin(db, commit)
    local ok, words, code = sql.exec(db, (commit or "") .. "BEGIN IMMEDIATE")
    if ok then return end
    if code == BUSY then raise_used(db) end
    raise(words, code)
end

-- --- opening --------------------------------------------------------------------

local kinds = {
    special = "is no file",
    other = "is no journal of luamp, and stays as it is",
    database = "is a database of another program, and stays as it is",
    inherited = "is in use by process %d, from which this one was forked",
}

-- What is at the path, and where that is.
local function look(path)
    local kind, full, pid = sql.look(path, APPLICATION)
    if not kind then raise("cannot be read: " .. full) end
    if kinds[kind] then raise(kinds[kind]:format(pid)) end
    return kind, full
end

local function exists(path)
    local file <close> = io.open(path)
    return file ~= nil
end

local function escaped(char)
    return ("%%%02X"):format(char:byte())
end

-- Columns that are used here and by others.
local columns = {
    runs = "run, pid, birth, script, started, ended",
    calls = "call, run, name, place, function_hash, items, answered, started, ended",
    tasks = "call, key, task, status, kind, text, function_hash, argument_hash, result, worker, attempt, started, "
        .. "ended, cpu, memory, run",
}

-- Whether it has no tables: who made it was killed before they were there.
local function is_bare(db)
    local _, n = run(db, "SELECT count(*) FROM sqlite_master")
    return n == 0
end

-- Raises when the database is not whole, or is bare and may not be.
local function check(db, may_be_bare)
    local ok, word = run(db, "PRAGMA quick_check(1)")
    if ok and word ~= "ok" then raise(tostring(word), CORRUPT) end
    if is_bare(db) then return may_be_bare or raise "is empty" end
    local _, version = run(db, "PRAGMA user_version")
    if version > VERSION then raise("was made by a newer luamp, and stays as it is") end
    for name, list in pairs(columns) do run(db, ("SELECT %s FROM %s LIMIT 0"):format(list, name)) end
end

-- A connection to a file that is whole. Modes are those of sql.open; an image is the file as it lies there.
local function connect(full, mode, is_at_rest, may_be_bare)
    local name = full
    if mode == "image" then
        name = "file:" .. full:gsub("[^%w/_.-]", escaped) .. (is_at_rest and "?immutable=1" or "")
    end
    local db = checked(sql.open(name, mode))
    local ok, e = pcall(check, db, may_be_bare)
    if ok then return db end
    sql.close(db, true)
    error(e, 0)
end

-- Looks at a file that has no log without touching it: nobody has it open, then.
local function check_at_rest(full)
    sql.close(connect(full, "image", true, true))
end

local function make_tables(db)
    begin(db)
    if is_bare(db) then checked(sql.exec(db, SCHEMA)) end -- another one may have made them
    checked(sql.exec(db, "COMMIT"))
end

-- The journal mode is a property of the file, and is there from the second time on.
local function set_up(db, is_new, is_checked)
    if sql.is_readonly(db) then raise "cannot be written: Permission denied" end
    if is_new or is_bare(db) then make_tables(db) elseif not is_checked then check(db) end
    local ok, words, code = sql.run(db, "PRAGMA journal_mode = WAL")
    if ok == nil and code == BUSY then raise_used(db) end
    if not ok then raise(words, code) end
    if words ~= "wal" then raise("cannot be written: its file system allows no log") end
    checked(sql.exec(db, "PRAGMA synchronous = NORMAL; PRAGMA temp_store = MEMORY"))
end

-- Takes the lock of writers. A run goes on when this process has had the file before.
local function take(j)
    begin(j.db)
    local pid = writer_of(j.db)
    if pid then raise(("is in use by process %d"):format(pid), BUSY) end
    local _, last = run(j.db, "SELECT max(run) FROM runs")
    if j.run and last == j.run then
        run(j.db, "UPDATE runs SET ended = NULL WHERE run = ?", j.run)
    else
        j.run = (last or 0) + 1
        run(j.db, "INSERT INTO runs (run, pid, birth, script, started) VALUES (?, ?, ?, ?, ?)", j.run, core.getpid(),
            birth_of(core.getpid()) or "", type(arg) == "table" and arg[0] and tostring(arg[0]) or nil, sql.now())
    end
    checked(sql.exec(j.db, "COMMIT; PRAGMA busy_timeout = 10000")) -- ms: from here on others are to wait, not this one
    begin(j.db)
    sql.has_moved(j.db) -- from here on
end

local function remove(full)
    for _, part in ipairs { "", "-journal", "-wal", "-shm" } do os.remove(full .. part) end
end

-- Makes an empty file; SQLite's words would not tell why that cannot be.
local function create(full)
    local file <close>, words = io.open(full, "a")
    if not file then raise("cannot be made: " .. words:match "[^:]*$":sub(2)) end
end

-- Opens it to write. When that fails, the file and its log are what they were.
local function open(j, kind, full)
    local is_at_rest = not exists(full .. "-wal") and not exists(full .. "-journal")
    local is_new = kind == "absent" or kind == "empty"
    if not is_new and is_at_rest then check_at_rest(full) end
    local ok, e = pcall(function()
        if kind == "absent" then create(full) end
        j.db, j.is_broken = checked(sql.open(full, "write")), false
        set_up(j.db, is_new, is_at_rest)
        take(j)
    end)
    if ok then return end
    if j.db then sql.close(j.db, not is_at_rest) end
    j.db = nil
    if kind == "absent" and getmetatable(e) == failure and e.code ~= BUSY then remove(full) end
    error(e, 0)
end

-- --- the journals of this process -------------------------------------------------

-- By their paths: there is one of each in a process. Of one that was closed stays how many calls it has had, and its
-- run.
local journals = {}

-- Ends the run and closes the file. Of one that has failed or gone, nothing more is written.
local function close(j)
    local db = j.db
    if not db or j.pid ~= core.getpid() then return end
    j.db = nil
    local is_left = j.is_broken or sql.has_moved(db)
    local ok, e = pcall(function()
        if is_left then return end
        run(db, "UPDATE runs SET ended = ? WHERE run = ?", sql.now(), j.run)
        checked(sql.exec(db, "COMMIT"))
    end)
    checked(sql.close(db, is_left or not ok))
    if not ok then error(e, 0) end
    return true
end

-- Where no hook runs at the end of a process, its objects are collected: those first that were made last.
local closing = { __gc = function(guard)
    if guard.journal.db == guard.db then close(guard.journal) end
end }

-- It is closed at the end of this process.
local function close_at_end(j)
    j.guard = setmetatable({ journal = j, db = j.db }, closing)
    life.atexit(function()
        local _, words = protected(j.path, close, j)
        if words then error(words, 0) end
    end)
end

local function acquire(path)
    local kind, full = look(path)
    local j = journals[full]
    if not j or j.pid ~= core.getpid() then
        j = setmetatable({ path = path, full = full, pid = core.getpid(), n_users = 0, n_calls = 0 }, meta)
    end
    if j.db and (j.is_broken or sql.has_moved(j.db)) then
        if j.n_users > 0 then raise "has failed, and is still in use by another call" end
        close(j)
    end
    if not j.db then
        open(j, kind, full)
        close_at_end(j)
        if kind == "absent" then full = select(2, look(path)) end -- the path may be a link, to what was not there
    end
    journals[full] = j
    j.n_users = j.n_users + 1
    return j
end

-- Calls f, and again if it may have failed for want of descriptors and there are more now: a program may have many
-- journals.
local function with_descriptors(f, ...)
    local results = table.pack(pcall(f, ...))
    local ok, e = results[1], results[2]
    local may_lack = not ok and getmetatable(e) == failure
        and (e.code == CANTOPEN or e.words:find("Too many open files", 1, true))
    if may_lack and core.raise_file_limit() then return f(...) end
    if not ok then error(e, 0) end
    return table.unpack(results, 2, results.n)
end

-- The journal at that path, for one more user; or nil and words. Its fields: path; run, the number of this run;
-- n_calls, how many calls it has had; is_broken, which is set when it has failed.
function journal_file.acquire(path)
    return protected(path, with_descriptors, acquire, path)
end

-- --- writing --------------------------------------------------------------------

local function commit(j)
    if sql.has_moved(j.db) then raise "was removed or replaced while it was in use" end
    begin(j.db, "COMMIT; ")
    local ok, last = run(j.db, "SELECT max(run) FROM runs")
    if not ok or last ~= j.run then raise "is written by another program by now" end
    return true
end

-- Runs a statement: true and the columns of its first row, or false; or nil and words.
function methods.execute(j, text, ...)
    return protected(j.path, run, j.db, text, ...)
end

-- Commits what was written since the last time: true; or nil and words.
function methods.commit(j)
    return protected(j.path, commit, j)
end

-- One user less.
function methods.release(j)
    j.n_users = j.n_users - 1
end

-- --- reading --------------------------------------------------------------------

-- SQLite's way to read needs a folder that can be written, for the log; where it is not, an image will do.
local function open_to_read(path)
    local kind, full = look(path)
    if kind == "absent" or kind == "empty" then raise(kind == "absent" and "is not there" or "is empty") end
    local is_at_rest = not exists(full .. "-wal") and not exists(full .. "-journal")
    if is_at_rest and kind == "ours" then check_at_rest(full) end
    local ok, db = pcall(connect, full, "read")
    if ok and sql.is_readonly(db) then
        sql.close(db)
        db = connect(full, "image", is_at_rest)
    elseif not ok then
        if getmetatable(db) ~= failure or db.code ~= READONLY and db.code ~= CANTOPEN then error(db, 0) end
        db = connect(full, "image", is_at_rest)
    end
    checked(sql.exec(db, "PRAGMA query_only = ON"))
    return db
end

-- A connection to read from; or nil and words.
function journal_file.open(path)
    return protected(path, with_descriptors, open_to_read, path)
end

-- One row: true and its columns; false; or nil and words.
function journal_file.row(path, db, text, ...)
    return protected(path, run, db, text, ...)
end

-- Raises the words of any of these calls as misuse, in the name of `where`.
function journal_file.misuse(where, words)
    options.misuse(where, "%s", words)
end

return journal_file
