#!/usr/bin/env escript
%% erlang.escript KIND WORKERS COUNT: the mean time, in seconds, of a task that doubles an integer
%% in one of so many processes of Erlang, which are no processes of the system: many, each by a
%% message of its own, the results in order (`map1`), or one after the other (`apply`).
-mode(compile).

main([Kind, Workers, Text]) ->
    Main = self(),
    Pool = [spawn_link(fun() -> work(Main) end) || _ <- lists:seq(1, list_to_integer(Workers))],
    Count = list_to_integer(Text),
    N = min(Count, 100000),
    Calls = Count div N,
    run(Kind, Pool, max(1, N div 10)),
    Start = erlang:monotonic_time(nanosecond),
    [run(Kind, Pool, N) || _ <- lists:seq(1, Calls)],
    io:format("~.12f~n", [(erlang:monotonic_time(nanosecond) - Start) / (Calls * N) / 1.0e9]).

work(Main) ->
    receive {I, X} -> Main ! {I, 2 * X}, work(Main) end.

run("map1", Pool, N) ->
    send(Pool, [], 1, N),
    Results = lists:keysort(1, get_all(N, [])),
    {N, Last} = lists:last(Results),
    Last = 2 * N;
run("apply", [Worker | _], N) -> apply_all(Worker, N).

send(_, _, I, N) when I > N -> ok;
send([], Done, I, N) -> send(lists:reverse(Done), [], I, N);
send([Worker | Rest], Done, I, N) -> Worker ! {I, I}, send(Rest, [Worker | Done], I + 1, N).

get_all(0, Results) -> Results;
get_all(N, Results) -> receive {_, _} = R -> get_all(N - 1, [R | Results]) end.

apply_all(_, 0) -> ok;
apply_all(Worker, I) -> Worker ! {I, I}, receive {I, _} -> apply_all(Worker, I - 1) end.
