package loadtest

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/erlmcp/erlmcp/loadtest/internal/ask"
	"github.com/erlmcp/erlmcp/loadtest/internal/latency"
	"github.com/erlmcp/erlmcp/loadtest/internal/sources"
)

// converse opens a connection and asks n times in a row. It ends with the first reply that is not what was
// asked for, and returns the last one with its line. Latencies go to h unless it is nil. With an error, line
// is what came of a line.
func converse(ctx context.Context, target netip.AddrPort, from netip.Addr, q ask.Question, n int, h *hdrhistogram.Histogram) (r ask.Reply, line []byte, err error) {
	d := net.Dialer{}
	if from.IsValid() {
		d.LocalAddr = &net.TCPAddr{IP: from.AsSlice()}
	}
	conn, err := d.DialContext(ctx, "tcp", target.String())
	if err != nil {
		return r, nil, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })()
	in := bufio.NewReaderSize(conn, ask.MaxReply)
	for i := range n {
		begun := time.Now()
		if _, err := conn.Write(q.Append(nil, uint64(i))); err != nil {
			return r, nil, converseError(ctx, err)
		}
		for r.Kind = ask.ReplyNone; r.Kind == ask.ReplyNone; r = q.Parse(line) {
			if line, err = in.ReadSlice('\n'); err != nil {
				return r, line, converseError(ctx, err)
			}
		}
		if h != nil {
			latency.Record(h, int64(time.Since(begun)))
		}
		if r.Kind != ask.ReplyAnswer {
			break
		}
	}
	return r, line, nil
}

// converseError prefers the reason of the context, whose end shows as a time-out of the connection.
func converseError(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

const (
	baselineSources = 8
	baselineCalls   = 10 // of each, far below what a source may send
)

// measureBaseline is the latency of a system without load, through a few connections one after the
// other.
func measureBaseline(ctx context.Context, target netip.AddrPort, q ask.Question, from sources.Range) (*Quantiles, error) {
	h := latency.NewHistogram()
	for i := range from.Count {
		r, line, err := converse(ctx, target, from.At(i), q, baselineCalls, h)
		if err != nil {
			return nil, fmt.Errorf("baseline: %w", err)
		}
		if r.Kind != ask.ReplyAnswer {
			return nil, fmt.Errorf("baseline: refused: %s", ask.Saying(line))
		}
	}
	result := quantiles(h)
	return &result, nil
}
