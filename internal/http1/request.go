package http1

import "bytes"

// Request is the head of a request. It is meant to be reused: Parse overwrites
// all of it.
type Request struct {
	Method []byte // a token; never CONNECT
	Target []byte // as received
	// Path and Query are those of the target in origin form, to which absolute
	// form is reduced (RFC 9112 section 3.2). Path begins with a slash, or is an
	// asterisk. Query is without its question mark, and nil if there is none:
	// an empty one is not the same target. Nothing is decoded.
	Path, Query []byte
	// Host is the authority that the request is for: of the target if it has one,
	// else the value of Host; nil if an HTTP/1.0 request has neither. It is never
	// empty and has no user information. The field Host, if there is one, has the
	// same value.
	Host []byte
	// ExpectContinue says that the client waits for 100 (Continue) before it sends
	// the body. The field Expect is not a hop-by-hop field: who answers it must
	// not forward it.
	ExpectContinue bool

	Head
}

var (
	errLineTooLong = &Error{414, "the request line is longer than 8 KiB"}
	errLine        = &Error{400, "the request line is not a method, a target and a version"}
	errVersion     = &Error{505, "the version is not of HTTP/1"}
	errHost        = &Error{400, "Host is not a name or address with an optional port"}
	errNoHost      = &Error{400, "an HTTP/1.1 request needs a Host"}
	errExpect      = &Error{417, "the only expectation that can be met is 100-continue"}
)

// Parse reads the head at the start of p. n is its length with the empty line at
// its end. If n is 0 and err is nil, p ends within the head and r means nothing:
// call again with more, which may be put off until an LF or MaxRequestLine bytes
// have come. err is an *Error. The result does not depend on how p grew.
func (r *Request) Parse(p []byte) (n int, err error) {
	n, e := r.parse(p[:min(len(p), MaxHead)])
	switch {
	case e != nil:
		return 0, e
	case n == 0 && len(p) >= MaxHead:
		return 0, errHeadTooLong
	}
	return n, nil
}

func (r *Request) parse(p []byte) (int, *Error) {
	r.Method, r.Target, r.Path, r.Query, r.Host, r.ExpectContinue = nil, nil, nil, nil, nil, false
	r.reset()
	n, err := r.parseLine(p)
	if n == 0 || err != nil {
		return 0, err
	}
	n, err = r.parseFields(p, n)
	if n == 0 || err != nil {
		return 0, err
	}
	if err := r.parseHost(); err != nil {
		return 0, err
	}
	if err := r.parseLengths(); err != nil {
		return 0, err
	}
	return n, r.parseExpect()
}

// EmptyLines is the length of the empty lines at the start of p, which some senders
// let follow a body. They are to be skipped before a request (RFC 9112 section 2.2).
func EmptyLines(p []byte) (n int) {
	for n < len(p) {
		switch {
		case p[n] == '\n':
			n++
		case p[n] == '\r' && n+1 < len(p) && p[n+1] == '\n':
			n += 2
		default:
			return n
		}
	}
	return n
}

// parseLine reads the request line. It returns its length, or 0 if it does not
// end in p.
func (r *Request) parseLine(p []byte) (int, *Error) {
	if len(p) == 1 && p[0] == '\r' {
		return 0, nil // an empty line, perhaps
	}
	if len(p) > 0 && class[p[0]]&inToken == 0 {
		return 0, errLine // TLS, most likely: do not wait for the end of a line
	}
	line, next, err := r.firstLine(p[:min(len(p), MaxRequestLine+2)])
	if next == 0 || err != nil {
		if err == nil && len(p) >= MaxRequestLine+2 {
			err = errLineTooLong
		}
		return 0, err
	}
	i := span(line, inToken)
	if i == len(line) || line[i] != ' ' {
		return 0, errLine
	}
	method, line := line[:i], skipSpaces(line[i+1:])
	if i = bytes.IndexByte(line, ' '); i <= 0 {
		return 0, errLine
	}
	target, version := line[:i], skipSpaces(line[i+1:])
	if r.Minor, err = parseVersion(version); err != nil {
		return 0, err
	}
	r.Method, r.Target = method, target
	return next, r.parseTarget()
}

func parseVersion(v []byte) (minor int, err *Error) {
	if len(v) != 8 || string(v[:5]) != "HTTP/" || class[v[5]]&inNumber == 0 || v[6] != '.' || class[v[7]]&inNumber == 0 {
		return 0, errLine
	}
	if v[5] != '1' {
		return 0, errVersion
	}
	return min(int(v[7]-'0'), 1), nil // what comes after 1.1 is to be read like it (RFC 9110 section 2.5)
}

func skipSpaces(p []byte) []byte {
	for len(p) > 0 && p[0] == ' ' {
		p = p[1:]
	}
	return p
}

// parseHost finds out whom the request is for. The authority of the target
// overrides Host (RFC 9112 section 3.2.2).
func (r *Request) parseHost() *Error {
	i := r.first[host]
	if i == 0 {
		if r.Minor > 0 {
			return errNoHost
		}
		return nil
	}
	f := &r.Fields[i-1]
	if !IsAuthority(f.Value) {
		return errHost
	}
	if r.Host != nil {
		f.Value = r.Host
	}
	r.Host = f.Value
	return nil
}

// parseExpect ignores the expectation of HTTP/1.0 and of a request without a body
// (RFC 9110 section 10.1.1).
func (r *Request) parseExpect() *Error {
	i := r.first[expect]
	if i == 0 {
		return nil
	}
	switch v := r.Fields[i-1].Value; {
	case len(v) == 0:
		r.drop(int(i - 1)) // nothing is expected
		return nil
	case !EqualFold(v, "100-continue"):
		return errExpect
	}
	r.ExpectContinue = r.Minor > 0 && (r.Body == Chunked || r.Length > 0)
	return nil
}
