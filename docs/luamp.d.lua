---@meta luamp

-- luamp.d.lua: the names of the module luamp with their types, for editors that
-- know LuaCATS (lua-language-server and others). Name the folder of this file
-- in the setting `workspace.library`. It is never run.
--
-- What holds everywhere: a timeout is a number of seconds, fractions allowed;
-- without one a call waits for ever, and with 0 or less it looks once. Misuse
-- raises a string at the caller's line.

---Processes for Lua: each runs a function in an interpreter state of its own.
---`local mp = require "luamp"` gives this table; in the program `luamp` it is also the global `mp`.
---@class mp
---The name and version of the module, as in "luamp 0.1.0".
---@field _VERSION string
---What a worker of a pool is; nil in any other process.
---@field worker mp.worker?
---Writes lines about what happens.
---@field log mp.log
local mp = {}

-- --- processes ---------------------------------------------------------------

---What a process is made from. An unknown option raises, and the message names the nearest known one.
---@class mp.process.options
---The function to run in the process; an object that can be called will do. Either this or `command`.
---@field target? fun(...):...
---A program to run instead: its name, which is looked for along PATH, and its arguments. No shell reads
---them. One that is not there raises from `start`.
---@field command? (string|number)[]
---The arguments of the target. The field `n`, if it is there, says how many they are, so that the last
---may be nil.
---@field args? any[]
---What the process is called in messages; by default "process-1" and so on, "process-1:1" for what
---that one starts.
---@field name? string
---Whether it is stopped, instead of waited for, when the process that started it comes to its end;
---inherited by default.
---@field daemon? boolean
---Whether it may outlive the process that started it.
---@field detached? boolean
---How the process comes to be. To a fresh interpreter the target and its arguments travel; what cannot raises
---from `start`, kind "unsendable".
---@field start_method? mp.start_method
---Environment variables for the process, beside those that it inherits; false removes one.
---@field env? table<string,string|false>
---The folder in which it starts. One that is not there raises from `start`.
---@field cwd? string
---Where it reads from: the parent's own stream, nothing, a pipe to which the parent writes by
---`p.stdin`, a file by its path, or an open file. A pipe of another process (`stdin = other.stdout`) is
---handed over: this process alone has it from the start on.
---@field stdin? "inherit"|"null"|"pipe"|string|file*
---Where it prints to: the parent's own stream, nowhere, a pipe that the parent reads by `p.stdout`, a
---text that
---`p.stdout` is after the end, or a file by its path, which is emptied first.
---@field stdout? "inherit"|"null"|"pipe"|"capture"|string|file*
---The same for its error messages and `p.stderr`.
---@field stderr? "inherit"|"null"|"pipe"|"capture"|string|file*
---How long it may run, in seconds, whatever this process does meanwhile: then it gets SIGTERM, and after
---5 seconds SIGKILL, and has failed with kind "timeout". Time in which it is stopped counts.
---@field timeout? number
---What the kernel does not let it exceed, from before its first line on.
---@field limits? mp.process.limits
---The CPUs on which it may run, counted from 0.
---@field cpus? integer[]
---What is added to its nice value: with a greater one it yields to other processes.
---@field nice? integer

---Limits of a process, which it cannot lift. One that cannot be set raises from `start`.
---@class mp.process.limits
---New private memory beyond what it inherited: bytes, or a text as "512M" (K, M, G, T). Past it Lua
---reports "not enough memory".
---@field memory? integer|string
---Seconds of CPU time, rounded up; then SIGXCPU, and SIGKILL a second later.
---@field cpu? number
---How many descriptors it may have open.
---@field files? integer
---How many processes its user may have, all together. It has no effect for root, and raises there.
---@field processes? integer
---The size of a core file: bytes, or a text as "512M".
---@field core? integer|string

---What `result` gives for a command that ended with status 0, and `value` of the error of one that failed.
---@class mp.process.ended
---The exit status, or -s for signal s.
---@field exitcode integer
---What was captured, if it was.
---@field stdout? string
---What was captured, if it was.
---@field stderr? string

---A process: one that this process has made, or by `mp.current_process` and `mp.parent_process` itself
---and its creator.
---The fields are read-only. As a `<close>` variable it is joined at the end of the scope (a daemon is
---stopped); when an error ends the scope, it is stopped.
---@class mp.process
---What it is called in messages.
---@field name string
---The number by which the system knows it, nil before the start.
---@field pid integer?
---Whether it is stopped, instead of waited for, when the process that started it comes to its end.
---@field daemon boolean
---How it ended: 0 when it returned, 1 by an uncaught error, n by `os.exit(n)`, -s when signal s killed it.
---It is nil before the end.
---@field exitcode integer?
---What made it fail, nil before the end and if it did not fail. Results that cannot be sent are no
---failure of the process.
---@field error mp.error?
---For the option stdin="pipe": the file to write to. Close it to end what the process reads.
---@field stdin file*?
---For the option stdout="pipe": the file to read from. For stdout="capture": the text, once the
---process has ended.
---@field stdout file*|string|nil
---For the option stderr="pipe": the file to read from. For stderr="capture": the text, once the
---process has ended.
---@field stderr file*|string|nil
local process = {} -- luacheck: ignore 241

---Makes a process object. Nothing runs before `start`.
---@param options mp.process.options|fun(...):... the options, or the target alone
---@return mp.process p the process, which has not been started
function mp.process(options) end

---Starts the process, once: a copy of this one, which runs `target(table.unpack(args))`.
---Nothing that it changes is seen here. What was printed before is not printed twice.
---It raises when the system refuses, or when the folder or a file of the options is not there; and what a
---handler of `mp.on_signal` raises meanwhile, after which the process may run.
---@return mp.process p the process itself
function process:start() end

---Waits until the process has ended. Only the process that started it may do so, and a child for its creator.
---@param timeout? number how long to wait, in seconds
---@return true|nil ended true, or nil if the time was up first
---@return "timeout"? why the word that says so
function process:join(timeout) end

---Whether the process runs, which is true from its start to its end.
---@return boolean alive whether it runs
function process:is_alive() end

---Waits for what the target returns. It may be asked for again, and gives the same.
---It raises an error object when the process failed, when the results cannot be sent (kind "unsendable"),
---or when the time was up first (kind "pending").
---@param timeout? number how long to wait, in seconds
---@return any ... all values that the target returned, none after `os.exit(0)`; of a command a mp.process.ended
function process:result(timeout) end

---Asks the process to end, by SIGTERM.
---@return boolean sent true, or false if it had ended already
function process:terminate() end

---Ends the process at once, by SIGKILL.
---@return boolean sent true, or false if it had ended already
function process:kill() end

---Sends the process a signal.
---@param name string the signal's name, as in "SIGUSR1"
---@return boolean sent true, or false if it had ended already
function process:signal(name) end

---Ends the process: by SIGTERM, and by SIGKILL when it still runs after the grace. It returns when the
---process has ended.
---@param grace? number how long to wait before SIGKILL, in seconds, 5 by default
---@return boolean sent true, or false if it had ended already
function process:stop(grace) end

---Frees what the system keeps for a process that has ended or was never started. It raises while the
---process runs.
---Afterwards any use but another `close` raises. Returns nothing.
function process:close() end

---A descriptor for event loops, which can be read from when the process has ended. It belongs to the
---object: do not close it.
---@return integer fd the descriptor
function process:pollfd() end

---What an event loop should wait for at `pollfd`.
---@return "r" events "r", which means until it can be read from
function process:events() end

-- --- scopes ------------------------------------------------------------------

---What the function of `mp.scope` is given, to start processes by. It is of use until the scope ends, in
---the process that called `mp.scope`.
---@class mp.scope
local scope = {} -- luacheck: ignore 241

---Starts a process in the scope: `f(...)`, or what the options of `mp.process` say. `detached` is refused;
---with `daemon = true` it is stopped when the others have ended, and not waited for.
---It reports no error on stderr, since the scope raises it. It raises when the system refuses the start,
---and the failure of the scope when there was one.
---@param f mp.process.options|fun(...):... the function, or the options alone
---@param ... any the arguments of the function
---@return mp.process p the process, started
function scope:start(f, ...) end

---Calls a function with a scope, waits for all processes that it starts there, and returns its results.
---When the function has returned, the files `p.stdin` of these processes are closed.
---The first of them that fails ends the scope: the others get SIGTERM, and SIGKILL half a second later; a wait
---of the function (`join`, `result`, `stop`, `mp.sleep`, `mp.wait`) ends at once by an error, as does every
---later one; and when all have ended, the failure is raised. What ends after `terminate`, `kill` or `stop`, or
---by the signal that it was sent by `signal`, has not failed. An error of the function itself stops all in the
---same way. Later failures are not told; the field `error` of their processes has them.
---@param f fun(s: mp.scope):... what to call
---@return any ... all values that the function returned
function mp.scope(f) end

-- --- queues and pipes ----------------------------------------------------------

---What bounds a queue; without options memory alone does.
---@class mp.queue.options
---How many items it may have.
---@field maxsize? integer
---How many bytes its items may take, as they travel: a number, or a text as "512M". An item that is
---larger goes in when the queue is empty.
---@field maxbytes? integer|string

---A queue between any number of processes: first in, first out for each of those that put.
---It is a value that travels: any process may make one, and send it to any other. A process has one object
---for a queue, however often it comes. As a `<close>` variable the object is of no more use at the end of the
---scope; the queue lives as long as any process, or message, has it.
---@class mp.queue
---@operator len: integer
local queue = {} -- luacheck: ignore 241

---Makes a queue.
---@param options? mp.queue.options|integer its bounds, or the greatest number of items alone
---@return mp.queue q the queue
function mp.queue(options) end

---Puts an item in, and waits until there is room. When it returns, the item is there, and this process may end.
---It raises kind "closed" when the queue is closed, kind "unsendable" for what cannot travel, and when memory is
---short; the queue is as it was then. nil is no item.
---@param value any what to put
---@param timeout? number how long to wait for room, in seconds
---@return true|nil put true, or nil if the time was up first
---@return "timeout"? why the word that says so
function queue:put(value, timeout) end

---Takes the next item, and waits until there is one.
---@param timeout? number how long to wait, in seconds
---@return any value the item, or nil if there was none in time, or none will come
---@return "timeout"|"closed"|nil why the word that says so
function queue:get(timeout) end

---Puts the items of a list in, in that order. If one of them cannot travel, none goes in.
---@param list any[] what to put
---@param timeout? number how long to wait for room, in seconds
---@return integer n how many went in: all, or the first ones if the time was up
function queue:put_many(list, timeout) end

---Takes as many items as there are, and waits for the first one only.
---@param max integer how many items to take at most
---@param timeout? number how long to wait, in seconds
---@return any[]|nil list the items, or nil if there was none in time, or none will come
---@return "timeout"|"closed"|nil why the word that says so
function queue:get_many(max, timeout) end

---For a loop over the items, until the queue is closed and empty: `for value in q:iter() do`.
---@return fun():any next_item what a loop calls
function queue:iter() end

---Whether it has no item at this moment.
---@return boolean is_empty whether it has none
function queue:is_empty() end

---Whether it could take nothing more at this moment.
---@return boolean is_full whether `put` would wait
function queue:is_full() end

---Says for all processes that nothing more goes in. What is there can still be taken. Closing it twice
---is harmless. Returns nothing.
function queue:close() end

---Says that the work on one item that was taken is done, for `join`. It raises when it is called more often than
---items were taken. Returns nothing.
function queue:task_done() end

---Waits until for all items that were put `task_done` was called. Items that a process had taken and not done when
---it ended, or dropped its object, count as done; that there were some is told once.
---@param timeout? number how long to wait, in seconds
---@return true|nil done true, or nil if the time was up first
---@return "timeout"|"abandoned"|nil why the word that says so, or that there were some
function queue:join(timeout) end

---A descriptor for event loops, which can be read from when `get` would not wait, until the loop asks again. It
---belongs to the object: do not close it. A process that uses an object which it inherited has one of its own.
---@return integer fd the descriptor
function queue:pollfd() end

---What an event loop should wait for at `pollfd`.
---@return "r" events "r", which means until it can be read from
function queue:events() end

---A queue from which the item of the lowest priority comes first; of one priority what was put first.
---It has the methods of mp.queue, except that `put_many` raises.
---@class mp.priority_queue: mp.queue
local priority_queue = {} -- luacheck: ignore 241

---Makes a priority queue.
---@param options? mp.queue.options|integer its bounds, or the greatest number of items alone
---@return mp.priority_queue q the queue
function mp.priority_queue(options) end

---Puts an item in, as `put` of mp.queue does.
---@param value any what to put
---@param priority number its place among the others, of any size but not NaN
---@param timeout? number how long to wait for room, in seconds
---@return true|nil put true, or nil if the time was up first
---@return "timeout"? why the word that says so
function priority_queue:put(value, priority, timeout) end

---Values by keys that all processes see. Keys are strings, numbers (1 and 1.0 are one key, NaN is none) and booleans;
---values whatever can be sent, handles of shared objects, too. What is read is a copy. It travels like a queue, and
---what
---is in it goes when no process and no message has it. Indexing raises. `#d` is how many keys there are, exactly;
---`pairs(d)` goes over what there is at one moment. A process that is killed leaves each key with its old or its new
---value.
---
---set, remove, add, update and clear raise where this process updates the key (it could only wait for itself), wait
---while another one does, and raise kind "deadlock" when that can never end.
---@class mp.dict
---@operator len: integer
local dict = {} -- luacheck: ignore 241

---Makes a dict.
---@return mp.dict d the dict
function mp.dict() end

---The value of a key.
---@param key string|number|boolean the key
---@return any value a copy of it, or nil
function dict:get(key) end

---Gives a key a value. It raises kind "unsendable" for what cannot travel, and when memory is short; the dict is as it
---was then.
---@param key string|number|boolean the key
---@param value any what it is to have; nil removes the key
function dict:set(key, value) end

---Removes a key, also where its value cannot be had here, which raises.
---@param key string|number|boolean the key
---@return any old the value that it had, or nil
function dict:remove(key) end

---Adds to the number of a key, which nobody else changes meanwhile: from 0 on where there is none. It raises where the
---value is no number.
---@param key string|number|boolean the key
---@param n? number what is added, by default 1
---@return number sum the new value
function dict:add(key, n) end

---Changes the value of a key, which nobody else changes meanwhile; others read the old one. An error of the function
---goes on as it was, and nothing is changed; it may not yield. It may use the dict, but not change that key. When the
---process is killed meanwhile, the old value stays.
---@param key string|number|boolean the key
---@param f fun(old: any): any the new value for a copy of the old one (nil: there is none); nil removes the key
---@return any new the new value
function dict:update(key, f) end

---The keys that there are, in no order.
---@return (string|number|boolean)[] keys a list of them
function dict:keys() end

---Removes all keys.
function dict:clear() end

---Drops this process's handle. Others, and what is in the dict, are not concerned.
function dict:close() end

---How many entries a cache may have, and how long they live: one of these, or both.
---@class mp.cache.options
---The greatest number of entries: what was used least recently makes room for others. From its making on a cache takes
---16 to 32 bytes of memory for each entry that it may have.
---@field size? integer
---Seconds that an entry lives after it was set or updated: then it is found no more. Reading and `add` do not
---lengthen that. `math.huge` is for ever.
---@field ttl? number

---A dict of bounded size, or of entries that live for some time. `pairs(c)` and `keys` are no use of an entry, all
---else is.
---@class mp.cache: mp.dict
---@operator len: integer
local cache = {} -- luacheck: ignore 241

---Makes a cache.
---@param options mp.cache.options|integer its bounds, or the greatest number of entries alone
---@return mp.cache c the cache
function mp.cache(options) end

---The value of a key, which is worked out where there is none: by one process at a time, others that ask for the key
---wait. If that process is killed, another one works it out. An error of the function goes on as it was; it may not
---yield. The function may ask for other keys, by functions that nest 90 deep.
---@param key string|number|boolean the key
---@param f fun(key: string|number|boolean): any gives the value; nil is not kept
---@return any value a copy of what there is, or what the function gave
function cache:get_or(key, f) end

---What became of those who asked.
---@class mp.cache.stats
---How often get, update or get_or found a value.
---@field hits integer
---How often they found none.
---@field misses integer
---How many entries made room for others.
---@field evictions integer

---Counts of all processes together.
---@return mp.cache.stats stats the counts
function cache:stats() end

---Values by position that all processes see. `l[i]` is a copy, and nil outside; `l[i] = v` is for positions up to
---`#l + 1`, nil is no value. `pairs(l)` goes over what there is at one moment, `ipairs(l)` reads it as it is. It
---travels like a queue. A process that is killed leaves each change done or not done. Its ends are reached at once,
---however long it is; to insert and remove between them takes time and memory by its length.
---@class mp.list
---@operator len: integer
local list = {} -- luacheck: ignore 241

---Makes a list.
---@return mp.list l the list
function mp.list() end

---Puts a value in, as table.insert does. It raises as `set` of a dict does.
---@param ... any the value, for the end; or a position, from 1 to `#l + 1`, and the value
function list:insert(...) end

---Takes a value out, as table.remove does.
---@param i? integer the position; without it the last one
---@return any value what was there, or nil
function list:remove(i) end

---Puts all values of a list at the end, which are there at one moment; of a process that is killed meanwhile some, from
---the first on.
---@param values any[] the values
function list:extend(values) end

---Removes all.
function list:clear() end

---Drops this process's handle. Others, and what is in the list, are not concerned.
function list:close() end

---How a pipe is to be.
---@class mp.pipe.options
---Whether it goes both ways, which is the default.
---@field duplex? boolean

---One end of a pipe. What is sent at one end is received at the other, message by message, in order.
---It travels like a queue. A process holds the ends that it has made or received, that were found in its function's
---upvalues and arguments, and those that it has used. As a `<close>` variable it is closed at the end of the scope.
---@class mp.pipe
local pipe = {} -- luacheck: ignore 241

---Makes a pipe.
---@param options? mp.pipe.options how it is to be
---@return mp.pipe a one end; with duplex=false the one that receives
---@return mp.pipe b the other end; with duplex=false the one that sends
function mp.pipe(options) end

---Sends a message. It waits while there would be more than 1 MiB unread; a larger one waits until nothing is.
---It raises kind "closed" when no process holds the other end any more, and as `put` of a queue does.
---@param value any what to send, but not nil
---@param timeout? number how long to wait, in seconds
---@return true|nil sent true, or nil if the time was up first
---@return "timeout"? why the word that says so
function pipe:send(value, timeout) end

---Receives the next message.
---@param timeout? number how long to wait, in seconds
---@return any value the message, or nil if there was none in time, or none will come
---@return "timeout"|"closed"|nil why the word that says so
function pipe:recv(timeout) end

---Whether `recv` would return at once, also because the stream has ended.
---@return boolean is_ready whether it would
function pipe:poll() end

---Closes the end in this process. When no other process holds it, the other end drains what was sent, and meets the
---end. Closing it twice is harmless. Returns nothing.
function pipe:close() end

---A descriptor for event loops, which can be read from when `recv` would not wait, until the loop asks again. It
---belongs to the object: do not close it. A process that uses an object which it inherited has one of its own.
---@return integer fd the descriptor
function pipe:pollfd() end

---What an event loop should wait for at `pollfd`.
---@return "r" events "r", which means until it can be read from
function pipe:events() end

-- --- numbers and bytes in shared memory ---------------------------------------

---What the numbers of a value or an array are. Those of int64 wrap around; uint64 has the bits of an integer of Lua,
---of which the negative ones are the greatest; float has fewer digits than Lua's numbers, and rounds to the nearest.
---@alias mp.cell_type
---| "int8" # from -128 to 127
---| "uint8" # from 0 to 255
---| "int16" # from -32768 to 32767
---| "uint16" # from 0 to 65535
---| "int32" # from -2147483648 to 2147483647
---| "uint32" # from 0 to 4294967295
---| "int64" # all integers of Lua
---| "uint64" # the bits of an integer of Lua
---| "float" # 32 bits; a finite number beyond its greatest does not fit
---| "double" # all numbers of Lua
---| "integer" # another name for int64
---| "number" # another name for double

---A number that processes share. Each of its methods is atomic, and all processes see them happen in one order.
---A number that does not fit the type raises, and changes nothing; for integers a float with an integer's value
---fits. It is a value that travels, and lives as long as any process, or message, has it.
---@class mp.value
local value = {} -- luacheck: ignore 241

---Makes a value.
---@param kind mp.cell_type what it can hold
---@param init? number what it is at first, 0 by default
---@return mp.value v the value
function mp.value(kind, init) end

---Reads it.
---@return number x what it is
function value:get() end

---Writes it. Returns nothing.
---@param x number what it is to be
function value:set(x) end

---Adds to it. It raises, and the value stays, when the sum would not fit the type; of 64 bits it wraps around.
---@param d number what to add
---@return number x what it is then
function value:add(d) end

---Writes it if it is what is expected, as `==` has it; but NaN is NaN here.
---@param expected number what it is thought to be
---@param new number what it is to be then
---@return boolean was whether it was that, and is the new one now
function value:cas(expected, new) end

---Drops this process's handle, which is of no use then; the value lives on with others. Returns nothing.
function value:close() end

---Numbers of one type that processes share, by index from 1. `a[i]` reads one and `a[i] = x` writes one: an index
---that is not there raises, but reading `a[#a + 1]` gives nil, so that `ipairs` ends. What is done to one element
---(also `add` and `cas`) is atomic. What is done to many is done one by one, in any order, and others see it happen;
---yet no element is ever half of one number and half of another, also if the process is killed meanwhile.
---A range goes from `i` to `j`, by default from the first to the last, and is empty when `j` is less than `i`.
---A number that does not fit the type raises, with its index, and nothing is written.
---It is a value that travels, and lives as long as any process, or message, has it.
---@class mp.array: table<integer, number>
---@operator len: integer
local array = {} -- luacheck: ignore 241

---Makes an array.
---@param kind mp.cell_type what its elements can hold
---@param given integer|number[] how many there are, which are 0; or they themselves
---@return mp.array a the array
function mp.array(kind, given) end

---Reads a range.
---@param i? integer the first one
---@param j? integer the last one
---@return number[] list the elements
function array:get(i, j) end

---Writes a list, all of it or, if it raises, nothing. The list is read without metamethods. Returns nothing.
---@param i integer where its first one goes
---@param list number[] what to write
function array:set(i, list) end

---Adds to an element. It raises, and that stays, when the sum would not fit the type; of 64 bits it wraps around.
---@param i integer which one
---@param d number what to add
---@return number x what it is then
function array:add(i, d) end

---Writes an element if it is what is expected, as `==` has it; but NaN is NaN here.
---@param i integer which one
---@param expected number what it is thought to be
---@param new number what it is to be then
---@return boolean was whether it was that, and is the new one now
function array:cas(i, expected, new) end

---Writes one number all over a range. Returns nothing.
---@param x number the number
---@param i? integer the first one
---@param j? integer the last one
function array:fill(x, i, j) end

---Copies a range of another array, or of this one, to a place in this one; they may overlap. Between types each
---element has to fit, or nothing is written, unless another process changes what is copied meanwhile. Returns nothing.
---@param from mp.array what to copy from
---@param i? integer the first one there
---@param j? integer the last one there
---@param at? integer where it goes, 1 by default
function array:copy(from, i, j, at) end

---Adds a range up: integers as Lua does, around at 64 bits; floats in four strands, so that the last digits may not be
---those of a loop.
---@param i? integer the first one
---@param j? integer the last one
---@return number sum the sum, 0 of an empty range
function array:sum(i, j) end

---Finds the least of a range. NaN is passed over.
---@param i? integer the first one
---@param j? integer the last one
---@return number? x the least one; nil if there is none
---@return integer? at the index of the first such
function array:min(i, j) end

---Finds the greatest of a range. NaN is passed over.
---@param i? integer the first one
---@param j? integer the last one
---@return number? x the greatest one; nil if there is none
---@return integer? at the index of the first such
function array:max(i, j) end

---Finds the first element of a range that is a given number, as `==` has it; but NaN is NaN here.
---@param x number what to look for
---@param i? integer the first one
---@param j? integer the last one
---@return integer? at its index, or nil
function array:find(x, i, j) end

---Puts a range in rising order, NaN last. What others write meanwhile is written over. It needs 16 bytes of memory for
---each element, and raises where there is not enough. Returns nothing.
---@param i? integer the first one
---@param j? integer the last one
function array:sort(i, j) end

---Drops this process's handle, which is of no use then; the array lives on with others. Returns nothing.
function array:close() end

---What a buffer is made from, or found by.
---@class mp.buffer.options
---The name of a file in /dev/shm, by which programs find it that are of no family together: without '/'. A buffer with
---a name lasts until it is unlinked.
---@field name? string
---How many bytes it has, or a text as "512M". Of one that is there already it may be left out, and else it has to be
---right.
---@field size? integer|string
---Whether to make it: then a name that is taken raises. Else it is there, or that raises.
---@field create? boolean

---Bytes that processes share. Reading and writing are not atomic: others see it happen, in any order.
---It is a value that travels, and lives as long as any process, or message, has it; with a name until it is unlinked,
---and then as long as any process has it (a message alone does not keep it).
---With a name it is a file in /dev/shm of these bytes, of its user alone (mode 0600), which any program may open.
---@class mp.buffer
---@operator len: integer
local buffer = {} -- luacheck: ignore 241

---Makes a buffer, of zero bytes, or attaches one by its name. A name raises that is another user's, a symbolic link, or
---no regular file, and so does a mount that is full: there is memory for all of it when it is made.
---@param given integer|string|mp.buffer.options how many bytes, or a text as "512M"; or all about it
---@return mp.buffer b the buffer
function mp.buffer(given) end

---Reads bytes, from one to another, as `string.sub` has it.
---@param i? integer the first one, 1 by default; a negative one counts from the end
---@param j? integer the last one, -1 by default
---@return string bytes what is there
function buffer:read(i, j) end

---Writes bytes. It raises, and writes nothing, where there is no room for them. Returns nothing.
---@param i integer where the first one goes, from 1 on
---@param s string the bytes
function buffer:write(i, s) end

---Removes the name. Who has the buffer keeps it.
---@return boolean removed true; false if the name was gone, or another file's
function buffer:unlink() end

---Drops this process's handle, which is of no use then; the buffer lives on with others, and a name stays. Returns
---nothing.
function buffer:close() end

-- --- memory ------------------------------------------------------------------
---A lock, which one process at a time holds.
---It travels like a queue. It is a process's, with all its coroutines and handlers: only that may release it. When
---its holder ends, in any way, or closes or loses its object, the next one gets it within 100 ms, and is told by the
---word "abandoned" that what the lock guards may be half done.
---@class mp.lock
local lock = {} -- luacheck: ignore 241

---Makes a lock. Its holder cannot acquire it again: that raises.
---@return mp.lock l the lock
function mp.lock() end

---Acquires it, and waits until nobody else has it.
---@param timeout? number how long to wait, in seconds
---@return true|nil got true, or nil if the time was up first
---@return "abandoned"|"timeout"|nil word that its last holder has ended while it held it; or why there is nothing
function lock:acquire(timeout) end

---Releases it. It raises where this process does not hold it. Returns nothing.
function lock:release() end

---Calls a function while it is held, waiting for it as long as that takes. It is released when the function has
---ended, also by an error, which is raised as it was. That the last holder has ended is told to the next `acquire` or
---`hold`.
---@param f fun(...: any): any what to call
---@param ... any what to call it with
---@return any ... the results of the function
function lock:with(f, ...) end

---Acquires it for as long as a `<close>` variable lasts: `local held <close> = l:hold()`.
---@param timeout? number how long to wait, in seconds
---@return userdata|nil held what to keep in the variable, or nil if the time was up first
---@return "abandoned"|"timeout"|nil word as that of `acquire`
function lock:hold(timeout) end

---Whether a process has it that has not ended.
---@return boolean is_locked whether it does
function lock:is_locked() end

---Closes the object in this process, which has ended for the lock if it holds it. Closing it twice is harmless.
---Returns nothing.
function lock:close() end

---A descriptor for event loops, which can be read from when `acquire` would not wait, until this process looks. It
---belongs to the object: do not close it. A process that uses an object which it inherited has one of its own.
---@return integer fd the descriptor
function lock:pollfd() end

---What an event loop should wait for at `pollfd`.
---@return "r" events "r", which means until it can be read from
function lock:events() end

---A lock that its holder may acquire again. It is free when it was released as often.
---It has the methods of mp.lock.
---@class mp.rlock: mp.lock

---Makes a recursive lock.
---@return mp.rlock l the lock
function mp.rlock() end

---How a semaphore is to be.
---@class mp.semaphore.options
---How many units it has at first: from 0 on, 1 by default.
---@field value? integer

---Units, which processes acquire and release.
---It travels like a queue. A unit belongs to the process that acquired it until that releases one. When the process
---ends, in any way, or closes or loses its object, its units come back, without a word. A release by a process that has
---none adds one.
---@class mp.semaphore
local semaphore = {} -- luacheck: ignore 241

---Makes a semaphore.
---@param options? mp.semaphore.options|integer how it is to be, or the number of units alone
---@return mp.semaphore s the semaphore
function mp.semaphore(options) end

---Acquires a unit, and waits until there is one.
---@param timeout? number how long to wait, in seconds
---@return true|nil got true, or nil if the time was up first
---@return "timeout"? why the word that says so
function semaphore:acquire(timeout) end

---Releases units. A bounded semaphore raises when it would have more than it began with. Returns nothing.
---@param n? integer how many units, 1 by default
function semaphore:release(n) end

---Calls a function with a unit, as `with` of mp.lock does.
---@param f fun(...: any): any what to call
---@param ... any what to call it with
---@return any ... the results of the function
function semaphore:with(f, ...) end

---Acquires a unit for as long as a `<close>` variable lasts: `local held <close> = s:hold()`.
---@param timeout? number how long to wait, in seconds
---@return userdata|nil held what to keep in the variable, or nil if the time was up first
---@return "timeout"? why the word that says so
function semaphore:hold(timeout) end

---How many units are free.
---@return integer n the number of units
function semaphore:value() end

---Closes the object in this process, whose units come back. Closing it twice is harmless. Returns nothing.
function semaphore:close() end

---A descriptor for event loops, which can be read from when `acquire` would not wait, until this process looks. It
---belongs to the object: do not close it. A process that uses an object which it inherited has one of its own.
---@return integer fd the descriptor
function semaphore:pollfd() end

---What an event loop should wait for at `pollfd`.
---@return "r" events "r", which means until it can be read from
function semaphore:events() end

---A semaphore that never has more units than it began with: what would add one more raises.
---It has the methods of mp.semaphore.
---@class mp.bounded_semaphore: mp.semaphore

---Makes a bounded semaphore.
---@param options? mp.semaphore.options|integer how it is to be, or the number of units alone
---@return mp.bounded_semaphore s the semaphore
function mp.bounded_semaphore(options) end

---A flag that processes wait for.
---It travels like a queue.
---@class mp.event
local event = {} -- luacheck: ignore 241

---Makes an event, which is not set.
---@return mp.event e the event
function mp.event() end

---Sets it: all who wait go on, however soon it is cleared, and nobody waits any more until then. Returns nothing.
function event:set() end

---Clears it. Returns nothing.
function event:clear() end

---Whether it is set.
---@return boolean is_set whether it is
function event:is_set() end

---Waits until it is set.
---@param timeout? number how long to wait, in seconds
---@return true|nil set true, or nil if the time was up first
---@return "timeout"? why the word that says so
function event:wait(timeout) end

---Closes the object in this process. Closing it twice is harmless. Returns nothing.
function event:close() end

---A descriptor for event loops, which can be read from while it is set, until this process looks. It
---belongs to the object: do not close it. A process that uses an object which it inherited has one of its own.
---@return integer fd the descriptor
function event:pollfd() end

---What an event loop should wait for at `pollfd`.
---@return "r" events "r", which means until it can be read from
function event:events() end

---A lock for many readers or one writer. Its two sides are objects of their own, which travel alone or together.
---Who waits goes in in the order in which they came, readers that wait together at once: so neither readers nor
---writers starve.
---@class mp.rwlock
---The side to read: as many processes may have it as like, while nobody writes.
---@field read mp.rwlock.side
---The side to write: one process may have it, while nobody else reads.
---@field write mp.rwlock.side
local rwlock = {} -- luacheck: ignore 241

---Makes a rwlock.
---@return mp.rwlock rw the rwlock
function mp.rwlock() end

---Closes both sides in this process. Closing them twice is harmless. Returns nothing.
function rwlock:close() end

---A side of a rwlock, with the methods of mp.lock. A process may read more than once at a time, and read while it
---writes, also beyond the end of that. To write while it reads or writes raises: it could only wait for itself. Only
---a writer's end is told, to the next one on either side.
---@class mp.rwlock.side: mp.lock

---Lets processes go on together: each waits until all have come.
---@class mp.barrier
---How many must come.
---@field parties integer
local barrier = {} -- luacheck: ignore 241

---How a barrier is made.
---@class mp.barrier.options
---How many processes must come.
---@field parties integer
---What the last to come does before any is let go: a function, with upvalues of its own in each process. It breaks the
---barrier by an error, which is raised there.
---@field action? fun()
---How long a wait may take that has no limit of its own, in seconds.
---@field timeout? number

---Makes a barrier.
---@param options integer|mp.barrier.options how many must come, or that and more
---@return mp.barrier b the barrier
function mp.barrier(options) end

---Waits until all have come. It breaks the barrier for all when the time is up, when a process ends in it, and when an
---error ends the wait, unless all have come by then: all of a round are let go, or none.
---@param timeout? number how long to wait, in seconds
---@return integer|nil place the place in which this process has come, from 1 on, or nil if the barrier is broken
---@return "broken"? why the word that says so
function barrier:wait(timeout) end

---Breaks it for all, until it is reset. Returns nothing.
function barrier:abort() end

---Makes it whole again. Who waits finds it broken; who comes after that waits until they have left. Returns nothing.
function barrier:reset() end

---How many wait in it.
---@return integer n the number
function barrier:waiting() end

---Whether it is broken.
---@return boolean is_broken whether it is
function barrier:is_broken() end

---Closes the object in this process. Closing it twice is harmless. Returns nothing.
function barrier:close() end

---Lets processes wait, with a lock that they give up meanwhile, until another one tells them.
---@class mp.condition
local condition = {} -- luacheck: ignore 241

---Makes a condition.
---@param l? mp.lock the lock that belongs to it, or a new `mp.rlock`
---@return mp.condition c the condition
function mp.condition(l) end

---Acquires its lock, as that does.
---@param timeout? number how long to wait, in seconds
---@return true|nil got true, or nil if the time was up first
---@return "abandoned"|"timeout"|nil word as of the lock
function condition:acquire(timeout) end

---Releases its lock, as that does. Returns nothing.
function condition:release() end

---Calls a function while its lock is held, as that does.
---@param f fun(...: any): any what to call
---@param ... any what to call it with
---@return any ... the results of the function
function condition:with(f, ...) end

---Acquires its lock for as long as a `<close>` variable lasts, as that does.
---@param timeout? number how long to wait, in seconds
---@return userdata|nil held what to keep in the variable, or nil if the time was up first
---@return "abandoned"|"timeout"|nil word as of the lock
function condition:hold(timeout) end

---Waits until another process tells this one, which must hold the lock. The lock is given up meanwhile, whatever its
---depth, and held again when the wait has ended, also by time or an error. But an error, Ctrl-C for example, goes on
---without the lock when another process keeps that for longer than a third of a second; who catches it sees by
---`release`, which raises then.
---@param timeout? number how long to wait, in seconds
---@return true|nil told true, or nil if the time was up first
---@return "abandoned"|"timeout"|nil word that the lock's holder ended while it held it; or why there is nothing
---@return "abandoned"? more that word after "timeout"
function condition:wait(timeout) end

---Waits until a function says so, which is asked now and each time that this process is told.
---@param f fun(): any what to ask
---@param timeout? number how long to wait, in seconds
---@return any answer what it returned that is true, or nil if the time was up first
---@return "abandoned"|"timeout"|nil word as of `wait`
---@return "abandoned"? more as of `wait`
function condition:wait_for(f, timeout) end

---Tells those that wait, the first first. This process must hold the lock. Returns nothing.
---@param n? integer how many to tell (default 1)
function condition:notify(n) end

---Tells all that wait. This process must hold the lock. Returns nothing.
function condition:notify_all() end

---Closes the object in this process. Closing it twice is harmless. Returns nothing.
function condition:close() end

---Bounds what a family shares.
---@class mp.memory.options
---How much the family may share from now on: a number of bytes, or a text as "512M".
---@field limit? integer|string

---What a family shares: its queues and pipes with all that lies in them, its values, arrays and buffers.
---A named buffer lies in /dev/shm, and what is counted is what the family knows of it.
---@class mp.memory.usage
---Bytes in use.
---@field used integer
---Bytes of memory that are kept for this, in use or not.
---@field backed integer
---Bytes that there may be at most.
---@field limit integer
---What is in use, by kind: how many there are, and their bytes.
---@field kinds table<string,{count:integer,bytes:integer}>
---What this process has for its own values.
---@field heap mp.memory.heap

---The memory of a process's own Lua values, in bytes. What is from malloc (large blocks of a small heap, all under a
---sanitizer, and in lua5.4 what is from before luamp was loaded) is counted in `lua` alone.
---@class mp.memory.heap
---What Lua counts: what was inherited, too.
---@field lua integer
---What this process has made itself and is in use.
---@field used integer
---What the process has taken from the system for that.
---@field held integer
---What it began with: its parent's.
---@field inherited integer
---How much of that it has copied, by writing to it; what all others have let go since is counted, too. Nil where the
---system does not tell.
---@field dirtied? integer

---Tells what the family of this process shares, to which it may set a limit, and what the process has itself.
---@param options? mp.memory.options for a limit
---@return mp.memory.usage usage what there is
function mp.memory(options) end

-- --- pools -------------------------------------------------------------------

---What a pool is made from. An unknown option raises, and the message names the nearest known one.
---@class mp.pool.options
---How many workers: an integer from 1 to 4096, or a part of the CPUs as "50%", rounded up. Without it as many as
---`mp.cpu_count` says.
---@field workers? integer|string
---Is called in each worker before its first task. Its error is raised by `mp.pool`.
---@field init? fun(...)
---The arguments of `init`. The field `n`, if it is there, says how many they are.
---@field initargs? any[]
---Is called, without arguments, in each worker that leaves in order: at the end of the pool, or to be replaced.
---@field exit? fun()
---After how many tasks a worker is replaced.
---@field max_tasks? integer
---Beyond how much resident memory a worker is replaced, after the task that it has: bytes, or a text as "512M".
---@field max_rss? integer|string
---How long a run of a task may take, in seconds, for calls that do not say it themselves.
---@field timeout? number
---How often a task that failed is run again, for calls that do not say it themselves.
---@field retries? integer|mp.pool.retries
---What the workers are called in messages, before a dot and their number; "worker" by default.
---@field name? string
---The CPUs on which the workers may run, counted from 0.
---@field cpus? integer[]
---Makes random numbers repeat: those of a task depend on this, the call, and the number of the task, and not on the
---worker.
---@field seed? integer
---What the kernel does not let each worker exceed.
---@field limits? mp.process.limits
---Environment variables for the workers, beside those that they inherit; false removes one.
---@field env? table<string,string|false>
---What is added to the nice value of the workers.
---@field nice? integer
---How the workers come to be; without it as `mp.get_start_method` says.
---@field start_method? mp.start_method
---What becomes of that which the workers, and the programs that they run, write to stdout and stderr. What is relayed
---is given to the same stream of the process that has made the pool, while that is in a call of luamp, and before
---anybody has the result of the task. Workers do not wait for that.
---@field output? mp.pool.output
---What stands before each line that is relayed: true for "[{name}] ", or a text in which {name} is the process,
---{worker} its number, {pid} its pid, {task} the task's number and {attempt} which run of it this is. Where `output`
---is not given it is "line" then.
---@field tag? true|string
---Where the workers are: "local", on this host alone; "mpi", on the hosts of the job, which is an error without a
---launcher. Without it that is as there are hosts.
---@field engine? "local"|"mpi"
---The hosts that are to have workers, by their names or their ranks.
---@field hosts? (string|integer)[]

---What becomes of what the workers of a pool write.
---@alias mp.pool.output
---| "inherit" # it goes where that of this process goes, without a detour; the default
---| "line" # whole lines, as they come
---| "group" # what a task has written stands together, and comes when it has ended
---| "ordered" # the same, in the order of the call's input; of single tasks as "group"

---Which failures are followed by a further run, and when.
---@class mp.pool.retries
---How many further runs a task may have.
---@field n integer
---Seconds until the first further run; twice as many until each one that follows. None by default.
---@field backoff? number
---Is given the error object, in the process of the pool, and says whether there is to be a further run.
---@field when? fun(e: mp.error): boolean

---The options of a call over many inputs. Those of `mp.map` and its like may be the pool's, too.
---@class mp.pool.call_options
---How many tasks a worker takes at once. Without it that depends on how many there are.
---@field chunksize? integer
---How long a run of a task may take, in seconds from its beginning. Then its worker is ended, and it has failed with
---kind "timeout".
---@field timeout? number
---How often a task that failed is run again, in another worker if there is one; not at all by default.
---@field retries? integer|mp.pool.retries
---What a failure does: "stop", the default, stops what runs, begins nothing more, and raises it; by "collect" the
---place of the result stays nil, and a second value lists the error objects in the order of the input.
---@field on_error? "stop"|"collect"
---How many inputs may be taken in ahead of the last result that was taken, or, where all results come at once, has
---arrived.
---@field window? integer
---Is given an item and its index, in the process of the pool, and returns what it costs, in any unit: the heavy ones
---start first; where results are taken in order, first of as many as the window has (2048, or 4096 for `find`, if
---it is not given). The input must be a list or a range.
---@field weight? fun(item: any, index: integer): number
---The path of a journal, a file that is made if it is not there: what tasks return is committed to it before it is
---given out, and what is finished there is not run again. A journal that fails ends the call; `value.results` of that
---error has what is in memory.
---@field journal? string
---Is given an item and its index, in the process of the pool, and returns what the journal knows it by, in place of the
---index: a string or a number, another one for each item of the call.
---@field key? fun(item: any, index: integer): string|number
---Says how far the call is: true, or a label, by a line on the terminal of standard error, or every ten seconds where
---there is none, and by a receipt at the end; a worker's own calls say nothing. A function is given the figures
---instead, in the process of the pool, at most ten times a second and at the end; what it raises ends the call.
---@field progress? boolean|string|fun(p: mp.pool.progress)

---How far a call is.
---@class mp.pool.progress
---How many tasks have ended, failed ones too; of `reduce`, how many items.
---@field done integer
---How many there are; nil as long as that is not known.
---@field total? integer
---How many have failed for good.
---@field failed integer
---How many end in a second, of late.
---@field rate number
---How long the rest will take, in seconds; nil while the total is not known, or nothing has ended.
---@field eta? number
---How long the call has taken so far, in seconds.
---@field elapsed number
---The share of the workers that run something, from 0 to 1; nil where there are none (LUAMP_BACKEND=serial).
---@field busy? number

---A single task, for `submit`.
---@class mp.pool.task
---The function. Either this or `command`.
---@field target? fun(...):...
---A program and its arguments, as of `mp.process`. Its result is an mp.process.ended.
---@field command? (string|number)[]
---The arguments of the target. The field `n`, if it is there, says how many they are.
---@field args? any[]
---How long a run may take, in seconds.
---@field timeout? number
---How often it is run again when it fails.
---@field retries? integer|mp.pool.retries
---Its place among the tasks that wait: the lowest goes first. 0 by default.
---@field priority? number
---Where the program prints to, as of `mp.process`.
---@field stdout? "inherit"|"null"|"capture"|string
---Where the program prints its error messages to.
---@field stderr? "inherit"|"null"|"capture"|string

---What a journal tells of a task: the last time that it was recorded.
---@class mp.journal.task
---The number of its call among those that the script made with that journal.
---@field call integer
---What it is known by: its number, or what the option `key` gave.
---@field key string|number
---Its number in the input; of `reduce`, of its group.
---@field task integer
---Whether it has a result.
---@field status "done"|"failed"
---What kind of failure it was.
---@field kind mp.error.kind?
---The results or the message, shortened, to be read.
---@field text string
---The first result, if it is recorded.
---@field result any?
---All results; the field `n` says how many.
---@field results table?
---The error object of a failure.
---@field error mp.error?
---The number of the worker that ran it.
---@field worker integer?
---At which attempt.
---@field attempt integer
---When it began, in seconds since 1970; not known of one whose worker died.
---@field started number?
---When it ended.
---@field ended number
---CPU time that it took, in seconds.
---@field cpu number?
---The largest resident memory of its worker until it ended, in bytes.
---@field memory integer?
---The number of the run in which it was recorded.
---@field run integer

---What a journal tells of a call.
---@class mp.journal.call
---Its number.
---@field call integer
---The run that has made it last.
---@field run integer
---What was called, "pool:map" for example.
---@field name string
---Where its function stands: file and line.
---@field place string?
---How many items it has; nil where that is known at the end only.
---@field items integer?
---How many tasks were answered from the journal.
---@field answered integer
---When it began, in seconds since 1970.
---@field started number
---When it ended; nil where it has not come to its end.
---@field ended number?

---What a journal counts.
---@class mp.journal.counts
---How many tasks are done.
---@field done integer
---How many have failed.
---@field failed integer

---A journal, open to be read. It ends with its `<close>` variable.
---@class mp.journal
local journal = {} -- luacheck: ignore 241

---Goes over tasks in the order in which they were recorded.
---@param call? integer only those of that call
---@return fun():mp.journal.task? next_task what a loop calls
function journal:tasks(call) end

---Goes over the tasks that have failed.
---@param call? integer only those of that call
---@return fun():mp.journal.task? next_task what a loop calls
function journal:failures(call) end

---Counts the tasks.
---@param call? integer only those of that call
---@return mp.journal.counts counts how many there are
function journal:counts(call) end

---The calls that there were.
---@return mp.journal.call[] calls a list, by their numbers
function journal:calls() end

---Closes it; twice is harmless. Returns nothing.
function journal:close() end

---What `stats` tells of a worker.
---@class mp.pool.worker_stats
---Its number, from 1 on. Who comes in its place has the same.
---@field id integer
---The number by which the system knows it; nil while another one is to come in its place.
---@field pid integer?
---Whether it runs a task.
---@field state "idle"|"busy"
---How many tasks have ended in it, and in those that it has replaced.
---@field tasks integer
---How long it took until its process was there and knew what it is. This and the next ones are what its time went into,
---and that of those that it has replaced, in seconds up to now; together they are its life.
---@field start number
---How long it was in `init`.
---@field init number
---How long it had no task: it looked for one, or handed in what came of one.
---@field wait number
---How long it was in the tasks' functions, and what goes with these.
---@field work number
---How long it unpacked what tasks are given, and packed what they return, where either is more than some bytes.
---@field send number
---CPU time that its process has used, in seconds.
---@field cpu number
---How long its process could have run and had no CPU, in seconds: 0 where the kernel does not tell that.
---@field delay number
---The most memory that its process has had at once, in bytes, with what it shares with the script's; of one that has
---ended the most that a program which it has run had, if that is more. nil while it is not known.
---@field rss integer?

---A task that took long.
---@class mp.pool.slow_task
---The call, as "pool:map".
---@field call string
---Where its function is defined, as "resize.lua:22"; nil where that cannot be said.
---@field f string?
---The number of its item, or of the task that was submitted; of a reduction that of its group's first item.
---@field task integer
---Which run of the task this was, from 1 on.
---@field attempt integer
---The worker that ran it.
---@field worker integer
---How long it ran. Of those that are hardly longer than the fifth some may be missing.
---@field seconds number
---When it began, in seconds after the pool was made.
---@field began number
---A short text of what it was given, as Lua is written; nil where that cannot be had.
---@field input string?

---Errors with the same message, but for the numbers in it.
---@class mp.pool.error_group
---The first line of it. Where messages differ in their numbers these are "#", but for lines of files.
---@field message string
---How many runs of tasks have failed so, those that were run again among them.
---@field count integer
---The kind of the first one, as of its error object.
---@field kind mp.error.kind
---The first one's call, as "pool:map".
---@field call string
---Its number, as of a slow task; nil where there is none.
---@field task integer?
---Its worker; nil where it has not come to one.
---@field worker integer?
---Which run of the task it was.
---@field attempt integer?

---What has cost a pool time, and what to do about it. `tostring` gives the text.
---@class mp.pool.advice
---What it is about: `"chunks"` (tasks are small), `"payloads"` (what tasks are given and return is large), `"tails"`
---(the last workers of a call keep the others waiting), `"idle"` (workers have nothing to do) or `"cpu"` (they compute,
---and are more than there are CPUs for them).
---@field kind "chunks"|"payloads"|"tails"|"idle"|"cpu"
---How much of the workers' time it has cost, from 0 to 1.
---@field share number
---A sentence or two, with the figures.
---@field text string
---The figures by their names: seconds, bytes and counts.
---@field evidence table<string, number|string>

---What a pool has done, and what it does. `tostring` makes a report of it, for people.
---@class mp.pool.stats
---The workers, by their numbers.
---@field workers mp.pool.worker_stats[]
---How many tasks have ended with a result.
---@field done integer
---How many tasks have failed for good.
---@field failed integer
---How many further runs there were.
---@field retried integer
---How many workers have been replaced.
---@field restarts integer
---How many tasks wait.
---@field queued integer
---How many tasks are being run.
---@field running integer
---Seconds since the pool was made, until its end.
---@field elapsed number
---How much of that there was something to do: a call went on, or a future was pending.
---@field active number
---The share of that time in which the workers were busy, from 0 to 1.
---@field busy number
---How many bytes tasks were given, and functions took.
---@field given integer
---How many bytes came back.
---@field returned integer
---The five tasks that took longest, the longest first.
---@field slowest mp.pool.slow_task[]
---Errors by their messages, the most frequent first: of 100 messages, then all others together.
---@field errors mp.pool.error_group[]
---What has cost time, the gravest first; empty where nothing did that is worth a word.
---@field advice mp.pool.advice[]

---What a worker of a pool is, in `mp.worker`. All other keys are free: what `init` puts there, the tasks find there.
---@class mp.worker
---Its number, from 1 on.
---@field id integer
---The number of the item that it works on, or of the task that was submitted; nil between tasks.
---@field task integer?
---Which run of the task this is, from 1 on; nil between tasks.
---@field attempt integer?

---Numbers for a pool's calls, as a numeric `for` has them, floats bit by bit: `#r` of them, the i-th of which is
---`r[i]`.
---@class mp.range
---@operator len: integer

---Pieces of a file for a pool's calls, `#c` of them.
---@class mp.chunks
---@operator len: integer

---What a pool's calls take their items from: a list, whose field `n` counts if it is there; a range; a queue, to its
---end; the pieces of a file; or a function, which cannot yield, and whose first value is the next item, until that is
---nil.
---@alias mp.pool.input any[]|mp.range|mp.queue|mp.chunks|(fun():any)

---Workers that run functions over many inputs.
---It belongs to the process that made it. A task is begun once, unless retries were asked for. A task that fails, by an
---error, a timeout, or since its worker died, fails alone; the worker is replaced.
---As a `<close>` variable it finishes what it has at the end of the scope; when an error ends the scope, it is stopped.
---@class mp.pool
local pool = {} -- luacheck: ignore 241

---Makes a pool. When it returns, the workers are up. It raises what `init` raised, and when the system refuses to start
---that many.
---@param options? mp.pool.options|integer|string its options, or the number of workers alone
---@return mp.pool p the pool
function mp.pool(options) end

---Calls `f(item)` for each item, and waits for all. By default the first failure stops the call and is raised, an error
---object whose field `task` is the number of the item.
---@param f fun(item: any): any what to call
---@param input mp.pool.input where the items come from
---@param options? mp.pool.call_options how to go about it
---@return any[] results the first result of each call, in the order of the input; `n` is set when one is nil
---@return mp.error[]? errors with on_error="collect" what failed, in the order of the input
function pool:map(f, input, options) end

---The same with lists of arguments: `f(table.unpack(item))`.
---@param f fun(...): any what to call
---@param input mp.pool.input where the lists come from, whose fields `n` count if they are there
---@param options? mp.pool.call_options how to go about it
---@return any[] results the first result of each call, in the order of the input
---@return mp.error[]? errors with on_error="collect" what failed, in the order of the input
function pool:starmap(f, input, options) end

---An iterator over all results of each call, in the order of the input: `for i, ... in pool:imap(f, input) do`. No
---more of the input is taken in ahead of the loop than the window says. Leaving the loop cancels the rest; without a
---loop, that comes with the last reference to the iterator, or the end of the pool. With on_error="collect" it gives
---`i, nil, err` for what failed.
---@param f fun(item: any):... what to call
---@param input mp.pool.input where the items come from
---@param options? mp.pool.call_options how to go about it
---@return fun():integer,... next_results what a loop calls, with what else a loop needs
function pool:imap(f, input, options) end

---The same in the order in which the calls end.
---@param f fun(item: any):... what to call
---@param input mp.pool.input where the items come from
---@param options? mp.pool.call_options how to go about it
---@return fun():integer,... next_results what a loop calls, with what else a loop needs
function pool:imap_unordered(f, input, options) end

---Calls `f(item)` for each item, for what it does elsewhere.
---@param f fun(item: any) what to call
---@param input mp.pool.input where the items come from
---@param options? mp.pool.call_options how to go about it
---@return integer n how many items there were
---@return mp.error[]? errors with on_error="collect" what failed, in the order of the input
function pool:each(f, input, options) end

---Keeps the items for which `f(item)` is true.
---@param f fun(item: any): any what to ask
---@param input mp.pool.input where the items come from
---@param options? mp.pool.call_options how to go about it
---@return any[] items those, in the order of the input
---@return mp.error[]? errors with on_error="collect" what failed, in the order of the input
function pool:filter(f, input, options) end

---Looks for the first item, in the order of the input, for which `f(item)` is true. What comes behind it is not
---waited for. The first failure before it is raised, or with on_error="collect" passed over; one behind it does not
---count.
---@param f fun(item: any): any what to ask
---@param input mp.pool.input where the items come from
---@param options? mp.pool.call_options how to go about it
---@return any item the item, or nil
---@return integer? index its index
---@return mp.error[]? errors with on_error="collect", when there is none, what failed
function pool:find(f, input, options) end

---Makes one value of all items: `acc = f(acc, item)` over chunks of them, each from a copy of the identity of its
---own, and `combine(left, right)` of what the chunks came to, in the order of the input.
---@param f fun(acc: any, item: any): any adds an item
---@param input mp.pool.input where the items come from
---@param identity any what a chunk begins with; it must be neutral for `combine`
---@param combine? fun(left: any, right: any): any makes one of two, in the process of the pool; `f` by default
---@param options? mp.pool.call_options how to go about it; `chunksize` is how many items are in a chunk
---@return any acc what they all came to
---@return mp.error[]? errors with on_error="collect" what failed; `task`: which item, or the first of a lost chunk
function pool:reduce(f, input, identity, combine, options) end

---Calls `f(...)` in a worker, and waits for it.
---@param f fun(...):... what to call
---@param ... any its arguments
---@return any ... all of its results
function pool:apply(f, ...) end

---Hands a call in, and does not wait for it. A task that cannot be sent has failed, with kind "unsendable".
---@param f mp.pool.task|fun(...):... what to call, or all about it
---@param ... any the arguments of a function
---@return mp.future future what will come of it
function pool:submit(f, ...) end

---Begins a `map`, and does not wait for it.
---@param f fun(item: any): any what to call
---@param input mp.pool.input where the items come from
---@param options? mp.pool.call_options how to go about it
---@return mp.future future what will come of it: the list, and the errors if they are collected
function pool:map_async(f, input, options) end

---Says that no more tasks come: later calls raise. The workers end when all is done. Closing it twice is harmless.
---Returns nothing.
function pool:close() end

---Waits until the workers have ended. It raises before `close` or `terminate`. An iterator from which nobody takes
---meanwhile keeps nobody: when its window is full, or its queue is empty and nothing else of the pool goes on, it
---ends with kind "cancelled", after what had come. `map_async` over a queue goes on until that is closed.
---@param timeout? number how long to wait, in seconds
---@return true|nil ended true, or nil if the time was up first
---@return "timeout"? why the word that says so
function pool:join(timeout) end

---Stops all at once. What was not done fails with kind "cancelled". Returns nothing.
function pool:terminate() end

---Changes the number of workers. Those that are too many leave when they have done what they have begun. Returns
---nothing.
---@param n integer|string how many there are to be, as of the option `workers`
function pool:resize(n) end

---What the pool has done, what it does at this moment, and what its workers' time went into. `print(pool:stats())`
---prints a report: the workers, the slowest tasks with their inputs, errors by their messages, and advice with its
---evidence. It may be asked at any time, also of a pool that has ended: the workers count as they go.
---@return mp.pool.stats stats numbers of tasks, the workers and what their time went into, and advice
function pool:stats() end

---A descriptor for event loops, which can be read from when the pool has something to do in this process, as any call
---of luamp does: to take in an end, to see a worker's death, to run a task again. It belongs to the object: do not
---close it. It is for other loops: `mp.wait` and every other wait of luamp do themselves what it tells of, so that it
---is seldom readable to them; what they wait for are futures.
---@return integer fd the descriptor
function pool:pollfd() end

---What an event loop should wait for at `pollfd`.
---@return "r" events "r", which means until it can be read from
function pool:events() end

---The same loop, watched: a line on the terminal of standard error says how far it is, or one every ten seconds where
---there is none, and a receipt comes at the end. An item is done when the next one is asked for. In a worker the loop
---is as it was. In place of an iterator there may be a list or a range, for `i, item`, or all that `pairs`, `ipairs`,
---`io.lines` and their like return.
---@param iterator (fun(...):...)|any[]|mp.range what the loop is over
---@param total? integer how many items that has; it is known of lists, ranges, `ipairs(t)` and `pairs(t)`
---@param label? string the line's name, "loop" without one
---@param ... any what else `pairs` and its like return
---@return fun(...):... next_values what a loop calls, with what else a loop needs
function mp.progress(iterator, total, label, ...) end

---`map` of a pool that is made for this call. Forked workers inherit the function and the items of a list.
---@param f fun(item: any): any what to call
---@param input mp.pool.input where the items come from
---@param options? mp.pool.call_options|mp.pool.options how to go about it, and the pool
---@return any[] results the first result of each call, in the order of the input; `n` is set when one is nil
---@return mp.error[]? errors with on_error="collect" what failed, in the order of the input
function mp.map(f, input, options) end

---`starmap` of a pool that is made for this call. Forked workers inherit the function and the items of a list.
---@param f fun(...): any what to call
---@param input mp.pool.input where the lists come from, whose fields `n` count if they are there
---@param options? mp.pool.call_options|mp.pool.options how to go about it, and the pool
---@return any[] results the first result of each call, in the order of the input
---@return mp.error[]? errors with on_error="collect" what failed, in the order of the input
function mp.starmap(f, input, options) end

---`imap` of a pool that is made for this call. Forked workers inherit the function and the items of a list.
---@param f fun(item: any):... what to call
---@param input mp.pool.input where the items come from
---@param options? mp.pool.call_options|mp.pool.options how to go about it, and the pool
---@return fun():integer,... next_results what a loop calls, with what else a loop needs
function mp.imap(f, input, options) end

---`imap_unordered` of a pool that is made for this call. Forked workers inherit the function and the items of a list.
---@param f fun(item: any):... what to call
---@param input mp.pool.input where the items come from
---@param options? mp.pool.call_options|mp.pool.options how to go about it, and the pool
---@return fun():integer,... next_results what a loop calls, with what else a loop needs
function mp.imap_unordered(f, input, options) end

---`each` of a pool that is made for this call. Forked workers inherit the function and the items of a list.
---@param f fun(item: any) what to call
---@param input mp.pool.input where the items come from
---@param options? mp.pool.call_options|mp.pool.options how to go about it, and the pool
---@return integer n how many items there were
---@return mp.error[]? errors with on_error="collect" what failed, in the order of the input
function mp.each(f, input, options) end

---`filter` of a pool that is made for this call. Forked workers inherit the function and the items of a list.
---@param f fun(item: any): any what to ask
---@param input mp.pool.input where the items come from
---@param options? mp.pool.call_options|mp.pool.options how to go about it, and the pool
---@return any[] items those, in the order of the input
---@return mp.error[]? errors with on_error="collect" what failed, in the order of the input
function mp.filter(f, input, options) end

---`find` of a pool that is made for this call. Forked workers inherit the function and the items of a list.
---@param f fun(item: any): any what to ask
---@param input mp.pool.input where the items come from
---@param options? mp.pool.call_options|mp.pool.options how to go about it, and the pool
---@return any item the item, or nil
---@return integer? index its index
---@return mp.error[]? errors with on_error="collect", when there is none, what failed
function mp.find(f, input, options) end

---`reduce` of a pool that is made for this call. Forked workers inherit the function and the items of a list.
---@param f fun(acc: any, item: any): any adds an item
---@param input mp.pool.input where the items come from
---@param identity any what a chunk begins with; it must be neutral for `combine`
---@param combine? fun(left: any, right: any): any makes one of two, in the process of the pool; `f` by default
---@param options? mp.pool.call_options|mp.pool.options as of `pool:reduce`, and of the pool
---@return any acc what they all came to
---@return mp.error[]? errors with on_error="collect" what failed; `task`: which item, or the first of a lost chunk
function mp.reduce(f, input, identity, combine, options) end

---Opens the journal of calls, to read it, also while a program writes to it. It raises when there is none, or when it
---is damaged.
---@param path string the file
---@return mp.journal j the journal
function mp.journal(path) end

---The numbers from `a` to `b`, as a numeric `for` has them.
---@param a number the first one
---@param b number the last one, at most
---@param step? number from one to the next, 1 by default
---@return mp.range r an input
function mp.range(a, b, step) end

---The pieces of a file, each of whole lines: the lines that begin within so many bytes. The workers read them, and a
---function is given the text. It raises when the file cannot be read.
---@param path string the file
---@param size? integer|string how many bytes, or a text as "4M"; 1 MiB by default
---@return mp.chunks c an input
function mp.chunks(path, size) end

-- --- futures -----------------------------------------------------------------

---What will come of a task that was submitted, or of a `map_async`. It is of use in the process of the pool.
---@class mp.future
---What made it fail, or cancelled it; nil before the end and if it did not fail.
---@field error mp.error?
local future = {} -- luacheck: ignore 241

---Waits for the result. It may be asked for again, and gives the same.
---It raises an error object when the task failed or was cancelled, or when the time was up first (kind "pending").
---@param timeout? number how long to wait, in seconds
---@return any ... all results of the task; of a command an mp.process.ended
function future:result(timeout) end

---Waits until the task has ended in any way.
---@param timeout? number how long to wait, in seconds
---@return true|nil done true, or nil if the time was up first
---@return "timeout"? why the word that says so
function future:wait(timeout) end

---Whether the task has ended: with a result, or failed, or cancelled.
---@return boolean is_done whether it has
function future:is_done() end

---Whether a worker is at it.
---@return boolean is_running whether one is
function future:is_running() end

---Whether it was cancelled.
---@return boolean is_cancelled whether it was
function future:is_cancelled() end

---A descriptor for event loops, which can be read from when the task has ended. It may be so when the pool has
---something else to do for it, as any call of luamp does: then `is_done` says that it has not. It belongs to the
---object: do not close it.
---@return integer fd the descriptor
function future:pollfd() end

---What an event loop should wait for at `pollfd`.
---@return "r" events "r", which means until it can be read from
function future:events() end

---Gives the task up: it is not begun, or stopped with what it has started.
---@return boolean cancelled true, or false if it had ended already
function future:cancel() end

---Has a function called with the future when the task has ended: in a wait of luamp, or at once if it has ended
---already. What that function raises is reported on stderr.
---@param f fun(f: mp.future) what to call
---@return mp.future f the future itself
function future:on_done(f) end

---An iterator over futures in the order in which they end: `for f in mp.as_completed(futures) do`. It raises kind
---"pending" when the time is up before that.
---@param futures mp.future[] the futures
---@param timeout? number how long to wait for all of them, in seconds
---@return fun():mp.future? next_future what a loop calls
function mp.as_completed(futures, timeout) end

---Waits for all futures. It raises the first failure at once, or kind "pending" when the time was up first.
---@param futures mp.future[] the futures
---@param timeout? number how long to wait, in seconds
---@return any[] results the first result of each, in the order of the list; `n` is set when one is nil
function mp.all(futures, timeout) end

-- --- errors ------------------------------------------------------------------

---How a process comes to be.
---@alias mp.start_method
---| "fork" # as a copy of the one that starts it
---| "forkserver" # with a fresh interpreter, as a fork of a small process that stands by
---| "spawn" # with a fresh interpreter, in a fresh image of the program

---The way in which a process failed.
---@alias mp.error.kind
---| "error" # it raised an error that nobody caught
---| "exit" # it left by `os.exit` with a status other than 0
---| "signal" # a signal killed it
---| "timeout" # its time limit was reached
---| "pending" # it has not failed: the wait for its result ended first
---| "unsendable" # it ended well, but its results cannot be sent; or an item cannot
---| "cancelled" # it was given up: a task, by `cancel` or with its pool
---| "closed" # a queue was closed, or no process holds the other end of a pipe
---| "deadlock" # all processes wait for each other: a wait of the main process raises it
---| "interrupted" # this process was told to end, by Ctrl-C, SIGTERM or SIGHUP

---The failure of a process or of a pool's task, as `result` and `map` raise it.
---As text it is a complete report: the message, the process, the traceback there, and that of each
---call that raised it.
---@class mp.error
---The way in which it failed.
---@field kind mp.error.kind
---What happened, in words; for a raised string or number that itself.
---@field message string
---What was raised, a table for example; nil when it cannot be sent.
---@field value any
---Where it was raised, in the process that failed; nil when no Lua code raised it, empty when memory ran out.
---@field traceback string?
---The name of the process that failed.
---@field process string?
---The pid of the process that failed.
---@field pid integer?
---The exit code of the process, as in its field of that name.
---@field exitcode integer?
---The signal that killed it, as in "SIGKILL", or that interrupted this process.
---@field signal string?
---The number of the item whose task failed, or of the task that was submitted; nil for a process.
---@field task integer?
---Which run of the task it was, from 1 on.
---@field attempt integer?
---The number of the worker.
---@field worker integer?
---The name of the host on which the task has failed, if that is another one than the script's.
---@field host string?
---@operator concat(any): string

---Whether a value is an error object of luamp.
---@param value any what `pcall` returned, for example
---@return boolean is_error whether it is one
function mp.is_error(value) end

-- --- this process and others --------------------------------------------------

---The process that calls this, as an object; its name is "main" in the first process of a program.
---@return mp.process p the caller
function mp.current_process() end

---The process that started the caller. Only its name, pid and daemon, `is_alive` and `join` are of use.
---@return mp.process|nil p the creator, or nil in the first process of a program
function mp.parent_process() end

---The children of this process that have not ended, in order of their start.
---@return mp.process[] children those that are alive
function mp.active_children() end

---The pid of this process.
---@return integer pid its number
function mp.getpid() end

---The pid of the process that this one is a child of for the system. It changes when that one ends.
---@return integer pid its number
function mp.getppid() end

---Which count `mp.cpu_count` is to give.
---@class mp.cpu_count.options
---All CPUs of the machine, whoever may use them.
---@field all? boolean
---The cores of the machine: hardware threads of one core count once.
---@field physical? boolean

---How many CPUs this process may use: the least of its affinity mask, the quota of its control groups
---rounded up, and the environment variable LUAMP_CPUS, which raises unless it is a positive integer.
---It is at least 1.
---@param options? mp.cpu_count.options for another count
---@return integer n the count
function mp.cpu_count(options) end

---A host on which pools may have workers.
---@class mp.host
---What it calls itself.
---@field name string
---Its number among the hosts: 0 is the script's own.
---@field rank integer
---How many CPUs luamp may use there.
---@field cpus integer
---Whether it has been given up.
---@field lost boolean

---The hosts of the script's pools: its own first, and under a launcher of MPI those of the other ranks, in the order
---of these. In a task, and in other processes than the script's: the own host alone, as rank 0.
---Raises when one of them runs another build of luamp.
---@return mp.host[] hosts at least one
function mp.hosts() end

---Waits until at least one of the objects is ready: a process or a future that has ended, a queue or the end of a pipe
---from which something can be taken or nothing will come any more, a lock or a semaphore of which `acquire` would not
---wait, an event that is set, a descriptor that can be read from.
---An empty list without a timeout raises.
---@param objects (mp.process|mp.queue|mp.pipe|mp.lock|mp.semaphore|mp.event|mp.future|integer)[] what to wait for
---@param timeout? number how long to wait, in seconds
---@return (mp.process|mp.queue|mp.pipe|mp.lock|mp.semaphore|mp.event|mp.future|integer)[] ready those that are
function mp.wait(objects, timeout) end

-- --- logs --------------------------------------------------------------------

---Writes lines, each of which is a list of fields: time, level, process, in a worker the task, the message (msg), and
---what was given besides. Its functions are called with a dot. A value that is more than plain characters stands in
---quotes, with escapes as in Lua, so that a line is one line. A key that is one of the line's own gets a `_` behind it.
---Each function returns nothing when its level is off.
---@class mp.logger
local logger = {} -- luacheck: ignore 241

---Writes a line of the level "debug".
---@param message any what has happened: a text, or what has one
---@param fields? table<string, any> what else there is to know
---@return true|nil ok true when it is written, nil when it cannot be
---@return string? why it cannot
function logger.debug(message, fields) end

---Writes a line of the level "info".
---@param message any what has happened: a text, or what has one
---@param fields? table<string, any> what else there is to know
---@return true|nil ok true when it is written, nil when it cannot be
---@return string? why it cannot
function logger.info(message, fields) end

---Writes a line of the level "warn".
---@param message any what has happened: a text, or what has one
---@param fields? table<string, any> what else there is to know
---@return true|nil ok true when it is written, nil when it cannot be
---@return string? why it cannot
function logger.warn(message, fields) end

---Writes a line of the level "error".
---@param message any what has happened: a text, or what has one
---@param fields? table<string, any> what else there is to know
---@return true|nil ok true when it is written, nil when it cannot be
---@return string? why it cannot
function logger.error(message, fields) end

---Makes a logger whose lines have more fields. It travels like other values.
---@param fields table<string, any> the fields; those of a line go before them
---@return mp.logger other the logger
function logger.bind(fields) end

---Whether lines of a level are written, for what is costly to work out.
---@param level mp.log.level the level
---@return boolean is whether they are
function logger.is_enabled(level) end

---The logger that `mp.log` is.
---@class mp.log: mp.logger
local log = {} -- luacheck: ignore 241

---Sets up logging for this process and those that it starts from then on. Returns nothing.
---@param options mp.log.options what is to be; what is not given stays
function log.configure(options) end

---How `mp.log` is set up.
---@class mp.log.options
---What is less severe is not written: "info" by default. LUAMP_LOG in the environment goes before it.
---@field level? mp.log.level
---Where lines go: to the end of the file of that path, or with false to stderr, which is the default.
---@field file? string|false

---How severe a line is.
---@alias mp.log.level
---| "debug" # of use while one looks for something
---| "info" # what happens
---| "warn" # what should not happen, and can be lived with
---| "error" # what fails
---| "off" # of `configure` and LUAMP_LOG alone: no line at all

---Waits for a time. Returns nothing.
---@param seconds number how long
function mp.sleep(seconds) end

---A clock that never goes back, for measuring how long something takes.
---@return number seconds the seconds since some moment in the past
function mp.clock() end

---Registers a function to be called, without arguments, when this process ends; the one registered
---last is called first.
---Children do not inherit it.
---@param f fun() what to call
---@return fun() f the same function
function mp.atexit(f) end

---What a signal does to this process. `f(name)` is called at the next instruction of the script, or at once in a
---wait of luamp, which then goes on, or ends with the error that `f` raised. It is called once for all signals of
---the name that arrived before, and not while it runs for the same signal. It cannot yield.
---For SIGINT, SIGTERM and SIGHUP it is called in place of the error of kind "interrupted".
---Children, and programs of `mp.process`, begin with what was there before the first call; those of
---`os.execute` and `io.popen` ignore what is ignored here.
---It raises for a signal that cannot be handled, and for SIGURG, by which processes of luamp wake each other.
---@param name string the signal, as in "SIGUSR1" or "USR1"
---@param f (fun(name: string)|false)? what to call; false ignores the signal, nil restores what was there before
---@return (fun(name: string)|false)? before what stood there, as given by an earlier call
function mp.on_signal(name, f) end

---A metatable of objects, tables or userdata, that are sent as a call.
---@class mp.sendable
---Is given the object, and returns a function and arguments for it. The receiver calls the function; its
---result, which must not be nil, takes the object's place. It must not need the object itself.
---@field __mp_send fun(object: any): fun(...): any, ...

---Gives an object a name, by which it travels: the receiver of a message takes what it has registered
---under it. So both sides call this, or one does before it starts the other.
---It raises for a name that another object has.
---@param name string the name
---@param object table|function|userdata a metatable, class, function or sentinel
---@return table|function|userdata object the same
function mp.register(name, object) end

---Makes random numbers repeat: those of this process from here on, and those of the processes that it
---starts, by their order.
---Without it they are different in each process and each time. Returns nothing.
---@param n integer the seed
function mp.seed(n) end

---Chooses how processes come to be, for those that do not say it by themselves: from now on, and in the children that
---this process starts. It may be called again. Returns nothing.
---@param method mp.start_method its name, as of the option
function mp.set_start_method(method) end

---How processes come to be that do not say it by themselves.
---@return mp.start_method method by its name
function mp.get_start_method() end

_G.mp = mp -- in the program luamp

return mp
