%% A small MCP node in plain Erlang/OTP: newline-delimited JSON-RPC over TCP, and GET /health over HTTP.
-module(erlmcp_app).
-behaviour(application).
-export([start/2, stop/1]).

start(_Type, _Args) ->
    erlmcp_sup:start_link().

stop(_State) ->
    ok.
