package sse

import (
	"bytes"
	"testing"

	"github.com/erlmcp/erlmcp/internal/http1"
)

// placeOf reads a stream as the standard says, byte by byte.
func placeOf(stream []byte) Place {
	place := Between
	text := bytes.ReplaceAll(bytes.ReplaceAll(stream, []byte("\r\n"), []byte("\n")), []byte("\r"), []byte("\n"))
	for _, c := range text {
		switch {
		case c != '\n':
			place = InLine
		case place == InLine:
			place = LineBegins
		default:
			place = Between
		}
	}
	return place
}

func FuzzPlace(f *testing.F) {
	f.Add([]byte("data: a\n\ndata: b\r\n\r\ndata: c\r\r: x\n"), uint16(3))
	f.Add([]byte("\r\n\r\n\n\r"), uint16(1))
	f.Fuzz(func(t *testing.T, stream []byte, cuts uint16) {
		place, cr, start := Between, false, 0
		for i := range stream {
			if cuts>>(i%16)&1 == 1 {
				place, cr = place.After(stream[start:i], cr)
				start = i
				if want := placeOf(stream[:i]); place != want {
					t.Fatalf("after %q: %d, want %d", stream[:i], place, want)
				}
			}
		}
		if place, _ = place.After(stream[start:], cr); place != placeOf(stream) {
			t.Fatalf("after %q: %d, want %d", stream, place, placeOf(stream))
		}
	})
}

// Comments can be put into streams of events whose end is not announced, and which are sent as they are.
func TestIsStream(t *testing.T) {
	const chunked = "Transfer-Encoding: chunked\r\n"
	for head, want := range map[string]bool{
		"200 OK\r\nContent-Type: text/event-stream\r\n" + chunked:                true,
		"200 OK\r\nContent-Type: text/event-stream\r\n":                          true,
		"200 OK\r\nContent-Type: Text/Event-Stream; charset=utf-8\r\n" + chunked: true,
		"200 OK\r\nContent-Type: text/event-stream ;charset=utf-8\r\n" + chunked: true,
		"200 OK\r\nContent-Type: text/event-streams\r\n" + chunked:               false,
		"200 OK\r\nContent-Type: text/plain\r\n" + chunked:                       false,
		"200 OK\r\n" + chunked: false,
		"200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 9\r\n":                false,
		"404 Not Found\r\nContent-Type: text/event-stream\r\n" + chunked:                    false,
		"200 OK\r\nContent-Type: text/event-stream\r\nContent-Encoding: gzip\r\n" + chunked: false,
	} {
		var r http1.Response
		if _, err := r.Parse([]byte("HTTP/1.1 "+head+"\r\n"), false); err != nil {
			t.Fatal(err)
		}
		if got := IsStream(&r); got != want {
			t.Errorf("%q: %v", head, got)
		}
	}
}
