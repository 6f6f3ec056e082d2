%% One JSON-RPC message a line.
-module(erlmcp_tcp).
-export([options/0, serve/1, serve/2]).

-define(LONGEST_LINE, 1048576).

options() ->
    [{packet, line}, {packet_size, 0}, {buffer, 4096}, {nodelay, true}, {send_timeout, 30000}, {send_timeout_close, true}].

serve(Socket) ->
    serve(Socket, []).

%% Parts are what has come of a line that is longer than the buffer, the last one first. An idle
%% connection hibernates, to take little memory.
serve(Socket, Parts) ->
    inet:setopts(Socket, [{active, once}]),
    receive
        {tcp, Socket, Data} ->
            case {binary:last(Data), iolist_size(Parts)} of
                {$\n, _} ->
                    answer(Socket, iolist_to_binary(lists:reverse(Parts, [Data]))),
                    serve(Socket, []);
                {_, Size} when Size > ?LONGEST_LINE ->
                    gen_tcp:close(Socket);
                _ ->
                    serve(Socket, [Data | Parts])
            end;
        {tcp_closed, Socket} ->
            ok;
        {tcp_error, Socket, _} ->
            gen_tcp:close(Socket)
    after 1000 ->
        erlang:hibernate(?MODULE, serve, [Socket, Parts])
    end.

answer(Socket, Line) ->
    case erlmcp_server:answer(Line) of
        none -> ok;
        Reply -> gen_tcp:send(Socket, [Reply, $\n])
    end.
