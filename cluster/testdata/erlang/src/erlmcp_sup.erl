%% One listener a port that is to be served.
-module(erlmcp_sup).
-behaviour(supervisor).
-export([start_link/0, init/1]).

start_link() ->
    supervisor:start_link({local, ?MODULE}, ?MODULE, []).

init([]) ->
    Listeners = [listener(Port, Serve) || {Key, Serve} <- [{tcp_port, erlmcp_tcp}, {http_port, erlmcp_http}],
                                          Port <- [application:get_env(erlmcp, Key, 0)], Port > 0],
    {ok, {#{strategy => one_for_one}, Listeners}}.

listener(Port, Serve) ->
    #{id => Serve, start => {erlmcp_listener, start_link, [Port, Serve]}}.
