package main

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"
	"time"
	"unicode/utf16"
)

// waves is the whole siege. A source may do 100 things a second, so what is below its limits comes from many. What asks
// for long answers comes seldom: a node answers it, whoever asks, and computes meanwhile.
func waves() []wave {
	return []wave{
		{attack: "half-open handshakes", block: 20, sources: 30, rate: 60, atOnce: 1500, attempt: halfOpen},
		{attack: "half-open handshakes", above: true, block: 21, sources: 2, rate: 400, atOnce: 1500, attempt: halfOpen},
		{attack: "slow heads", block: 22, sources: 20, rate: 20, atOnce: 1000, attempt: slowHead},
		{attack: "slow heads", above: true, block: 23, sources: 2, rate: 300, atOnce: 1000, attempt: slowHead},
		{attack: "slow bodies", block: 24, sources: 20, rate: 10, atOnce: 400, attempt: slowBody},
		{attack: "slow bodies", above: true, block: 25, sources: 2, rate: 250, atOnce: 600, attempt: slowBody},
		{attack: "unfinished bodies of 16 MiB", above: true, block: 26, sources: 2, rate: 1, atOnce: 40, attempt: unfinishedBody},
		{attack: "slow readers", block: 27, sources: 10, rate: .5, atOnce: 60, attempt: slowReader},
		{attack: "slow readers", above: true, block: 28, sources: 1, rate: 1, atOnce: 120, attempt: slowReader},
		{attack: "event streams not read", block: 29, sources: 5, rate: .1, atOnce: 10, attempt: unreadEvents},
		{attack: "event streams not read", above: true, block: 30, sources: 1, rate: .2, atOnce: 20, attempt: unreadEvents},
		{attack: "sessions", block: 31, sources: 20, rate: 100, atOnce: 300, attempt: dropSession},
		{attack: "sessions", above: true, block: 32, sources: 2, rate: 250, atOnce: 600, attempt: dropSession},
		{attack: "batches in disguise", block: 33, sources: 16, rate: 8, atOnce: 50, attempt: smallBatch},
		{attack: "batches in disguise", above: true, block: 34, sources: 4, rate: 40, atOnce: 200, attempt: largeBatch},
		{attack: "WebSocket frames", block: 35, sources: 10, rate: 5, atOnce: 100, attempt: frames},
		{attack: "WebSocket frames", above: true, block: 36, sources: 1, rate: 120, atOnce: 300, attempt: frames},
		{attack: "WebSocket calls not read", above: true, block: 37, sources: 2, rate: .2, atOnce: 40, attempt: unreadSocket},
		{attack: "giant lines", block: 38, sources: 4, rate: .3, atOnce: 20, attempt: giantLine},
		{attack: "giant lines", above: true, block: 39, sources: 1, rate: .7, atOnce: 40, attempt: tooLongLine},
		{attack: "table of sources", block: 64, sources: 10_000, rate: 50, atOnce: 100, attempt: passBy},
		{attack: "table of sources", above: true, block: 65, sources: 200_000, rate: 1700, atOnce: 400, attempt: passBy},
		{attack: "side doors", block: 40, sources: 10, rate: 5, atOnce: 60, attempt: holdDoor},
		{attack: "side doors", above: true, block: 41, sources: 3, rate: 300, atOnce: 1500, attempt: holdDoor},
	}
}

// halfOpen begins a handshake: with nothing, half a record, or all that the client has to say first.
func halfOpen(ctx context.Context, t *target, from netip.Addr, n int) outcome {
	return visit(ctx, t.HTTPS, from, [][]byte{nil, t.hello[:3], t.hello}[n%3], time.Second, func(s *stranger) outcome {
		return s.watch(30 * time.Second)
	})
}

func slowHead(ctx context.Context, t *target, from netip.Addr, _ int) outcome {
	return visit(ctx, t.HTTP, from, nil, time.Second, func(s *stranger) outcome {
		return s.drip([]byte("POST /mcp HTTP/1.1\r\nHost: siege\r\nX-Slow: "+strings.Repeat("a", 90)), 1, time.Second, time.Minute)
	})
}

// head is the beginning of a request with a body.
func head(path string, length int, fields ...string) []byte {
	more := ""
	if len(fields) > 0 {
		more = strings.Join(fields, "\r\n") + "\r\n"
	}
	if !strings.Contains(more, "Content-Type") {
		more += "Content-Type: application/json\r\n"
	}
	return fmt.Appendf(nil, "POST %s HTTP/1.1\r\nHost: siege\r\nAccept: application/json, text/event-stream\r\n%sContent-Length: %d\r\n\r\n", path, more, length)
}

func slowBody(ctx context.Context, t *target, from netip.Addr, _ int) outcome {
	return visit(ctx, t.HTTP, from, head("/mcp", longest), time.Second, func(s *stranger) outcome {
		return s.drip(blank[:60<<10], 1<<10, time.Second, time.Minute)
	})
}

const longest = 16 << 20 // lb.max_message

// blank is long and says nothing.
var blank = bytes.Repeat([]byte{' '}, longest)

// unfinishedBody is as long as a message may be, but for its last byte.
func unfinishedBody(ctx context.Context, t *target, from netip.Addr, _ int) outcome {
	return visit(ctx, t.HTTP, from, head("/mcp", longest), time.Second, func(s *stranger) outcome {
		if end := s.say(blank[:longest-1], 10*time.Second); end != done {
			return end
		}
		return s.watch(40 * time.Second)
	})
}

// echo asks for an answer as long as itself.
func echo(id, length int, stateless bool) []byte {
	meta := ""
	if stateless {
		meta = `,"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}`
	}
	return fmt.Appendf(nil, `{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{"name":"echo","arguments":{"message":"%s"}%s}}`,
		id, strings.Repeat("e", length), meta)
}

var statelessEcho = []string{"Mcp-Protocol-Version: 2026-07-28", "Mcp-Method: tools/call", "Mcp-Name: echo"}

// slowReader asks for long answers, over TCP and HTTP in turn, and reads none.
func slowReader(ctx context.Context, t *target, from netip.Addr, n int) outcome {
	address, text := t.TCP, append(echo(1, 256<<10, true), '\n')
	if n%2 == 1 {
		body := echo(1, 256<<10, true)
		address, text = t.HTTP, append(head("/mcp", len(body), statelessEcho...), body...)
	}
	return visit(ctx, address, from, nil, time.Second, func(s *stranger) outcome {
		for range 16 {
			if end := s.say(text, 2*time.Second); end == held {
				break
			} else if end != done {
				return end
			}
		}
		return s.stay(20 * time.Second)
	})
}

// unreadEvents opens a stream of events, asks for long ones and reads none.
func unreadEvents(ctx context.Context, t *target, from netip.Addr, _ int) outcome {
	return visit(ctx, t.HTTP, from, []byte("GET /mcp/sse HTTP/1.1\r\nHost: siege\r\nAccept: text/event-stream\r\n\r\n"), time.Second, func(s *stranger) outcome {
		_ = s.SetReadDeadline(time.Now().Add(patience))
		endpoint, err := nextEvent(bufio.NewReaderSize(s, 512))
		if err != nil {
			return s.ended(err)
		}
		p, ok := enter(ctx, t.HTTP, from)
		if !ok {
			return refused
		}
		defer p.leave()
		for id := range 60 {
			body := echo(id, 512<<10, false)
			if id == 0 {
				body = []byte(initialize)
			}
			if end := p.say(append(head(string(endpoint), len(body)), body...), 5*time.Second); end != done {
				break
			}
		}
		return s.stay(20 * time.Second)
	})
}

// dropSession begins a session and forgets it.
func dropSession(ctx context.Context, t *target, from netip.Addr, _ int) outcome {
	return visit(ctx, t.HTTP, from, append(head("/mcp", len(initialize)), initialize...), time.Second, (*stranger).answered)
}

// batch is many calls in one array.
func batch(calls int) []byte {
	all := make([][]byte, calls)
	for i := range all {
		all[i] = callText(uint64(i + 1))
	}
	return append(append([]byte{'['}, bytes.Join(all, []byte{','})...), ']')
}

var (
	batchOf50  = disguised(batch(50))
	batchOf500 = disguised(batch(500))
)

// disguise is a batch that says it is something else.
type disguise struct {
	fields []string
	body   []byte
	line   bool // over TCP
}

func disguised(plain []byte) []disguise {
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	_, _ = z.Write(plain) // into memory
	_ = z.Close()
	wide := utf16.Encode([]rune(string(plain)))
	big, little := make([]byte, 0, 2*len(wide)), make([]byte, 0, 2*len(wide))
	for _, unit := range wide {
		big, little = binary.BigEndian.AppendUint16(big, unit), binary.LittleEndian.AppendUint16(little, unit)
	}
	return []disguise{
		{body: plain},
		{body: plain, fields: []string{"Mcp-Protocol-Version: 2025-03-26"}},
		{body: plain, fields: []string{"Mcp-Protocol-Version: 2026-07-28"}},
		{body: plain, fields: []string{"Mcp-Protocol-Version: z"}},
		{body: plain, fields: []string{"Content-Type: text/plain"}},
		{body: plain, fields: []string{"Content-Encoding: gzip"}},
		{body: zipped.Bytes(), fields: []string{"Content-Encoding: gzip"}},
		{body: zipped.Bytes(), fields: []string{"Content-Encoding: x-unknown"}},
		{body: zipped.Bytes()},
		{body: big, fields: []string{"Content-Type: application/json; charset=utf-16be"}},
		{body: little, fields: []string{"Content-Type: application/json; charset=utf-16le"}},
		{body: append([]byte("\xef\xbb\xbf"), plain...)},
		{body: append([]byte("\xfe\xff"), big...)},
		{body: append(bytes.Repeat([]byte("\r\n\t "), 2000), plain...)},
		{body: append(plain, '\n'), line: true},
		{body: append(append([]byte("\xef\xbb\xbf"), plain...), '\n'), line: true},
	}
}

func smallBatch(ctx context.Context, t *target, from netip.Addr, n int) outcome {
	return sendBatch(ctx, t, from, batchOf50[n%len(batchOf50)])
}

func largeBatch(ctx context.Context, t *target, from netip.Addr, n int) outcome {
	return sendBatch(ctx, t, from, batchOf500[n%len(batchOf500)])
}

func sendBatch(ctx context.Context, t *target, from netip.Addr, d disguise) outcome {
	address, text := t.TCP, d.body
	if !d.line {
		address, text = t.HTTP, append(head("/mcp", len(d.body), d.fields...), d.body...)
	}
	return visit(ctx, address, from, text, 5*time.Second, func(s *stranger) outcome {
		if d.line {
			return s.stay(time.Second)
		}
		return s.answered()
	})
}

const upgrade = "GET /mcp/ws HTTP/1.1\r\nHost: siege\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
	"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: c2llZ2VzaWVnZXNpZWdlcw==\r\nSec-WebSocket-Protocol: mcp\r\n\r\n"

// visitSocket has the handshake done, and reads no more.
func visitSocket(ctx context.Context, t *target, from netip.Addr, rest func(*stranger) outcome) outcome {
	return visit(ctx, t.HTTP, from, []byte(upgrade), time.Second, func(s *stranger) outcome {
		if end := s.answered(); end != done {
			return end
		}
		return rest(s)
	})
}

// frame is one of WebSocket, RFC 6455 section 5.2, with a mask of zeros if it has one.
func frame(first byte, masked bool, payload []byte) []byte {
	out := []byte{first}
	bit := byte(0)
	if masked {
		bit = 0x80
	}
	switch n := len(payload); {
	case n < 126:
		out = append(out, bit|byte(n))
	case n < 1<<16:
		out = binary.BigEndian.AppendUint16(append(out, bit|126), uint16(n))
	default:
		out = binary.BigEndian.AppendUint64(append(out, bit|127), uint64(n))
	}
	if masked {
		out = append(out, 0, 0, 0, 0)
	}
	return append(out, payload...)
}

// sizes of frames, around those that change their form.
var sizes = []int{0, 1, 125, 126, 127, 1 << 10, 65_535, 65_536, 1 << 20}

// frames sends frames of one kind and growing size, again and again: all opcodes, first, middle and last ones, with bits
// that are reserved, without a mask; and reads nothing.
func frames(ctx context.Context, t *target, from netip.Addr, n int) outcome {
	return visitSocket(ctx, t, from, func(s *stranger) outcome {
		first := byte(n&0xf | n>>4&1<<7 ^ 1<<7)
		if n%37 == 0 {
			first |= 0x40
		}
		for i := range 64 {
			size := sizes[i%len(sizes)]
			if first&0xf >= 8 {
				size = min(size, 125+n%2) // control frames may not be longer
			}
			if end := s.say(frame(first, n%41 != 0, blank[:size]), time.Second); end == held {
				break
			} else if end != done {
				return end
			}
		}
		return s.stay(5 * time.Second)
	})
}

// unreadSocket asks for long answers, and takes none.
func unreadSocket(ctx context.Context, t *target, from netip.Addr, _ int) outcome {
	return visitSocket(ctx, t, from, func(s *stranger) outcome {
		if end := s.say(frame(0x81, true, []byte(initialize)), time.Second); end != done {
			return end
		}
		for id := range 200 {
			if end := s.say(frame(0x81, true, echo(id, 128<<10, false)), time.Second); end == held {
				break
			} else if end != done {
				return end
			}
		}
		return s.stay(15 * time.Second)
	})
}

// giantLine is as long as one may be, but for its end.
func giantLine(ctx context.Context, t *target, from netip.Addr, _ int) outcome {
	return sendLine(ctx, t, from, longest-1<<10)
}

func tooLongLine(ctx context.Context, t *target, from netip.Addr, n int) outcome {
	return sendLine(ctx, t, from, longest-1<<10+n%2<<20)
}

func sendLine(ctx context.Context, t *target, from netip.Addr, length int) outcome {
	return visit(ctx, t.TCP, from, nil, time.Second, func(s *stranger) outcome {
		for length > 0 {
			piece := min(length, len(blank))
			if end := s.say(blank[:piece], 10*time.Second); end != done {
				return end
			}
			length -= piece
		}
		return s.watch(30 * time.Second)
	})
}

// passBy comes, at TCP and HTTP in turn, and goes.
func passBy(ctx context.Context, t *target, from netip.Addr, n int) outcome {
	s, ok := enter(ctx, []string{t.TCP, t.HTTP}[n%2], from)
	if !ok {
		return refused
	}
	s.leave()
	return done
}

// holdDoor keeps connections of the side doors: idle after an answer, in the middle of a head, watching, or asked for in vain.
func holdDoor(ctx context.Context, t *target, from netip.Addr, n int) outcome {
	text := []string{
		"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
		"GET /health HTTP/1.1\r\nHost: localhost\r\nX-Half: ",
		"GET /events HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n",
		"POST /api/nodes/erlmcp1/disable HTTP/1.1\r\nHost: localhost\r\nContent-Length: 16777216\r\n\r\n",
	}[n/2%4]
	return visit(ctx, []string{t.Health, t.Admin}[n%2], from, []byte(text), time.Second, func(s *stranger) outcome {
		return s.watch(20 * time.Second)
	})
}
