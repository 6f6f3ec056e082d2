package coding

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"io"
	"testing"

	"github.com/erlmcp/erlmcp/internal/mcp"
)

// encoded is text as compressors write it.
func encoded(with func(io.Writer) io.WriteCloser, text string) string {
	var out bytes.Buffer
	w := with(&out)
	_, _ = io.WriteString(w, text)
	_ = w.Close()
	return out.String()
}

func zip(w io.Writer) io.WriteCloser     { return gzip.NewWriter(w) }
func zlibbed(w io.Writer) io.WriteCloser { return zlib.NewWriter(w) }
func deflate(w io.Writer) io.WriteCloser {
	d, err := flate.NewWriter(w, flate.BestCompression)
	if err != nil {
		panic(err)
	}
	return d
}

func FuzzHoldsBatch(f *testing.F) {
	for _, text := range []string{"", `{"method":"a","params":{"b":"]},[{"}}`, "[{},{}]", " \ufeff[", "\x00["} {
		f.Add([]byte(encoded(zip, text)), []byte(text))
		f.Add([]byte(encoded(zlibbed, text)), []byte(text))
		f.Add([]byte(encoded(deflate, text)), []byte(text))
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
		for _, with := range []func(io.Writer) io.WriteCloser{zip, zlibbed, deflate} {
			if batch, known := HoldsBatch([]byte(encoded(with, string(text))), Deflated); s.Batch() && s.Decided() && text[0] == '[' && !batch {
				t.Fatalf("%q: known %v, but no batch", text, known)
			}
		}
	})
}
