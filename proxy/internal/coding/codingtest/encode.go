// Package codingtest encodes texts as clients do.
package codingtest

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"io"
)

// Encoded is text as compressors write it.
func Encoded(with func(io.Writer) io.WriteCloser, text string) string {
	var out bytes.Buffer
	w := with(&out)
	_, _ = io.WriteString(w, text) // into memory
	_ = w.Close()
	return out.String()
}

// Gzip writes RFC 1952.
func Gzip(w io.Writer) io.WriteCloser { return gzip.NewWriter(w) }

// Zlib writes RFC 1950, which HTTP calls deflate.
func Zlib(w io.Writer) io.WriteCloser { return zlib.NewWriter(w) }

// Deflate writes RFC 1951, which some clients call deflate.
func Deflate(w io.Writer) io.WriteCloser {
	d, err := flate.NewWriter(w, flate.BestCompression)
	if err != nil {
		panic(err) // the level is right
	}
	return d
}
