%% JSON, as far as MCP needs it: objects are maps with binary keys, arrays lists, strings binaries. OTP has
%% a module for it only from 27 on.
-module(erlmcp_json).
-export([decode/1, encode/1]).

-define(DEEPEST, 100).

decode(Text) ->
    try value(space(Text), ?DEEPEST) of
        {Value, Rest} ->
            case space(Rest) of
                <<>> -> {ok, Value};
                _ -> error
            end
    catch
        _:_ -> error
    end.

value(_, 0) -> throw(too_deep);
value(<<"{", Rest/binary>>, Depth) -> object(space(Rest), #{}, Depth - 1);
value(<<"[", Rest/binary>>, Depth) -> array(space(Rest), [], Depth - 1);
value(<<"\"", Rest/binary>>, _) -> string(Rest, []);
value(<<"true", Rest/binary>>, _) -> {true, Rest};
value(<<"false", Rest/binary>>, _) -> {false, Rest};
value(<<"null", Rest/binary>>, _) -> {null, Rest};
value(Text, _) -> number(Text).

object(<<"}", Rest/binary>>, Map, _) -> {Map, Rest};
object(<<"\"", Text/binary>>, Map, Depth) ->
    {Key, Rest} = string(Text, []),
    <<":", After/binary>> = space(Rest),
    {Value, Next} = value(space(After), Depth),
    New = Map#{Key => Value},
    case space(Next) of
        <<",", More/binary>> -> object(<<"\"", _/binary>> = space(More), New, Depth);
        <<"}", End/binary>> -> {New, End}
    end.

array(<<"]", Rest/binary>>, [], _) -> {[], Rest};
array(Text, Values, Depth) ->
    {Value, Next} = value(Text, Depth),
    case space(Next) of
        <<",", More/binary>> -> array(space(More), [Value | Values], Depth);
        <<"]", End/binary>> -> {lists:reverse([Value | Values]), End}
    end.

string(<<"\"", Rest/binary>>, Parts) ->
    {iolist_to_binary(lists:reverse(Parts)), Rest};
string(<<"\\u", Hex:4/binary, Rest/binary>>, Parts) ->
    case {binary_to_integer(Hex, 16), Rest} of
        {High, <<"\\u", Low:4/binary, More/binary>>} when High >= 16#D800, High < 16#DC00 ->
            Point = 16#10000 + ((High - 16#D800) bsl 10) + (binary_to_integer(Low, 16) - 16#DC00),
            string(More, [<<Point/utf8>> | Parts]);
        {Point, _} ->
            string(Rest, [<<Point/utf8>> | Parts])
    end;
string(<<"\\", C, Rest/binary>>, Parts) ->
    string(Rest, [unescaped(C) | Parts]);
string(<<C/utf8, Rest/binary>>, Parts) when C >= 32 ->
    string(Rest, [<<C/utf8>> | Parts]).

unescaped($n) -> $\n;
unescaped($t) -> $\t;
unescaped($r) -> $\r;
unescaped($b) -> $\b;
unescaped($f) -> $\f;
unescaped(C) when C =:= $"; C =:= $\\; C =:= $/ -> C.

number(Text) ->
    {match, [{0, Size}]} = re:run(Text, "^-?[0-9]+(\\.[0-9]+)?([eE][+-]?[0-9]+)?", [{capture, first}]),
    <<Number:Size/binary, Rest/binary>> = Text,
    case re:run(Number, "^-?[0-9]+$", [{capture, none}]) of
        match when Size =< 400 -> {binary_to_integer(Number), Rest};
        nomatch -> {raw_float(Number), Rest}
    end.

%% Erlang wants a fraction before an exponent.
raw_float(Number) ->
    case binary:match(Number, <<".">>) of
        nomatch -> binary_to_float(re:replace(Number, "[eE]", ".0e", [{return, binary}]));
        _ -> binary_to_float(Number)
    end.

space(<<C, Rest/binary>>) when C =:= $\s; C =:= $\t; C =:= $\r; C =:= $\n -> space(Rest);
space(Text) -> Text.

encode(Map) when is_map(Map) ->
    [${, lists:join($,, [[encode(K), $:, encode(V)] || {K, V} <- maps:to_list(Map)]), $}];
encode(List) when is_list(List) ->
    [$[, lists:join($,, [encode(V) || V <- List]), $]];
encode(true) -> <<"true">>;
encode(false) -> <<"false">>;
encode(null) -> <<"null">>;
encode(N) when is_integer(N) -> integer_to_binary(N);
encode(F) when is_float(F) -> float_to_binary(F, [short]);
encode(Text) when is_binary(Text) -> [$", << <<(escaped(C))/binary>> || <<C/utf8>> <= Text >>, $"].

escaped($") -> <<"\\\"">>;
escaped($\\) -> <<"\\\\">>;
escaped(C) when C < 32 -> list_to_binary(io_lib:format("\\u~4.16.0b", [C]));
escaped(C) -> <<C/utf8>>.
