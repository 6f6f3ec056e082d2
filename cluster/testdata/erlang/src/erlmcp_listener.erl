%% Listens on a port and serves each connection in a process of its own, by Serve:serve(Socket).
-module(erlmcp_listener).
-export([start_link/2, init/3]).

-define(ACCEPTORS, 8).

start_link(Port, Serve) ->
    proc_lib:start_link(?MODULE, init, [self(), Port, Serve]).

init(Parent, Port, Serve) ->
    process_flag(trap_exit, true),
    {ok, Address} = inet:parse_address(os:getenv("ERLMCP_HOST", "127.0.0.1")),
    Options = [binary, {ip, Address}, {active, false}, {reuseaddr, true}, {backlog, 4096} | Serve:options()],
    case gen_tcp:listen(Port, Options) of
        {ok, Listener} ->
            [spawn_link(fun() -> accept(Listener, Serve) end) || _ <- lists:seq(1, ?ACCEPTORS)],
            proc_lib:init_ack(Parent, {ok, self()}),
            wait(Parent);
        {error, Reason} ->
            proc_lib:init_ack(Parent, {error, {listen, Port, Reason}})
    end.

wait(Parent) ->
    receive
        {'EXIT', Parent, Reason} -> exit(Reason);
        {'EXIT', _, normal} -> wait(Parent);
        {'EXIT', _, Reason} -> exit(Reason);
        _ -> wait(Parent)
    end.

accept(Listener, Serve) ->
    case gen_tcp:accept(Listener) of
        {ok, Socket} ->
            Pid = spawn(fun() -> receive go -> Serve:serve(Socket) end end),
            case gen_tcp:controlling_process(Socket, Pid) of
                ok -> Pid ! go;
                {error, _} -> exit(Pid, kill)
            end,
            accept(Listener, Serve);
        {error, closed} ->
            exit(normal);
        {error, Reason} when Reason =:= emfile; Reason =:= enfile ->
            timer:sleep(100),
            accept(Listener, Serve);
        {error, _} ->
            accept(Listener, Serve)
    end.
