package loadtest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// errNoNode says that a server answers but does not name a node.
var errNoNode = errors.New("the answer names no node: the load test needs nodes with the MCP tool " + whoami)

// probe opens a connection, asks n times in a row who answers and returns the last name. Latencies
// go to h unless it is nil.
func probe(ctx context.Context, target netip.AddrPort, from netip.Addr, n int, h *hdrhistogram.Histogram) (node string, err error) {
	d := net.Dialer{}
	if from.IsValid() {
		d.LocalAddr = &net.TCPAddr{IP: from.AsSlice()}
	}
	conn, err := d.DialContext(ctx, "tcp", target.String())
	if err != nil {
		return "", err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })()
	in := bufio.NewReaderSize(conn, maxReply)
	for i := range n {
		begun := time.Now()
		if _, err := conn.Write(appendWhoami(nil, uint64(i))); err != nil {
			return "", probeError(ctx, err)
		}
		line, err := in.ReadSlice('\n')
		if err != nil {
			return "", probeError(ctx, err)
		}
		took := time.Since(begun)
		r := parseReply(line)
		switch r.kind {
		case replyNode:
			node = string(r.node)
		case replyError, replyRefusal:
			return "", fmt.Errorf("refused (%s, JSON-RPC error %d)", causeOfCode(r.code), r.code)
		default:
			return "", errNoNode
		}
		if h != nil {
			record(h, int64(took))
		}
	}
	return node, nil
}

// probeError prefers the reason of the context, whose end shows as a time-out of the connection.
func probeError(ctx context.Context, err error) error {
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
func measureBaseline(ctx context.Context, target netip.AddrPort, from sourceRange) (*Quantiles, error) {
	h := newHistogram()
	for i := range from.Count {
		if _, err := probe(ctx, target, from.at(i), baselineCalls, h); err != nil {
			return nil, fmt.Errorf("baseline: %w", err)
		}
	}
	q := quantiles(h)
	return &q, nil
}
