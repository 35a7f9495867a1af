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
---How the process comes to be: as a copy of the one that starts it, which is the only way in this release.
---@field start_method? "fork"
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
---It raises when the system refuses, or when the folder or a file of the options is not there.
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

-- --- errors ------------------------------------------------------------------

---The way in which a process failed.
---@alias mp.error.kind
---| "error" # it raised an error that nobody caught
---| "exit" # it left by `os.exit` with a status other than 0
---| "signal" # a signal killed it
---| "pending" # it has not failed: the wait for its result ended first
---| "unsendable" # it ended well, but its results cannot be sent
---| "interrupted" # this process was told to end, by Ctrl-C, SIGTERM or SIGHUP

---The failure of a process, as `result` raises it.
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

---Waits until at least one of the objects is ready: a process that has ended, a descriptor that can be
---read from.
---An empty list without a timeout raises.
---@param objects (mp.process|integer)[] what to wait for
---@param timeout? number how long to wait, in seconds
---@return (mp.process|integer)[] ready those that are ready, in the order given; empty if the time was up first
function mp.wait(objects, timeout) end

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

---Makes random numbers repeat: those of this process from here on, and those of the processes that it
---starts, by their order.
---Without it they are different in each process and each time. Returns nothing.
---@param n integer the seed
function mp.seed(n) end

---Chooses how processes come to be, for those that do not say it by themselves. Returns nothing.
---@param method "fork" the only way in this release
function mp.set_start_method(method) end

---How processes come to be that do not say it by themselves.
---@return "fork" method the only way in this release
function mp.get_start_method() end

_G.mp = mp -- in the program luamp

return mp
