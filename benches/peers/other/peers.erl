%% Erlang: prints how many nanoseconds one of a work takes, or how many bytes an idle process does.
%% A process always has a mailbox, and a mailbox never is full.
-module(peers).
-export([main/1]).

main([Work, Number]) ->
    N = list_to_integer(Number),
    Figure = case Work of
        "memory" -> memory(N) / N;
        "spawn" -> each(fun spawned/1, N);
        "ask" -> each(fun asked/1, N);
        "unbounded" -> each(fun sent/1, N)
    end,
    io:format("~.3f~n", [Figure]),
    halt(0).

%% Runs with more and more at a time until that is long enough to tell, and then once for real.
each(Run, Milliseconds) ->
    Target = Milliseconds * 1000000,
    {N, Took} = enough(Run, 8000, Target div 8),
    M = (round(N * Target / Took) div 8000 + 1) * 8000,
    timed(Run, M) / M.

enough(Run, N, Least) ->
    case timed(Run, N) of
        Took when Took < Least -> enough(Run, N * 4, Least);
        Took -> {N, Took}
    end.

timed(Run, N) ->
    Started = erlang:monotonic_time(nanosecond),
    Run(N),
    erlang:monotonic_time(nanosecond) - Started.

idle() ->
    receive _ -> idle() end.

memory(N) ->
    Before = resident(),
    Processes = [spawn(fun idle/0) || _ <- lists:seq(1, N)],
    Self = self(),
    spawn(fun() -> Self ! last end),
    receive last -> ok end,
    Grown = resident() - Before,
    %% The list is a part of it: the references are kept.
    N = length(Processes),
    Grown.

resident() ->
    Line = os:cmd("grep VmRSS /proc/" ++ os:getpid() ++ "/status"),
    ["VmRSS:", Kilobytes, "kB"] = string:tokens(Line, " \t\n"),
    list_to_integer(Kilobytes) * 1024.

%% A thousand at a time; the monitor tells the end.
spawned(0) ->
    ok;
spawned(N) ->
    Wave = [spawn_monitor(fun() -> ok end) || _ <- lists:seq(1, 1000)],
    [receive {'DOWN', Monitor, process, _, normal} -> ok end || {_, Monitor} <- Wave],
    spawned(N - 1000).

counter(Asked) ->
    receive
        {get, From, Reference} ->
            From ! {Reference, Asked + 1},
            counter(Asked + 1);
        stop ->
            ok
    end.

%% What `gen_server:call` does, without its monitor.
asked(N) ->
    Self = self(),
    Server = spawn_link(fun() -> counter(0) end),
    spawn_link(fun() -> ask(Server, N), Self ! done end),
    receive done -> ok end,
    Server ! stop.

ask(_, 0) ->
    ok;
ask(Server, N) ->
    Reference = make_ref(),
    Server ! {get, self(), Reference},
    receive {Reference, _} -> ask(Server, N - 1) end.

%% Eight senders. After 64 messages each waits until the reader has come so far.
sent(N) ->
    Self = self(),
    Reader = spawn_link(fun() -> read(N), Self ! done end),
    [spawn_link(fun() -> send(Reader, 1, N div 8) end) || _ <- lists:seq(1, 8)],
    receive done -> ok end.

read(0) ->
    ok;
read(N) ->
    receive
        {seen, From, Reference} ->
            From ! Reference,
            read(N);
        _ ->
            read(N - 1)
    end.

send(_, Nth, N) when Nth > N ->
    ok;
send(Reader, Nth, N) ->
    Reader ! Nth,
    case Nth band 63 of
        0 ->
            Reference = make_ref(),
            Reader ! {seen, self(), Reference},
            receive Reference -> ok end;
        _ ->
            ok
    end,
    send(Reader, Nth + 1, N).
