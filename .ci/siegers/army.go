package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// target is what the besiegers know of a system.
type target struct {
	TCP, HTTP, HTTPS, Admin, Health string
	For                             time.Duration
	hello                           []byte // of a TLS client
}

// wave is one attack from some sources.
type wave struct {
	attack string
	above  bool // its limits
	// block and sources are where it comes from: 127.block.x.y.
	block, sources int
	rate           float64 // attempts per second of all sources together
	atOnce         int
	attempt        func(ctx context.Context, t *target, from netip.Addr, n int) outcome
}

// outcome is how an attempt ends.
type outcome int

const (
	done    outcome = iota // what was to be done is done
	refused                // not let in
	cut                    // ended by the system
	held                   // ended by us
	outcomes
)

// tally is what a wave has done.
type tally struct {
	Attack  string        `json:"attack"`
	Above   bool          `json:"above"`
	Sources int           `json:"sources"`
	Ends    [outcomes]int `json:"ends"`
	Skipped int           `json:"skipped"` // as many were under way as may be
	Most    int           `json:"most"`    // under way at once
}

// attack has all waves roll until the end, and prints what they have done.
func attack() error {
	var t target
	if err := json.NewDecoder(os.Stdin).Decode(&t); err != nil {
		return err
	}
	var err error
	if t.hello, err = clientHello(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), t.For)
	defer cancel()
	go func() { // whoever has started this has gone
		_, _ = io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	chosen, err := regexp.Compile(*only)
	if err != nil {
		return err
	}
	waves := slices.DeleteFunc(waves(), func(w wave) bool { return !chosen.MatchString(w.attack) })
	tallies := make([]tally, len(waves))
	var rolling sync.WaitGroup
	for i := range waves {
		rolling.Go(func() { tallies[i] = waves[i].roll(ctx, &t) })
	}
	rolling.Wait()
	return json.NewEncoder(os.Stdout).Encode(tallies)
}

const beat = 5 * time.Millisecond

// roll makes attempts at the pace of a wave until ctx ends.
func (w *wave) roll(ctx context.Context, t *target) tally {
	var ends [outcomes]atomic.Int64
	sum := tally{Attack: w.attack, Above: w.above, Sources: w.sources}
	places := make(chan struct{}, w.atOnce)
	var going sync.WaitGroup
	pause(ctx, rand.N(beat)) // strangers are not in step
	began := time.Now()
	for n := 0; pause(ctx, beat); {
		for due := int(time.Since(began).Seconds() * w.rate); n < due; n++ {
			select {
			case places <- struct{}{}:
			default:
				sum.Skipped++
				continue
			}
			sum.Most = max(sum.Most, len(places))
			at := n % w.sources
			from := netip.AddrFrom4([4]byte{127, byte(w.block + at>>16), byte(at >> 8), byte(at)})
			going.Go(func() {
				ends[w.attempt(ctx, t, from, n)].Add(1)
				<-places
			})
		}
	}
	going.Wait()
	for i := range ends {
		sum.Ends[i] = int(ends[i].Load())
	}
	return sum
}

// stranger is a connection that closes when the siege is over.
type stranger struct {
	net.Conn
	ctx  context.Context
	stop func() bool
}

func enter(ctx context.Context, address string, from netip.Addr) (*stranger, bool) {
	conn, err := dialer(from).DialContext(ctx, "tcp4", address)
	if err != nil {
		return nil, false
	}
	s := &stranger{Conn: conn, ctx: ctx}
	s.stop = context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	return s, true
}

// visit enters, says something, which may be nothing, and leaves when the rest is done.
func visit(ctx context.Context, address string, from netip.Addr, text []byte, limit time.Duration, rest func(*stranger) outcome) outcome {
	s, ok := enter(ctx, address, from)
	if !ok {
		return refused
	}
	defer s.leave()
	if end := s.say(text, limit); end != done {
		return end
	}
	return rest(s)
}

// leave leaves nothing behind, not even a socket that waits.
func (s *stranger) leave() {
	s.stop()
	if conn, ok := s.Conn.(*net.TCPConn); ok {
		_ = conn.SetLinger(0)
	}
	_ = s.Close()
}

// say writes at most for so long.
func (s *stranger) say(text []byte, limit time.Duration) outcome {
	if s.ctx.Err() != nil {
		return held
	}
	_ = s.SetWriteDeadline(time.Now().Add(limit))
	_, err := s.Write(text)
	return s.ended(err)
}

// ended says what the error of a connection means.
func (s *stranger) ended(err error) outcome {
	switch {
	case err == nil:
		return done
	case s.ctx.Err() != nil, errors.Is(err, os.ErrDeadlineExceeded):
		return held
	}
	return cut
}

// drip says a text byte by byte, with a pause behind each.
func (s *stranger) drip(text []byte, each int, every, limit time.Duration) outcome {
	end := time.Now().Add(limit)
	for len(text) > 0 {
		piece := text[:min(each, len(text))]
		if end := s.say(piece, every); end != done {
			return end
		}
		text = text[len(piece):]
		if s.watch(every) == cut {
			return cut
		}
		if s.ctx.Err() != nil || time.Now().After(end) {
			return held
		}
	}
	return done
}

// watch waits for the end of the connection, and drops what is said.
func (s *stranger) watch(limit time.Duration) outcome {
	_ = s.SetReadDeadline(time.Now().Add(limit))
	if s.ctx.Err() != nil {
		return held
	}
	if _, err := io.Copy(io.Discard, s.Conn); err != nil {
		return s.ended(err)
	}
	return cut
}

// stay holds the connection and reads nothing: the end shows when something is said.
func (s *stranger) stay(limit time.Duration) outcome {
	pause(s.ctx, limit)
	return held
}

// answered reads the status line of an answer over HTTP, and drops the rest.
func (s *stranger) answered() outcome {
	_ = s.SetReadDeadline(time.Now().Add(patience))
	line := make([]byte, 12)
	if _, err := io.ReadFull(s, line); err != nil {
		return s.ended(err)
	}
	switch line[9] {
	case '1', '2':
		return done
	}
	return refused
}

// clientHello is what a client of TLS says first.
func clientHello() ([]byte, error) {
	ours, theirs := net.Pipe()
	defer ours.Close()
	go func() {
		_ = tls.Client(theirs, &tls.Config{ServerName: "localhost", MinVersion: tls.VersionTLS12}).Handshake() // it fails
		theirs.Close()
	}()
	record := make([]byte, 5)
	if _, err := io.ReadFull(ours, record); err != nil {
		return nil, fmt.Errorf("client hello: %w", err)
	}
	body := make([]byte, int(record[3])<<8|int(record[4]))
	_, err := io.ReadFull(ours, body)
	return append(record, body...), err
}
