// Package coding compresses the bodies of responses with gzip, and tells how those of requests can be read
// (RFC 9110 section 8.4).
package coding

import (
	"bytes"
	"errors"
	"io"

	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zlib"

	"github.com/erlmcp/erlmcp/internal/mcp"
)

// maxBlank is how much white space may come before the first byte that is none, decoded.
const maxBlank = 64 << 10

// HoldsBatch decodes the beginning of a body that is gzipped or deflated until it is known whether it may be a batch.
// What cannot be decoded is none, unless it is said to be gzip by its first bytes: some read heads that are too long here.
func HoldsBatch(p []byte, c Coding) (batch, known bool) {
	decoder, err := decoderOf(p, c)
	if err != nil {
		return isGzip(p) && !isCut(err), !isCut(err)
	}
	var s mcp.Scanner
	var room [512]byte
	for blank := 0; blank < maxBlank; {
		n, err := decoder.Read(room[:])
		blank += n
		if s.Text(room[:n], false); s.Decided() {
			return s.Batch(), true
		}
		if err != nil {
			return false, !isCut(err)
		}
	}
	return true, true
}

// isCut reports whether there was not enough to go on.
func isCut(err error) bool { return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) }

func isGzip(p []byte) bool { return len(p) > 1 && p[0] == 0x1f && p[1] == 0x8b }

// decoderOf reads gzip (RFC 1952) or zlib (RFC 1950), whichever it is, or else what is deflated without a head (RFC 1951).
func decoderOf(p []byte, c Coding) (io.Reader, error) {
	if len(p) < 2 {
		return nil, io.ErrUnexpectedEOF
	}
	r := bytes.NewReader(p)
	switch {
	case isGzip(p):
		return gzip.NewReader(r)
	case p[0]&0x0f == 8 && (uint(p[0])<<8|uint(p[1]))%31 == 0:
		return zlib.NewReader(r)
	}
	if c != Deflated {
		return nil, gzip.ErrHeader
	}
	return flate.NewReader(r), nil
}
