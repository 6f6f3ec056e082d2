package coding

import (
	"bytes"
	"io"
	"testing"

	"github.com/erlmcp/erlmcp/internal/mcp"
	"github.com/erlmcp/erlmcp/proxy/internal/coding/codingtest"
)

func FuzzHoldsBatch(f *testing.F) {
	for _, text := range []string{"", `{"method":"a","params":{"b":"]},[{"}}`, "[{},{}]", " \ufeff[", "\x00["} {
		f.Add([]byte(codingtest.Encoded(codingtest.Gzip, text)), []byte(text))
		f.Add([]byte(codingtest.Encoded(codingtest.Zlib, text)), []byte(text))
		f.Add([]byte(codingtest.Encoded(codingtest.Deflate, text)), []byte(text))
	}
	f.Fuzz(func(t *testing.T, p, text []byte) {
		HoldsBatch(p, Deflated)
		_, known := HoldsBatch(p, Gzipped)
		if _, more := HoldsBatch(append(bytes.Clone(p), "more"...), Gzipped); known && !more {
			t.Fatal("more tells less")
		}
		var s mcp.Scanner
		for rest := text; len(rest) > 0; {
			rest = rest[s.Text(rest, true):]
		}
		for _, with := range []func(io.Writer) io.WriteCloser{codingtest.Gzip, codingtest.Zlib, codingtest.Deflate} {
			if batch, known := HoldsBatch([]byte(codingtest.Encoded(with, string(text))), Deflated); s.Batch() && s.Decided() && text[0] == '[' && !batch {
				t.Fatalf("%q: known %v, but no batch", text, known)
			}
		}
	})
}
