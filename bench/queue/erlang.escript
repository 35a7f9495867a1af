#!/usr/bin/env escript
%% erlang.escript KIND COUNT: the mean time, in seconds, of passing one between two processes
%% of Erlang, which are no processes of the system: an integer (`each`), an integer there and
%% back (`trip`), a binary of 1 MiB, which is shared and not copied (`strings`).
-mode(compile).

main([Kind, Text]) ->
    Count = list_to_integer(Text),
    run(Kind, max(1, Count div 10)),
    Start = erlang:monotonic_time(nanosecond),
    run(Kind, Count),
    io:format("~.12f~n", [(erlang:monotonic_time(nanosecond) - Start) / Count / 1.0e9]).

run("trip", N) ->
    Main = self(),
    Echo = spawn_link(fun() -> echo(Main) end),
    trip(Echo, N),
    Echo ! stop;
run(Kind, N) ->
    Main = self(),
    spawn_link(fun() -> send(Main, item(Kind), N) end),
    get_all(N).

item("strings") -> binary:copy(<<"x">>, 1 bsl 20);
item("each") -> 1.

send(_, _, 0) -> ok;
send(To, Item, N) -> To ! {item, Item}, send(To, Item, N - 1).

get_all(0) -> ok;
get_all(N) -> receive {item, _} -> get_all(N - 1) end.

trip(_, 0) -> ok;
trip(Echo, N) -> Echo ! {item, N}, receive {item, _} -> trip(Echo, N - 1) end.

echo(Main) ->
    receive
        stop -> ok;
        Message -> Main ! Message, echo(Main)
    end.
