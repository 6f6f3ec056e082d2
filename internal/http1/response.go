package http1

import "strconv"

// Response is the head of a response. It is meant to be reused: Parse overwrites
// all of it.
type Response struct {
	Status int    // 100 to 599
	Reason []byte // may be empty
	Head
}

var (
	errStatusLine    = &Error{502, "the status line is not a version, a status and a reason"}
	errResponseShort = &Error{502, "the head of the response is longer than 32 KiB"}
)

// Parse reads the head at the start of p, as [Request.Parse] does. head says that
// the request was HEAD, whose responses have no body. An interim response (1xx)
// has none either, and another response follows it.
func (r *Response) Parse(p []byte, head bool) (n int, err error) {
	n, e := r.parse(p[:min(len(p), MaxHead)], head)
	switch {
	case e != nil:
		return 0, &Error{Status: 502, Text: e.Text}
	case n == 0 && len(p) >= MaxHead:
		return 0, errResponseShort
	}
	return n, nil
}

func (r *Response) parse(p []byte, head bool) (int, *Error) {
	r.Status, r.Reason = 0, nil
	r.reset()
	n, err := r.parseLine(p)
	if n == 0 || err != nil {
		return 0, err
	}
	n, err = r.parseFields(p, n)
	if n == 0 || err != nil {
		return 0, err
	}
	if err := r.parseLengths(); err != nil {
		return 0, err
	}
	r.frame(head)
	return n, nil
}

// parseLine reads the status line. It returns its length, or 0 if it does not end
// in p. The space before an empty reason may be missing, as it often is.
func (r *Response) parseLine(p []byte) (int, *Error) {
	if len(p) > 0 && p[0] != 'H' {
		return 0, errStatusLine
	}
	line, next, err := r.firstLine(p)
	if next == 0 || err != nil {
		return 0, err
	}
	if len(line) < 12 || line[8] != ' ' || len(line) > 12 && line[12] != ' ' {
		return 0, errStatusLine
	}
	if r.Minor, err = parseVersion(line[:8]); err != nil {
		return 0, err
	}
	if span(line[9:12], inNumber) < 3 || line[9] < '1' || line[9] > '5' {
		return 0, errStatusLine
	}
	r.Status = int(line[9]-'0')*100 + int(line[10]-'0')*10 + int(line[11]-'0')
	if len(line) > 13 {
		r.Reason = line[13:]
	}
	if !isValue(r.Reason) {
		return 0, errStatusLine
	}
	return next, nil
}

// frame applies what the status and the request's method say about the body (RFC
// 9112 section 6.3).
func (r *Response) frame(head bool) {
	empty := r.Status < 200 || r.Status == 204
	switch {
	case empty || head || r.Status == 304:
		// A node that announces a body where none may be is perhaps about to send
		// it: not a connection to use again, nor an announcement to pass on.
		if r.Body == Chunked && !head || r.Length > 0 && empty {
			r.KeepAlive = false
		}
		if i := r.first[contentLength]; i != 0 && empty {
			r.drop(int(i - 1))
		}
		r.Body, r.Length = NoBody, 0
	case r.Body == NoBody:
		r.Body, r.KeepAlive = UntilClose, false
	}
}

// AppendStatusLine appends the first line of the head (RFC 9112 section 4), as one of HTTP/1.1.
func (r *Response) AppendStatusLine(dst []byte) []byte {
	dst = append(dst, "HTTP/1.1 "...)
	dst = strconv.AppendInt(dst, int64(r.Status), 10)
	dst = append(append(dst, ' '), r.Reason...)
	return append(dst, "\r\n"...)
}

// AppendInterim appends the whole head of a response that another one follows (RFC 9110 section 15.2), without
// what concerns the connection it came on.
func (r *Response) AppendInterim(dst []byte) []byte {
	dst = r.AppendStatusLine(dst)
	for i := range r.Fields {
		if f := &r.Fields[i]; !r.Hop(i) {
			dst = AppendField(dst, f.Name, f.Value)
		}
	}
	return append(dst, "\r\n"...)
}
