package tools

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/erlmcp/erlmcp/internal/rawjson"
)

// ErrUnknown says that there is no tool of that name.
var ErrUnknown = errors.New("unknown tool")

// AppendCall runs a tool and appends the members of its result object, without the braces, to dst.
// arguments is a JSON object in the sense of rawjson, or empty. The result is to be withheld for delay.
//
// What is wrong with the arguments is told in the result (isError), as MCP wants it for the model to read;
// the only error is ErrUnknown.
func (s *Set) AppendCall(dst []byte, name string, arguments []byte) (result []byte, delay time.Duration, err error) {
	in := parseArguments(arguments)
	switch name {
	case "echo":
		return appendEcho(dst, in), 0, nil
	case "add":
		return appendAdd(dst, in), 0, nil
	case "whoami":
		return append(dst, s.whoami...), 0, nil
	case "sleep":
		result, delay = appendSleep(dst, in)
		return result, delay, nil
	}
	return dst, 0, ErrUnknown
}

// AppendFailure appends the members of a result that says what went wrong.
func AppendFailure(dst []byte, reason string) []byte {
	dst = appendText(dst, quote(reason))
	return append(dst, `,"isError":true`...)
}

// arguments are the raw JSON values of the arguments any tool knows; absent ones are empty.
type arguments struct {
	message, a, b, milliseconds []byte
}

func parseArguments(object []byte) (in arguments) {
	rawjson.Take(object, rawjson.Wanted{Name: "message", Into: &in.message}, rawjson.Wanted{Name: "a", Into: &in.a},
		rawjson.Wanted{Name: "b", Into: &in.b}, rawjson.Wanted{Name: "milliseconds", Into: &in.milliseconds})
	return in
}

func appendEcho(dst []byte, in arguments) []byte {
	if rawjson.Kind(in.message) != '"' {
		return AppendFailure(dst, `the argument "message" must be a string`)
	}
	return appendText(dst, in.message)
}

func appendAdd(dst []byte, in arguments) []byte {
	a, okA := number(in.a)
	b, okB := number(in.b)
	if !okA || !okB {
		return AppendFailure(dst, `the arguments "a" and "b" must be numbers`)
	}
	sum := a + b
	if math.IsInf(sum, 0) {
		return AppendFailure(dst, "the sum is too large")
	}
	dst = append(dst, `"content":[{"type":"text","text":"`...)
	dst = appendNumber(dst, sum)
	dst = append(dst, `"}],"structuredContent":{"sum":`...)
	dst = appendNumber(dst, sum)
	return append(dst, '}')
}

func appendSleep(dst []byte, in arguments) ([]byte, time.Duration) {
	ms, ok := number(in.milliseconds)
	if !ok || ms != math.Trunc(ms) || ms < 0 || ms > float64(MaxSleep.Milliseconds()) {
		return AppendFailure(dst, fmt.Sprintf(`the argument "milliseconds" must be an integer within 0..%d`, MaxSleep.Milliseconds())), 0
	}
	dst = append(dst, `"content":[{"type":"text","text":"slept `...)
	dst = strconv.AppendInt(dst, int64(ms), 10)
	dst = append(dst, ` ms"}]`...)
	return dst, time.Duration(ms) * time.Millisecond
}

// appendText appends the content of a result that is one text, given as a JSON string.
func appendText(dst, text []byte) []byte {
	dst = append(dst, `"content":[{"type":"text","text":`...)
	dst = append(dst, text...)
	return append(dst, `}]`...)
}

func number(value []byte) (float64, bool) {
	if rawjson.Kind(value) != '0' {
		return 0, false
	}
	f, err := strconv.ParseFloat(string(value), 64)
	return f, err == nil
}

// appendNumber writes integers plainly up to 10^21, as JavaScript does.
func appendNumber(dst []byte, f float64) []byte {
	if abs := math.Abs(f); abs != 0 && (abs < 1e-6 || abs >= 1e21) {
		return strconv.AppendFloat(dst, f, 'e', -1, 64)
	}
	return strconv.AppendFloat(dst, f, 'f', -1, 64)
}
