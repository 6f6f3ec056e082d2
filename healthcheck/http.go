package healthcheck

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"time"
)

// healthPath is what kind http asks for.
const healthPath = "/health"

// probeHTTP asks for GET /health. Only a status of 200 to 299 is success: a node that is stopping
// answers 503. Detail["status"] is the status of any answer.
func probeHTTP(ctx context.Context, t Target) Result {
	a := begin(ctx, "http", t)
	defer func() { a.end() }()
	conn := a.dial(t.Address)
	if conn == nil {
		return a.result
	}
	sent := time.Now()
	_, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: erlmcp\r\nConnection: close\r\n\r\n", healthPath, t.Address)
	in := &io.LimitedReader{R: conn, N: maxReply}
	var status int
	if err == nil {
		status, err = readAnswer(in)
	}
	var network interface{ Timeout() bool } // of net.Error, which a malformed answer is not
	switch {
	case in.N <= 0: // also where the limit looked like the end
		a.fail(CauseProtocol, "no end of the answer in the first %d KiB", maxReply>>10)
	case err == nil && status >= 200 && status <= 299:
		a.succeed(time.Since(sent))
	case err == nil:
		a.fail(CauseUnhealthy, "GET %s: %d %s", healthPath, status, http.StatusText(status))
	case errors.Is(err, os.ErrDeadlineExceeded):
		a.expired(CauseTimeout, "no complete answer within %v (frozen?)")
	case errors.Is(err, io.ErrUnexpectedEOF) && in.N == maxReply:
		a.failed(io.EOF)
	case errors.Is(err, io.ErrUnexpectedEOF):
		a.fail(CauseClosed, "closed in the middle of the answer")
	case errors.As(err, &network):
		a.failed(err)
	default:
		a.fail(CauseProtocol, "not an HTTP answer: %v", err)
	}
	if status != 0 && (a.result.OK || a.result.Cause == CauseUnhealthy) {
		a.result.Detail = map[string]string{"status": strconv.Itoa(status)}
	}
	return a.result
}

// readAnswer reads an answer to its end and returns its status.
func readAnswer(r io.Reader) (status int, err error) {
	resp, err := http.ReadResponse(bufio.NewReader(r), nil)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, err
}
