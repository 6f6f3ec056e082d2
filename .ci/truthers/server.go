package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// epoch is when stalls are counted from.
var epoch = time.Now()

type counter struct{ n atomic.Int64 }

func (c *counter) next() int64 { return c.n.Add(1) }

// bucket lets so many requests a second through.
type bucket struct {
	mu     sync.Mutex
	rate   float64
	tokens float64
	at     time.Time
}

// bucketSeconds is how much of its rate a bucket holds.
const bucketSeconds = 0.05

func newBucket(rate float64) *bucket {
	return &bucket{rate: rate, tokens: rate * bucketSeconds, at: time.Now()}
}

func (b *bucket) take() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	b.tokens = min(b.tokens+now.Sub(b.at).Seconds()*b.rate, b.rate*bucketSeconds)
	b.at = now
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}

// server answers MCP over Streamable HTTP (stateless) and by lines over TCP.
type server struct {
	http, tcp net.Listener
	delay     func(time.Time) time.Duration // of a request that has come then; nil: none
	bucket    *bucket                       // nil: no limit
	name      string                        // of the node, as whoami says
}

func serve(delay func(time.Time) time.Duration, b *bucket) (*server, error) {
	s := &server{delay: delay, bucket: b, name: "a"}
	var err error
	if s.http, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		return nil, err
	}
	if s.tcp, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		s.http.Close()
		return nil, err
	}
	go func() { _ = http.Serve(s.http, http.HandlerFunc(s.post)) }()
	go s.accept()
	return s, nil
}

func (s *server) url() string   { return "http://" + s.http.Addr().String() + "/mcp" }
func (s *server) lines() string { return s.tcp.Addr().String() }

func (s *server) close() {
	s.http.Close()
	s.tcp.Close()
}

// message is what is read of a request.
type message struct {
	ID     json.RawMessage `json:"id"`
	Method string          `json:"method"`
}

// answer is the reply to a request, after its time.
func (s *server) answer(m *message, came time.Time) string {
	if s.delay != nil && m.Method != "server/discover" {
		time.Sleep(s.delay(came) - time.Since(came))
	}
	result := `{"resultType":"complete","content":[{"type":"text","text":"` + s.name + `"}]}`
	if m.Method == "server/discover" {
		result = `{"resultType":"complete","supportedVersions":["2026-07-28"],"capabilities":{"tools":{}},"serverInfo":{"name":"truth","version":"1"}}`
	}
	return fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"result":%s}`, m.ID, result)
}

func (s *server) post(w http.ResponseWriter, r *http.Request) {
	came := time.Now()
	body, err := io.ReadAll(r.Body)
	var m message
	if r.Method != http.MethodPost || err != nil || json.Unmarshal(body, &m) != nil {
		http.Error(w, "POST only", http.StatusMethodNotAllowed)
		return
	}
	if m.Method == "initialize" {
		http.Error(w, "no sessions", http.StatusBadRequest)
		return
	}
	if s.bucket != nil && !s.bucket.take() {
		http.Error(w, "too many", http.StatusTooManyRequests)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(w, s.answer(&m, came))
}

func (s *server) accept() {
	for {
		conn, err := s.tcp.Accept()
		if err != nil {
			return
		}
		go s.converse(conn)
	}
}

func (s *server) converse(conn net.Conn) {
	defer conn.Close()
	var mu sync.Mutex
	for lines := bufio.NewScanner(conn); lines.Scan(); {
		came := time.Now()
		var m message
		if json.Unmarshal(lines.Bytes(), &m) != nil {
			return
		}
		go func() {
			line := s.answer(&m, came) + "\n"
			mu.Lock()
			defer mu.Unlock()
			_, _ = io.WriteString(conn, line)
		}()
	}
}
