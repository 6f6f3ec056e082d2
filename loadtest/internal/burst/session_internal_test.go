package burst

import (
	"bytes"
	"io"
	"net/http"
	"testing"
)

func FuzzNegotiated(f *testing.F) {
	const answer = `{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":"2025-11-25"}}`
	f.Add(true, []byte("event: message\r\ndata: "+answer+"\r\n\r\n"))
	f.Add(true, []byte(": nothing\n\ndata:\ndata: {}\n\n"))
	f.Add(false, []byte(answer))
	f.Fuzz(func(t *testing.T, stream bool, body []byte) {
		r := &http.Response{Header: http.Header{contentType: {"application/json"}}, Body: io.NopCloser(bytes.NewReader(body))}
		if stream {
			r.Header.Set(contentType, "text/event-stream")
		}
		version, err := negotiated(r)
		if (version == "") != (err != nil) {
			t.Errorf("version %q, error %v", version, err)
		}
	})
}
