package healthcheck

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/erlmcp/erlmcp/internal/mcp"
)

// maxReply is how many bytes a server may send in one conversation.
const maxReply = 1 << 20

// garbageError says that what came is no reply.
type garbageError struct{ text string }

func (e *garbageError) Error() string { return e.text }

// exchange is a conversation in newline-delimited JSON-RPC with one server.
type exchange struct {
	conn    io.ReadWriter
	lines   *bufio.Reader
	said    [5]byte // the first bytes received
	total   int     // bytes received
	partial int     // of them, those of a line that was not complete when a round trip failed
}

func newExchange(conn io.ReadWriter) *exchange {
	return &exchange{conn: conn, lines: bufio.NewReader(io.LimitReader(conn, maxReply))}
}

// roundTrip sends a request and waits for its reply, passing over what else the server says. The
// error is a *garbageError, io.EOF when the server ended the connection instead, or an error of
// the connection.
func (e *exchange) roundTrip(id uint64, request []byte) (*mcp.Reply, error) {
	// A server that refuses everybody may have said why and closed: what it said can be read even
	// if nothing can be written any more.
	_, writeErr := e.conn.Write(request)
	for {
		line, err := e.lines.ReadBytes('\n')
		if e.total == 0 {
			copy(e.said[:], line)
		}
		e.partial = len(line)
		e.total += len(line)
		complete := err == nil || err == io.EOF && len(line) > 0
		switch {
		case e.total >= maxReply:
			return nil, &garbageError{fmt.Sprintf("no reply in the first %d KiB", maxReply>>10)}
		case !complete && writeErr != nil:
			return nil, writeErr
		case !complete:
			return nil, err
		}
		if other := e.foreign(); other != "" {
			return nil, &garbageError{notLines(other)}
		}
		reply, mine, parseErr := parseReply(line, id)
		if parseErr != nil || mine {
			return reply, parseErr
		}
	}
}

// foreign names the protocol that the server speaks instead of lines, "" where it cannot be told.
func (e *exchange) foreign() string {
	switch {
	case string(e.said[:]) == "HTTP/", e.said[0] == '<': // a page without a head is how HTTP/0.9 was answered
		return "HTTP"
	case (e.said[0] == tlsAlert || e.said[0] == tlsHandshake) && e.said[1] == tlsMajor:
		return "TLS"
	}
	return ""
}

// notLines says that a server speaks another protocol where lines are expected, and what to write.
func notLines(other string) string {
	text := "speaks " + other + ", not newline-delimited JSON-RPC"
	if other == "HTTP" {
		return text + ": write http instead of tcp"
	}
	return text + ": write url: https://… instead of tcp"
}

// parseReply reads one line a server sent. mine is false for what may come before the reply: empty
// lines, and requests and notifications of the server.
func parseReply(line []byte, id uint64) (reply *mcp.Reply, mine bool, err error) {
	line = bytes.TrimSpace(line)
	if len(line) == 0 || isRequest(line) {
		return nil, false, nil
	}
	r, err := mcp.ParseReply(line)
	if err != nil {
		reason := strings.TrimSuffix(err.Error(), ": "+mcp.ErrNotReply.Error())
		return nil, false, &garbageError{fmt.Sprintf("not JSON-RPC: %s (%s)", excerpt(line), reason)}
	}
	if n, ok := r.Number(); ok && n == id {
		return &r, true, nil
	}
	if string(r.ID) == "null" && r.Err != nil {
		return &r, true, nil
	}
	return nil, false, &garbageError{fmt.Sprintf("a reply to another request: id %s, not %d", excerpt(r.ID), id)}
}

// isRequest reports whether line is a request or a notification.
func isRequest(line []byte) bool {
	var m struct {
		Version string  `json:"jsonrpc"`
		Method  *string `json:"method"`
	}
	return json.Unmarshal(line, &m) == nil && m.Version == "2.0" && m.Method != nil
}

// excerpt is the beginning of what a server sent, quoted.
func excerpt(b []byte) string {
	const most = 40
	if len(b) > most {
		return fmt.Sprintf("%q…", b[:most])
	}
	return fmt.Sprintf("%q", b)
}
