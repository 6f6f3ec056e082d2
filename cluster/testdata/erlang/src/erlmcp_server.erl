%% The MCP server as a function from lines to lines, in both eras of the protocol.
-module(erlmcp_server).
-export([answer/1, name/0]).

-define(LATEST_SESSION, <<"2025-11-25">>).
-define(VERSIONS, [<<"2026-07-28">>, ?LATEST_SESSION, <<"2025-06-18">>, <<"2025-03-26">>, <<"2024-11-05">>]).

name() ->
    list_to_binary(os:getenv("ERLMCP_NODE", "erlmcp")).

%% The reply to a line, without its newline, or none.
answer(Line) ->
    case erlmcp_json:decode(Line) of
        {ok, #{<<"method">> := Method, <<"id">> := Id} = Request} when is_binary(Method) ->
            erlmcp_json:encode(reply(Id, call(Method, params(Request))));
        {ok, #{<<"jsonrpc">> := _}} ->
            none;
        {ok, _} ->
            erlmcp_json:encode(reply(null, {error, -32600, <<"not a request">>}));
        error ->
            erlmcp_json:encode(reply(null, {error, -32700, <<"not JSON">>}))
    end.

params(#{<<"params">> := Params}) when is_map(Params) -> Params;
params(_) -> #{}.

reply(Id, {error, Code, Text}) ->
    #{<<"jsonrpc">> => <<"2.0">>, <<"id">> => Id, <<"error">> => #{<<"code">> => Code, <<"message">> => Text}};
reply(Id, Result) ->
    #{<<"jsonrpc">> => <<"2.0">>, <<"id">> => Id, <<"result">> => Result}.

call(<<"ping">>, _) ->
    #{};
call(<<"initialize">>, Params) ->
    #{<<"protocolVersion">> => agreed(maps:get(<<"protocolVersion">>, Params, none)),
      <<"capabilities">> => capabilities(), <<"serverInfo">> => info()};
call(<<"server/discover">>, _) ->
    #{<<"resultType">> => <<"complete">>, <<"supportedVersions">> => ?VERSIONS,
      <<"capabilities">> => capabilities(), <<"serverInfo">> => info()};
call(<<"tools/list">>, _) ->
    #{<<"resultType">> => <<"complete">>, <<"tools">> => [
        #{<<"name">> => <<"whoami">>, <<"description">> => <<"The name of the node that answers">>,
          <<"inputSchema">> => #{<<"type">> => <<"object">>}}]};
call(<<"tools/call">>, #{<<"name">> := <<"whoami">>}) ->
    Name = name(),
    #{<<"resultType">> => <<"complete">>, <<"structuredContent">> => #{<<"node">> => Name},
      <<"content">> => [#{<<"type">> => <<"text">>, <<"text">> => Name}]};
call(<<"tools/call">>, _) ->
    {error, -32602, <<"unknown tool">>};
call(_, _) ->
    {error, -32601, <<"unknown method">>}.

agreed(Version) ->
    case lists:member(Version, tl(?VERSIONS)) of
        true -> Version;
        false -> ?LATEST_SESSION
    end.

capabilities() ->
    #{<<"tools">> => #{}}.

info() ->
    #{<<"name">> => <<"erlmcp">>, <<"version">> => <<"1.0.0">>}.
