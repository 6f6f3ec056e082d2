package erldist

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Operations in control messages.
const (
	opSend    = 2 // {2, Unused, ToPid}, then the message
	opRegSend = 6 // {6, FromPid, Unused, ToName}, then the message
)

const (
	passThrough  = 112 // what a message begins with where there is no distribution header
	maxMessage   = 1 << 20
	mostMessages = 1000 // read while one reply is awaited
)

// rpc asks the process rex of the other node, as erl_call does: {Pid, {call, M, F, Args, user}}, which
// is answered by {rex, Result}.
func rpc(conn io.ReadWriter, as, module, function string, args List) (Term, error) {
	me := pid{node: Atom(as), id: 1, creation: creation}
	control := Tuple{Int(opRegSend), me, Atom(""), Atom("rex")}
	request := Tuple{me, Tuple{Atom("call"), Atom(module), Atom(function), args, Atom("user")}}
	text := []byte{passThrough}
	var err error
	for _, t := range []Term{control, request} {
		if text, err = AppendTerm(text, t); err != nil {
			return nil, err
		}
	}
	if _, err := conn.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(text))), text...)); err != nil {
		return nil, err
	}
	for range mostMessages {
		result, found, err := readReply(conn)
		if err != nil || found {
			return result, err
		}
	}
	return nil, errors.New("no answer among its messages")
}

// readReply reads one message; found says whether it is the reply.
func readReply(conn io.ReadWriter) (result Term, found bool, err error) {
	var length [4]byte
	if _, err := io.ReadFull(conn, length[:]); err != nil {
		return nil, false, err
	}
	n := binary.BigEndian.Uint32(length[:])
	switch {
	case n == 0: // a tick: it wants to know whether this side lives
		_, err := conn.Write(length[:])
		return nil, false, err
	case n > maxMessage:
		return nil, false, fmt.Errorf("a message of %d bytes", n)
	}
	text := make([]byte, n)
	if _, err := io.ReadFull(conn, text); err != nil {
		return nil, false, err
	}
	if text[0] != passThrough {
		return nil, false, fmt.Errorf("a message of the unknown kind %d", text[0])
	}
	control, rest, err := ReadTerm(text[1:])
	if err != nil {
		return nil, false, err
	}
	if c, ok := control.(Tuple); !ok || len(c) == 0 || c[0] != Int(opSend) {
		return nil, false, nil
	}
	message, _, err := ReadTerm(rest)
	if err != nil {
		return nil, false, err
	}
	reply, ok := message.(Tuple)
	if !ok || len(reply) != 2 || reply[0] != Atom("rex") {
		return nil, false, nil
	}
	if bad, ok := reply[1].(Tuple); ok && len(bad) == 2 && bad[0] == Atom("badrpc") {
		return nil, true, &BadRPC{fmt.Sprint(bad[1])}
	}
	return reply[1], true, nil
}
