package erldist

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestTerms(t *testing.T) {
	for _, want := range []Term{
		Atom("ok"), Atom(""), Int(0), Int(-1), Int(1 << 30), Binary("x\x00y"), List{}, Tuple{},
		List{Atom("a@127.0.0.1"), Tuple{Int(1), List{List{}}}},
	} {
		text, err := AppendTerm(nil, want)
		if err != nil {
			t.Fatal(err)
		}
		got, rest, err := ReadTerm(append(text, "rest"...))
		if err != nil || !reflect.DeepEqual(got, want) || string(rest) != "rest" {
			t.Errorf("%v: got %v, rest %q, %v", want, got, rest, err)
		}
		for i := range text { // every beginning is refused
			if got, _, err := ReadTerm(text[:i]); err == nil && i < len(text) {
				t.Errorf("the first %d bytes of %v are %v", i, want, got)
			}
		}
	}
	got, _, err := ReadTerm([]byte("\x83\x6b\x00\x02hi"))
	if err != nil || !reflect.DeepEqual(got, List{Int('h'), Int('i')}) {
		t.Errorf("a string is %v, %v", got, err)
	}
	got, _, err = ReadTerm([]byte("\x83\x58\x77\x01a\x00\x00\x00\x01\x00\x00\x00\x02\x00\x00\x00\x03"))
	if err != nil || got != Opaque("pid") {
		t.Errorf("a pid is %v, %v", got, err)
	}
}

func TestTermsThatCannotBeSent(t *testing.T) {
	for _, term := range []Term{Atom(strings.Repeat("a", 256)), Int(1 << 40), Opaque("pid"), make(Tuple, 256), List{Opaque("x")}} {
		if _, err := AppendTerm(nil, term); err == nil {
			t.Errorf("%T can be sent", term)
		}
	}
}

func TestDeepTerm(t *testing.T) {
	text := append([]byte{tagVersion}, bytes.Repeat([]byte{tagSmallTuple, 1}, 100_000)...)
	if _, _, err := ReadTerm(text); err == nil || !strings.Contains(err.Error(), "too deep") {
		t.Errorf("got %v", err)
	}
}

// Whatever is read can be printed, and what can be written is read back as it was.
func FuzzReadTerm(f *testing.F) {
	for _, term := range []Term{List{Atom("a"), Atom("b")}, Tuple{Atom("badrpc"), Binary("x")}} {
		text, _ := AppendTerm(nil, term)
		f.Add(text)
	}
	f.Add([]byte("\x83\x6b\x00\x02hi"))
	f.Fuzz(func(t *testing.T, text []byte) {
		term, _, err := ReadTerm(text)
		if err != nil {
			return
		}
		again, err := AppendTerm(nil, term)
		if err != nil {
			return
		}
		back, rest, err := ReadTerm(again)
		if err != nil || len(rest) > 0 || !reflect.DeepEqual(back, term) {
			t.Errorf("%v was read back as %v, %v", term, back, err)
		}
	})
}

// peer plays epmd and the node "peer": after the handshake it sends the messages that answer returns.
type peer struct {
	cookie string
	status string
	name   string // that it says is its own; "" is the right one
	answer func(request Term) [][]byte
}

func (p peer) start(t *testing.T) Node {
	t.Helper()
	node := serve(t, func(c net.Conn) { p.play(t, c) })
	_, port, _ := net.SplitHostPort(node)
	epmd := serve(t, func(c net.Conn) {
		request := make([]byte, 3+len("peer"))
		if _, err := io.ReadFull(c, request); err != nil {
			return
		}
		if string(request[3:]) != "peer" {
			_, _ = c.Write([]byte{epmdPort, 1})
			return
		}
		n, _ := strconv.Atoi(port)
		_, _ = c.Write(binary.BigEndian.AppendUint16([]byte{epmdPort, 0}, uint16(n)))
	})
	return Node{Name: "peer@127.0.0.1", Cookie: "secret", As: "tester@127.0.0.1", EPMD: epmd}
}

func serve(t *testing.T, handle func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			handle(c)
			c.Close()
		}
	}()
	t.Cleanup(func() {
		l.Close()
		<-done
	})
	return l.Addr().String()
}

func (p peer) play(t *testing.T, c net.Conn) {
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	hello, err := readShort(c)
	if err != nil {
		return
	}
	if !bytes.HasSuffix(hello, []byte("tester@127.0.0.1")) || hello[0] != 'N' {
		t.Errorf("hello is %q", hello)
	}
	_ = sendShort(c, []byte("s"+p.status))
	if p.status == "alive" {
		if sure, err := readShort(c); err != nil || string(sure) != "strue" {
			t.Errorf("the answer to alive is %q, %v", sure, err)
		}
	}
	const challenge = 4_000_000_000
	question := binary.BigEndian.AppendUint32(append([]byte{'N'}, make([]byte, 8)...), challenge)
	question = append(question, make([]byte, 4)...)
	name := cmp.Or(p.name, "peer@127.0.0.1")
	_ = sendShort(c, append(binary.BigEndian.AppendUint16(question, uint16(len(name))), name...))
	reply, err := readShort(c)
	if err != nil || len(reply) != 21 {
		return
	}
	if want := digest(p.cookie, challenge); !bytes.Equal(reply[5:], want[:]) {
		return // as Erlang does
	}
	ack := digest(p.cookie, binary.BigEndian.Uint32(reply[1:]))
	_ = sendShort(c, append([]byte{'a'}, ack[:]...))
	var length [4]byte
	if _, err := io.ReadFull(c, length[:]); err != nil {
		return
	}
	text := make([]byte, binary.BigEndian.Uint32(length[:]))
	if _, err := io.ReadFull(c, text); err != nil {
		return
	}
	_, rest, err := ReadTerm(text[1:])
	if err != nil {
		t.Error(err)
		return
	}
	request, _, err := ReadTerm(rest)
	if err != nil {
		t.Error(err)
		return
	}
	for _, m := range p.answer(request) {
		_, _ = c.Write(m)
	}
}

// message is a control message and its payload on the wire.
func message(t *testing.T, terms ...Term) []byte {
	t.Helper()
	text := []byte{passThrough}
	for _, term := range terms {
		var err error
		if text, err = AppendTerm(text, term); err != nil {
			t.Fatal(err)
		}
	}
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(text))), text...)
}

func TestCall(t *testing.T) {
	send := Tuple{Int(opSend), Atom(""), Atom("pid")}
	peers := List{Atom("a@127.0.0.1"), Atom("b@127.0.0.1")}
	rex := func(result Term) []byte { return message(t, send, Tuple{Atom("rex"), result}) }
	tests := []struct {
		name   string
		peer   peer
		answer [][]byte
		want   string // the beginning of the error
	}{
		{"answer", peer{cookie: "secret", status: "ok"}, [][]byte{rex(peers)}, ""},
		{"old connection", peer{cookie: "secret", status: "alive"}, [][]byte{rex(peers)}, ""},
		{"talkative", peer{cookie: "secret", status: "ok"}, [][]byte{{0, 0, 0, 0}, message(t, Tuple{Int(1)}), message(t, send, Atom("hi")), rex(peers)}, ""},
		{"refused", peer{cookie: "secret", status: "not_allowed"}, nil, `ask peer@127.0.0.1: handshake: refused with "snot_allowed"`},
		{"other cookie", peer{cookie: "other", status: "ok"}, nil, `ask peer@127.0.0.1: the cookies differ`},
		{"fails", peer{cookie: "secret", status: "ok"}, [][]byte{rex(Tuple{Atom("badrpc"), Atom("nodedown")})}, `ask peer@127.0.0.1: the call failed: nodedown`},
		{"no names", peer{cookie: "secret", status: "ok"}, [][]byte{rex(List{Int(1)})}, `ask peer@127.0.0.1: erlang:nodes() is no list of names`},
		{"no list", peer{cookie: "secret", status: "ok"}, [][]byte{rex(Atom("x"))}, `ask peer@127.0.0.1: erlang:nodes() is no list of names`},
		{"hangs up", peer{cookie: "secret", status: "ok"}, nil, `ask peer@127.0.0.1: EOF`},
		{"too long", peer{cookie: "secret", status: "ok"}, [][]byte{{255, 0, 0, 0}}, `ask peer@127.0.0.1: a message of 4278190080 bytes`},
		{"garbage", peer{cookie: "secret", status: "ok"}, [][]byte{{0, 0, 0, 2, passThrough, 7}}, `ask peer@127.0.0.1: not an Erlang term`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			test.peer.answer = func(request Term) [][]byte {
				asked := request.(Tuple)[1]
				if want := (Tuple{Atom("call"), Atom("erlang"), Atom("nodes"), List{}, Atom("user")}); !reflect.DeepEqual(asked, want) {
					t.Errorf("asked %v", asked)
				}
				return test.answer
			}
			names, err := test.peer.start(t).Sees(t.Context())
			switch {
			case test.want == "" && (err != nil || strings.Join(names, " ") != "a@127.0.0.1 b@127.0.0.1"):
				t.Errorf("got %q, %v", names, err)
			case test.want != "" && (err == nil || !strings.HasPrefix(err.Error(), test.want)):
				t.Errorf("got  %v\nwant %s", err, test.want)
			}
		})
	}
}

func TestUnknownNode(t *testing.T) {
	n := peer{cookie: "secret", status: "ok"}.start(t)
	n.Name = "else@127.0.0.1"
	if _, err := n.Sees(t.Context()); !errors.Is(err, ErrUnknown) {
		t.Errorf("got %v", err)
	}
	n.Name = "nowhere"
	if _, err := n.Sees(t.Context()); err == nil || !strings.Contains(err.Error(), `"nowhere" is no name of a node`) {
		t.Errorf("got %v", err)
	}
}

func TestSilentNode(t *testing.T) {
	gone := make(chan struct{})
	silent := serve(t, func(net.Conn) { <-gone })
	t.Cleanup(func() { close(gone) })
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err := Node{Name: "peer@127.0.0.1", EPMD: silent}.Sees(ctx)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

// A node that was found once is reached without epmd, and nobody else is taken for it.
func TestWithoutEPMD(t *testing.T) {
	p := peer{cookie: "secret", status: "ok", answer: func(Term) [][]byte {
		return [][]byte{message(t, Tuple{Int(opSend), Atom(""), Atom("pid")}, Tuple{Atom("rex"), List{Atom("other@127.0.0.1")}})}
	}}
	n := p.start(t)
	n.Found = new(Found)
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	gone := n
	gone.EPMD = closed.Addr().String()
	if _, err := gone.Sees(t.Context()); err == nil || !strings.Contains(err.Error(), "epmd: ") {
		t.Errorf("before it was found: %v", err)
	}
	for _, at := range []Node{n, gone} {
		if names, err := at.Sees(t.Context()); err != nil || !reflect.DeepEqual(names, []string{"other@127.0.0.1"}) {
			t.Errorf("sees %q, %v", names, err)
		}
	}
	p.name = "another@127.0.0.1"
	stranger := p.start(t)
	if _, err := stranger.Sees(t.Context()); err == nil || !strings.Contains(err.Error(), `"another@127.0.0.1" answers where peer@127.0.0.1 is`) {
		t.Errorf("got %v", err)
	}
}
