%% GET /health, one request a connection.
-module(erlmcp_http).
-export([options/0, serve/1]).

options() ->
    [{packet, http_bin}].

serve(Socket) ->
    case gen_tcp:recv(Socket, 0, 5000) of
        {ok, {http_request, 'GET', {abs_path, <<"/health">>}, _}} ->
            Body = erlmcp_json:encode(#{<<"status">> => <<"ok">>, <<"node">> => erlmcp_server:name()}),
            reply(Socket, "200 OK", Body);
        {ok, {http_request, _, _, _}} ->
            reply(Socket, "404 Not Found", <<"{}">>);
        _ ->
            ok
    end,
    gen_tcp:close(Socket).

reply(Socket, Status, Body) ->
    skip_headers(Socket, 100),
    gen_tcp:send(Socket, ["HTTP/1.1 ", Status, "\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: ",
                          integer_to_list(iolist_size(Body)), "\r\n\r\n", Body]).

skip_headers(_Socket, 0) ->
    ok;
skip_headers(Socket, N) ->
    case gen_tcp:recv(Socket, 0, 5000) of
        {ok, {http_header, _, _, _, _}} -> skip_headers(Socket, N - 1);
        _ -> ok
    end.
