package proxy

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"testing"
)

// A session begun with one worker goes on with another one.
func TestTLSResumption(t *testing.T) {
	site := startSite(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "hi") })
	first, second := startWorker(t, []string{site}, nil), startWorker(t, []string{site}, nil)
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		config := trusting(testPair())
		config.MaxVersion, config.ClientSessionCache = version, tls.NewLRUClientSessionCache(4)
		for i, b := range []*bench{first, second, first} {
			conn := b.secureDial(config)
			_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
			if got, err := io.ReadAll(conn); err != nil || !bytes.HasSuffix(got, []byte("hi")) {
				t.Fatalf("%q, %v", got, err)
			}
			if resumed := conn.ConnectionState().DidResume; resumed != (i > 0) {
				t.Errorf("version %x, connection %d: resumed %v", version, i, resumed)
			}
		}
	}
}

// A key of tickets is random, good for two lives, and gone then.
func TestTicketKeysDie(t *testing.T) {
	const life = int64(ticketLife)
	var keys, others ticketKeys
	first := keys.inUse(1)
	if len(first) != 1 || len(first[0]) != ticketKeySize || bytes.Equal(first[0], others.inUse(1)[0]) || keys.expired(life) {
		t.Fatalf("%x", first)
	}
	kept := keys.keys[0]
	clear(first[0]) // it is a copy
	second := keys.inUse(life)
	if len(second) != 1 || !bytes.Equal(second[0], kept) || !keys.expired(life+1) {
		t.Fatalf("%x, then %x", kept, second)
	}
	third := keys.inUse(life + 1)
	if len(third) != 2 || bytes.Equal(third[0], kept) || !bytes.Equal(third[1], kept) || keys.expired(life+1) {
		t.Fatalf("%x, then %x", kept, third)
	}
	fourth := keys.inUse(3 * life)
	if len(fourth) != 2 || !bytes.Equal(fourth[1], third[0]) || !bytes.Equal(kept, make([]byte, ticketKeySize)) {
		t.Fatalf("%x, then %x; the first is %x now", third, fourth, kept)
	}
}

// What a worker was told of new keys holds for new handshakes, and tickets of keys that are gone are good for nothing.
func TestTicketKeysAreReplaced(t *testing.T) {
	b := startWorker(t, []string{startSite(t, func(http.ResponseWriter, *http.Request) {})}, nil)
	keys := func(names ...byte) {
		s := b.given
		s.TicketKeys = nil
		for _, name := range names {
			s.TicketKeys = append(s.TicketKeys, bytes.Repeat([]byte{name}, ticketKeySize))
		}
		b.on(func() {
			if err := b.apply(s); err != nil {
				t.Error(err)
			}
		})
	}
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		keys('a')
		config := trusting(testPair())
		config.MaxVersion, config.ClientSessionCache = version, tls.NewLRUClientSessionCache(4)
		for i, step := range []struct {
			keys    string
			resumed bool
		}{{"a", false}, {"ba", true}, {"cb", true}, {"dc", true}, {"fe", false}} {
			keys([]byte(step.keys)...)
			conn := b.secureDial(config)
			_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
			if _, err := io.ReadAll(conn); err != nil {
				t.Fatal(err)
			}
			if resumed := conn.ConnectionState().DidResume; resumed != step.resumed {
				t.Errorf("version %x, step %d: resumed %v", version, i, resumed)
			}
		}
	}
}
